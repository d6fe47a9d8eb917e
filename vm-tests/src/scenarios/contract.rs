//! What the HTTP interface promises beside its answers: the document that describes it, tags, keys, names.

use anyhow::{Result, ensure};
use serde_json::json;

use super::expect::{nothing, only, refuse};
use crate::harness::{Lab, Netns, Reply};

super::scenarios!["contract":
    document_describes_every_call,
    unchanged_answers_are_not_sent_again,
    key_creates_one_trace,
    stopping_twice_is_stopping_once,
    readiness_is_told_without_a_token,
    parameters_that_a_call_does_not_know_are_named,
];

fn document_describes_every_call(lab: &Lab) -> Result<()> {
    let document = lab.server()?.api().get("/api/v1/openapi.json")?.expect(200)?;
    document.is("/openapi", "3.1.0")?;
    let calls = [
        ("/api/v1/traces", "get"),
        ("/api/v1/traces", "post"),
        ("/api/v1/traces/{id}", "get"),
        ("/api/v1/traces/{id}", "delete"),
        ("/api/v1/traces/{id}/stop", "post"),
        ("/api/v1/traces/{id}/events", "get"),
        ("/api/v1/traces/{id}/attempts", "get"),
        ("/api/v1/traces/{id}/stream", "get"),
        ("/api/v1/traces/{id}/export", "get"),
        ("/api/v1/traces/import", "post"),
        ("/api/v1/filter", "get"),
        ("/api/v1/filter/fields", "get"),
        ("/api/v1/capabilities", "get"),
    ];
    for (path, method) in calls {
        ensure!(!document.at("/paths")[path][method].is_null(), "{method} {path} is not described");
    }
    Ok(())
}

fn unchanged_answers_are_not_sent_again(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only(&netns))?;
    let api = trace.api().clone();
    let ask = |path: &str, tag: &str| api.send("GET", path, &[("if-none-match", tag)], None);
    for path in ["/api/v1/openapi.json", "/api/v1/filter/fields", &trace.path("/attempts")] {
        let Reply { etag, .. } = api.get(path)?;
        ensure!(etag.len() > 2, "no tag on {path}");
        let again = ask(path, &format!("\"other\", W/{etag}"))?;
        ensure!(again.status == 304 && again.body.is_empty() && again.etag == etag, "{path}: {again:?}");
        ensure!(ask(path, "\"other\"")?.status == 200, "{path} with another tag");
    }
    let attempts = trace.path("/attempts");
    let before = api.get(&attempts)?.etag;
    refuse(&netns, "changes", "127.0.0.1:81")?;
    trace.expect("connect.failed")?;
    ensure!(ask(&attempts, &before)?.status == 200, "an attempt more, and the same tag");
    Ok(())
}

fn key_creates_one_trace(lab: &Lab) -> Result<()> {
    let server = lab.own_server()?;
    let create = |key: &str, body: &str| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        server.api().send("POST", "/api/v1/traces", &headers, Some(body))
    };
    let first = create("a-key", "{\"filter\": {\"netns\": 1}, \"name\": \"x\"}")?;
    let id = first.expect(201)?.text("/id")?.to_owned();
    let again = create("a-key", "{\"name\": \"x\", \"filter\": {\"netns\": 1}}")?;
    again.expect(201)?.is("/id", id.clone())?;
    ensure!(again.location == first.location, "{again:?}");
    create("a-key", "{\"name\": \"y\"}")?.problem(409)?.is("/type", "urn:synscope:idempotency-key-used")?;
    create("", "{}")?.problem(400)?.is("/type", "urn:synscope:bad-idempotency-key")?;
    // A request that made nothing leaves its key free.
    create("b-key", "{\"ttl_s\": 0}")?.problem(422)?;
    create("b-key", &nothing().to_string())?.expect(201)?;
    let traces = server.api().get("/api/v1/traces")?.expect(200)?.list("/traces")?;
    ensure!(traces.len() == 2, "{traces:?}");
    server.api().delete(&format!("/api/v1/traces/{id}"))?;
    let anew = create("a-key", &nothing().to_string())?.expect(201)?;
    ensure!(anew.text("/id")? != id, "a deleted trace came back: {}", anew.0);
    Ok(())
}

fn stopping_twice_is_stopping_once(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let trace = lab.trace(&only(&netns))?;
    let first = trace.stop()?;
    first.is("/state", "stopped")?.is("/end_reason", "requested")?;
    ensure!(trace.stop()? == first, "the second answer differs");
    Ok(())
}

fn readiness_is_told_without_a_token(lab: &Lab) -> Result<()> {
    let api = lab.server()?.api().with_token("");
    let reply = api.get("/readyz")?;
    ensure!(reply.status == 200 && reply.body == "ready", "{reply:?}");
    Ok(())
}

fn parameters_that_a_call_does_not_know_are_named(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let trace = lab.trace(&only(&netns))?;
    let refused = |path: &str, field: &str| -> Result<()> {
        trace.api().get(path)?.problem(400)?.is("/field", field)?;
        Ok(())
    };
    refused("/api/v1/traces?state=running", "state")?;
    refused(&trace.path("?verbose=1"), "verbose")?;
    refused(&trace.path("/events?form=1"), "form")?;
    refused(&trace.path("/events?limit=many"), "limit")?;
    refused(&trace.path("/attempts?limit=0"), "limit")?;
    refused(&trace.path("/attempts?query=x"), "query")?;
    let stop = trace.api().send("POST", &trace.path("/stop?now=1"), &[], None)?;
    stop.problem(400)?.is("/field", "now")?;
    trace.state()?.is("/state", "running")?;
    trace.api().post("/api/v1/traces?dry=1", &json!({}))?.problem(400)?.is("/field", "dry")?;
    Ok(())
}
