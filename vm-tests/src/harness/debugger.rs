//! What somebody with a debugger can do to a process.

use anyhow::{Context as _, Result, ensure};
use nix::{
    libc,
    sys::{
        ptrace,
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};

/// `syscall`, as the instruction's bytes.
const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// Has a process close one of its descriptors. Its first thread must be waiting in a system call.
pub fn close_in(pid: u32, fd: i32) -> Result<()> {
    let thread = Pid::from_raw(pid.try_into()?);
    let stopped = || waitpid(thread, Some(WaitPidFlag::__WALL)).context("waiting for it to stop");
    ptrace::attach(thread).context("attaching to the process")?;
    stopped()?;
    let saved = ptrace::getregs(thread)?;
    let behind = saved.rip - SYSCALL.len() as u64;
    let instruction = ptrace::read(thread, behind as ptrace::AddressType)?.to_le_bytes();
    ensure!(instruction.starts_with(&SYSCALL), "it does not wait in a system call: {instruction:x?}");
    let mut close = saved;
    // Not a system call that was interrupted: nothing is to be started again.
    (close.rip, close.rax, close.orig_rax) = (behind, libc::SYS_close.try_into()?, u64::MAX);
    close.rdi = fd.try_into()?;
    ptrace::setregs(thread, close)?;
    ptrace::step(thread, None)?;
    stopped()?;
    let answer = ptrace::getregs(thread)?.rax;
    ptrace::setregs(thread, saved)?;
    ptrace::detach(thread, None)?;
    ensure!(answer == 0, "close({fd}) answered {}", answer.cast_signed());
    Ok(())
}
