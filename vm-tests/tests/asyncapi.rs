//! docs/asyncapi.yaml against the frames of a running server. Needs what the live scenarios need.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use jsonschema::Validator;
use serde_json::{Map, Value, json};
use vm_tests::harness::{Connect, Json, Lab, Netns, Stream, Trace, actor};
use vm_tests::runner;

fn main() -> Result<()> {
    actor::take_part();
    let messages = Messages::documented()?;
    messages.check_themselves()?;
    if let Err(missing) = runner::check_surroundings() {
        ensure!(std::env::var_os("CI").is_none(), "may not be skipped in CI: {missing:#}");
        eprintln!("asyncapi: no frames are checked: {missing:#}");
        return Ok(());
    }
    let frames = frames()?;
    let mut seen: Vec<_> = frames.iter().map(|frame| frame.text("/type")).collect::<Result<_>>()?;
    frames.iter().try_for_each(|frame| messages.check(frame))?;
    seen.sort_unstable();
    seen.dedup();
    ensure!(seen == ["end", "events", "heartbeat", "hello"], "recorded only {seen:?}");
    println!("asyncapi: {} frames are as documented", frames.len());
    Ok(())
}

/// Everything that the stream of a trace with starts, stacks and drops says.
fn frames() -> Result<Vec<Json>> {
    let lab = Lab::new(Lab::find_binary().context("no server: `cargo build --release` builds it")?);
    let netns = Netns::new()?;
    let request = json!({"filter": {"netns": netns.inode()}, "starts": true, "drops": true});
    let server = lab.own_server()?;
    let trace = Trace::start(&server, &request)?;
    let mut stream = Stream::open(trace.api(), &trace.path("/stream"))?;
    netns.run("asyncapi", || {
        for peer in [SocketAddr::from(([127, 0, 0, 1], 81)), SocketAddr::from(([192, 0, 2, 1], 81))] {
            Connect::to(peer).run()?;
        }
        anyhow::Ok(())
    })?;
    trace.counted("failed", 1)?;
    trace.stop()?;
    let (frames, code) = stream.to_close(Instant::now() + Duration::from_secs(20))?;
    ensure!(code == 1000, "closed with {code}");
    Ok(frames)
}

/// A validator for each documented message.
struct Messages(Map<String, Value>);

impl Messages {
    fn documented() -> Result<Self> {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        let openapi: Value = serde_json::from_str(&fs::read_to_string(docs.join("openapi.json"))?)?;
        // What the one document takes from the other stands beside it here.
        let text = fs::read_to_string(docs.join("asyncapi.yaml"))?.replace("openapi.json#/", "#/");
        let mut asyncapi: Value = serde_yaml_ng::from_str(&text)?;
        let messages = asyncapi["components"]["messages"].take();
        let Value::Object(messages) = messages else { bail!("no messages in {asyncapi}") };
        let with_components = |(name, message): (String, Value)| {
            let mut schema = message["payload"].clone();
            schema["components"] = openapi["components"].clone();
            (name, schema)
        };
        Ok(Self(messages.into_iter().map(with_components).collect()))
    }

    fn validator(&self, kind: &str) -> Result<Validator> {
        let schema = self.0.get(kind).with_context(|| format!("{kind} is not documented"))?;
        Ok(jsonschema::draft202012::new(schema)?)
    }

    fn check(&self, frame: &Json) -> Result<()> {
        let validator = self.validator(frame.text("/type")?)?;
        let problems: Vec<_> = validator.iter_errors(&frame.0).map(|error| error.to_string()).collect();
        ensure!(problems.is_empty(), "{problems:?} in {}", frame.0);
        Ok(())
    }

    /// A document that takes everything would be no document.
    fn check_themselves(&self) -> Result<()> {
        let gap = json!({"type": "gap", "from": 1, "to": 2, "count": 2, "stage": "ring"});
        self.check(&Json(gap.clone()))?;
        for (member, wrong) in [("stage", json!("moon")), ("from", json!("1")), ("more", json!(1))] {
            let mut broken = gap.clone();
            broken[member] = wrong;
            ensure!(self.check(&Json(broken)).is_err(), "a gap with a wrong `{member}` passes");
        }
        let event = json!({"type": "events", "events": [{"seq": 1}]});
        ensure!(self.check(&Json(event)).is_err(), "an event that is nothing but a number passes");
        Ok(())
    }
}
