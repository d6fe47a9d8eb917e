//! What a process's code is, kept for when the process is gone: one that exits at once after a refusal is no more
//! when user space comes to look at it.

use aya_ebpf::{
    EbpfContext, Global,
    helpers::generated::{bpf_get_current_task, bpf_get_stack, bpf_probe_read_kernel_str},
    macros::map,
    maps::{LruHashMap, PerCpuArray, RingBuf},
};
use synscope_ebpf::record::{
    Attempt, Code, CodeScratch, Counters, NAME_ROOM, PATH_ROOM, Place, Program, USER_FRAMES,
};

use crate::{
    attempt::{BPF_F_USER_STACK, wants_stacks},
    kernel::{self, Fault},
    tell::BPF_RB_NO_WAKEUP,
};

/// Code of the processes that started an attempt lately. Those that did not for the longest are forgotten.
#[map]
static CODE: LruHashMap<Program, Code> = LruHashMap::with_max_entries(1024, 0);

/// Where it is put together: it does not fit the 512 bytes that a program has.
#[map]
static CODE_SCRATCH: PerCpuArray<CodeScratch> = PerCpuArray::with_max_entries(1, 0);

/// 1 when the kernel has every member that is read here.
#[unsafe(no_mangle)]
static HAS_CODE: Global<u32> = Global::new(0);

const BPF_ANY: u64 = 0;
/// Flag of `bpf_get_stack`, for user stacks: places in files instead of addresses.
const BPF_F_USER_BUILD_ID: u64 = 1 << 11;
/// Directories and mount points on the way from a file to the root. A deeper path is not told.
const MAX_STEPS: u32 = 32;

#[inline(always)]
fn is_wanted() -> bool {
    wants_stacks() && HAS_CODE.load() != 0
}

/// Address of the current task's `mm_struct`; 0 when it has none, or nobody will want to know.
#[inline(always)]
pub(crate) fn of_current_task() -> u64 {
    if !is_wanted() {
        return 0;
    }
    // SAFETY: the helper takes nothing.
    let task = unsafe { bpf_get_current_task() };
    kernel::read::<u64>(task, &kernel::OFF_TASK_MM).unwrap_or(0)
}

#[inline(always)]
fn program_of(attempt: &Attempt) -> Program {
    Program { mm: attempt.mm, tgid: attempt.tgid, padding: 0 }
}

/// Keeps the code of the current task, which begins an attempt, if it is not kept yet.
#[inline(always)]
pub(crate) fn keep(ctx: &impl EbpfContext, attempt: &Attempt) {
    let program = program_of(attempt);
    if !is_wanted() || program.mm == 0 || CODE.get_ptr(&program).is_some() {
        return;
    }
    let Some(scratch) = scratch_space() else { return };
    let code = &mut scratch.code;
    code.program = program;
    (code.is_sent, code.path_len, code.path_is_whole) = (0, 0, 0);
    (code.start_code, code.end_code, code.inode, code.device) = (0, 0, 0, 0);
    // What cannot be read is missing in it; the rest may still be of use.
    if look_at_executable(scratch).is_ok() {
        read_path();
    }
    // Anew, for the steps of the path had it meanwhile.
    let Some(CodeScratch { code, .. }) = scratch_space() else { return };
    take_stacks(ctx, code);
    let _ = CODE.insert(&program, &*code, BPF_ANY);
}

#[inline(always)]
fn scratch_space() -> Option<&'static mut CodeScratch> {
    // SAFETY: the scratch space is this processor's own: attempts begin in processes, one after the other. Who asks for it
    // has done with what it got before.
    CODE_SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
}

/// Sends the code of an attempt that failed, unless that was done before. `EVENTS` is the way.
#[inline(always)]
pub(crate) fn send(events: &RingBuf, attempt: &Attempt, counters: &mut Counters) {
    if !is_wanted() || attempt.mm == 0 {
        return;
    }
    let Some(code) = CODE.get_ptr_mut(&program_of(attempt)) else { return };
    // SAFETY: entries are preallocated and only ever reused, never unmapped.
    let code = unsafe { &mut *code };
    if code.is_sent != 0 {
        return;
    }
    // The record that follows wakes the reader, if it is time to.
    match events.output::<Code>(&*code, BPF_RB_NO_WAKEUP) {
        Ok(()) => code.is_sent = 1,
        Err(_) => counters.code_unsent += 1,
    }
}

/// The same stack twice: as addresses, and as places in files.
#[inline(always)]
fn take_stacks(ctx: &impl EbpfContext, code: &mut Code) {
    // SAFETY: each helper is told the size of what it fills.
    unsafe {
        let size = size_of::<[u64; USER_FRAMES]>() as u32;
        let frames = (&raw mut code.addresses.frames).cast();
        code.addresses.length = bpf_get_stack(ctx.as_ptr(), frames, size, BPF_F_USER_STACK);
        let size = size_of::<[Place; USER_FRAMES]>() as u32;
        let places = (&raw mut code.places).cast();
        code.places_len = bpf_get_stack(ctx.as_ptr(), places, size, BPF_F_USER_STACK | BPF_F_USER_BUILD_ID);
    }
}

#[inline(always)]
fn look_at_executable(scratch: &mut CodeScratch) -> Result<(), Fault> {
    let code = &mut scratch.code;
    let mm = code.program.mm;
    code.start_code = kernel::read(mm, &kernel::OFF_MM_START_CODE)?;
    code.end_code = kernel::read(mm, &kernel::OFF_MM_END_CODE)?;
    let file = kernel::read::<u64>(mm, &kernel::OFF_MM_EXE_FILE)?;
    scratch.dentry = kernel::read(file, &kernel::OFF_FILE_DENTRY)?;
    let mount = kernel::read::<u64>(file, &kernel::OFF_FILE_MNT)?;
    let inode = kernel::read::<u64>(scratch.dentry, &kernel::OFF_DENTRY_INODE)?;
    code.inode = kernel::read(inode, &kernel::OFF_INODE_INO)?;
    code.device = kernel::read(kernel::read(inode, &kernel::OFF_INODE_SB)?, &kernel::OFF_SB_DEV)?;
    scratch.mount = mount - u64::from(kernel::OFF_MOUNT_MNT.load());
    scratch.root = root_of(scratch.mount)?;
    Ok(())
}

/// Walks up to the root of the mount namespace, over mount points, as `d_path` does (fs/d_path.c), without its
/// locks: what is moved meanwhile may come out wrong, and user space compares before it opens a file.
#[inline(always)]
fn read_path() {
    for _ in 0..MAX_STEPS {
        if step_towards_root() == 0 {
            break;
        }
    }
}

/// One step on the way that [`CODE_SCRATCH`] holds; 0 when it was the last.
///
/// The verifier walks through a global function once, and not each time that it is called (as kernels from 6.1 to 7.3
/// count). In line, all steps were more to it than everything else.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn step_towards_root() -> i32 {
    scratch_space().map_or(0, |scratch| i32::from(step(scratch).unwrap_or(false)))
}

/// False at the root.
#[inline(always)]
fn step(scratch: &mut CodeScratch) -> Result<bool, Fault> {
    let mount = scratch.mount;
    if scratch.dentry != scratch.root {
        add_name(&mut scratch.code, kernel::read(scratch.dentry, &kernel::OFF_DENTRY_NAME)?)?;
        scratch.dentry = kernel::read(scratch.dentry, &kernel::OFF_DENTRY_PARENT)?;
        return Ok(true);
    }
    scratch.mount = kernel::read(mount, &kernel::OFF_MOUNT_PARENT)?;
    if scratch.mount == mount {
        scratch.code.path_is_whole = 1;
        return Ok(false);
    }
    scratch.dentry = kernel::read(mount, &kernel::OFF_MOUNT_MOUNTPOINT)?;
    scratch.root = root_of(scratch.mount)?;
    Ok(true)
}

#[inline(always)]
fn root_of(mount: u64) -> Result<u64, Fault> {
    kernel::read_at(
        mount + u64::from(kernel::OFF_MOUNT_MNT.load()) + u64::from(kernel::OFF_VFSMOUNT_ROOT.load()),
    )
}

/// Appends a name with its zero. Beyond the room for paths it starts over; `path_len` then tells that the path is
/// of no use.
#[inline(always)]
fn add_name(code: &mut Code, name: u64) -> Result<(), Fault> {
    let at = code.path_len as usize & (PATH_ROOM - 1);
    // SAFETY: behind every place below PATH_ROOM there is room for a name.
    let len = unsafe {
        let to = (&raw mut code.path).cast::<u8>().add(at).cast();
        bpf_probe_read_kernel_str(to, NAME_ROOM as u32, name as *const _)
    };
    if len <= 0 {
        return Err(Fault);
    }
    code.path_len += len as u32;
    Ok(())
}
