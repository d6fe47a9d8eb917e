//! The filter language for those who type it: what a text means, and what can be typed.

use std::sync::Arc;

use aide::axum::{ApiRouter, routing::get_with};
use axum::{Json, http::StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    App,
    extract::{Nothing, Params},
    problem::Problem,
};
use crate::filter::{Definition, FIELDS, Filter, Kind, Op, SEARCHED, Term};

pub(super) fn router() -> ApiRouter<Arc<App>> {
    ApiRouter::new()
        .api_route(
            "/filter",
            get_with(explain, |call| call.id("explainFilter").summary("A filter taken apart")),
        )
        .api_route(
            "/filter/fields",
            get_with(fields, |call| call.id("filterFields").summary("What a filter can ask for")),
        )
}

#[derive(Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(deny_unknown_fields)]
struct FilterQuery {
    /// Terms of the filter language.
    #[serde(default)]
    q: String,
}

/// A filter taken apart.
#[derive(JsonSchema, Serialize)]
struct FilterJson {
    /// The same filter in its plain form.
    filter: String,
    /// All of them must hold.
    terms: Vec<TermJson>,
}

#[derive(JsonSchema, Serialize)]
struct TermJson {
    #[serde(flatten)]
    term: Term,
    /// Whether a trace may be asked for it, so that the kernel checks it.
    kernel: bool,
}

async fn explain(Params(FilterQuery { q }): Params<FilterQuery>) -> Result<Json<FilterJson>, Problem> {
    let filter: Filter = q.parse().map_err(|error| Problem::bad_filter(StatusCode::BAD_REQUEST, error))?;
    let text = filter.to_string();
    let explained = |term: Term| TermJson { kernel: term.is_for_the_kernel(), term };
    Ok(Json(FilterJson { filter: text, terms: filter.terms.into_iter().map(explained).collect() }))
}

#[derive(JsonSchema, Serialize)]
struct FieldsJson {
    fields: Vec<FieldJson>,
}

/// What completion needs to know of a field.
#[derive(JsonSchema, Serialize)]
struct FieldJson {
    name: &'static str,
    /// What its values are: `text`, `word`, `number`, `network`, `duration`, `flag` or `time`.
    kind: &'static str,
    operators: &'static [Op],
    /// The values of a `word`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    values: Vec<&'static str>,
    /// Where an attempt has it: members, joined by points.
    #[serde(skip_serializing_if = "str::is_empty")]
    #[schemars(default)]
    path: &'static str,
    /// The fields that `text` looks into.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    searches: Vec<&'static str>,
    meaning: &'static str,
}

async fn fields(_: Params<Nothing>) -> Result<Json<FieldsJson>, Problem> {
    Ok(Json(FieldsJson { fields: FIELDS.iter().map(FieldJson::from).collect() }))
}

impl From<&Definition> for FieldJson {
    fn from(definition: &Definition) -> Self {
        let Definition { name, kind, path, meaning, .. } = *definition;
        let values = if let Kind::Word(words) = kind { words.all() } else { Vec::new() };
        let searches = SEARCHED.iter().filter(|_| path.is_empty()).map(|field| field.name()).collect();
        Self { name, kind: kind.name(), operators: kind.operators(), values, path, searches, meaning }
    }
}
