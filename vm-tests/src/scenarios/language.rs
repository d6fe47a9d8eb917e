//! The filter language: what it finds among attempts, what a trace is asked by it, what the terminal shows.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::expect::{only, refuse};
use crate::harness::{Json, Lab, Netns, Run, Trace};

super::scenarios!["language":
    attempts_are_found_by_every_field_that_they_have,
    filtered_attempts_page_by_page,
    trace_takes_a_filter_as_text,
    terms_that_the_kernel_cannot_check_are_pointed_at,
    filter_is_explained_and_completed,
    terminal_shows_only_what_is_meant,
];

/// Percent-encodes what stands in the way of a query.
fn query(filter: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/,".contains(&byte);
    let encode = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    filter.bytes().map(encode).collect()
}

/// The peer ports of the attempts that the filter finds, newest first.
fn ports(trace: &Trace, filter: &str) -> Result<Vec<u64>> {
    let path = trace.path(&format!("/attempts?filter={}", query(filter)));
    let found = trace.api().get(&path)?.expect(200).with_context(|| filter.to_owned())?;
    found.list("/attempts")?.iter().map(|attempt| attempt.count("/network/peer/port")).collect()
}

/// A trace that has told a refused connect of this thread to each of these ports.
fn refusals(lab: &Lab, netns: &Netns, tried: &[(&str, u16)]) -> Result<Trace> {
    let mut trace = lab.trace(&only(netns))?;
    for (comm, port) in tried {
        refuse(netns, comm, &format!("127.0.0.1:{port}"))?;
        trace.expect("connect.failed")?;
    }
    Ok(trace)
}

fn attempts_are_found_by_every_field_that_they_have(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let trace = refusals(lab, &netns, &[("other", 81), ("Some thread", 82)])?;
    let fields = trace.api().get("/api/v1/filter/fields")?.expect(200)?.list("/fields")?;
    let attempt =
        trace.api().get(&trace.path("/attempts?limit=1"))?.expect(200)?.list("/attempts")?.remove(0);
    let mut asked = 0;
    for field in fields {
        let (name, path) = (field.text("/name")?, field.at("/path").as_str().unwrap_or_default());
        let value = match attempt.at(&format!("/{}", path.replace('.', "/"))) {
            Value::Null => continue,
            Value::String(_) if field.at("/kind") == "time" => "-1h".to_owned(),
            Value::String(text) => format!("\"{text}\""),
            Value::Number(ms) if field.at("/kind") == "duration" => format!("{ms}ms"),
            other => other.to_string(),
        };
        // `until` an hour ago is another hour.
        let (yes, no) = if name == "until" { ("!=", "=") } else { ("=", "!=") };
        ensure!(ports(&trace, &format!("{name}{yes}{value} port=82"))? == [82], "{name}{yes}{value}");
        ensure!(ports(&trace, &format!("{name}{no}{value} port=82"))?.is_empty(), "{name}{no}{value}");
        asked += 1;
    }
    // Containers, pods, units, ICMP errors and listeners are not at hand everywhere.
    ensure!(asked >= 19, "only {asked} fields were known of {}", attempt.0);
    ensure!(ports(&trace, "some,nothing")? == [82] && ports(&trace, "-THREAD 127.0")? == [81], "bare words");
    ensure!(ports(&trace, "port=80-90 cause!=timeout duration<1m")? == [82, 81], "all of them");
    Ok(())
}

fn filtered_attempts_page_by_page(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let trace = refusals(lab, &netns, &[("a", 81), ("b", 82), ("a", 83), ("b", 84), ("a", 85)])?;
    let (mut before, mut found) = (String::new(), Vec::new());
    loop {
        let page = trace.path(&format!("/attempts?filter=comm%3Da&limit=1{before}"));
        let page = trace.api().get(&page)?.expect(200)?;
        found.extend(page.list("/attempts")?.iter().map(|attempt| attempt.at("/network/peer/port").clone()));
        match page.at("/next_before") {
            Value::Null => break,
            cursor => before = format!("&before={cursor}"),
        }
    }
    ensure!(found == [85, 83, 81], "{found:?}");
    Ok(())
}

fn trace_takes_a_filter_as_text(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let filter = format!("netns={} port=81,90-95 family=ipv4", netns.inode());
    let mut trace = lab.trace(&json!({"filter": filter, "stacks": false}))?;
    for port in [80, 91] {
        refuse(&netns, "by-text", &format!("127.0.0.1:{port}"))?;
    }
    trace.expect("connect.failed")?.is("/network/peer/port", 91)?;
    let shown = json!({"netns": [netns.inode()], "peer_port": [81, "90-95"], "family": "ipv4"});
    trace.state()?.is("/filter", shown)?;
    Ok(())
}

fn terms_that_the_kernel_cannot_check_are_pointed_at(lab: &Lab) -> Result<()> {
    let server = lab.server()?;
    let refused = |filter: &str, start: usize, end: usize| -> Result<()> {
        let problem = server.api().post("/api/v1/traces", &json!({ "filter": filter }))?.problem(422)?;
        problem.is("/type", "urn:synscope:bad-filter")?.is("/field", "filter")?;
        problem.is("/position", json!({"start": start, "end": end}))?;
        Ok(())
    };
    refused("port=22 duration>1s", 8, 19)?;
    refused("port=22 port=23", 8, 15)?;
    refused("port=22 comm~a", 8, 14)?;
    refused("prot=22", 0, 4)?;
    let problem = server.api().get("/api/v1/filter?q=peer%3D10.0.0.0/33")?.problem(400)?;
    problem.is("/position", json!({"start": 5, "end": 16}))?;
    Ok(())
}

fn filter_is_explained_and_completed(lab: &Lab) -> Result<()> {
    let server = lab.server()?;
    let asked = query("-cause=timeout  peer=10.1.2.3/8 x");
    let explained = server.api().get(&format!("/api/v1/filter?q={asked}"))?.expect(200)?;
    explained.is("/filter", "cause!=timeout peer=10.0.0.0/8 text~x")?;
    let terms = json!([
        {"field": "cause", "op": "=", "not": true, "values": ["timeout"], "start": 0, "end": 14, "kernel": false},
        {"field": "peer", "op": "=", "not": false, "values": ["10.0.0.0/8"], "start": 16, "end": 31, "kernel": true},
        {"field": "text", "op": "~", "not": false, "values": ["x"], "start": 32, "end": 33, "kernel": false},
    ]);
    explained.is("/terms", terms)?;
    let fields = server.api().get("/api/v1/filter/fields")?.expect(200)?.list("/fields")?;
    let cause = fields.iter().find(|field| *field.at("/name") == "cause").context("no cause")?;
    ensure!(cause.list("/values")?.contains(&Json("timeout".into())), "no causes in {}", cause.0);
    Ok(())
}

fn terminal_shows_only_what_is_meant(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    // The port and the namespace are the kernel's to check, the rest is the terminal's.
    let filter = format!("netns={} port=80-89 comm~THREAD -cause=timeout error=ECONNREFUSED", netns.inode());
    let mut command = Command::new(lab.binary());
    command.args(["trace", "--json", "--no-stacks", "--max-events", "1", "--ttl-s", "15", &filter]);
    let run = std::thread::spawn(move || Run::of_command(command));
    // The terminal says nowhere that its probes are attached: try until it has shown one.
    while !run.is_finished() {
        std::thread::sleep(Duration::from_millis(50));
        refuse(&netns, "a thread", "127.0.0.1:91")?;
        refuse(&netns, "another", "127.0.0.1:81")?;
        refuse(&netns, "a thread", "127.0.0.1:82")?;
    }
    let run = run.join().map_err(|_| anyhow::anyhow!("the run panicked"))??;
    ensure!(run.stdout.lines().count() == 1, "{run:?}");
    Json(serde_json::from_str(&run.stdout)?).is("/network/peer/port", 82)?.is("/process/comm", "a thread")?;
    Run::of(lab.binary(), &["trace", "port=22", "cause=timeot"])?
        .complains(2, &["`timeot` is no cause", "port=22 cause=timeot\n                ^^^^^^\n"])
}
