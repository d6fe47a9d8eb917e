//! What differs between architectures.

/// An architecture that the matrix knows.
#[derive(Debug)]
pub struct Arch {
    /// Debian's name.
    pub debian: &'static str,
    /// Rust's target for static programs.
    pub target: &'static str,
    /// QEMU's program.
    pub qemu: &'static str,
    /// Debian's package of that program.
    pub qemu_package: &'static str,
    /// QEMU's machine and processor under emulation.
    pub emulated: &'static [&'static str],
    /// The serial port of the kernel's console.
    pub console: &'static str,
    /// The serial port of the results, as the guest opens it.
    pub results: &'static str,
}

/// 64-bit x86.
pub const AMD64: Arch = Arch {
    debian: "amd64",
    target: "x86_64-unknown-linux-gnu",
    qemu: "qemu-system-x86_64",
    qemu_package: "qemu-system-x86",
    emulated: &["-accel", "tcg,thread=multi", "-cpu", "max"],
    console: "ttyS0",
    results: "/dev/ttyS1",
};
