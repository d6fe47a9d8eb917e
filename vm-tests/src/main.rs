//! Runs the scenarios on kernels booted in QEMU.
fn main() {}
