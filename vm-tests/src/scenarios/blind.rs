//! Kernels that do not tell, or do not have, what the programs need: refused in words, and nothing else.

use std::fs;
use std::io::Write;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::expect::{failure, only, refuse};
use crate::harness::{Json, Lab, Netns, Run, Server, Trace, actor};

super::scenarios!["blind":
    kernel_without_btf_is_refused_by_name,
    kernel_with_broken_btf_is_refused_by_name,
    kernel_without_a_needed_tracepoint_is_refused_by_name,
    kernel_without_an_optional_tracepoint_says_what_that_costs,
];

const BTF: &str = "/sys/kernel/btf/vmlinux";
/// Stands for no file at all.
const NONE: &str = "";

fn kernel_without_btf_is_refused_by_name(lab: &Lab) -> Result<()> {
    refused(lab, NONE, &[BTF, "CONFIG_DEBUG_INFO_BTF"])
}

fn kernel_with_broken_btf_is_refused_by_name(lab: &Lab) -> Result<()> {
    let whole = fs::read(BTF)?;
    refused(lab, &path(&btf(&whole[..whole.len() / 2])?), &["not BTF"])
}

fn kernel_without_a_needed_tracepoint_is_refused_by_name(lab: &Lab) -> Result<()> {
    refused(lab, &path(&btf(&without("tcp_receive_reset")?)?), &["tcp_receive_reset"])
}

fn kernel_without_an_optional_tracepoint_says_what_that_costs(lab: &Lab) -> Result<()> {
    let file = btf(&without("tcp_retransmit_synack")?)?;
    let doctor = examine(lab, &path(&file))?;
    doctor.is("/works", true)?;
    let checks = doctor.list("/checks")?;
    let probe =
        checks.iter().find(|check| check.text("/name").is_ok_and(|it| it == "probe tcp_retransmit_synack"));
    probe.context("the probe is not mentioned")?.is("/status", "limited")?;

    let server = server(lab, &path(&file))?;
    let netns = Netns::new()?;
    let mut trace = Trace::start(&server, &only(&netns))?;
    refuse(&netns, "blind", "127.0.0.1:81")?;
    failure(&trace.expect("connect.failed")?, "refused", Some(("ECONNREFUSED", 111)))
}

/// Requires doctor, terminal and server to refuse, each with these words.
fn refused(lab: &Lab, btf: &str, words: &[&str]) -> Result<()> {
    let doctor = examine(lab, btf)?;
    doctor.is("/works", false)?;
    says(&doctor.0.to_string(), words)?;
    let run = Run::of_command(seeing(btf, lab, &["trace"])?)?;
    run.complains(1, words)?;
    let problem = server(lab, btf)?.api().post("/api/v1/traces", &json!({}))?.problem(503)?;
    says(&problem.0.to_string(), words)
}

fn says(text: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(text.contains(word), "{word} is not named: {text}");
    }
    Ok(())
}

fn examine(lab: &Lab, btf: &str) -> Result<Json> {
    let run = Run::of_command(seeing(btf, lab, &["doctor", "--json"])?)?;
    let report: Value = serde_json::from_str(&run.stdout).with_context(|| format!("{run:?}"))?;
    Ok(Json(report))
}

fn server(lab: &Lab, btf: &str) -> Result<Server> {
    Server::start_as(seeing(btf, lab, &[])?)
}

/// The binary in a mount namespace of its own, with another file in place of the kernel's BTF.
fn seeing(btf: &str, lab: &Lab, arguments: &[&str]) -> Result<std::process::Command> {
    let binary = lab.binary().to_string_lossy();
    actor::part(&[&["seeing", btf, &binary], arguments].concat())
}

fn btf(bytes: &[u8]) -> Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    file.write_all(bytes)?;
    Ok(file)
}

fn path(file: &NamedTempFile) -> String {
    file.path().display().to_string()
}

/// The kernel's BTF, with the tracepoint under a name that nobody asks for.
fn without(tracepoint: &str) -> Result<Vec<u8>> {
    let mut bytes = fs::read(BTF)?;
    let name = format!("\0btf_trace_{tracepoint}\0");
    let at = bytes.windows(name.len()).position(|window| window == name.as_bytes());
    bytes[at.with_context(|| format!("the kernel has no {tracepoint}"))? + 1] = b'x';
    Ok(bytes)
}
