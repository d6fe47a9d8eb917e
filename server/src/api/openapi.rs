//! The OpenAPI document, made from the routes and the types that they answer with.

use std::sync::LazyLock;

use aide::{
    axum::ApiRouter,
    generate::in_context,
    openapi::{MediaType, OpenApi, SecurityScheme},
    transform::TransformOpenApi,
};
use schemars::generate::SchemaSettings;

use super::{documents, exchange, stream};

/// Contents that have no schema.
pub(super) fn media<'a>(
    types: impl IntoIterator<Item = &'a str>,
) -> impl Iterator<Item = (String, MediaType)> {
    types.into_iter().map(|kind| (kind.to_owned(), MediaType::default()))
}

/// The document as JSON.
pub(super) fn document() -> &'static str {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
        let mut api = OpenApi::default();
        in_context(|context| {
            // The dialect of OpenAPI 3.1.
            let settings = SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            });
            context.schema = settings.into_generator();
        });
        // What the routes do is of no interest here: they only tell about themselves.
        let _ = ApiRouter::new()
            .nest("/api/v1", documents().merge(stream::router()).merge(exchange::router()))
            .finish_api_with(&mut api, describe);
        // Strings, numbers and maps with string keys always serialise.
        serde_json::to_string_pretty(&api).unwrap_or_default()
    });
    &DOCUMENT
}

fn describe(api: TransformOpenApi<'_>) -> TransformOpenApi<'_> {
    let bearer = SecurityScheme::Http {
        scheme: "bearer".into(),
        bearer_format: None,
        description: Some("the token of the URL that the server prints".into()),
        extensions: std::iter::empty().collect(),
    };
    api.title("Synscope")
        .summary("Explains failed TCP connections")
        .version(env!("CARGO_PKG_VERSION"))
        .security_scheme("token", bearer)
        .security_requirement("token")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_OPENAPI=1` writes the file anew.
    #[test]
    fn the_committed_document_is_what_is_served() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
        let served = format!("{}\n", document());
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(path, &served).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == served, "docs/openapi.json is not what is served: see UPDATE_OPENAPI");
    }
}
