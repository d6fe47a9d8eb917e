//! What kernel and user space share: the records that the BPF programs send, and the compiled programs.
//!
//! The programs themselves are the package's binary (`src/main.rs`), which only the BPF target compiles.
//! The object that it becomes is committed in `prebuilt/`, so that building Synscope needs stable Rust and
//! nothing else; `just bytecode` makes it anew.

#![no_std]

pub mod record;

/// Helpers that stand for functions of the kernel, which have other numbers on each kernel. The object is whole with
/// them: called in vain, they do nothing.
pub mod placeholder {
    /// `bpf_get_numa_node_id`, for `bpf_preempt_disable`.
    pub const PREEMPT_DISABLE: u32 = 42;
    /// `bpf_jiffies64`, for `bpf_preempt_enable`.
    pub const PREEMPT_ENABLE: u32 = 118;
}

/// The compiled programs: an ELF object for `bpfel-unknown-none`, with BTF.
#[cfg(not(target_arch = "bpf"))]
pub static OBJECT: &[u8] = {
    /// ELF headers are read in place, so the bytes must start at a multiple of eight.
    #[repr(C, align(8))]
    struct Aligned<T: ?Sized>(T);
    static ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!("../prebuilt/synscope-programs.bpf.o"));
    &ALIGNED.0
};
