//! What handlers take from a request: wrong values become problems that name them.

use std::sync::Arc;

use aide::{OperationInput, generate::GenContext, openapi::Operation};
use axum::{
    extract::{FromRequestParts, Path, Query},
    http::request::Parts,
};
use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};

use super::{App, problem::Problem};
use crate::trace::Trace;

/// The query's parameters. One that the call does not know is refused by name.
pub(super) struct Params<T>(pub(super) T);

/// A call without parameters.
#[derive(Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(params) = Query::try_from_uri(&parts.uri).map_err(|rejection| {
            let text = rejection.body_text();
            Problem::bad_query(text.trim_start_matches("Failed to deserialize query string: "))
        })?;
        Ok(Self(params))
    }
}

impl<T: JsonSchema> OperationInput for Params<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        Query::<T>::operation_input(context, operation);
    }
}

/// The trace that the path names.
pub(super) struct Named(pub(super) Arc<Trace>);

#[derive(Deserialize, JsonSchema)]
#[schemars(inline)]
pub(super) struct TracePath {
    /// The trace's id.
    id: String,
}

impl FromRequestParts<Arc<App>> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let Path(TracePath { id }) = Path::from_request_parts(parts, app)
            .await
            .map_err(|rejection| Problem::no_such_trace(&rejection.body_text()))?;
        app.manager.get(&id)?.map(Self).ok_or_else(|| Problem::no_such_trace(&id))
    }
}

impl OperationInput for Named {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        Path::<TracePath>::operation_input(context, operation);
    }
}
