//! Entity tags: who has an answer already is told that it has not changed.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

/// Tags documents, and answers 304 to who has named the tag in `If-None-Match`.
pub(super) async fn tag_documents(request: Request, next: Next) -> Response {
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let may_be_tagged = matches!(*request.method(), Method::GET | Method::HEAD);
    let response = next.run(request).await;
    if !may_be_tagged || response.status() != StatusCode::OK || !is_document(response.headers()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // Documents are in memory as a whole, so there is no limit to set and nothing that can fail.
    let Ok(bytes) = to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let tag = format!("\"{:016x}\"", hasher.finish());
    let is_known = known.is_some_and(|known| names(&known, &tag));
    // Sixteen digits in quotes are always a header's value.
    parts.headers.insert(header::ETAG, HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("")));
    if is_known {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, bytes.into())
}

/// JSON in one piece; what follows a trace is told as it comes.
fn is_document(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json")
}

fn names(known: &HeaderValue, tag: &str) -> bool {
    let known = known.to_str().unwrap_or("");
    known.split(',').map(str::trim).any(|known| known == "*" || known.trim_start_matches("W/") == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_named_alone_in_a_list_weakly_or_by_a_star() {
        let names = |known: &'static str| names(&HeaderValue::from_static(known), "\"ab\"");
        assert!(names("\"ab\"") && names("\"x\", W/\"ab\"") && names("*"));
        assert!(!names("\"abc\"") && !names("ab") && !names(""));
    }
}
