//! What this host can do, and what this API is.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use aide::axum::{ApiRouter, routing::get_with};
use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
    routing::get,
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    App,
    extract::{Nothing, Params},
    openapi,
    problem::Problem,
};
use crate::{
    commands::doctor::{Report, report},
    history::Status,
    trace::lock,
};

pub(super) fn router() -> ApiRouter<Arc<App>> {
    ApiRouter::new()
        .api_route(
            "/capabilities",
            get_with(capabilities, |call| call.id("capabilities").summary("What this host allows")),
        )
        .route("/openapi.json", get(description))
}

/// A host that works is not examined again for so long: that loads all programs, and pages ask every half minute.
const GOOD_FOR: Duration = Duration::from_mins(10);

/// What was found when this host was examined last, and when.
#[derive(Default)]
pub(crate) struct Examined(Mutex<Option<(Report, Instant)>>);

impl Examined {
    /// What is known, or what is found now. Who asks at the same time waits for the one who examines.
    fn report(&self, examine: impl FnOnce() -> Report) -> Report {
        let mut last = lock(&self.0);
        match &*last {
            Some((report, when)) if report.works && when.elapsed() < GOOD_FOR => report.clone(),
            _ => last.insert((examine(), Instant::now())).0.clone(),
        }
    }
}

#[derive(JsonSchema, Serialize)]
struct Capabilities {
    #[serde(flatten)]
    report: Report,
    history: Status,
}

async fn capabilities(
    State(app): State<Arc<App>>,
    _: Params<Nothing>,
) -> Result<Json<Capabilities>, Problem> {
    let report = tokio::task::block_in_place(|| app.examined.report(report));
    Ok(Json(Capabilities { report, history: app.manager.history().status() }))
}

async fn description(_: Params<Nothing>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], openapi::document()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_works_is_examined_once_and_another_each_time() {
        let examined = Examined::default();
        let mut times = 0;
        let mut ask = |works| {
            examined.report(|| {
                times += 1;
                let mut report = Report::default();
                report.works = works;
                report
            })
        };
        assert!(!ask(false).works);
        assert!(ask(true).works, "what is mended is seen at once");
        assert!(ask(false).works);
        assert_eq!(times, 2);
    }
}
