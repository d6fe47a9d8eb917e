//! Tracepoints of system calls are known by numbers that only tracefs tells, and not every host mounts it.

use std::{path::Path, thread};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

const MOUNT_POINT: &str = "/sys/kernel/tracing";

/// Runs `work` where tracefs can be read: here, or on a thread whose own mount namespace has it. The host's
/// mounts stay as they are.
pub(crate) fn within<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    if is_mounted() {
        return work();
    }
    thread::scope(|scope| {
        let aside = scope.spawn(|| {
            // What fails here shows as a missing tracepoint in `work`.
            let _ = mount_aside();
            work()
        });
        aside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Makes tracefs readable for this thread and those that it will start. See [`crate::host::mount_tracefs`].
pub(crate) fn mount_for_good() {
    if !is_mounted() {
        // What fails here shows as a missing tracepoint.
        let _ = mount_aside();
    }
}

fn is_mounted() -> bool {
    [MOUNT_POINT, "/sys/kernel/debug/tracing"].iter().any(|path| Path::new(path).join("events").is_dir())
}

fn mount_aside() -> nix::Result<()> {
    const NONE: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    // What the host mounts later is still seen; what is mounted here is not seen by the host.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE)?;
    mount(Some("tracefs"), MOUNT_POINT, Some("tracefs"), MsFlags::empty(), NONE)
}

/// True when the kernel has a tracepoint at the return of this system call.
pub(crate) fn has_syscall_exit(call: &str) -> bool {
    let name = format!("events/syscalls/sys_exit_{call}/id");
    within(|| {
        [MOUNT_POINT, "/sys/kernel/debug/tracing"].iter().any(|path| Path::new(path).join(&name).exists())
    })
}
