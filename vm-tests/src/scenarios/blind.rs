//! Kernels that do not tell, or do not have, what the programs need: refused in words, and nothing else.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::expect::{failure, only, only_with_stacks, refuse};
use crate::harness::{Json, Lab, Netns, Run, Server, Trace, actor};

super::scenarios!["blind":
    kernel_without_btf_is_refused_by_name,
    kernel_with_broken_btf_is_refused_by_name,
    kernel_without_a_needed_tracepoint_is_refused_by_name,
    kernel_without_an_optional_tracepoint_says_what_that_costs,
    kernel_that_hides_its_addresses_costs_the_names_of_its_functions,
];

const BTF: &str = "/sys/kernel/btf/vmlinux";
const KALLSYMS: &str = "/proc/kallsyms";

/// What the binary sees in place of one of the kernel's files.
pub(super) struct Mask {
    at: &'static str,
    /// None hides the file, and those beside it.
    file: Option<NamedTempFile>,
}

fn kernel_without_btf_is_refused_by_name(lab: &Lab) -> Result<()> {
    refused(lab, &Mask { at: BTF, file: None }, &[BTF, "CONFIG_DEBUG_INFO_BTF"])
}

fn kernel_with_broken_btf_is_refused_by_name(lab: &Lab) -> Result<()> {
    let whole = fs::read(BTF)?;
    refused(lab, &Mask::new(BTF, &whole[..whole.len() / 2])?, &["not BTF"])
}

fn kernel_without_a_needed_tracepoint_is_refused_by_name(lab: &Lab) -> Result<()> {
    refused(lab, &Mask::new(BTF, &without("tcp_receive_reset")?)?, &["tcp_receive_reset"])
}

fn kernel_without_an_optional_tracepoint_says_what_that_costs(lab: &Lab) -> Result<()> {
    let mask = Mask::new(BTF, &without("tcp_retransmit_synack")?)?;
    let doctor = examine(lab, &mask)?;
    doctor.is("/works", true)?;
    let checks = doctor.list("/checks")?;
    let probe =
        checks.iter().find(|check| check.text("/name").is_ok_and(|it| it == "probe tcp_retransmit_synack"));
    probe.context("the probe is not mentioned")?.is("/status", "limited")?;

    let server = server(lab, &mask)?;
    let netns = Netns::new()?;
    let mut trace = Trace::start(&server, &only(&netns))?;
    refuse(&netns, "blind", "127.0.0.1:81")?;
    failure(&trace.expect("connect.failed")?, "refused", Some(("ECONNREFUSED", 111)))
}

impl Mask {
    pub(super) fn new(at: &'static str, content: &[u8]) -> Result<Self> {
        let mut file = NamedTempFile::new()?;
        file.write_all(content)?;
        Ok(Self { at, file: Some(file) })
    }

    /// The binary in a mount namespace of its own, where it sees this.
    fn command(&self, lab: &Lab, arguments: &[&str]) -> Result<Command> {
        let file = self.file.as_ref().map(|file| file.path().display().to_string()).unwrap_or_default();
        let binary = lab.binary().to_string_lossy();
        actor::part(&[&["seeing", &file, self.at, &binary], arguments].concat())
    }
}

/// As with kernel.kptr_restrict=2.
fn kernel_that_hides_its_addresses_costs_the_names_of_its_functions(lab: &Lab) -> Result<()> {
    // A few of them say it as well as all.
    let symbols = BufReader::new(File::open(KALLSYMS)?).lines().take(1000).collect::<Result<Vec<_>, _>>()?;
    let hidden = symbols.iter().filter_map(|line| Some(format!("{:016} {}\n", 0, line.split_once(' ')?.1)));
    let mask = Mask::new(KALLSYMS, hidden.collect::<String>().as_bytes())?;
    examine(lab, &mask)?.is("/works", true)?;
    let (server, netns) = (server(lab, &mask)?, Netns::new()?);
    let mut trace = Trace::start(&server, &only_with_stacks(&netns))?;
    refuse(&netns, "blind", "127.0.0.1:81")?;
    let end = trace.expect("connect.failed")?;
    failure(&end, "refused", Some(("ECONNREFUSED", 111)))?;
    ensure!(!end.list("/stack/kernel")?.is_empty(), "no kernel stack: {}", end.0);
    for frame in end.list("/stack/kernel")? {
        ensure!(frame.at("/address").is_string() && frame.at("/function").is_null(), "{}", frame.0);
    }
    Ok(())
}

/// Requires doctor, terminal and server to refuse, each with these words.
pub(super) fn refused(lab: &Lab, mask: &Mask, words: &[&str]) -> Result<()> {
    let doctor = examine(lab, mask)?;
    doctor.is("/works", false)?;
    says(&doctor.0.to_string(), words)?;
    let run = Run::of_command(mask.command(lab, &["trace"])?)?;
    run.complains(1, words)?;
    let problem = server(lab, mask)?.api().post("/api/v1/traces", &json!({}))?.problem(503)?;
    says(&problem.0.to_string(), words)
}

fn says(text: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(text.contains(word), "{word} is not named: {text}");
    }
    Ok(())
}

fn examine(lab: &Lab, mask: &Mask) -> Result<Json> {
    let run = Run::of_command(mask.command(lab, &["doctor", "--json"])?)?;
    let report: Value = serde_json::from_str(&run.stdout).with_context(|| format!("{run:?}"))?;
    Ok(Json(report))
}

/// A server that sees this.
pub(super) fn server(lab: &Lab, mask: &Mask) -> Result<Server> {
    Server::start_as(mask.command(lab, &[])?)
}

/// The kernel's BTF, with the tracepoint under a name that nobody asks for.
fn without(tracepoint: &str) -> Result<Vec<u8>> {
    let mut bytes = fs::read(BTF)?;
    let name = format!("\0btf_trace_{tracepoint}\0");
    // The names are the last of its parts.
    let at = bytes.windows(name.len()).rposition(|window| window == name.as_bytes());
    bytes[at.with_context(|| format!("the kernel has no {tracepoint}"))? + 1] = b'x';
    Ok(bytes)
}
