//! System calls that are refused: all that would start a process, and all that a process with these capabilities
//! could take the host over with and that tracing has no use for.

use std::{collections::BTreeMap, env::consts::ARCH, io};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

/// Refused with EPERM, whatever their arguments.
const FORBIDDEN: &[libc::c_long] = &[
    // Another program.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Another process's memory, registers or descriptors. Reading /proc takes none of these.
    libc::SYS_ptrace,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    // The kernel itself.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    // File systems. CAP_SYS_ADMIN is kept for setns() alone.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_open_by_handle_at,
    // What else CAP_SYS_ADMIN would allow.
    libc::SYS_unshare,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_acct,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // Its requests would not pass this filter.
    libc::SYS_io_uring_setup,
    libc::SYS_userfaultfd,
    libc::SYS_personality,
];

/// Calls of x86 that newer machines never had.
#[cfg(target_arch = "x86_64")]
const OF_THE_MACHINE: &[libc::c_long] = &[libc::SYS_fork, libc::SYS_vfork, libc::SYS_iopl, libc::SYS_ioperm];
#[cfg(not(target_arch = "x86_64"))]
const OF_THE_MACHINE: &[libc::c_long] = &[];

/// Has the kernel refuse them, to this thread and those that it starts.
pub(super) fn forbid() -> io::Result<()> {
    let always = FORBIDDEN.iter().chain(OF_THE_MACHINE).map(|call| (*call, Vec::new()));
    let clone =
        (libc::SYS_clone, vec![SeccompRule::new(vec![makes_a_process()?]).map_err(io::Error::other)?]);
    apply(always.chain([clone]).collect(), libc::EPERM)?;
    // Its flags are in memory, which a filter cannot read. The C library then takes clone().
    apply([(libc::SYS_clone3, Vec::new())].into(), libc::ENOSYS)
}

/// True of clone() for anything but a thread.
fn makes_a_process() -> io::Result<SeccompCondition> {
    let thread = u64::from(libc::CLONE_THREAD.cast_unsigned());
    SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(thread), 0)
        .map_err(io::Error::other)
}

fn apply(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32) -> io::Result<()> {
    let refuse = SeccompAction::Errno(errno.cast_unsigned());
    let arch = ARCH.try_into().map_err(io::Error::other)?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).map_err(io::Error::other)?;
    let program: BpfProgram = filter.try_into().map_err(io::Error::other)?;
    apply_filter(&program).map_err(io::Error::other)
}
