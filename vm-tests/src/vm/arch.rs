//! What differs between architectures.

use clap::ValueEnum;

/// An architecture that the matrix knows.
#[derive(Debug)]
pub struct Arch {
    /// Debian's name.
    pub debian: &'static str,
    /// Rust's target for static programs.
    pub target: &'static str,
    /// The C compiler that links for it, and its Debian package.
    pub linker: (&'static str, &'static str),
    /// QEMU's program.
    pub qemu: &'static str,
    /// Debian's package of that program.
    pub qemu_package: &'static str,
    /// QEMU's machine.
    pub machine: &'static [&'static str],
    /// QEMU's processors under emulation. Guests begin on one of them, since several wait for each other in loops that
    /// are emulated, too, and newer kernels rewrite code that another processor is running, which QEMU does not always
    /// get right. The other one is there to be switched on and off.
    pub emulated: &'static [&'static str],
    /// Words for the command line of an emulated kernel.
    pub emulated_words: &'static str,
    /// The serial port of the kernel's console, as the kernel's command line names it.
    pub console: &'static str,
    /// The serial port of the results: QEMU's options for it behind a character device, and the device in the guest.
    pub results: (&'static [&'static str], &'static str),
}

const CPU: &str = "max,erms=off,fsrm=off,la57=off,smap=off,smep=off,umip=off,pku=off";

/// 64-bit x86.
pub const AMD64: Arch = Arch {
    debian: "amd64",
    target: "x86_64-unknown-linux-gnu",
    linker: ("x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu and libc6-dev-amd64-cross"),
    qemu: "qemu-system-x86_64",
    qemu_package: "qemu-system-x86",
    machine: &[],
    // With "enhanced rep movsb" the kernel clears and copies memory by instructions that are emulated byte by byte; the
    // "fast short" ones build on it, and 6.1 hangs at boot in QEMU 10 with these alone. With a fifth level of page tables
    // every miss of the emulated TLB takes a step more. What guards user memory from the kernel ends a translated block
    // with each switch of it.
    emulated: &["-accel", "tcg", "-smp", "2", "-cpu", CPU],
    // The kernel would mistrust the emulated clock register, for it finds no promise that two processors' agree, and
    // ask an emulated device for each look at the clock. QEMU has one count for all.
    emulated_words: "tsc=reliable",
    console: "ttyS0",
    results: (&["-serial", "chardev:results"], "/dev/ttyS1"),
};

/// 64-bit ARM.
pub const ARM64: Arch = Arch {
    debian: "arm64",
    target: "aarch64-unknown-linux-gnu",
    linker: ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu and libc6-dev-arm64-cross"),
    qemu: "qemu-system-aarch64",
    qemu_package: "qemu-system-arm",
    machine: &["-machine", "virt"],
    // Functions of the kernel sign their return addresses, and QEMU leaves translated code for each signature. Addresses of
    // 52 bits take another step at each miss of the emulated TLB, and vectors that nothing here computes with are saved.
    emulated: &["-accel", "tcg", "-smp", "2", "-cpu", "max,pauth=off,lpa2=off,sve=off"],
    emulated_words: "",
    console: "ttyAMA0",
    // The board has one serial port; a PCI one makes the second.
    results: (&["-device", "pci-serial,chardev=results"], "/dev/ttyS0"),
};

/// The choice on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// 64-bit x86.
    Amd64,
    /// 64-bit ARM.
    Arm64,
}

impl Choice {
    /// What was chosen.
    pub fn arch(self) -> &'static Arch {
        match self {
            Self::Amd64 => &AMD64,
            Self::Arm64 => &ARM64,
        }
    }

    /// This machine's own, which needs no cross compiler and may use KVM.
    pub fn native() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Arm64 } else { Self::Amd64 }
    }
}

impl Arch {
    /// Whether this machine's processor is of this architecture.
    pub fn is_native(&self) -> bool {
        self.debian == Choice::native().arch().debian
    }
}
