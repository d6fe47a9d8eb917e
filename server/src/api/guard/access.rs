//! The token, and what it allows.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::{
    super::{App, problem::Problem},
    audit::Entry,
    single,
};
use crate::{listen::Connection, token::Access};

/// Browsers cannot set headers on a WebSocket, so the token may come as an offered subprotocol.
const TOKEN_PROTOCOL: &str = "synscope.token.";

/// Refuses requests that do not show a token, and changes asked for with one that may only read. Every attempt to
/// change something is logged with its outcome, as is every wrong token.
pub(in super::super) async fn require_token(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    // Without a connection the request would not have come past the Host.
    let peer = request.extensions().get::<Connection>().map(|connection| connection.peer.clone());
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    let entry = Entry::of(peer.as_ref(), &request);
    let shown = shown_token(request.headers());
    let access = shown.and_then(|token| app.tokens.access(token));
    let Some(access) = access else {
        let problem = Problem::unauthorized(if shown.is_some() {
            "this is not the token"
        } else {
            "no token was shown"
        });
        // A right token always passes: else, on loopback, whoever shows wrong ones would lock all others out.
        return match app.failures.count(peer.as_ref()) {
            Ok(()) => entry.refused(problem.into_response()),
            Err(wait) => Problem::too_many_failures(wait).into_response(),
        };
    };
    if changes && access == Access::Read {
        return entry.answered(access, Problem::read_only().into_response());
    }
    request.extensions_mut().insert(access);
    let response = next.run(request).await;
    if changes { entry.answered(access, response) } else { response }
}

fn shown_token(headers: &HeaderMap) -> Option<&str> {
    if let Some(authorization) = single(headers, &header::AUTHORIZATION) {
        let (scheme, token) = authorization.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| token.trim());
    }
    let offered = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    offered.split(',').find_map(|protocol| protocol.trim().strip_prefix(TOKEN_PROTOCOL))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_token_is_taken_from_the_header_or_from_a_subprotocol() {
        let mut headers = HeaderMap::new();
        assert_eq!(shown_token(&headers), None);
        headers.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static("synscope.v1, synscope.token.abc"),
        );
        assert_eq!(shown_token(&headers), Some("abc"));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer xyz"));
        assert_eq!(shown_token(&headers), Some("xyz"));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Basic xyz"));
        assert_eq!(shown_token(&headers), None);
    }
}
