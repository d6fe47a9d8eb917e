//! Events followed over plain HTTP: lines, or server-sent events.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ureq::http::Request;

use super::{Api, Json};

/// Longer than any scenario follows.
const LIMIT: Duration = Duration::from_mins(1);

/// An answer that is read as it comes. Dropping it drops the connection.
pub struct Following {
    lines: std::io::Lines<BufReader<ureq::BodyReader<'static>>>,
    is_event_stream: bool,
}

/// One thing that was told.
#[derive(Debug)]
pub struct Told {
    /// The event, or what was told besides, with its `type`.
    pub json: Json,
    /// The id of a server-sent event.
    pub id: Option<u64>,
}

impl Following {
    /// Follows `path`; `headers` say in which form.
    pub fn open(api: &Api, path: &str, headers: &[(&str, &str)]) -> Result<Self> {
        let config = ureq::Agent::config_builder().timeout_global(Some(LIMIT)).proxy(None).build();
        let mut request = Request::builder()
            .uri(format!("{}{path}", api.origin()))
            .header("authorization", format!("Bearer {}", api.token()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let agent = ureq::Agent::from(config);
        let response = agent.run(request.body(())?).with_context(|| format!("following {path}"))?;
        let kind = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        let is_event_stream = kind == Some("text/event-stream");
        Ok(Self { lines: BufReader::new(response.into_body().into_reader()).lines(), is_event_stream })
    }

    /// What is told next, or `None` at the end.
    pub fn read(&mut self) -> Result<Option<Told>> {
        let mut told = Told { json: Json(serde_json::Value::Null), id: None };
        for line in self.lines.by_ref() {
            let line = line?;
            if !self.is_event_stream {
                told.json = Json(serde_json::from_str(&line).with_context(|| line.clone())?);
                return Ok(Some(told));
            }
            match line.split_once(": ") {
                Some(("id", id)) => told.id = Some(id.parse()?),
                Some(("data", data)) => told.json = Json(serde_json::from_str(data)?),
                Some(("event", _)) => {}
                None if line.is_empty() => return Ok(Some(told)),
                _ => bail!("unexpected line {line:?}"),
            }
        }
        Ok(None)
    }
}
