//! Where the host gives no more memory, requests are refused while there is enough to refuse them with.

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::problem::Problem;
use crate::memory;

/// Refuses a request that would end the whole process: Rust gives up where an allocation fails.
pub(super) async fn require_room(request: Request, next: Next) -> Response {
    if memory::has_room() { next.run(request).await } else { Problem::no_room().into_response() }
}
