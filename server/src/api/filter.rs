//! The filter language for those who type it: what a text means, and what can be typed.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Query, rejection::QueryRejection},
    http::StatusCode,
    routing::get,
};
use serde::{Deserialize, Serialize};

use super::{App, problem::Problem};
use crate::filter::{Definition, FIELDS, Filter, Kind, Op, SEARCHED, Term};

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/filter", get(explain)).route("/filter/fields", get(fields))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilterQuery {
    #[serde(default)]
    q: String,
}

/// A filter taken apart.
#[derive(Serialize)]
struct FilterJson {
    /// The same filter in its plain form.
    filter: String,
    /// All of them must hold.
    terms: Vec<TermJson>,
}

#[derive(Serialize)]
struct TermJson {
    #[serde(flatten)]
    term: Term,
    /// Whether a trace may be asked for it, so that the kernel checks it.
    kernel: bool,
}

async fn explain(query: Result<Query<FilterQuery>, QueryRejection>) -> Result<Json<FilterJson>, Problem> {
    let Query(FilterQuery { q }) = query.map_err(|error| Problem::bad_query(&error.body_text()))?;
    let filter: Filter = q.parse().map_err(|error| Problem::bad_filter(StatusCode::BAD_REQUEST, error))?;
    let text = filter.to_string();
    let explained = |term: Term| TermJson { kernel: term.is_for_the_kernel(), term };
    Ok(Json(FilterJson { filter: text, terms: filter.terms.into_iter().map(explained).collect() }))
}

#[derive(Serialize)]
struct FieldsJson {
    fields: Vec<FieldJson>,
}

/// What completion needs to know of a field.
#[derive(Serialize)]
struct FieldJson {
    name: &'static str,
    /// What its values are: `text`, `word`, `number`, `network`, `duration`, `flag` or `time`.
    kind: &'static str,
    operators: &'static [Op],
    /// The values of a `word`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values: Vec<&'static str>,
    /// Where an attempt has it: members, joined by points.
    #[serde(skip_serializing_if = "str::is_empty")]
    path: &'static str,
    /// The fields that `text` looks into.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    searches: Vec<&'static str>,
    meaning: &'static str,
}

async fn fields() -> Json<FieldsJson> {
    Json(FieldsJson { fields: FIELDS.iter().map(FieldJson::from).collect() })
}

impl From<&Definition> for FieldJson {
    fn from(definition: &Definition) -> Self {
        let Definition { name, kind, path, meaning, .. } = *definition;
        let values = if let Kind::Word(words) = kind { words.all() } else { Vec::new() };
        let searches = SEARCHED.iter().filter(|_| path.is_empty()).map(|field| field.name()).collect();
        Self { name, kind: kind.name(), operators: kind.operators(), values, path, searches, meaning }
    }
}
