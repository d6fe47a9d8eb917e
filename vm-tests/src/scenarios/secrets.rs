//! Tokens: what each allows, where they are kept, and where they must never be seen.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use rustix::process::Signal;
use serde_json::json;

use super::expect::nothing;
use crate::harness::raw::{header, status};
use crate::harness::{Lab, Raw, Run, Server, Stream, Trace, eventually};

super::scenarios!["secrets":
    read_only_token_changes_nothing,
    token_is_in_no_log_and_no_argument,
    token_is_not_printed_to_the_journal,
    passwords_open_the_plain_page_and_nothing_else,
    token_file_that_others_can_read_is_refused,
    guessing_is_slowed_and_the_right_token_still_passes,
    starts_beyond_the_rate_are_told_to_wait,
    every_change_is_in_the_audit_log,
    server_keeps_only_the_privileges_of_tracing,
    server_writes_to_no_directory_but_its_own (needs MOUNT_ATTRIBUTES),
];

const TRACES: &str = "/api/v1/traces";
const READ_TOKEN: &str = "reads-0123456789abcdef";

fn read_only_token_changes_nothing(lab: &Lab) -> Result<()> {
    let server = Server::start_with(lab.binary(), |command| {
        command.env("SYNSCOPE_READ_TOKEN", READ_TOKEN);
    })?;
    let trace = Trace::start(&server, &nothing())?;
    let reader = server.api().with_token(READ_TOKEN);
    reader.get(TRACES)?.expect(200)?;
    reader.get(&trace.path("/events"))?.expect(200)?;
    let stream = Stream::open(&reader, &trace.path("/stream"))?;
    drop(stream);
    let refused = [
        reader.post(TRACES, &json!({}))?,
        reader.send("POST", &trace.path("/stop"), &[], None)?,
        reader.delete(&trace.path(""))?,
        reader.post(&format!("{TRACES}/import"), &json!({}))?,
    ];
    for reply in refused {
        reply.problem(403)?.is("/type", "urn:synscope:read-only")?;
    }
    trace.state()?.is("/state", "running")?;
    ensure!(server.api().get(TRACES)?.expect(200)?.list("/traces")?.len() == 1, "a trace was started");
    Ok(())
}

fn token_is_in_no_log_and_no_argument(lab: &Lab) -> Result<()> {
    let mut server = Server::start_with(lab.binary(), |command| {
        command.env("RUST_LOG", "trace").env("SYNSCOPE_READ_TOKEN", READ_TOKEN);
    })?;
    let api = server.api().clone();
    let wrong = "wrong-0123456789abcdef";
    let trace = Trace::start(&server, &nothing())?;
    let protocols = format!("synscope.v1, synscope.token.{}", api.token());
    let opened = Stream::open_with(&api, &trace.path("/stream"), |request| {
        request.with_header("Sec-WebSocket-Protocol", protocols)
    })?;
    ensure!(opened.is_ok(), "the WebSocket was refused");
    drop(opened);
    api.with_token(READ_TOKEN).delete(&trace.path(""))?.problem(403)?;
    api.with_token(wrong).post(TRACES, &json!({}))?.problem(401)?;
    api.post(TRACES, &json!({"name": 3}))?.problem(422)?;
    let arguments = fs::read(format!("/proc/{}/cmdline", server.pid()))?;
    drop(trace);
    server.signal(Signal::TERM)?;
    server.wait(Duration::from_secs(20))?;
    let log = server.log();
    ensure!(log.contains(TRACES), "the log is not as detailed as it was asked to be: {log}");
    for secret in [api.token(), READ_TOKEN, wrong] {
        ensure!(!log.contains(secret), "a token is in the log: {log}");
        ensure!(!String::from_utf8_lossy(&arguments).contains(secret), "a token is among the arguments");
    }
    Ok(())
}

fn token_is_not_printed_to_the_journal(lab: &Lab) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("journal");
    let journal = fs::File::create(&file)?;
    let metadata = journal.metadata()?;
    let mut command = Command::new(lab.binary());
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(directory.path());
    // As systemd says which of its streams is the journal.
    command.env("JOURNAL_STREAM", format!("{}:{}", metadata.dev(), metadata.ino()));
    let mut server = Killed(command.stdout(journal).stderr(Stdio::null()).spawn()?);
    let printed = eventually(Duration::from_secs(20), || {
        let printed = fs::read_to_string(&file)?;
        ensure!(server.0.try_wait()?.is_none(), "it has ended");
        Ok(printed.ends_with('\n').then_some(printed))
    })?;
    let printed = printed.context("nothing was printed")?;
    ensure!(printed.starts_with("http://127.0.0.1:"), "{printed}");
    ensure!(!printed.contains("token"), "{printed}");
    Ok(())
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn passwords_open_the_plain_page_and_nothing_else(lab: &Lab) -> Result<()> {
    let server = Server::start_with(lab.binary(), |command| {
        command.env("SYNSCOPE_READ_TOKEN", READ_TOKEN);
    })?;
    let ask = |path: &str, password: &str| {
        let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("anyone:{password}")));
        server.api().send("GET", path, &[("authorization", &basic)], None)
    };
    for token in [server.api().token(), READ_TOKEN] {
        let shown = ask("/plain", token)?;
        ensure!(shown.status == 200, "{shown:?}");
        ask(TRACES, token)?.problem(401)?;
    }
    let refused = ask("/plain", "wrong-0123456789abcdef")?;
    ensure!(refused.status == 401, "{refused:?}");
    ensure!(server.log().contains("read refused"), "not in the audit log: {}", server.log());
    Ok(())
}

fn token_file_that_others_can_read_is_refused(lab: &Lab) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("token");
    let path = file.to_str().context("not UTF-8")?;
    let data = directory.path().join("data");
    let server = Server::start_with(lab.binary(), |command| {
        command.args(["--token-file", path]);
    })?;
    let made = fs::read_to_string(&file)?;
    ensure!(fs::metadata(&file)?.mode() & 0o7777 == 0o600, "made with another mode");
    ensure!(made.len() == 64 && made == server.api().token(), "not the token that was printed");
    drop(server);
    fs::set_permissions(&file, Permissions::from_mode(0o644))?;
    let data = data.to_str().context("not UTF-8")?;
    let run = Run::of(
        lab.binary(),
        &["serve", "--listen", "127.0.0.1:0", "--data-dir", data, "--token-file", path],
    )?;
    run.complains(1, &[path, "others may read it", "chmod 600"])?;
    ensure!(!run.stderr.contains(&made), "the token is in the error: {run:?}");
    Ok(())
}

fn guessing_is_slowed_and_the_right_token_still_passes(lab: &Lab) -> Result<()> {
    let server = lab.own_server()?;
    let guesser = server.api().with_token("guess-0123456789abcdef");
    let mut statuses = Vec::new();
    while statuses.last() != Some(&429) {
        ensure!(statuses.len() < 2_000, "2,000 guesses were listened to");
        statuses.push(guesser.get(TRACES)?.status);
    }
    ensure!(statuses[..statuses.len() - 1].iter().all(|status| *status == 401), "{statuses:?}");
    guesser.get(TRACES).map(|reply| ensure_slowed(reply.status))??;
    server.api().get(TRACES)?.expect(200)?;
    Ok(())
}

/// A guess may have come when there was room for one again.
fn ensure_slowed(status: u16) -> Result<()> {
    ensure!(matches!(status, 401 | 429), "a guess was answered with {status}");
    Ok(())
}

fn starts_beyond_the_rate_are_told_to_wait(lab: &Lab) -> Result<()> {
    let server = Server::start_with(lab.binary(), |command| {
        command.args(["--starts-per-minute", "1"]);
    })?;
    let _trace = Trace::start(&server, &nothing())?;
    let (authority, bearer) = (server.api().authority(), format!("Bearer {}", server.api().token()));
    let headers = [("Host", authority), ("Authorization", bearer.as_str()), ("Content-Length", "0")];
    let answer = Raw::ask(authority, &format!("POST {TRACES}"), &headers)?;
    ensure!(status(&answer) == 429, "{answer}");
    ensure!(answer.contains("urn:synscope:too-many-starts"), "{answer}");
    let wait: u64 = header(&answer, "retry-after").context("no Retry-After")?.parse()?;
    ensure!((1..=61).contains(&wait), "wait for {wait} s");
    // What is refused for another reason costs nothing, and tells that reason.
    server.api().post(TRACES, &json!({"name": 3}))?.problem(422)?;
    Ok(())
}

fn every_change_is_in_the_audit_log(lab: &Lab) -> Result<()> {
    let server = Server::start_with(lab.binary(), |command| {
        command.env("RUST_LOG", "error").env("SYNSCOPE_READ_TOKEN", READ_TOKEN);
    })?;
    let trace = Trace::start(&server, &nothing())?;
    let path = trace.path("");
    server.api().with_token(READ_TOKEN).delete(&path)?.problem(403)?;
    server.api().with_token("").delete(&path)?.problem(401)?;
    trace.stop()?;
    drop(trace);
    let expected: [&[&str]; 5] = [
        &["audit", "start done", "full", "127.0.0.1:", &path, "201"],
        &["audit", "delete refused", "read-only", &path, "403"],
        &["audit", "delete refused", "none", &path, "401"],
        &["audit", "stop done", "full", &path, "200"],
        &["audit", "delete done", "full", &path, "204"],
    ];
    let log = server.log();
    for words in expected {
        let told = log.lines().any(|line| words.iter().all(|word| line.contains(word)));
        ensure!(told, "no line with {words:?} in {log}");
    }
    let lines = log.lines().filter(|line| line.contains("audit")).count();
    ensure!(lines == expected.len(), "reading was logged as well: {log}");
    Ok(())
}

fn server_keeps_only_the_privileges_of_tracing(lab: &Lab) -> Result<()> {
    let server = lab.own_server()?;
    let _trace = Trace::start(&server, &nothing())?;
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid()))?;
    for task in tasks {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        // chown, setuid, kill, modules, raw packets, mknod, writing where it may not.
        for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
            let held = u64::from_str_radix(field(set).context("no such set")?, 16)?;
            for given_up in [0, 1, 5, 6, 7, 13, 16, 18, 22, 24, 27] {
                ensure!(held >> given_up & 1 == 0, "{set} has capability {given_up}: {held:x}");
            }
        }
        ensure!(field("NoNewPrivs:") == Some("1") && field("Seccomp:") == Some("2"), "{status}");
    }
    Ok(())
}

fn server_writes_to_no_directory_but_its_own(lab: &Lab) -> Result<()> {
    let parent = tempfile::tempdir()?;
    let own = parent.path().canonicalize()?.join("data");
    let server = Server::start_in(&own, lab.binary(), |_| {})?;
    // The paths behind it lead through the server's own mounts.
    let seen = format!("/proc/{}/root", server.pid());
    let planted = |directory: &Path| {
        let file = format!("{seen}{}", directory.join("planted").display());
        fs::write(&file, "").and_then(|()| fs::remove_file(file))
    };
    planted(&own)?;
    for other in [parent.path(), Path::new("/"), Path::new("/tmp"), Path::new("/dev/shm")] {
        if other.is_dir() {
            let error = planted(other).err().with_context(|| format!("{} is writable", other.display()))?;
            ensure!(error.kind() == ErrorKind::ReadOnlyFilesystem, "{}: {error}", other.display());
        }
    }
    let mounts = fs::read(format!("/proc/{}/mountinfo", server.pid()))?;
    let mounts = String::from_utf8_lossy(&mounts);
    let writable = |mount: &&str| mount.split(' ').nth(5).is_some_and(|options| options.starts_with("rw"));
    let writable: Vec<&str> = mounts.lines().filter(writable).collect();
    ensure!(writable.len() == 1, "more can be written to than the data directory: {writable:?}");
    let report = server.api().get("/api/v1/capabilities")?.expect(200)?;
    let checks = report.list("/checks")?;
    let hardening = checks.iter().find(|check| check.at("/name") == "hardening").context("no such check")?;
    hardening.is("/status", "ok")?;
    Ok(())
}
