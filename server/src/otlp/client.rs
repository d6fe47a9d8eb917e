//! OTLP over HTTP: one POST, and what its answer means.

use std::time::Duration;

use ureq::Agent;

/// A collector that does not answer within this time is away.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest that a collector can ask to wait.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// Bytes of an answer that are read.
const MAX_ANSWER: u64 = 64 << 10;

/// What became of a request.
pub(super) enum Answer {
    /// It was taken; this is the answer's body.
    Taken(Vec<u8>),
    /// It may be taken later: after so long, if the collector said. And why not now.
    Later(Option<Duration>, String),
    /// It will never be taken, for this reason.
    Refused(String),
}

#[derive(Clone)]
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    headers: Vec<(String, String)>,
}

impl Client {
    pub(super) fn new(endpoint: String, headers: Vec<(String, String)>) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .user_agent(concat!("synscope/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Self { agent, endpoint, headers }
    }

    /// Waits on a thread of its own.
    pub(super) async fn post(&self, path: &str, body: Vec<u8>) -> Answer {
        let (client, url) = (self.clone(), format!("{}{path}", self.endpoint));
        let answer = tokio::task::spawn_blocking(move || client.post_blocking(&url, &body)).await;
        answer.unwrap_or_else(|error| Answer::Refused(error.to_string()))
    }

    fn post_blocking(&self, url: &str, body: &[u8]) -> Answer {
        let request = self.agent.post(url).header("content-type", "application/x-protobuf");
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let mut response = match request.send(body) {
            Ok(response) => response,
            Err(error @ (ureq::Error::BadUri(_) | ureq::Error::Http(_))) => {
                return Answer::Refused(format!("{url}: {error}"));
            }
            Err(error) => return Answer::Later(None, format!("{url}: {error}")),
        };
        let status = response.status();
        let wait = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let read = response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
        let problem = format!("{url}: {status}");
        match status.as_u16() {
            200..=299 => Answer::Taken(read.unwrap_or_default()),
            // Those that the specification of OTLP/HTTP names.
            429 | 502 | 503 | 504 => {
                Answer::Later(wait.map(|seconds| Duration::from_secs(seconds).min(MAX_WAIT)), problem)
            }
            _ => Answer::Refused(problem),
        }
    }
}
