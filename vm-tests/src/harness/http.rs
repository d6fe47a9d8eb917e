//! The HTTP client of the scenarios.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use ureq::http::{Request, Response};

use super::Json;

/// Longer than any answer takes, also in an emulated machine with every core busy.
const ANSWER_LIMIT: Duration = Duration::from_secs(45);
/// A connection that has rested longer is not used again: the server may be about to close it.
const IDLE_LIMIT: Duration = Duration::from_secs(2);
/// Exports of whole traces are the largest answers.
const LARGEST: u64 = 1 << 30;

/// One server's HTTP interface.
#[derive(Clone)]
pub struct Api {
    agent: ureq::Agent,
    origin: String,
    token: String,
}

/// A complete answer, whatever its status.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status code.
    pub status: u16,
    /// `Content-Type`, empty when absent.
    pub content_type: String,
    /// `Location`, empty when absent.
    pub location: String,
    /// `ETag`, empty when absent.
    pub etag: String,
    /// The body as text.
    pub body: String,
}

impl Api {
    /// A client for the server at `origin` (`http://127.0.0.1:PORT`).
    pub fn new(origin: &str, token: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER_LIMIT))
            .max_idle_age(IDLE_LIMIT)
            .proxy(None)
            .build();
        Self { agent: config.into(), origin: origin.to_owned(), token: token.to_owned() }
    }

    /// The same server, asked with another token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// `127.0.0.1:PORT`.
    pub fn authority(&self) -> &str {
        self.origin.split_once("://").map_or(&self.origin, |(_, authority)| authority)
    }

    /// The bearer token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// GET with the token.
    pub fn get(&self, path: &str) -> Result<Reply> {
        self.send("GET", path, &[], None)
    }

    /// DELETE with the token.
    pub fn delete(&self, path: &str) -> Result<Reply> {
        self.send("DELETE", path, &[], None)
    }

    /// POST of a JSON body with the token.
    pub fn post(&self, path: &str, body: &Value) -> Result<Reply> {
        let body = body.to_string();
        self.send("POST", path, &[("content-type", "application/json")], Some(&body))
    }

    /// Any request; `headers` are added to (or replace) those that every request has.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Result<Reply> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.origin));
        if !self.token.is_empty() && !headers.iter().any(|(name, _)| *name == "authorization") {
            request = request.header("authorization", format!("Bearer {}", self.token));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = match body {
            Some(body) => self.agent.run(request.body(body.to_owned())?),
            None => self.agent.run(request.body(())?),
        };
        Reply::read(answer.with_context(|| format!("{method} {path}"))?)
    }
}

impl Reply {
    fn read(mut response: Response<ureq::Body>) -> Result<Self> {
        let header = |name: &str| {
            let value = response.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        Ok(Self {
            status: response.status().as_u16(),
            content_type: header("content-type"),
            location: header("location"),
            etag: header("etag"),
            body: response
                .body_mut()
                .with_config()
                .limit(LARGEST)
                .read_to_string()
                .context("reading an answer")?,
        })
    }

    /// Requires this status and returns the body as JSON.
    pub fn expect(&self, status: u16) -> Result<Json> {
        ensure!(self.status == status, "expected {status}, got {}: {}", self.status, self.body);
        let value = serde_json::from_str(&self.body).with_context(|| format!("not JSON: {:?}", self.body))?;
        Ok(Json(value))
    }

    /// Requires an RFC 9457 problem of this status with everything that the reference promises.
    pub fn problem(&self, status: u16) -> Result<Json> {
        let problem = self.expect(status)?;
        ensure!(
            self.content_type.starts_with("application/problem+json"),
            "a problem of type {:?}: {}",
            self.content_type,
            self.body
        );
        problem.is("/status", status)?;
        for member in ["/type", "/title", "/detail", "/remedy"] {
            ensure!(!problem.text(member)?.is_empty(), "{member} is empty in {}", problem.0);
        }
        Ok(problem)
    }
}
