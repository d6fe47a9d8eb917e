//! Memory: whence it comes, whether there is some, and what has been freed and is kept by the allocator.

use std::{ffi::c_char, ptr, time::Duration};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use tikv_jemalloc_sys::mallctl;

/// Not glibc's: with that, threads that hand memory on to each other wait for each other, as those do that describe
/// events, keep them and send them. What C allocates (SQLite) still comes from glibc.
#[cfg(not(fuzzing))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What jemalloc finds under this name: one heap, since reading the kernel's type information takes some 20 MiB for a moment
/// for every trace, on whichever thread starts it; and what was freed a second ago goes back to the kernel.
#[used]
#[unsafe(export_name = "_rjem_malloc_conf")]
// SAFETY: the pointer is to a literal.
static CONFIGURATION: Option<&c_char> =
    Some(unsafe { &*c"narenas:1,lg_tcache_max:11,dirty_decay_ms:1000,muzzy_decay_ms:0".as_ptr() });

/// A reserve for the requests under way.
const ROOM: usize = 64 << 20;

/// Whether the host would give this process [`ROOM`], of which nothing is touched. It does not where `RLIMIT_AS` is
/// reached, or all is promised and `vm.overcommit_memory` is 2. A cgroup's limit does not refuse memory, it ends processes.
pub(crate) fn has_room() -> bool {
    // The allocator would take it from what it has kept, and programs need maps too.
    // SAFETY: nobody has the mapping, which is new, and goes as it came.
    unsafe {
        let room =
            mmap_anonymous(ptr::null_mut(), ROOM, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        room.is_ok_and(|room| munmap(room, ROOM).is_ok())
    }
}

/// Has all threads allocate from one heap of glibc's, too: of those that it makes for threads it gives nothing back.
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
    // SAFETY: it takes and returns nothing. 4096 stands for all heaps.
    unsafe {
        mallctl(c"arena.4096.purge".as_ptr(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), 0);
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim holds the allocator's own locks, and touches only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
