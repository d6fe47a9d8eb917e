//! The audit log: who asked to change what, and what came of it. Lines of the target `audit`, which `RUST_LOG` does
//! not silence.

use axum::{
    extract::{OriginalUri, Request},
    http::{Method, header},
    response::Response,
};

use crate::{listen::Peer, token::Access};

/// One line in the making.
pub(super) struct Entry {
    who: String,
    action: &'static str,
    method: Method,
    /// Without the query. Paths are percent-encoded, so that nothing in them can look like a line of its own.
    path: String,
}

impl Entry {
    pub(super) fn of(peer: Option<&Peer>, request: &Request) -> Self {
        // The path before the router took its prefix off.
        let uri = request.extensions().get::<OriginalUri>().map_or(request.uri(), |original| &original.0);
        let path = uri.path().to_owned();
        Self {
            who: peer.map_or_else(|| "unknown".to_owned(), Peer::to_string),
            action: action(request.method(), &path),
            method: request.method().clone(),
            path,
        }
    }

    /// Tells of a request whose token was right, and passes its answer on.
    pub(super) fn answered(self, access: Access, response: Response) -> Response {
        let token = match access {
            Access::Full => "full",
            Access::Read => "read-only",
        };
        self.tell(token, &response);
        response
    }

    /// Tells of a request without a right token, and passes its answer on.
    pub(super) fn refused(self, response: Response) -> Response {
        self.tell("none", &response);
        response
    }

    fn tell(self, token: &str, response: &Response) {
        let Self { who, action, method, path } = self;
        let status = response.status().as_u16();
        let outcome = if response.status().is_success() { "done" } else { "refused" };
        let made = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let what = made.unwrap_or(&path);
        tracing::info!(target: "audit", %who, token, %method, what, status, "{action} {outcome}");
    }
}

/// Tells of a wrong token that was given as a password.
pub(in super::super) fn refused_password(who: &Peer, what: &str) {
    tracing::info!(target: "audit", %who, token = "none", method = "GET", what, status = 401, "read refused");
}

fn action(method: &Method, path: &str) -> &'static str {
    match *method {
        Method::POST if path.ends_with("/stop") => "stop",
        Method::POST if path.ends_with("/import") => "import",
        Method::POST if path.ends_with("/traces") => "start",
        Method::DELETE => "delete",
        Method::GET | Method::HEAD => "read",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_have_the_names_that_people_use() {
        let of = |method, path: &str| action(&method, path);
        assert_eq!(of(Method::POST, "/api/v1/traces"), "start");
        assert_eq!(of(Method::POST, "/api/v1/traces/x/stop"), "stop");
        assert_eq!(of(Method::POST, "/api/v1/traces/import"), "import");
        assert_eq!(of(Method::DELETE, "/api/v1/traces/x"), "delete");
        assert_eq!(of(Method::GET, "/api/v1/traces"), "read");
    }
}
