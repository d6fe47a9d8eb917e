//! `syscalls:sys_exit_connect`: connect() calls that failed before SYN_SENT, of which no other hook knows: no
//! route, a policy, no local address.

use aya_ebpf::{
    EbpfContext as _, Global,
    helpers::generated::{
        bpf_get_current_task, bpf_get_current_task_btf, bpf_probe_read_user, bpf_task_pt_regs,
    },
    macros::tracepoint,
    programs::TracePointContext,
};
use synscope_ebpf::record::{evidence, kind};

use crate::{
    attempt, code, counters, filter,
    kernel::{self, Fault, Peer},
    tell::{News, UserStack, bytes, describe, now, send},
};

/// 1 when the kernel has the helper `bpf_task_pt_regs`.
#[unsafe(no_mangle)]
static HAS_TASK_PT_REGS: Global<u32> = Global::new(0);

/// Where the tracepoint's record holds the return value.
const RETURNED_AT: usize = 16;

#[tracepoint(category = "syscalls", name = "sys_exit_connect")]
fn connect_exit(ctx: TracePointContext) -> u32 {
    counters::note(returned(&ctx));
    0
}

#[inline(always)]
fn returned(ctx: &TracePointContext) -> Result<(), Fault> {
    // SAFETY: the record of a system call's end is so long on every kernel, and programs may read it.
    let error = unsafe { -*ctx.as_ptr().byte_add(RETURNED_AT).cast::<i64>() };
    if !may_precede_syn(error) {
        return Ok(());
    }
    let registers = registers_of_caller(ctx.as_ptr() as u64)?;
    let sock = socket_of(kernel::read::<u64>(registers, &kernel::OFF_REGS_ARG0)?)?;
    if sock == 0 || !kernel::is_tcp(sock)? || attempt::find(sock).is_some() || attempt::take_end(sock) {
        return Ok(());
    }
    failed_before_syn(ctx, sock, kernel::read::<u64>(registers, &kernel::OFF_REGS_ARG1)?, error as i32)
}

/// The registers with which the system call was entered; its arguments still stand in them.
///
/// Up to 6.12 the record's first word points to them (perf_call_bpf_exit, kernel/trace/trace_syscalls.c).
/// Later it points to registers of the tracepoint itself; a helper that came with 5.15 finds the right ones.
#[inline(always)]
fn registers_of_caller(record: u64) -> Result<u64, Fault> {
    if HAS_TASK_PT_REGS.load() != 0 {
        // SAFETY: the first helper takes nothing, the second what the first gives.
        Ok(unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as u64)
    } else {
        kernel::read_at::<u64>(record)
    }
}

/// False for success, for calls that are no failed attempt (EINTR, EBADF, EAGAIN, EFAULT, ENOTSOCK, EISCONN,
/// EALREADY, EINPROGRESS, ERESTARTSYS), and for errors that only a sent SYN can bring.
#[inline(always)]
fn may_precede_syn(error: i64) -> bool {
    error > 0 && !matches!(error, 4 | 9 | 11 | 14 | 88 | 103 | 104 | 106 | 110 | 111 | 114 | 115 | 512..)
}

/// The current task's socket with this file descriptor; 0 when there is none. That the descriptor is a
/// socket's, connect() has found out: otherwise it had returned ENOTSOCK.
#[inline(always)]
fn socket_of(descriptor: u64) -> Result<u64, Fault> {
    // SAFETY: the helper takes nothing.
    let task = unsafe { bpf_get_current_task() };
    let files = kernel::read::<u64>(task, &kernel::OFF_TASK_FILES)?;
    let table = kernel::read::<u64>(files, &kernel::OFF_FILES_FDT)?;
    let array = kernel::read::<u64>(table, &kernel::OFF_FDT_FD)?;
    let file = kernel::read_at::<u64>(array + (descriptor & 0xffff_ffff) * 8)?;
    if file == 0 {
        return Ok(0);
    }
    let socket = kernel::read::<u64>(file, &kernel::OFF_FILE_PRIVATE)?;
    kernel::read::<u64>(socket, &kernel::OFF_SOCKET_SK)
}

#[inline(always)]
fn failed_before_syn(ctx: &TracePointContext, sock: u64, address: u64, error: i32) -> Result<(), Fault> {
    let peer = peer_of(address);
    let time_ns = now();
    let mut attempt = attempt::of_current_task(time_ns);
    if !filter::passes_at_start(sock, &attempt, Some(&peer))? {
        return Ok(());
    }
    let Some(counters) = counters::counters() else { return Ok(()) };
    attempt::number(&mut attempt, counters);
    counters::count_shared(&mut counters.failed);
    attempt.mm = code::of_current_task();
    code::keep(ctx, &attempt);
    attempt.evidence = evidence::BEFORE_SYN;
    let news = News { kind: kind::FAILED, time_ns, error: Some(error), exit_code: 0 };
    let mut record = describe(sock, &attempt, &news)?;
    record.peer_addr = bytes(peer.addr);
    record.peer_port = peer.port;
    send(ctx, &record, UserStack::Current);
    Ok(())
}

/// `struct sockaddr_in` and `sockaddr_in6`, as far as both are needed.
#[repr(C)]
struct SocketAddress {
    family: u16,
    port: [u8; 2],
    /// IPv4: the address. IPv6: the flow label.
    word: u32,
    /// IPv6: the address.
    words: [u32; 4],
}

/// Where the call was to go. The socket does not say: it learns its peer with SYN_SENT only. An address that
/// the caller has taken away meanwhile is shown as `::`.
#[inline(always)]
fn peer_of(address: u64) -> Peer {
    let mut read = SocketAddress { family: 0, port: [0; 2], word: 0, words: [0; 4] };
    let out = (&raw mut read).cast();
    // SAFETY: the destination is ours and of the size that is told; the helper checks the source. An IPv4
    // address is shorter: what lies behind it is not looked at.
    unsafe {
        let whole = size_of::<SocketAddress>() as u32;
        if bpf_probe_read_user(out, whole, address as *const _) != 0 {
            let _ = bpf_probe_read_user(out, 8, address as *const _);
        }
    }
    Peer {
        addr: if read.family == kernel::AF_INET { kernel::v4_mapped(read.word) } else { read.words },
        port: u16::from_be_bytes(read.port),
    }
}
