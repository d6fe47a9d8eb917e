//! Ten thousand connections that nobody says anything on.

use std::{
    io::Read as _,
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use vm_tests::harness::{Lab, Length, Load, Netns, Trace, kernel, storm};

use crate::{Scale, holdings::Holdings};

const CONNECTIONS: usize = 10_000;
/// As many may be open at once.
const PLACES: usize = 512;
/// Other descriptors that come and go.
const SOME: usize = 16;
/// For 512 connections that are being talked on, and for the pages of 9,488 that were refused.
const MEMORY_KIB: u64 = 48 << 10;
/// Longer than a head may take (15 s), on a busy machine.
const CUT_OFF: Duration = Duration::from_secs(45);

pub(crate) fn idle_connections_are_refused_or_closed(lab: &Lab, _: Scale) -> Result<()> {
    kernel::raise_descriptor_limit()?;
    let server = lab.own_server()?;
    let netns = Netns::new()?;
    let mut trace = Trace::start(&server, &json!({"filter": {"netns": netns.inode()}, "stacks": false}))?;
    let before = Holdings::of(server.pid())?;
    let (mut idle, mut most) = (Vec::new(), before);
    for number in 1..=CONNECTIONS {
        idle.push(TcpStream::connect(server.api().authority()).context("connecting")?);
        if number.is_multiple_of(CONNECTIONS / 10) {
            // Who was there is served meanwhile.
            storm(&netns, "meanwhile", Load::Refused, Length::Times(16))?;
            (0..16).try_for_each(|_| trace.expect("connect.failed").map(drop))?;
            let held = Holdings::of(server.pid())?;
            most.files = most.files.max(held.files);
            most.resident_kib = most.resident_kib.max(held.resident_kib);
        }
    }
    let deadline = Instant::now() + CUT_OFF;
    while !server.api().get("/api/v1/traces").is_ok_and(|reply| reply.status == 200) {
        ensure!(Instant::now() < deadline, "nobody else gets a place; log:\n{}", server.log());
        thread::sleep(Duration::from_millis(100));
    }
    let refused = all_have_ended(idle, deadline)?;
    let after = Holdings::of(server.pid())?;
    println!("{refused} of {CONNECTIONS} were refused: {before:?}, at most {most:?}, {after:?}");
    ensure!(refused > 0, "none was refused");
    ensure!(most.files <= before.files + PLACES + SOME, "descriptors: {before:?}, at most {most:?}");
    ensure!(most.resident_kib <= before.resident_kib + MEMORY_KIB, "{before:?}, at most {most:?}");
    ensure!(after.files <= before.files + SOME, "descriptors are left: {before:?} → {after:?}");
    Ok(())
}

/// How many were told why they are closed. The others had a place, and said nothing for too long.
fn all_have_ended(idle: Vec<TcpStream>, deadline: Instant) -> Result<usize> {
    let mut refused = 0;
    for mut stream in idle {
        let patience = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(patience))?;
        let mut said = Vec::new();
        stream.read_to_end(&mut said).context("a connection is still open")?;
        refused += usize::from(said.starts_with(b"HTTP/1.1 503 "));
    }
    Ok(refused)
}
