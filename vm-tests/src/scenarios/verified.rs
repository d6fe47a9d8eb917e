//! What the kernel's verifier makes of the programs.

use anyhow::{Context, Result, anyhow, ensure};
use bytecode_suite::in_kernel::{ceiling, holds_off_other_tasks};
use serde_json::json;

use crate::harness::{
    Lab, Trace,
    kernel::{self, Version},
};
use crate::vm::protocol::Fact;

super::scenarios!["verified":
    programs_stay_below_their_ceilings,
    programs_hold_off_other_tasks_where_tracepoints_do_not,
];

/// The first kernel whose tracepoints leave it to programs to disable preemption.
const FIRST_TO_LEAVE_IT: Version = (7, 0);

/// A trace that asks for everything is the most that a verifier can be given.
fn programs_stay_below_their_ceilings(lab: &Lab) -> Result<()> {
    let server = lab.own_server()?;
    let everything = json!({
        "starts": true, "stacks": true, "drops": true,
        "filter": {
            "pid": 1, "comm": "x", "uid": 0, "cgroup": 1, "netns": 1, "family": "ipv4",
            "peer": "10.0.0.0/8", "peer_port": 22, "local_port": "1-9",
        },
    });
    let _trace = Trace::start(&server, &everything)?;
    let programs = kernel::described(&kernel::programs_of(server.pid())?)?;
    ensure!(!programs.is_empty(), "a running trace should hold programs");
    for program in programs {
        let most = ceiling(&program.name).with_context(|| format!("no ceiling for {}", program.name))?;
        lab.note(Fact::new("bytes of instructions", &program.name, program.bytes.to_string()));
        // Kernels count since 5.16.
        let Some(verified) = program.verified else { continue };
        lab.note(Fact::new("verified instructions", &program.name, verified.to_string()));
        ensure!(verified <= most, "{}: the verifier walked through {verified}, beyond {most}", program.name);
    }
    Ok(())
}

/// Found in the kernel's types, of which a name may change: that would go unnoticed, as would what then happens, rarely.
fn programs_hold_off_other_tasks_where_tracepoints_do_not(_: &Lab) -> Result<()> {
    let holds_off = holds_off_other_tasks().map_err(|error| anyhow!("{error}"))?;
    ensure!(holds_off || kernel::version()? < FIRST_TO_LEAVE_IT, "other tasks may come in between");
    Ok(())
}
