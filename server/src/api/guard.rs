//! What every request passes: the Host allow-list against DNS rebinding, the exact Origin, the token.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::{App, problem::Problem};

/// Browsers cannot set headers on a WebSocket, so the token may come as an offered subprotocol.
const TOKEN_PROTOCOL: &str = "synscope.token.";

/// Refuses requests that were not addressed to this server, or that another site's page makes.
pub(super) async fn require_own_host_and_origin(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(host) = single(request.headers(), &header::HOST) else {
        return Problem::foreign_host("").into_response();
    };
    if !is_own_host(host, app.address) {
        return Problem::foreign_host(host).into_response();
    }
    let origins = request.headers().get_all(header::ORIGIN);
    // Exact: the scheme, name and port that the page itself was loaded from.
    let own = format!("http://{host}");
    if let Some(foreign) = origins.iter().find(|origin| origin.as_bytes() != own.as_bytes()) {
        return Problem::foreign_origin(&String::from_utf8_lossy(foreign.as_bytes())).into_response();
    }
    next.run(request).await
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// The loopback's names and the address that the server listens on, with its port.
fn is_own_host(host: &str, address: SocketAddr) -> bool {
    let port = address.port();
    [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("[::1]:{port}"), address.to_string()]
        .iter()
        .any(|own| own == host)
        // Browsers leave the default port out.
        || port == 80 && ["127.0.0.1", "localhost", "[::1]"].contains(&host)
}

/// Refuses requests that do not show the token.
pub(super) async fn require_token(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match shown_token(request.headers()) {
        None => Problem::unauthorized("no token was shown").into_response(),
        Some(token) if !app.token.is(token) => Problem::unauthorized("this is not the token").into_response(),
        Some(_) => next.run(request).await,
    }
}

fn shown_token(headers: &HeaderMap) -> Option<&str> {
    if let Some(authorization) = single(headers, &header::AUTHORIZATION) {
        let (scheme, token) = authorization.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| token.trim());
    }
    let offered = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    offered.split(',').find_map(|protocol| protocol.trim().strip_prefix(TOKEN_PROTOCOL))
}

/// Headers that every answer carries.
pub(super) async fn add_security_headers(mut response: Response) -> Response {
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CONTENT_SECURITY_POLICY, synscope_web::CONTENT_SECURITY_POLICY),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    let headers = response.headers_mut();
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // What is not an asset is of the moment.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_servers_own_names_are_hosts() {
        let address: SocketAddr = "127.0.0.1:7117".parse().unwrap();
        for host in ["127.0.0.1:7117", "localhost:7117", "[::1]:7117"] {
            assert!(is_own_host(host, address), "{host}");
        }
        for host in ["", "localhost", "localhost:80", "evil.example:7117", "127.0.0.1.evil.example:7117"] {
            assert!(!is_own_host(host, address), "{host}");
        }
    }

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
