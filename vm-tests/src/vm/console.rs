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

/// What stands in a line, what it means, and whether no healthy kernel prints it. Stalls may be the emulation's.
/// A later one is the more telling: a soft lockup is announced as a BUG.
const SIGNS: &[(&[&str], &str, bool)] = &[
    (&["Kernel panic"], "kernel panic", true),
    (&["Oops:"], "kernel oops", true),
    // arm64
    (&["Internal error:"], "kernel oops", true),
    (&["BUG: "], "kernel bug", true),
    (&["kernel BUG at"], "kernel bug", true),
    // A program's own fault is told without these.
    (&["general protection fault", "[#"], "general protection fault", true),
    (&["UBSAN: "], "undefined behaviour", true),
    (&["Out of memory:"], "out of memory", true),
    // `CPU: 0 PID: 1 at FILE`, or since 6.19 `FILE at FUNCTION, CPU#0`. Advice also starts with WARNING.
    (&["WARNING: ", " at ", "CPU"], "kernel warning", true),
    (&["soft lockup"], "soft lockup", false),
    (&["hard LOCKUP"], "hard lockup", false),
    (&["self-detected stall"], "RCU stall", false),
    (&["detected", "stalls on CPUs"], "RCU stall", false),
    (&["blocked for more than"], "hung task", false),
    // The verifier ends its log so; nobody shows it unless the program was refused.
    (&["insns (limit"], "verifier rejection", true),
];

/// Everything recognised, each kind once.
pub fn findings(console: &str) -> Vec<Finding> {
    let lines: Vec<&str> = console.lines().collect();
    let mut findings: Vec<Finding> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let is_shown = |(parts, ..): &&(&[&str], _, _)| parts.iter().all(|part| line.contains(part));
        let Some((_, kind, fatal)) = SIGNS.iter().rev().find(is_shown) else { continue };
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

    /// What a log comes to: kinds, and whether they are fatal.
    fn found(log: &str) -> Vec<(&'static str, bool)> {
        findings(log).iter().map(|finding| (finding.kind, finding.fatal)).collect()
    }

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
    fn what_no_healthy_kernel_prints_is_fatal() {
        for (line, kind) in [
            ("[ 7.1] Oops: 0002 [#1] PREEMPT SMP NOPTI", "kernel oops"),
            ("[ 7.1] Internal error: Oops: 0000000096000004 [#1] SMP", "kernel oops"),
            ("[ 7.1] BUG: kernel NULL pointer dereference, address: 0000000000000010", "kernel bug"),
            ("[ 7.1] BUG: KASAN: slab-use-after-free in tcp_close+0x1/0x2", "kernel bug"),
            ("[ 7.1] kernel BUG at net/core/skbuff.c:109!", "kernel bug"),
            ("[ 7.1] general protection fault: 0000 [#1] SMP", "general protection fault"),
            ("[ 7.1] UBSAN: array-index-out-of-bounds in net/ipv4/tcp.c:5:1", "undefined behaviour"),
            ("[ 7.1] Out of memory: Killed process 99 (synscope)", "out of memory"),
            ("[ 7.1] WARNING: CPU: 1 PID: 99 at kernel/bpf/verifier.c:1 check+0x1/0x2", "kernel warning"),
            (
                "[ 7.1] WARNING: kernel/bpf/verifier.c:1 at check+0x1/0x2, CPU#1: synscope/99",
                "kernel warning",
            ),
        ] {
            assert_eq!(found(line), [(kind, true)], "{line}");
        }
    }

    #[test]
    fn stalls_are_shown_and_are_no_failure_by_themselves() {
        for (line, kind) in [
            ("[ 31.0] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [synscope:99]", "soft lockup"),
            ("[ 31.0] watchdog: Watchdog detected hard LOCKUP on cpu 1", "hard lockup"),
            ("[ 31.0] rcu: INFO: rcu_preempt self-detected stall on CPU", "RCU stall"),
            ("[ 31.0] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:", "RCU stall"),
            (
                "[ 31.0] rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 0-... }",
                "RCU stall",
            ),
            ("[ 242.0] INFO: task synscope:99 blocked for more than 120 seconds.", "hung task"),
        ] {
            assert_eq!(found(line), [(kind, false)], "{line}");
        }
    }

    #[test]
    fn a_refused_program_is_found() {
        let log = "R1 invalid mem access 'scalar'\nprocessed 12 insns (limit 1000000) max_states_per_insn 0";
        let found = findings(log);
        assert!(found[0].kind == "verifier rejection" && found[0].excerpt.contains("R1 invalid"));
    }

    #[test]
    fn a_healthy_console_has_nothing() {
        for line in [
            "[ 2.6] reboot: Power down",
            "[ 0.1] Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on",
            "[ 5.0] traps: actor[99] general protection fault ip:401000 sp:7ffe error:0",
        ] {
            assert_eq!(found(line), [], "{line}");
        }
    }
}
