//! The tables of docs/comparison.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Watched;
use super::failures::FAILURES;
use super::told::Fact;
use super::tools::{self, TOOLS};

/// A peer that does not run here, with a cell for each failure.
#[derive(Deserialize)]
struct Documented {
    name: String,
    cells: BTreeMap<String, String>,
}

/// Writes the table between its marks: that of a series has the documented peers too.
pub(super) fn write(watched: &[Watched], series: Option<&str>, kernel: &str) -> Result<()> {
    let documented = if series.is_some() { documented()? } else { Vec::new() };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/comparison.md");
    let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    let begin = if series.is_some() { "<!-- with kprobes -->\n" } else { "<!-- without kprobes -->\n" };
    let (before, rest) = text.split_once(begin).with_context(|| format!("comparison.md has no {begin}"))?;
    let (_, after) = rest.split_once("<!-- end -->").context("comparison.md has no <!-- end -->")?;
    let table = format!("{}\n{}", table(watched, &documented), notes(watched, kernel));
    Ok(fs::write(&path, format!("{before}{begin}{table}<!-- end -->{after}"))?)
}

fn documented() -> Result<Vec<Documented>> {
    #[derive(Deserialize)]
    struct File {
        peer: Vec<Documented>,
    }
    Ok(toml::from_str::<File>(include_str!("documented.toml"))?.peer)
}

fn table(watched: &[Watched], documented: &[Documented]) -> String {
    let run = [tools::SYNSCOPE, tools::BCC, tools::BPFTRACE, tools::SCRIPT];
    let names = run.into_iter().chain(documented.iter().map(|peer| peer.name.as_str()));
    let mut table = format!("| | {} |\n|---|", names.collect::<Vec<_>>().join(" | "));
    table.push_str(&"---|".repeat(run.len() + documented.len()));
    for failure in FAILURES {
        let told = run.map(|peer| cell(watched, peer, failure.name));
        let read = documented.iter().map(|peer| peer.cells.get(failure.name).cloned().unwrap_or_default());
        let cells: Vec<_> = told.into_iter().chain(read).collect();
        // Writing to a string does not fail.
        let _ = write!(table, "\n| {} | {} |", failure.title, cells.join(" | "));
    }
    table + "\n"
}

/// What a peer's tools tell together, each fact once.
fn cell(watched: &[Watched], peer: &str, failure: &str) -> String {
    let of_peer = TOOLS.iter().filter(|tool| tool.peer == peer);
    let watched = of_peer.filter_map(|tool| watched.iter().find(|it| it.tool == tool.name));
    let facts: BTreeSet<Fact> = watched
        .filter_map(|watched| watched.outcome.as_ref().ok())
        .filter_map(|told| told.get(failure))
        .flatten()
        .copied()
        .collect();
    let words: Vec<_> = facts.into_iter().map(|fact| format!("{fact:?}").to_lowercase()).collect();
    if words.is_empty() { "–".to_owned() } else { words.join(", ") }
}

fn notes(watched: &[Watched], kernel: &str) -> String {
    let mut notes = format!("Kernel {kernel}.");
    let failed = watched.iter().filter_map(|it| Some((&it.tool, it.outcome.as_ref().err()?)));
    let failed: Vec<_> =
        failed.map(|(tool, why)| format!("`{tool}` ({})", why.replace('|', "\\|"))).collect();
    if !failed.is_empty() {
        let _ = write!(notes, " Did not run: {}.", failed.join("; "));
    }
    notes + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documented_peers_have_a_cell_for_each_failure() {
        for peer in documented().unwrap() {
            let known: BTreeSet<_> = FAILURES.iter().map(|failure| failure.name).collect();
            let there: BTreeSet<_> = peer.cells.keys().map(String::as_str).collect();
            assert_eq!(there, known, "{}", peer.name);
        }
    }

    #[test]
    fn a_peers_tools_are_taken_together_and_those_that_did_not_run_are_named() {
        let told = |tool: &str, facts: &[Fact]| Watched {
            tool: tool.to_owned(),
            outcome: Ok(BTreeMap::from([("refused".to_owned(), facts.to_vec())])),
            output: String::new(),
        };
        let trouble = Watched {
            tool: "tcplife".to_owned(),
            outcome: Err("no kprobes".to_owned()),
            output: String::new(),
        };
        let watched = [told("tcpconnect", &[Fact::Who]), told("tcpstates", &[Fact::End, Fact::Who]), trouble];
        assert_eq!(cell(&watched, tools::BCC, "refused"), "who, end");
        assert_eq!(cell(&watched, tools::BCC, "silent"), "–");
        assert_eq!(notes(&watched, "6.1"), "Kernel 6.1. Did not run: `tcplife` (no kprobes).\n");
    }
}
