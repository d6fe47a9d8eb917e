//! What the console tells when a kernel is unwell.

/// Lines shown around the one that was recognised.
const BEFORE: usize = 2;
const AFTER: usize = 12;

/// Something recognised on the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub kind: &'static str,
    /// Whether it makes the run a failure by itself.
    pub fatal: bool,
    /// The lines around it.
    pub excerpt: String,
}

/// Text, what it means, and whether no healthy kernel prints it. Stalls may be the emulation's.
const SIGNS: &[(&str, &str, bool)] = &[
    ("Kernel panic", "kernel panic", true),
    ("Oops:", "kernel oops", true),
    ("BUG: ", "kernel bug", true),
    ("kernel BUG at", "kernel bug", true),
    ("general protection fault", "general protection fault", true),
    ("Out of memory:", "out of memory", true),
    ("WARNING: CPU:", "kernel warning", true),
    ("soft lockup", "soft lockup", false),
    ("hard LOCKUP", "hard lockup", false),
    ("self-detected stall", "RCU stall", false),
    ("detected stalls on CPUs", "RCU stall", false),
    ("blocked for more than", "hung task", false),
    // The verifier ends its log so; nobody shows it unless the program was refused.
    ("insns (limit", "verifier rejection", true),
];

/// Everything recognised, each kind once.
pub fn findings(console: &str) -> Vec<Finding> {
    let lines: Vec<&str> = console.lines().collect();
    let mut findings: Vec<Finding> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        // A soft lockup is announced as a BUG: the more telling sign stands later in the list.
        let Some((_, kind, fatal)) = SIGNS.iter().rev().find(|(text, ..)| line.contains(text)) else {
            continue;
        };
        if findings.iter().any(|finding| finding.kind == *kind) {
            continue;
        }
        let around = &lines[index.saturating_sub(BEFORE)..lines.len().min(index + AFTER)];
        findings.push(Finding { kind, fatal: *fatal, excerpt: around.join("\n") });
    }
    findings
}

/// The last lines, for a machine that fell silent.
pub fn tail(console: &str, count: usize) -> String {
    let lines: Vec<&str> = console.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_found_once_with_its_surroundings() {
        let console = "boot\nlast words\n[    3.1] Kernel panic - not syncing: Attempted to kill init!\n\
                       Call Trace:\n <TASK>\n[    3.2] ---[ end Kernel panic - not syncing ]---";
        let found = findings(console);
        assert_eq!(found.len(), 1);
        assert!(found[0].fatal && found[0].kind == "kernel panic");
        assert!(found[0].excerpt.contains("last words") && found[0].excerpt.contains("<TASK>"));
    }

    #[test]
    fn a_soft_lockup_is_not_taken_for_a_bug() {
        let found = findings("watchdog: BUG: soft lockup - CPU#0 stuck for 22s!");
        assert_eq!(found.len(), 1);
        assert!(found[0].kind == "soft lockup" && !found[0].fatal);
    }

    #[test]
    fn a_refused_program_is_found() {
        let log = "R1 invalid mem access 'scalar'\nprocessed 12 insns (limit 1000000) max_states_per_insn 0";
        let found = findings(log);
        assert!(found[0].kind == "verifier rejection" && found[0].excerpt.contains("R1 invalid"));
    }

    #[test]
    fn a_healthy_console_has_nothing() {
        assert!(findings("[    2.6] reboot: Power down\n").is_empty());
    }
}
