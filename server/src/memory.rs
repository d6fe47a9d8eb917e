//! Memory that has been freed, and that the allocator keeps for itself.

/// Gives freed memory back to the kernel. Reading the kernel's type information takes some 20 MiB for a moment for every
/// trace, on whichever thread starts it; glibc would keep as much for each of them.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim holds the allocator's own locks, and touches only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
