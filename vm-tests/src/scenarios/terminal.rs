//! What `synscope trace` prints, and how it ends.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::expect::{only, refuse};
use crate::harness::{Json, Lab, Netns, Run};

super::scenarios!["terminal":
    command_and_its_children_are_traced_alone (needs COMMANDS) [TOOLS],
    command_that_cannot_run_ends_as_in_a_shell (needs COMMANDS) [TOOLS],
    ctrl_c_ends_with_a_summary,
    attached_terminal_shows_what_the_server_tells,
    port_collision_of_the_guide (needs COMMANDS, NF_TABLES, VETH) [TOOLS],
];

/// Runs a command under `synscope trace`, which writes JSON to `told`.
fn under_trace(lab: &Lab, told: &Path, options: &[&str], command: &[&str]) -> Result<Run> {
    let mut trace = Command::new(lab.binary());
    trace
        .args(["trace", "--json", "--no-stacks", "--output"])
        .arg(told)
        .args(options)
        .arg("--")
        .args(command);
    Run::of_command(trace)
}

fn command_and_its_children_are_traced_alone(lab: &Lab) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let told = directory.path().join("told");
    // The command's child connects, in the background of a shell that is gone before.
    let script = "echo out; bash -c '(sleep 0.1; : < /dev/tcp/127.0.0.1/83) & sleep 0.3'; exit 7";
    let others = Netns::new()?;
    let run = thread::scope(|scope| -> Result<Run> {
        let run = scope.spawn(|| under_trace(lab, &told, &[], &["bash", "-c", script]));
        while !run.is_finished() {
            refuse(&others, "other", "127.0.0.1:84")?;
            thread::sleep(Duration::from_millis(30));
        }
        run.join().map_err(|_| anyhow::anyhow!("the run panicked"))?
    })?;
    ensure!(run.code == Some(7) && run.stdout == "out\n", "not as the command by itself: {run:?}");
    let lines = fs::read_to_string(&told)?;
    ensure!(lines.lines().count() == 1, "one connect of the command, but: {lines}");
    Json(serde_json::from_str(&lines)?).is("/network/peer/port", 83)?.is("/tcp/connect/cause", "refused")?;

    let connects = ["bash", "-c", "exec 3< /dev/tcp/127.0.0.1/83 || exit 0"];
    for (cause, code) in [("refused", 3), ("any", 3), ("timeout", 0)] {
        let run = under_trace(lab, &told, &["--fail-on", cause], &connects)?;
        ensure!(run.code == Some(code), "--fail-on {cause}: {run:?}");
    }
    Ok(())
}

fn command_that_cannot_run_ends_as_in_a_shell(lab: &Lab) -> Result<()> {
    let told = tempfile::NamedTempFile::new()?;
    under_trace(lab, told.path(), &[], &["/no/such/command"])?.complains(127, &["/no/such/command"])?;
    under_trace(lab, told.path(), &[], &["/etc/passwd"])?.complains(126, &["/etc/passwd"])?;
    let killed = under_trace(lab, told.path(), &[], &["bash", "-c", "kill -KILL $$"])?;
    ensure!(killed.code == Some(137), "{killed:?}");
    Ok(())
}

fn ctrl_c_ends_with_a_summary(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = Command::new(lab.binary());
    trace.args(["trace", "--no-stacks", &format!("netns={}", netns.inode())]);
    let told = tempfile::NamedTempFile::new()?;
    let mut child = trace.stdout(told.reopen()?).stderr(Stdio::piped()).spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("its id")?;
    // It says nowhere that its probes are attached: try until it has shown two.
    while fs::read_to_string(told.path())?.lines().count() < 3 && child.try_wait()?.is_none() {
        refuse(&netns, "a\u{1b}thread", "127.0.0.1:85")?;
        thread::sleep(Duration::from_millis(30));
    }
    kill_process(pid, Signal::INT)?;
    let ended = child.wait_with_output()?;
    let summary = String::from_utf8_lossy(&ended.stderr);
    let lines = fs::read_to_string(told.path())?;
    ensure!(ended.status.code() == Some(0), "{summary}");
    ensure!(!lines.contains('\u{1b}') && lines.contains(r"a\u{1b}thread"), "not for a terminal: {lines:?}");
    let shown = lines.lines().count() - 1;
    let failed = format!("{shown:>10}  refused");
    let peer = format!("{shown:>10}  127.0.0.1:85");
    ensure!(summary.contains(&failed) && summary.contains(&peer), "{shown} failed, but: {summary}");
    ensure!(summary.contains(&format!("0 established, {shown} failed")), "{summary}");
    Ok(())
}

fn attached_terminal_shows_what_the_server_tells(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only(&netns))?;
    for port in [86, 87] {
        refuse(&netns, "attached", &format!("127.0.0.1:{port}"))?;
        trace.expect("connect.failed")?;
    }
    let (url, token) = (format!("http://{}/", trace.api().authority()), trace.api().token().to_owned());
    let id = trace.path("").rsplit('/').next().context("its id")?.to_owned();
    let attach = |arguments: &[&str], token: &str| {
        let mut attach = Command::new(lab.binary());
        attach.args(["attach", &url, "--trace", &id]).args(arguments).env("SYNSCOPE_TOKEN", token);
        attach
    };
    Run::of_command(attach(&[], "not-the-token-at-all"))?.complains(1, &["this is not the token"])?;
    let mut other = attach(&[], &token);
    other.args(["--trace", "none"]);
    Run::of_command(other)?.complains(2, &["--trace"])?;
    let following = attach(&["--json", "port=87", "--fail-on", "any"], &token);
    let run = thread::scope(|scope| -> Result<Run> {
        let run = scope.spawn(|| Run::of_command(following));
        // What was told before is shown; then it follows, until the trace ends.
        thread::sleep(Duration::from_millis(500));
        refuse(&netns, "attached", "127.0.0.1:87")?;
        trace.expect("connect.failed")?;
        trace.stop()?;
        run.join().map_err(|_| anyhow::anyhow!("the run panicked"))?
    })?;
    ensure!(run.code == Some(3), "an attempt failed, and any was to be told: {run:?}");
    let seqs: Vec<_> =
        run.stdout.lines().map(|line| serde_json::from_str(line).map(Json)).collect::<Result<_, _>>()?;
    ensure!(seqs.len() == 2, "{run:?}");
    for (event, seq) in seqs.iter().zip([2, 3]) {
        event.is("/seq", seq)?.is("/network/peer/port", 87)?;
    }
    ensure!(run.stderr.contains("1  not shown, because of the filter"), "{run:?}");
    Ok(())
}

/// docs/guide.md has people run it.
fn port_collision_of_the_guide(lab: &Lab) -> Result<()> {
    let mut script = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/port-collision.sh"));
    script.env("SYNSCOPE_BIN", lab.binary());
    let run = Run::of_command(script)?;
    ensure!(run.code == Some(0), "{run:?}");
    let proof = run.stdout.split_once("4. the proof").context("no proof")?.1;
    for word in ["challenge, stale peer", "retransmit", "failed: closed_by_app, stale peer", "FIN-WAIT-2"] {
        ensure!(proof.contains(word), "no {word:?} in {proof}");
    }
    ensure!(run.stdout.contains("TimeoutError"), "no symptom: {run:?}");
    Ok(())
}
