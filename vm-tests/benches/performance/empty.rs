//! Programs that do nothing, at the hooks of ours: what no tracer there can cost less than.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader,
    programs::{RawTracePoint, TracePoint},
};
use bpf_lab::{asm, elf};

/// Where attempts begin and end.
pub(crate) const STATES: &[&str] = &["inet_sock_set_state"];
/// Where every trace has a program.
pub(crate) const ALL: &[&str] = &[
    "inet_sock_set_state",
    "tcp_retransmit_skb",
    "tcp_receive_reset",
    "tcp_send_reset",
    "inet_sk_error_report",
    "tcp_retransmit_synack",
    SYSCALL,
];
const SYSCALL: &str = "sys_exit_connect";
const PROGRAM: &str = "program";

/// Attached, until it is dropped.
pub(crate) struct Empty {
    /// Its number.
    pub(crate) id: u32,
    _loaded: Ebpf,
}

impl Empty {
    pub(crate) fn attach(hook: &str) -> Result<Self> {
        let is_syscall = hook == SYSCALL;
        let kind = if is_syscall { "tracepoint/syscalls" } else { "raw_tp" };
        let object = elf::write(&format!("{kind}/{hook}"), &[asm::mov(0, 0), asm::exit()], &[], &[]);
        let mut loaded = EbpfLoader::new().btf(None).load(&object)?;
        let program = loaded.program_mut(PROGRAM).context("the empty program")?;
        if is_syscall {
            let program: &mut TracePoint = (&mut *program).try_into()?;
            program.load()?;
            program.attach("syscalls", hook)?;
        } else {
            let program: &mut RawTracePoint = (&mut *program).try_into()?;
            program.load()?;
            program.attach(hook)?;
        }
        Ok(Self { id: program.info()?.id(), _loaded: loaded })
    }
}
