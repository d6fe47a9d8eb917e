//! `synscope attach`: follows a trace of a server, over its HTTP API.

use std::{env, fs, io::BufReader, process::ExitCode, time::Duration};

use serde_json::Value;
use ureq::{Agent, Body, http::Response};

use super::{
    filter,
    lines::{self, Source},
    view::View,
};
use crate::{Failure, cli::AttachArgs};

/// For everything but the events, which come when they come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Prints what a server's trace tells until it ends; then a summary.
pub(crate) async fn run(args: AttachArgs) -> Result<ExitCode, Failure> {
    let filter = filter(&args.view.terms.join(" "));
    let (name, response) = tokio::task::block_in_place(|| Server::find(&args)?.follow(&args))?;
    eprintln!("attached to {name}; Ctrl-C ends this, not the trace");
    let view = View::new(&args.view, filter, None, false)?;
    let reader = BufReader::new(response.into_body().into_reader());
    lines::run(Source { name, reader, says_when_it_ends: true }, view).await
}

struct Server {
    agent: Agent,
    base: String,
    token: String,
}

impl Server {
    fn find(args: &AttachArgs) -> Result<Self, Failure> {
        let (base, fragment) = args.url.split_once('#').unwrap_or((&args.url, ""));
        let in_url = fragment.strip_prefix("token=").map(str::to_owned);
        let in_file = args.token_file.as_ref().map(|file| {
            fs::read_to_string(file).map_err(|error| {
                let problem = format!("--token-file {}: {error}", file.display());
                Failure::new(problem, "name a file that this user may read")
            })
        });
        let token = in_file.transpose()?.or(in_url).or_else(|| env::var("SYNSCOPE_TOKEN").ok());
        let token = token.ok_or_else(|| {
            let remedy = "give it in the environment as SYNSCOPE_TOKEN or with --token-file, or quote the whole URL \
                          that the server printed (other users can see a process's arguments)";
            Failure::new("the server's token is not known", remedy)
        })?;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .build()
            .new_agent();
        Ok(Self { agent, base: base.trim_end_matches('/').to_owned(), token: token.trim().to_owned() })
    }

    fn get(&self, path: &str, accept: &str) -> Result<Response<Body>, Failure> {
        let Self { agent, base, token } = self;
        let request = agent
            .get(format!("{base}/api/v1/traces{path}"))
            .header("authorization", format!("Bearer {token}"))
            .header("accept", accept);
        let mut response = request.call().map_err(|error| {
            let remedy = "is it the URL that the server printed? A server on another host is reached through a tunnel: \
                          ssh -N -L 7117:127.0.0.1:7117 HOST";
            Failure::new(format!("{base}: {error}"), remedy)
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let problem: Value = response.body_mut().read_json().unwrap_or_default();
        let text = |member: &str| problem[member].as_str().map(str::to_owned);
        let title = text("title").unwrap_or_else(|| response.status().to_string());
        Err(Failure::new(
            format!("{base}: {}", text("detail").unwrap_or(title)),
            text("remedy").unwrap_or_else(|| "is this a Synscope server?".into()),
        ))
    }

    /// The trace that was named, or the newest one that runs; and what it tells.
    fn follow(&self, args: &AttachArgs) -> Result<(String, Response<Body>), Failure> {
        let trace = match &args.trace {
            Some(id) => self.document(&format!("/{id}"))?,
            None => self.newest()?,
        };
        let id = trace["id"].as_str().unwrap_or_default();
        let next_seq = trace["events"]["next_seq"].as_u64().filter(|_| args.from_now).unwrap_or(1);
        let path = format!("/{id}/events?follow=1&after={}", next_seq - 1);
        Ok((format!("trace {id}"), self.get(&path, "application/x-ndjson")?))
    }

    fn newest(&self) -> Result<Value, Failure> {
        let mut traces = self.document("")?;
        let running = traces["traces"].as_array_mut().into_iter().flatten();
        running.map(Value::take).find(|trace| trace["state"] == "running").ok_or_else(|| {
            let remedy =
                "start one on its page or with POST /api/v1/traces, or name one that has ended with --trace";
            Failure::new("no trace is running there", remedy)
        })
    }

    fn document(&self, path: &str) -> Result<Value, Failure> {
        let read = self.get(path, "application/json")?.body_mut().read_json();
        read.map_err(|error| Failure::new(format!("{}: {error}", self.base), "is this a Synscope server?"))
    }
}
