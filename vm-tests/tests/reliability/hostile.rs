//! Names that somebody chose with care, numbers that come back, namespaces that vanish.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use vm_tests::harness::{Actor, Api, Cgroup, Connect, Json, Lab, Netns, Run, Trace};

use crate::Scale;

const CLOSED: &str = "127.0.0.1:81";
const PATIENCE: Duration = Duration::from_secs(5);
/// So long a process is taken for itself without a second look: no host gives out all its numbers sooner.
const TRUSTED: Duration = Duration::from_millis(600);

/// As long as names can be: a terminal is cleared, a tag opened, and the rest is not UTF-8.
const NAME: &[u8; 15] = b"\x1b[2J<b>\xff\xfe\xc0\x80\r\n\x7f\x9b";

pub(crate) fn hostile_names_are_only_text(lab: &Lab, _: Scale) -> Result<()> {
    let server = lab.own_server()?;
    let netns = Netns::new()?;
    let mut trace = Trace::start(&server, &json!({"filter": {"netns": netns.inode()}}))?;
    netns.run("hostile", || {
        fs::write("/proc/thread-self/comm", NAME)?;
        Connect::to_address(CLOSED)?.run()
    })?;
    trace.expect("connect.failed")?.is("/process/comm", String::from_utf8_lossy(NAME))?;
    trace.stop()?;
    let path = trace.path("");
    let id = path.rsplit('/').next().context("no id")?;
    let api = trace.api();
    let page = api.get(&format!("/plain?trace={id}"))?;
    ensure!(page.status == 200 && page.body.contains("[2J"), "the attempt is not on the page: {page:?}");
    harmless(&page.body.replace('\n', ""))?;
    ensure!(!page.body.contains("<b>"), "a tag got through: {}", page.body);
    harmless(&shown(lab, api, id, &[])?.replace('\n', ""))
}

/// Anything but a slash and a newline may be in a cgroup's name. Here follow a start of a spreadsheet's formula, text that
/// is written from right to left, an escape of one character; and it would be a container's, if that had such an id.
const CGROUP: &[u8] = b"docker-\x1b[2J<b>\",=1\t\xe2\x80\xae\xc2\x9b\xff\xfe\xc0\x80\r\x7f.scope";

pub(crate) fn hostile_cgroups_are_only_text(lab: &Lab, _: Scale) -> Result<()> {
    let server = lab.own_server()?;
    let netns = Netns::new()?;
    let cgroup = Cgroup::new(OsStr::from_bytes(CGROUP))?;
    let mut trace = Trace::start(&server, &json!({"filter": {"netns": netns.inode()}}))?;
    Actor::connect_from(&cgroup, &netns, CLOSED, PATIENCE)?.wait()?;
    let told = trace.expect("connect.failed")?;
    let unit = String::from_utf8_lossy(CGROUP);
    told.is("/process/cgroup", cgroup.name())?.is("/systemd/unit", unit)?.is("/container", Value::Null)?;
    trace.stop()?;
    let path = trace.path("");
    let id = path.rsplit('/').next().context("no id")?;
    harmless(&shown(lab, trace.api(), id, &["-o", "time,comm,cgroup"])?.replace('\n', ""))?;
    let table = trace.api().get(&format!("{path}/export?format=csv"))?;
    ensure!(table.status == 200, "{table:?}");
    ensure!(table.body.contains("<b>\"\",=1"), "the cell is not quoted: {}", table.body);
    Ok(())
}

/// What a terminal shows of a trace.
fn shown(lab: &Lab, api: &Api, id: &str, arguments: &[&str]) -> Result<String> {
    let mut attach = Command::new(lab.binary());
    attach.args(["attach", &format!("http://{}/", api.authority()), "--trace", id]).args(arguments);
    let run = Run::of_command({
        attach.env("SYNSCOPE_TOKEN", api.token());
        attach
    })?;
    ensure!(run.stdout.contains("[2J"), "the attempt is not shown: {run:?}");
    Ok(run.stdout + &run.stderr.replace('\n', ""))
}

fn harmless(text: &str) -> Result<()> {
    let control = text.chars().find(|c| c.is_control());
    ensure!(control.is_none(), "{control:?} got through: {text:?}");
    Ok(())
}

pub(crate) fn a_number_that_comes_back_is_another_process(lab: &Lab, _: Scale) -> Result<()> {
    let server = lab.own_server()?;
    let netns = Netns::new()?;
    let mut trace = Trace::start(&server, &json!({"filter": {"netns": netns.inode()}}))?;
    let mut first = Actor::connect(&netns, "first", CLOSED, PATIENCE)?;
    let pid = first.pid();
    first.wait()?;
    let told = trace.expect("connect.failed")?;
    told.is("/process/pid", pid)?;
    let executable = told.text("/process/executable/path")?.to_owned();
    thread::sleep(TRUSTED);
    for _ in 0..100 {
        let told = bash_after(pid - 1, &netns, &mut trace)?;
        // Others start processes, too.
        if told.count("/process/pid")? == u64::from(pid) {
            told.is("/process/comm", "bash")?;
            let now = told.text("/process/executable/path")?;
            ensure!(now != executable, "the program of the process before: {now}");
            return Ok(());
        }
    }
    anyhow::bail!("number {pid} was not to be had again")
}

/// A connect of another program, whose process has the number after this one, if nobody is quicker. It stays until it
/// was told of: of one that is gone nothing but its number is left to look at.
fn bash_after(last_pid: u32, netns: &Netns, trace: &mut Trace) -> Result<Json> {
    const SCRIPT: &str = "if : 3<>/dev/tcp/127.0.0.1/81; then exit 7; fi; read -r; exit 0";
    let mut bash = netns.run("bash", || {
        let mut bash = Command::new("bash");
        bash.args(["-c", SCRIPT]).stdin(Stdio::piped()).stderr(Stdio::null());
        fs::write("/proc/sys/kernel/ns_last_pid", last_pid.to_string())?;
        Ok(bash.spawn()?)
    })?;
    let told = trace.expect("connect.failed");
    drop(bash.stdin.take());
    ensure!(bash.wait()?.success(), "somebody listens on {CLOSED}");
    told
}

pub(crate) fn a_namespace_that_vanishes_takes_nothing_along(lab: &Lab, _: Scale) -> Result<()> {
    let server = lab.own_server()?;
    let netns = Netns::new()?;
    let mut trace = Trace::start(&server, &json!({"filter": {"netns": netns.inode()}}))?;
    let under_way = Actor::crowd(&netns, "203.0.113.9:443", 32)?;
    trace.counted("started", 32)?;
    let inode = netns.inode();
    drop((netns, under_way));
    trace.counted("failed", 32)?.is("/state", "running")?;
    for _ in 0..32 {
        // Retransmits may come before.
        let mut event = trace.next_event()?;
        while event.text("/event")? != "connect.failed" {
            event = trace.next_event()?;
        }
        event.is("/process/netns", inode)?;
    }
    ensure!(!server.log().contains("ERROR"), "the server complained: {}", server.log());
    Ok(())
}
