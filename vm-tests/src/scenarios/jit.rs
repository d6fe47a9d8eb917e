//! Programs that the kernel interprets rather than compiles.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::blind::{Mask, refused};
use super::expect::{failure, only, refuse};
use crate::harness::{Lab, Netns, Trace, kernel};
use crate::vm::protocol::Fact;

super::scenarios!["jit":
    without_it_everything_is_told_or_refused [GUEST],
];

const SWITCH: &str = "/proc/sys/net/core/bpf_jit_enable";

/// Sets the switch back.
struct Off;

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
    if fs::write(SWITCH, "0").is_err() {
        // CONFIG_BPF_JIT_ALWAYS_ON: there is no interpreter (net/core/sysctl_net_core.c).
        lab.note(Fact::new("feature", "interpreter", "not built"));
        return Ok(());
    }
    let off = Off;
    let server = lab.own_server()?;
    let netns = Netns::new()?;
    let mut trace = Trace::start(&server, &only(&netns))?;
    drop(off);
    let programs = kernel::described(&kernel::programs_of(server.pid())?)?;
    let compiled: Vec<_> =
        programs.iter().filter(|program| program.jited > 0).map(|program| &program.name).collect();
    ensure!(!programs.is_empty() && compiled.is_empty(), "compiled all the same: {compiled:?}");
    refuse(&netns, "interpreted", "127.0.0.1:81")?;
    let end = trace.expect("connect.failed")?;
    failure(&end, "refused", Some(("ECONNREFUSED", 111)))?;
    end.list("/stack/user")?.first().context("no user stack")?;
    lab.note(Fact::new("feature", "interpreter", "ok"));
    Ok(())
}
