//! Kernels booted in QEMU: fetching them, building what runs inside, booting, and judging the outcome.

pub mod apt;
pub mod arch;
pub mod board;
pub mod console;
pub mod cpio;
pub mod errand;
pub mod initramfs;
pub mod kernels;
pub mod lock;
pub mod machine;
pub mod matrix;
pub mod modules;
pub mod package;
pub mod programs;
pub mod protocol;
pub mod qemu;
pub mod report;
pub mod verdict;
