//! A program that does nothing at the hook of state changes: what no tracer there can cost less than.

use anyhow::{Context as _, Result};
use aya::{Ebpf, EbpfLoader, programs::RawTracePoint};
use bpf_lab::{asm, elf};

const HOOK: &str = "inet_sock_set_state";
const PROGRAM: &str = "program";

/// Attached, until it is dropped.
pub(crate) struct Empty {
    /// Its number.
    pub(crate) id: u32,
    _loaded: Ebpf,
}

impl Empty {
    pub(crate) fn attach() -> Result<Self> {
        let object = elf::write(&format!("raw_tp/{HOOK}"), &[asm::mov(0, 0), asm::exit()], &[], &[]);
        let mut loaded = EbpfLoader::new().btf(None).load(&object)?;
        let program = loaded.program_mut(PROGRAM).context("the empty program")?;
        let program: &mut RawTracePoint = program.try_into()?;
        program.load()?;
        program.attach(HOOK)?;
        Ok(Self { id: program.info()?.id(), _loaded: loaded })
    }
}
