//! A host that gives no more memory: requests end in errors, the server and its traces go on.

use anyhow::{Result, ensure};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;
use vm_tests::harness::{Lab, Length, Load, Netns, Reply, Server, Trace, storm};

use crate::{Scale, holdings::Holdings};

const FAILURES: u64 = 16;
/// What is left of memory: less than the server keeps free for requests, and more than a few events take.
const LEFT: [u64; 3] = [4 << 20, 16 << 20, 48 << 20];

pub(crate) fn no_memory_is_an_answer(lab: &Lab, _: Scale) -> Result<()> {
    let (server, netns) = (lab.own_server()?, Netns::new()?);
    let mut trace = Trace::start(&server, &json!({"filter": {"netns": netns.inode()}}))?;
    let (api, paths) =
        (server.api(), ["events", "attempts", "export?format=ndjson"].map(|rest| trace.path(rest)));
    let mut goes_on = || {
        storm(&netns, "forgetful", Load::Refused, Length::Times(FAILURES))?;
        (0..FAILURES).try_for_each(|_| trace.expect("connect.failed").map(drop))
    };
    goes_on()?;
    let file = "x".repeat(4 << 20);
    for left in LEFT {
        leave(&server, Some(left))?;
        is_refused(&api.post("/api/v1/traces", &json!({}))?)?;
        paths.iter().try_for_each(|path| is_refused(&api.get(path)?))?;
        // The answer may come, and the connection end, while the file is still being sent.
        let _ = api.send("POST", "/api/v1/traces/import", &[], Some(&file));
        goes_on()?;
    }
    leave(&server, None)?;
    let started = api.post("/api/v1/traces", &json!({}))?;
    started.expect(201)?;
    ensure!(api.delete(&started.location)?.status == 204, "not deleted");
    trace.stop()?.is("/counters/delivered", trace.told().len())?;
    Ok(())
}

fn is_refused(answer: &Reply) -> Result<()> {
    answer.problem(503)?.is("/type", "urn:synscope:no-room")?;
    Ok(())
}

/// Lets the server have so many bytes more than it has, or as many as it likes.
fn leave(server: &Server, bytes: Option<u64>) -> Result<()> {
    let taken = Holdings::of(server.pid())?.address_space_kib * 1024;
    let pid = Pid::from_raw(server.pid().try_into()?);
    let current = bytes.map(|bytes| taken + bytes);
    prlimit(pid, Resource::As, Rlimit { current, maximum: None })?;
    Ok(())
}
