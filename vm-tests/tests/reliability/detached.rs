//! Programs that somebody takes off their hooks: the trace says so, and does not go on as if nothing happened.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use vm_tests::harness::{Frame, Lab, Netns, Server, Trace, debugger};

use crate::Scale;

/// From the detaching to the word of it.
const NOTICED: Duration = Duration::from_secs(5);

pub(crate) fn who_detaches_a_program_is_noticed(lab: &Lab, _: Scale) -> Result<()> {
    let server = lab.own_server()?;
    // Nothing happens here.
    let netns = Netns::new()?;
    let request = json!({"filter": {"netns": netns.inode()}});
    let (mut trace, other) = (Trace::start(&server, &request)?, Trace::start(&server, &request)?);
    debugger::close_in(server.pid(), a_link_of(&server)?)?;
    let deadline = Instant::now() + NOTICED;
    // The first descriptors are those of the first trace.
    trace.stream().expect("end", deadline).context("nobody noticed")?.is("/reason", "detached")?;
    let closed = trace.stream().next_news(deadline)?;
    ensure!(matches!(closed, Some(Frame::Closed(1000))), "closed by {closed:?}");
    trace.state()?.is("/state", "failed")?.is("/end_reason", "detached")?;
    let word = "somebody else has detached a program";
    ensure!(server.log().contains(word), "no word of it in the log: {}", server.log());
    other.state()?.is("/state", "running")?;
    Ok(())
}

/// The first descriptor that keeps a program on a tracepoint.
fn a_link_of(server: &Server) -> Result<i32> {
    let directory = format!("/proc/{}/fdinfo", server.pid());
    let mut links = Vec::new();
    for entry in fs::read_dir(&directory)? {
        let entry = entry?;
        // A descriptor may be closed between the listing and the look.
        let info = fs::read_to_string(entry.path()).unwrap_or_default();
        if info.contains("link_type:\traw_tracepoint") {
            links.push(entry.file_name().to_string_lossy().parse()?);
        }
    }
    links.into_iter().min().context("no link")
}
