//! The scenarios: each a name that reads like the failure it reproduces, and a few lines that do so.
//!
//! A scenario makes its connects in a network namespace of its own and asks its trace for that
//! namespace alone, so that any number of them can run at once.

mod attacks;
mod before_syn;
mod blind;
mod bytecode;
mod cli;
mod contract;
mod crowd;
mod disk;
mod expect;
mod filters;
mod gave_up;
mod healthy;
mod history;
mod icmp;
mod jit;
mod language;
mod lifecycle;
mod local;
mod oracle;
mod owner;
mod paging;
mod problems;
mod refused;
mod resuming;
mod secrets;
mod silent;
mod sockets;
mod stale;
mod storms;
mod streams;
mod terminal;
mod unusual;
mod upheaval;
mod verified;

use std::time::Duration;

use anyhow::Result;

pub(crate) use stale::half_close;

use crate::harness::{Lab, Need};

/// Longer than the slowest scenario takes in an emulated machine with every core busy.
const DEFAULT_LIMIT: Duration = Duration::from_mins(1);

/// It would take an emulated machine minutes.
const HEAVY: Place = Place::Host;
/// It uses the tools of a whole distribution.
const TOOLS: Place = Place::Host;
/// It changes what all of the kernel uses, or the host has a test of its own for it.
const GUEST: Place = Place::Guest;
/// Whatever runs beside it would go wrong.
const ALONE: Place = Place::Alone;

/// Where a scenario runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On this machine and in virtual ones.
    Anywhere,
    /// On this machine only.
    Host,
    /// In virtual machines only.
    Guest,
    /// In virtual machines only, when all others are over.
    Alone,
}

/// One scenario.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// `subject::what_happens`.
    pub name: &'static str,
    /// What the kernel must have.
    pub needs: &'static [Need],
    /// After which time it counts as hung.
    pub limit: Duration,
    /// Where it runs.
    pub place: Place,
    /// Reproduces the failure and checks what was told.
    pub run: fn(&Lab) -> Result<()>,
}

/// What a scenario is unless it says otherwise.
const ORDINARY: Scenario =
    Scenario { name: "", needs: &[], limit: DEFAULT_LIMIT, place: Place::Anywhere, run: |_| Ok(()) };

/// Makes a module's list: `scenarios!["silent": first, second (needs IPV6), third [HEAVY], fourth within LIMIT]`.
macro_rules! scenarios {
    ($subject:literal: $($run:ident $((needs $($need:ident),+))? $([$place:ident])? $(within $limit:ident)?),+ $(,)?) => {
        #[allow(clippy::needless_update, reason = "some say everything, and most do not")]
        pub(super) const LIST: &[super::Scenario] = &[$(super::Scenario {
            name: concat!($subject, "::", stringify!($run)),
            needs: &[$($(crate::harness::needs::$need),+)?],
            $(place: super::$place,)?
            $(limit: $limit,)?
            run: $run,
            ..super::ORDINARY
        }),+];
    };
}
use scenarios;

/// Every scenario, in the order of reports. The slow ones stand first, so that the others run beside them: above all those
/// that wait for half a minute and do nothing.
pub fn all() -> Vec<Scenario> {
    [
        bytecode::LIST,
        attacks::LIST,
        sockets::LIST,
        silent::LIST,
        storms::LIST,
        oracle::LIST,
        owner::LIST,
        lifecycle::LIST,
        history::LIST,
        disk::LIST,
        gave_up::LIST,
        stale::LIST,
        crowd::LIST,
        before_syn::LIST,
        refused::LIST,
        icmp::LIST,
        local::LIST,
        unusual::LIST,
        healthy::LIST,
        filters::LIST,
        language::LIST,
        terminal::LIST,
        paging::LIST,
        streams::LIST,
        resuming::LIST,
        problems::LIST,
        secrets::LIST,
        contract::LIST,
        cli::LIST,
        blind::LIST,
        jit::LIST,
        verified::LIST,
        upheaval::LIST,
    ]
    .concat()
}

/// The scenarios whose name contains one of `parts`, or all of them when there is none.
pub fn matching(parts: &[String]) -> Vec<Scenario> {
    let wanted = |scenario: &Scenario| {
        parts.is_empty() || parts.iter().any(|part| scenario.name.contains(part.as_str()))
    };
    all().into_iter().filter(wanted).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    /// Every claim of the security document names what holds it.
    #[test]
    fn tests_that_the_security_document_names_are_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let document = fs::read_to_string(root.join("docs/security.md")).unwrap();
        let scenarios: BTreeSet<_> = all().iter().map(|scenario| scenario.name).collect();
        let mut sources = String::new();
        for directory in ["server/src", "web/tests/browser"] {
            read_all(&root.join(directory), &mut sources);
        }
        let tests = document.split("\n## ").find(|section| section.starts_with("Tests")).unwrap();
        let named: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(named.len() > 20, "{named:?}");
        for &name in &named {
            let is_there = scenarios.contains(name)
                || sources.contains(&format!("fn {name}()"))
                || sources.contains(&format!("browserTest('{name}'"));
            assert!(is_there, "no test is called {name}");
        }
    }

    fn read_all(directory: &Path, text: &mut String) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read_all(&path, text);
            } else {
                text.push_str(&fs::read_to_string(path).unwrap_or_default());
            }
        }
    }

    /// A new subject that nobody put into the selection would be run on one kernel alone.
    #[test]
    fn selection_for_all_kernels_knows_every_subject() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernel-scenarios.txt");
        let selection = fs::read_to_string(path).unwrap();
        let lines: Vec<_> = selection.lines().map(|line| line.trim_start_matches(['#', ' '])).collect();
        for scenario in all() {
            let (subject, _) = scenario.name.split_once("::").unwrap();
            let known =
                lines.iter().any(|line| line.strip_prefix(subject).is_some_and(|it| it.starts_with("::")));
            assert!(known, "kernel-scenarios.txt says nothing of {subject}");
        }
    }

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<_> = all().iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), all().len());
    }
}
