//! What is wrong with a filter, and where.

use super::Span;

/// A filter that cannot be read, or asks for what cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} (at {}–{})", span.start, span.end)]
pub(crate) struct FilterError {
    /// The part of the text that is to blame.
    pub(crate) span: Span,
    pub(crate) problem: String,
    pub(crate) remedy: String,
}

impl FilterError {
    pub(super) fn new(span: Span, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { span, problem: problem.into(), remedy: remedy.into() }
    }
}
