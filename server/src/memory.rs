//! Memory that has been freed, and that the allocator keeps for itself.

use std::time::Duration;

/// Has all threads allocate from one heap. Reading the kernel's type information takes some 20 MiB for a moment for every
/// trace, on whichever thread starts it, and of the heaps that glibc makes for threads it gives nothing back.
pub(crate) fn keep_together() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt only sets a number, here before there are other threads.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives back once a minute: what waits while the machine is busy with other things is freed when it goes on, and would
/// stay with the process for good. Of 150 MiB that takes some 3 ms.
pub(crate) async fn give_back_regularly() {
    let mut minutes = tokio::time::interval(Duration::from_mins(1));
    loop {
        minutes.tick().await;
        give_back();
    }
}

/// Gives freed memory back to the kernel.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim holds the allocator's own locks, and touches only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
