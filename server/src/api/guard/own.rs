//! Requests that were addressed to this server, and not made by another site's page.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::{
    super::{App, problem::Problem},
    single,
};
use crate::listen::Connection;

/// Names that no DNS server decides about.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// Refuses requests that were not addressed to this server, or that another site's page makes.
pub(in super::super) async fn require_own_host_and_origin(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let connection = request.extensions().get::<Connection>();
    let (Some(host), Some(connection)) = (single(request.headers(), &header::HOST), connection) else {
        return Problem::foreign_host("").into_response();
    };
    if !is_own_host(host, connection, &app.hosts) {
        return Problem::foreign_host(host).into_response();
    }
    let origins = request.headers().get_all(header::ORIGIN);
    if let Some(foreign) = origins.iter().find(|origin| !is_own_origin(origin.as_bytes(), host, connection)) {
        return Problem::foreign_origin(&String::from_utf8_lossy(foreign.as_bytes())).into_response();
    }
    next.run(request).await
}

/// Exact: the scheme, name and port that the page itself was loaded from. Before a Unix socket stands a proxy, which may
/// speak TLS to browsers.
fn is_own_origin(origin: &[u8], host: &str, connection: &Connection) -> bool {
    let is = |scheme: &str| origin == format!("{scheme}://{host}").as_bytes();
    is(connection.scheme) || connection.local.is_none() && is("https")
}

/// The loopback's names, the address that was connected to, and the names that the operator gave, each with the
/// port. A page of a site whose name was made to point here still sends that site's name.
fn is_own_host(host: &str, connection: &Connection, names: &[String]) -> bool {
    let Some(local) = connection.local else {
        // A Unix socket has no port, and browsers cannot reach it.
        return LOOPBACK.contains(&host) || names.iter().any(|name| name == host);
    };
    let default_port = if connection.scheme == "https" { 443 } else { 80 };
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port.parse().ok()),
        _ => (host, Some(default_port)),
    };
    port == Some(local.port())
        && (LOOPBACK.contains(&name)
            || name == bare(local)
            || names.iter().any(|own| own.eq_ignore_ascii_case(name)))
}

/// The address as it stands in a URL.
fn bare(address: SocketAddr) -> String {
    match address.ip().to_canonical() {
        std::net::IpAddr::V4(address) => address.to_string(),
        std::net::IpAddr::V6(address) => format!("[{address}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::Peer;

    fn by(local: Option<&str>, scheme: &'static str) -> Connection {
        let local = local.map(|address| address.parse().unwrap());
        Connection { peer: Peer::Unix { uid: 0, pid: None }, local, scheme }
    }

    #[test]
    fn only_the_servers_own_names_are_hosts() {
        let own =
            |host: &str| is_own_host(host, &by(Some("192.0.2.1:7117"), "http"), &["trace.example".into()]);
        let names =
            ["127.0.0.1:7117", "localhost:7117", "[::1]:7117", "192.0.2.1:7117", "Trace.example:7117"];
        for host in names {
            assert!(own(host), "{host}");
        }
        let foreign =
            ["", "localhost", "localhost:80", "[::1]", "evil.example:7117", "192.0.2.2:7117", "localhost:x"];
        for host in foreign {
            assert!(!own(host), "{host}");
        }
        assert!(!own("127.0.0.1.evil.example:7117") && !own("localhost:07117x"));
    }

    #[test]
    fn the_default_port_may_be_left_out() {
        assert!(is_own_host("localhost", &by(Some("127.0.0.1:80"), "http"), &[]));
        assert!(is_own_host("[::1]", &by(Some("[::1]:443"), "https"), &[]));
        assert!(!is_own_host("localhost", &by(Some("127.0.0.1:80"), "https"), &[]));
    }

    #[test]
    fn a_mapped_address_is_named_as_ipv4() {
        assert!(is_own_host("192.0.2.1:7117", &by(Some("[::ffff:192.0.2.1]:7117"), "http"), &[]));
    }

    #[test]
    fn an_origin_is_exactly_the_pages_own() {
        let (tcp, unix) = (by(Some("127.0.0.1:7117"), "http"), by(None, "http"));
        let own = |origin: &str, connection| is_own_origin(origin.as_bytes(), "localhost:7117", connection);
        assert!(own("http://localhost:7117", &tcp));
        for foreign in ["https://localhost:7117", "http://localhost", "http://localhost:71170", "null", ""] {
            assert!(!own(foreign, &tcp), "{foreign}");
        }
        assert!(own("https://localhost:7117", &unix) && own("http://localhost:7117", &unix));
        assert!(!own("https://evil.example", &unix));
    }

    #[test]
    fn a_unix_socket_is_called_localhost() {
        assert!(is_own_host("localhost", &by(None, "http"), &[]));
        assert!(!is_own_host("evil.example", &by(None, "http"), &[]));
    }
}
