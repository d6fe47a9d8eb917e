//! The command line, in bad surroundings too.

use std::fs;
use std::io::ErrorKind::ExecutableFileBusy;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Json, Lab, Run, Server};

super::scenarios!["cli":
    port_in_use_is_named,
    wrong_usage_exits_with_two,
    unwritable_data_directory_is_named,
    without_privileges_every_command_says_what_is_missing,
    doctor_prints_json_that_the_server_also_serves,
];

const NOBODY: u32 = 65534;

fn port_in_use_is_named(lab: &Lab) -> Result<()> {
    let server = lab.server()?;
    let data = tempfile::tempdir()?;
    let data = data.path().to_string_lossy().into_owned();
    let authority = server.api().authority();
    let run = Run::of(lab.binary(), &["serve", "--listen", authority, "--data-dir", &data])?;
    run.complains(1, &[authority])?;
    ensure!(run.stdout.is_empty(), "a URL of a server that does not run: {run:?}");
    Ok(())
}

fn wrong_usage_exits_with_two(lab: &Lab) -> Result<()> {
    Run::of(lab.binary(), &["--no-such-flag"])?.complains(2, &["--no-such-flag"])?;
    Run::of(lab.binary(), &["serve", "--lisen", "x"])?.complains(2, &["--lisen"])?;
    Run::of(lab.binary(), &["serve", "--listen", "nowhere"])?.complains(2, &["nowhere"])?;
    Run::of(lab.binary(), &["no-such-command"])?.complains(2, &["no-such-command"])
}

fn unwritable_data_directory_is_named(lab: &Lab) -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    // Not even root can make a directory below a file, or in /proc.
    for directory in [file.path().join("data"), PathBuf::from("/proc/synscope")] {
        let directory = directory.to_string_lossy().into_owned();
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--data-dir", &directory];
        Run::of(lab.binary(), &arguments)?.complains(1, &[&directory])?;
    }
    Ok(())
}

/// The binary where nobody may reach it: a build directory is often closed to other users.
fn copy_for_everybody(lab: &Lab) -> Result<(TempDir, PathBuf)> {
    let directory = tempfile::tempdir()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777))?;
    let copy = directory.path().join("synscope");
    fs::copy(lab.binary(), &copy)?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    // A process that another scenario started meanwhile has the copy open for writing until it runs its own program.
    while Command::new(&copy).arg("--version").output().is_err_and(|error| error.kind() == ExecutableFileBusy)
    {
        thread::sleep(Duration::from_millis(10));
    }
    Ok((directory, copy))
}

fn without_privileges_every_command_says_what_is_missing(lab: &Lab) -> Result<()> {
    let (_directory, binary) = copy_for_everybody(lab)?;
    let mut trace = Command::new(&binary);
    trace.arg("trace").uid(NOBODY).gid(NOBODY);
    let run = Run::of_command(trace)?;
    run.complains(1, &[])?;
    ensure!(run.stderr.contains("root") || run.stderr.contains("CAP_BPF"), "no remedy: {run:?}");

    let server = Server::start_with(&binary, |command| {
        command.uid(NOBODY).gid(NOBODY);
    })?;
    let problem = server.api().post("/api/v1/traces", &json!({}))?.problem(503)?;
    let remedy = problem.text("/remedy")?;
    ensure!(remedy.contains("root") || remedy.contains("CAP_BPF"), "no remedy: {}", problem.0);
    Ok(())
}

fn doctor_prints_json_that_the_server_also_serves(lab: &Lab) -> Result<()> {
    let run = Run::of(lab.binary(), &["doctor", "--json"])?;
    ensure!(run.code == Some(0), "the doctor found something wrong: {run:?}");
    let printed: Value = serde_json::from_str(&run.stdout).context("doctor --json")?;
    let mut served = lab.server()?.api().get("/api/v1/capabilities")?.expect(200)?;
    // What only a server has.
    let history = served.0.as_object_mut().and_then(|members| members.remove("history"));
    ensure!(history.is_some_and(|history| history["state"] == "recording"), "no history in {}", served.0);
    let members = |json: &Value| json.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>());
    ensure!(members(&printed) == members(&served.0), "{printed} and {}", served.0);
    ensure!(members(&printed).is_some_and(|members| !members.is_empty()), "empty: {printed}");
    Json(printed).lacks("/error")?;
    Ok(())
}
