//! What every request passes: the Host allow-list against DNS rebinding, the exact Origin, the token.

mod access;
pub(super) mod audit;
mod failures;
mod own;

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::Response,
};

pub(super) use access::require_token;
pub(crate) use failures::Failures;
pub(super) use own::require_own_host_and_origin;

/// The header's value, where there is exactly one.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
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
