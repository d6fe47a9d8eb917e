//! Calls that are answered at once have a time limit.

use std::{future::Future, time::Duration};

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tokio::time::timeout;

use super::problem::Problem;

/// An ordinary request is answered within this time; streams are not ordinary.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Answers with a problem where no answer came in time, or where the request itself did not.
pub(super) async fn limit_time(request: Request, next: Next) -> Response {
    within(REQUEST_TIMEOUT, next.run(request)).await
}

async fn within(limit: Duration, answer: impl Future<Output = Response>) -> Response {
    timeout(limit, answer).await.unwrap_or_else(|_| Problem::timed_out(limit).into_response())
}

#[cfg(test)]
mod tests {
    use axum::http::{StatusCode, header};

    use super::*;

    #[tokio::test]
    async fn what_takes_too_long_becomes_a_problem() {
        let late = within(Duration::ZERO, std::future::pending()).await;
        assert_eq!(late.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(late.headers()[header::CONTENT_TYPE], "application/problem+json");
        let at_once = within(Duration::ZERO, async { "ok".into_response() }).await;
        assert_eq!(at_once.status(), StatusCode::OK);
    }
}
