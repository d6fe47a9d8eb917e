//! Requests that are wrong, each with the problem that the reference promises.

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use super::expect::only;
use crate::harness::{Lab, Netns, Stream};

super::scenarios!["problems":
    token_missing_or_wrong,
    host_of_somebody_else,
    origin_of_somebody_else,
    stream_asked_by_a_foreign_page_or_without_token,
    fields_unknown_or_out_of_range_are_named,
    bodies_that_are_no_json_request,
    paths_and_methods_that_do_not_exist,
    streams_that_cannot_be_opened,
    query_parameters_of_the_wrong_form,
];

const TRACES: &str = "/api/v1/traces";

fn token_missing_or_wrong(lab: &Lab) -> Result<()> {
    let server = lab.server()?;
    for token in ["", "wrong", &server.api().token()[1..]] {
        let api = server.api().with_token(token);
        api.get(TRACES)?.problem(401)?;
        api.post(TRACES, &json!({}))?.problem(401)?;
        ensure!(api.get("/healthz")?.body.trim() == "ok", "/healthz needs no token");
    }
    server.api().get(TRACES)?.expect(200)?.list("/traces")?;
    Ok(())
}

fn host_of_somebody_else(lab: &Lab) -> Result<()> {
    let server = lab.server()?;
    for path in [TRACES, "/", "/healthz"] {
        for host in ["rebound.example", "rebound.example:7117"] {
            let reply = server.api().send("GET", path, &[("host", host)], None)?;
            ensure!(reply.status == 421, "{path} for {host}: {reply:?}");
        }
    }
    server.api().send("GET", TRACES, &[("host", "rebound.example")], None)?.problem(421)?;
    let port = server.api().authority().rsplit(':').next().unwrap_or_default();
    let name = format!("localhost:{port}");
    server.api().send("GET", TRACES, &[("host", &name)], None)?.expect(200)?;
    Ok(())
}

fn origin_of_somebody_else(lab: &Lab) -> Result<()> {
    let server = lab.server()?;
    let get = |origin: &str| server.api().send("GET", TRACES, &[("origin", origin)], None);
    get("http://page.example")?.problem(403)?;
    get("null")?.problem(403)?;
    get(&server.api().origin().replace("http:", "https:"))?.problem(403)?;
    get(server.api().origin())?.expect(200)?;
    Ok(())
}

fn stream_asked_by_a_foreign_page_or_without_token(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let trace = lab.trace(&only(&netns))?;
    let bearer = format!("Bearer {}", trace.api().token());
    let refused = |headers: &[(&str, &str)]| -> Result<u16> {
        let opened = Stream::open_with(trace.api(), &trace.path("/stream"), |request| {
            headers.iter().fold(request, |request, (name, value)| request.with_header(*name, *value))
        })?;
        match opened {
            Ok(_) => bail!("opened with {headers:?}"),
            Err(status) => Ok(status),
        }
    };
    let foreign = [("authorization", bearer.as_str()), ("origin", "http://page.example")];
    ensure!(refused(&foreign)? == 403, "a foreign page");
    ensure!(refused(&[])? == 401, "no token");
    ensure!(refused(&[("authorization", "Bearer wrong")])? == 401, "a wrong token");
    let protocols = "synscope.v1, synscope.token.wrong";
    ensure!(refused(&[("sec-websocket-protocol", protocols)])? == 401, "a wrong subprotocol");
    Ok(())
}

fn fields_unknown_or_out_of_range_are_named(lab: &Lab) -> Result<()> {
    let server = lab.server()?;
    let long_name = "n".repeat(101);
    let cases: &[(Value, &str)] = &[
        (json!({"filtre": {}}), "filtre"),
        (json!({"filter": {"pidd": 1}}), "filter.pidd"),
        (json!({"filter": []}), "filter"),
        (json!({"name": 3}), "name"),
        (json!({"name": long_name}), "name"),
        (json!({"slow_ms": "soon"}), "slow_ms"),
        (json!({"slow_ms": 600_001}), "slow_ms"),
        (json!({"slow_ms": -1}), "slow_ms"),
        (json!({"starts": "yes"}), "starts"),
        (json!({"stacks": 1}), "stacks"),
        (json!({"ttl_s": 0}), "ttl_s"),
        (json!({"max_events": 0}), "max_events"),
        (json!({"filter": {"pid": "init"}}), "filter.pid"),
        (json!({"filter": {"pid": [1, -1]}}), "filter.pid"),
        (json!({"filter": {"comm": "sixteen-letters!"}}), "filter.comm"),
        (json!({"filter": {"uid": -1}}), "filter.uid"),
        (json!({"filter": {"netns": "host"}}), "filter.netns"),
        (json!({"filter": {"family": "ipx"}}), "filter.family"),
        (json!({"filter": {"peer": "10.0.0.0/33"}}), "filter.peer"),
        (json!({"filter": {"peer": ["10.0.0.1", "somewhere"]}}), "filter.peer"),
        (json!({"filter": {"peer_port": 65_536}}), "filter.peer_port"),
        (json!({"filter": {"peer_port": "9000-8000"}}), "filter.peer_port"),
        (json!({"filter": {"local_port": "ssh"}}), "filter.local_port"),
        (json!({"filter": {"cgroup": "/no/such/cgroup"}}), "filter.cgroup"),
    ];
    for (request, field) in cases {
        let problem = server.api().post(TRACES, request)?.problem(422);
        let problem = problem.map_err(|error| error.context(request.to_string()))?;
        problem.is("/field", *field)?;
    }
    Ok(())
}

fn bodies_that_are_no_json_request(lab: &Lab) -> Result<()> {
    let server = lab.server()?;
    let post =
        |kind: &str, body: &str| server.api().send("POST", TRACES, &[("content-type", kind)], Some(body));
    for broken in ["{", "{\"filter\": }", "\u{1}"] {
        post("application/json", broken)?.problem(400)?;
    }
    post("text/plain", "{}")?.problem(415)?;
    post("application/json", "[]")?.problem(422)?;
    let padded = format!("{{}}{}", " ".repeat(65 << 10));
    post("application/json", &padded)?.problem(413)?;
    Ok(())
}

fn streams_that_cannot_be_opened(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let trace = lab.trace(&only(&netns))?;
    let status = |path: &str| -> Result<u16> {
        let bearer = format!("Bearer {}", trace.api().token());
        let opened =
            Stream::open_with(trace.api(), path, |request| request.with_header("Authorization", bearer))?;
        Ok(opened.err().unwrap_or(101))
    };
    ensure!(status(&format!("{TRACES}/nosuchtrace/stream"))? == 404, "an unknown trace");
    ensure!(status(&trace.path("/stream?after=x"))? == 400, "an `after` that is no number");
    let plain = trace.api().get(&trace.path("/stream"))?;
    ensure!(matches!(plain.status, 400 | 426), "no upgrade was asked for: {plain:?}");
    plain.problem(plain.status)?;
    Ok(())
}

fn paths_and_methods_that_do_not_exist(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let trace = lab.trace(&only(&netns))?;
    let api = trace.api();
    for path in ["", "/events", "/attempts"] {
        api.get(&format!("{TRACES}/nosuchtrace{path}"))?.problem(404)?;
    }
    api.send("POST", &format!("{TRACES}/nosuchtrace/stop"), &[], None)?.problem(404)?;
    api.delete(&format!("{TRACES}/nosuchtrace"))?.problem(404)?;
    api.get("/api/v1/nothing")?.problem(404)?;
    api.get(&trace.path("/nothing"))?.problem(404)?;
    api.send("PUT", TRACES, &[], None)?.problem(405)?;
    api.get(&trace.path("/stop"))?.problem(405)?;
    Ok(())
}

fn query_parameters_of_the_wrong_form(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let trace = lab.trace(&only(&netns))?;
    for query in [
        "events?limit=0",
        "events?limit=1001",
        "events?limit=ten",
        "events?after=-1",
        "attempts?limit=0",
        "attempts?before=!",
    ] {
        let reply = trace.api().get(&trace.path(&format!("/{query}")))?;
        reply.problem(400).map_err(|error| error.context(query))?;
    }
    Ok(())
}
