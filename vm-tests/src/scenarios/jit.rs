//! Programs that the kernel interprets rather than compiles.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::blind::{Mask, refused, server};
use super::expect::{failure, only_with_stacks, refuse};
use crate::harness::{Lab, Netns, Server, Trace, kernel};
use crate::vm::protocol::Fact;

super::scenarios!["jit":
    without_it_everything_is_told_or_refused [ALONE],
    switched_off_after_we_looked [ALONE],
];

const SWITCH: &str = "/proc/sys/net/core/bpf_jit_enable";

/// Sets the switch back. It is the machine's, and while it is off, nobody can load a program that calls a function of the
/// kernel (7.3: "JIT is required for calling kernel function").
struct Off;

impl Off {
    /// Nothing where there is no interpreter (CONFIG_BPF_JIT_ALWAYS_ON, net/core/sysctl_net_core.c).
    fn set() -> Option<Self> {
        fs::write(SWITCH, "0").ok().map(|()| Self)
    }
}

impl Drop for Off {
    fn drop(&mut self) {
        // Where it could be turned off, it can be turned on.
        let _ = fs::write(SWITCH, "1");
    }
}

fn without_it_everything_is_told_or_refused(lab: &Lab) -> Result<()> {
    if cfg!(target_arch = "aarch64") {
        // The switch itself would crash some of these kernels, under the other scenarios.
        refused(lab, &Mask::new(SWITCH, b"0\n")?, &["net.core.bpf_jit_enable"])?;
        lab.note(Fact::new("feature", "interpreter", "refused"));
        return Ok(());
    }
    let Some(off) = Off::set() else {
        lab.note(Fact::new("feature", "interpreter", "not built"));
        return Ok(());
    };
    tells_when_interpreted(&lab.own_server()?, off)?;
    lab.note(Fact::new("feature", "interpreter", "ok"));
    Ok(())
}

fn switched_off_after_we_looked(lab: &Lab) -> Result<()> {
    if cfg!(target_arch = "aarch64") {
        return Ok(());
    }
    let Some(off) = Off::set() else { return Ok(()) };
    let looks_on = Mask::new(SWITCH, b"1\n")?;
    tells_when_interpreted(&server(lab, &looks_on)?, off)
}

fn tells_when_interpreted(server: &Server, off: Off) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = Trace::start(server, &only_with_stacks(&netns))?;
    drop(off);
    let programs = kernel::described(&kernel::programs_of(server.pid())?)?;
    let compiled: Vec<_> =
        programs.iter().filter(|program| program.jited > 0).map(|program| &program.name).collect();
    ensure!(!programs.is_empty() && compiled.is_empty(), "compiled all the same: {compiled:?}");
    refuse(&netns, "interpreted", "127.0.0.1:81")?;
    let end = trace.expect("connect.failed")?;
    failure(&end, "refused", Some(("ECONNREFUSED", 111)))?;
    end.list("/stack/user")?.first().context("no user stack")?;
    Ok(())
}
