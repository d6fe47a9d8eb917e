//! The page, its assets, and the health checks: all that needs no token, and shows nothing that does.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, header},
    response::{Html, IntoResponse as _, Response},
    routing::get,
};
use synscope_web::{Page, asset, index};

use super::{App, problem::Problem};

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(page))
        .route("/assets/{*path}", get(assets))
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(ready))
}

/// Whether traces can be started: the kernel lets us, and the server is not shutting down.
async fn ready(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    if app.shutdown.is_cancelled() {
        return Err(Problem::not_ready("the server is shutting down", "start it again"));
    }
    match app.manager.kernel_error() {
        Some(error) => Err(Problem::not_ready(&error.to_string(), error.remedy())),
        None => Ok("ready"),
    }
}

async fn page() -> Html<String> {
    let host = synscope_tracer::host::name();
    Html(index(&Page { version: env!("CARGO_PKG_VERSION"), host: &host }))
}

/// Paths carry the hash of all assets, so an answer is true for ever.
async fn assets(Path(path): Path<String>, headers: HeaderMap) -> Response {
    let Some(asset) = asset(&path) else { return Problem::no_such_path().into_response() };
    let common = [
        (header::CONTENT_TYPE, asset.content_type),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::VARY, "accept-encoding"),
    ];
    match asset.brotli.filter(|_| takes_brotli(&headers)) {
        Some(compressed) => (common, [(header::CONTENT_ENCODING, "br")], compressed).into_response(),
        None => (common, asset.bytes).into_response(),
    }
}

/// Whether the client names `br` among the codings that it accepts, and not with a weight of zero (RFC 9110, 12.5.3).
fn takes_brotli(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0));
        name.trim().eq_ignore_ascii_case("br") && !refused
    })
}

#[cfg(test)]
mod tests {
    use axum::{body::to_bytes, http::HeaderValue};

    use super::*;

    fn asking(accept: &'static str) -> HeaderMap {
        [(header::ACCEPT_ENCODING, HeaderValue::from_static(accept))].into_iter().collect()
    }

    #[test]
    fn brotli_is_for_who_asks_for_it() {
        for accept in ["br", "gzip, deflate, br, zstd", "gzip;q=1.0, BR;q=0.5"] {
            assert!(takes_brotli(&asking(accept)), "{accept}");
        }
        for accept in ["", "gzip, deflate", "br;q=0", "gzip, br; q=0.000", "brotli", "identity"] {
            assert!(!takes_brotli(&asking(accept)), "{accept}");
        }
        assert!(!takes_brotli(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn an_asset_is_sent_as_it_is_or_compressed_and_says_so() {
        let path = || format!("{}/js/main.js", synscope_web::asset_base().trim_start_matches("/assets/"));
        let plain = assets(Path(path()), HeaderMap::new()).await;
        let small = assets(Path(path()), asking("gzip, br")).await;
        assert_eq!(plain.headers().get(header::CONTENT_ENCODING), None);
        assert_eq!(small.headers()[header::CONTENT_ENCODING], "br");
        for answer in [&plain, &small] {
            assert_eq!(answer.headers()[header::VARY], "accept-encoding");
            assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
        }
        let plain = to_bytes(plain.into_body(), usize::MAX).await.unwrap();
        let small = to_bytes(small.into_body(), usize::MAX).await.unwrap();
        assert!(small.len() * 2 < plain.len(), "{} of {} bytes", small.len(), plain.len());
    }
}
