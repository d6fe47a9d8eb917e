//! `docs/kernels.md`: what works on which kernel, and what the programs cost its verifier.

use std::collections::BTreeMap;
use std::fmt::Write;

use bytecode_suite::in_kernel::ceiling;

use super::markdown::{again, table};
use super::{Absent, Machine, Outcome, Summary};
use crate::runner::REPEATED;
use crate::vm::board::subject;

const HEAD: &str = "# Kernels\n\n\
    What works on which kernel. Written by `just kernels-docs` from the reports of a run of all kernels, which\n\
    [vm-tests.md](vm-tests.md) describes.\n";

const VERIFIED: &str = "verified instructions";

/// Topics of facts whose values are shown as they are, with a headline and what they say.
const TOPICS: [(&str, &str, &str); 4] = [
    (
        "feature",
        "What the server can do",
        "As `synscope doctor` says: `limited` costs something that it names, `–` means that the kernel was not asked.",
    ),
    (
        VERIFIED,
        "Instructions that the verifier walks through",
        "For a trace that asks for everything. Kernels count them since 5.16. More than the ceiling, which stands in `ebpf/programs/tests/ceilings.toml`, fails a scenario.",
    ),
    (
        "bytes of instructions",
        "Size of the programs",
        "In bytes of BPF instructions, for the same trace, after the verifier has removed what this kernel does not need.",
    ),
    (
        REPEATED,
        "Repeated scenarios",
        "They failed while the kernel counted events that it had missed, and passed or failed for good when they were run again: see [Preemption](architecture.md#preemption).",
    ),
];

/// The whole document, an architecture after the other.
pub fn document(summaries: &[Summary]) -> String {
    let mut text = HEAD.to_owned();
    for summary in summaries {
        let (arch, accelerator) = (&summary.arch, &summary.accelerator);
        let list = summary.scenario_list.as_ref();
        let list = list.map(|list| format!(", the scenarios of {}", list.display())).unwrap_or_default();
        let _ = write!(text, "\n## {arch}\n\nUnder QEMU ({accelerator}){list}.\n\n{}", kernels(summary));
        for Absent { series, reason } in &summary.absent {
            let _ = write!(text, "\n{series} did not run: {reason}.\n");
        }
        let _ =
            write!(text, "\n### Scenarios\n\nPassed, of those that were to run.\n\n{}", scenarios(summary));
        text += &reasons(summary, Outcome::Unsupported, "does not run");
        text += &reasons(summary, Outcome::Failed, "failed");
        text += &again(summary);
        for (topic, title, meaning) in TOPICS {
            let facts = facts(summary, topic);
            if !facts.is_empty() {
                let _ = write!(text, "\n### {title}\n\n{meaning}\n\n{facts}");
            }
        }
    }
    text
}

/// A line a kernel, without times: they are the machine's that the kernels were run on.
fn kernels(summary: &Summary) -> String {
    let row = |machine: &Machine| {
        let totals = machine.totals();
        let counts = [totals.passed, totals.failed, totals.skipped].map(|count| count.to_string());
        let kernel = machine.kernel.clone().unwrap_or_else(|| "did not start".to_owned());
        [machine.series.clone(), kernel].into_iter().chain(counts).collect()
    };
    table(&["series", "kernel", "passed", "failed", "unsupported"], summary.machines.iter().map(row))
}

/// `first`, then the series.
fn header<'a>(summary: &'a Summary, first: &'a str) -> Vec<&'a str> {
    std::iter::once(first).chain(summary.machines.iter().map(|machine| machine.series.as_str())).collect()
}

fn scenarios(summary: &Summary) -> String {
    let mut subjects: Vec<String> = Vec::new();
    for case in summary.machines.iter().flat_map(|machine| &machine.scenarios) {
        let subject = subject(&case.scenario);
        if !subjects.contains(&subject) {
            subjects.push(subject);
        }
    }
    let row = |name: String| {
        let cells = summary.machines.iter().map(|machine| of_subject(machine, &name));
        std::iter::once(name.clone()).chain(cells).collect()
    };
    table(&header(summary, "subject"), subjects.into_iter().map(row))
}

fn of_subject(machine: &Machine, name: &str) -> String {
    let cases = machine.scenarios.iter().filter(|case| subject(&case.scenario) == name);
    let (all, passed) = cases
        .fold((0, 0), |(all, passed), case| (all + 1, passed + usize::from(case.outcome == Outcome::Passed)));
    match (all, passed) {
        (0, _) => "–".to_owned(),
        (all, passed) if all == passed => all.to_string(),
        (all, passed) => format!("{passed} of {all}"),
    }
}

/// Why scenarios ended like that, each reason once.
fn reasons(summary: &Summary, outcome: Outcome, verb: &str) -> String {
    let mut reasons: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for machine in &summary.machines {
        for case in machine.scenarios.iter().filter(|case| case.outcome == outcome) {
            let reason = case.detail.lines().next().unwrap_or("no reason given");
            reasons.entry((&case.scenario, reason)).or_default().push(&machine.series);
        }
    }
    let mut text = String::new();
    for ((scenario, reason), series) in reasons {
        let _ = write!(text, "\n- `{scenario}` {verb} on {}: {reason}", series.join(", "));
    }
    if text.is_empty() { text } else { text + "\n" }
}

fn facts(summary: &Summary, topic: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for machine in &summary.machines {
        for fact in machine.facts.iter().filter(|fact| fact.topic == topic) {
            if !names.contains(&fact.name.as_str()) {
                names.push(&fact.name);
            }
        }
    }
    if names.is_empty() {
        return String::new();
    }
    let ceilings = topic == VERIFIED;
    let mut header = header(summary, "name");
    if ceilings {
        header.insert(1, "ceiling");
    }
    let row = |name: &str| {
        let most =
            ceilings.then(|| ceiling(name).map_or_else(|| "–".to_owned(), |it| grouped(&it.to_string())));
        let cell = |machine: &Machine| machine.fact(topic, name).map_or_else(|| "–".to_owned(), grouped);
        std::iter::once(name.to_owned()).chain(most).chain(summary.machines.iter().map(cell)).collect()
    };
    table(&header, names.into_iter().map(row))
}

/// `12345` as `12,345`; what is not a number stays.
fn grouped(value: &str) -> String {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.to_owned();
    }
    let digits: Vec<char> = value.chars().collect();
    let groups = digits.rchunks(3).rev().map(|group| group.iter().collect::<String>());
    groups.collect::<Vec<_>>().join(",")
}
