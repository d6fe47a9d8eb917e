//! Why a trace cannot start, in words for the person who started it.

use std::{fs, io};

use aya::{EbpfError, programs::ProgramError};
use nix::errno::Errno;
use thiserror::Error;

use crate::btf;

/// Why a trace cannot start or go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel is older than anything that Synscope knows how to read.
    #[error("kernel {release} is older than 5.10")]
    OldKernel {
        /// What `uname -r` says.
        release: String,
    },
    /// The kernel would interpret the programs, and crash.
    #[error(
        "net.core.bpf_jit_enable is 0, and kernels for 64-bit ARM may crash when they interpret the programs"
    )]
    NoJit,
    /// The programs call functions of the kernel, and only compiled programs can.
    #[error("net.core.bpf_jit_enable was set to 0 while programs were being loaded")]
    JitSwitchedOff,
    /// The kernel's description of its types cannot be read.
    #[error("cannot read {path}: {source}")]
    NoBtf {
        /// Where it should be.
        path: &'static str,
        /// Why it cannot be read.
        source: io::Error,
    },
    /// The kernel's types lack something that the programs need.
    #[error("this kernel's BTF does not describe what is needed: {0}")]
    Btf(#[from] btf::Error),
    /// The process may not load programs.
    #[error("the kernel does not permit loading BPF programs ({doing}: {source})")]
    NotPermitted {
        /// What was being done.
        doing: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The verifier or the loader refused a program or a map.
    #[error("the kernel refused {doing}: {message}")]
    Refused {
        /// What was being done.
        doing: String,
        /// The kernel's answer, with the end of the verifier's log where there is one.
        message: String,
    },
    /// Something else went wrong between us and the kernel.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// The verifier explains itself at the end of its log.
const VERIFIER_LOG_TAIL: usize = 2_000;

/// The kernel's answer to a call of its functions in programs that it will not compile (`add_kfunc_call`, 6.18). Not of
/// POSIX, and not in libc.
const ENOTSUPP: i32 = 524;

impl Error {
    /// What the person can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoBtf { source, .. } | Self::Io { source, .. } if is_exhaustion(source) => {
                "let the process open more files: LimitNOFILE= in its systemd unit, or `ulimit -n`"
            }
            Self::OldKernel { .. } => "run a kernel of version 5.10 or later",
            Self::NoJit | Self::JitSwitchedOff => "sysctl net.core.bpf_jit_enable=1",
            Self::NoBtf { .. } => {
                "run a kernel built with CONFIG_DEBUG_INFO_BTF=y and with sysfs mounted on /sys (every current \
                 distribution kernel is)"
            }
            Self::Btf(_) => {
                "this kernel differs from all that Synscope was tested on: please report its version and \
                 configuration"
            }
            Self::NotPermitted { .. } if lockdown_is_confidential() => {
                "kernel lockdown is in confidentiality mode, which forbids reading kernel memory: boot with \
                 lockdown=integrity or none"
            }
            Self::NotPermitted { .. } => {
                "run as root, or with the capabilities CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE (in a container: of \
                 the initial user namespace)"
            }
            Self::Refused { .. } => "run `synscope doctor`; if it finds nothing, please report this message",
            Self::Io { .. } => "see the system's log",
        }
    }

    pub(crate) fn loading(error: EbpfError) -> Self {
        match error {
            EbpfError::ProgramError(error) => Self::program("loading", error),
            error => Self::classified("loading the object".into(), &error),
        }
    }

    pub(crate) fn program(doing: &str, error: ProgramError) -> Self {
        match error {
            ProgramError::LoadError { io_error, .. } if is_denial(&io_error) => {
                Self::NotPermitted { doing: doing.into(), source: io_error }
            }
            ProgramError::LoadError { io_error, .. } if io_error.raw_os_error() == Some(ENOTSUPP) => {
                Self::JitSwitchedOff
            }
            ProgramError::LoadError { io_error: source, .. } if is_exhaustion(&source) => {
                Self::Io { doing: doing.into(), source }
            }
            ProgramError::LoadError { io_error, verifier_log } => {
                let log = verifier_log.to_string();
                let tail = log.len().saturating_sub(VERIFIER_LOG_TAIL);
                let tail = log.char_indices().map(|(at, _)| at).find(|&at| at >= tail).unwrap_or(0);
                Self::Refused { doing: doing.into(), message: format!("{io_error}\n{}", &log[tail..]) }
            }
            error => Self::classified(doing.into(), &error),
        }
    }

    /// Finds the kernel's own answer at the end of a chain of errors.
    pub(crate) fn classified(doing: String, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut message = error.to_string();
        let mut next = error.source();
        while let Some(source) = next {
            let text = source.to_string();
            if !message.ends_with(&text) {
                message = format!("{message}: {text}");
            }
            match source.downcast_ref::<io::Error>() {
                Some(io) if is_denial(io) => return Self::NotPermitted { doing, source: copy(io) },
                Some(io) if is_exhaustion(io) => return Self::Io { doing, source: copy(io) },
                _ => next = source.source(),
            }
        }
        Self::Refused { doing, message }
    }
}

/// EACCES is the verifier's word for a bad program, EPERM means the process may not.
fn is_denial(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EPERM as i32)
}

fn is_exhaustion(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EMFILE as i32)
}

fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// True when lockdown forbids programs to read kernel memory.
pub(crate) fn lockdown_is_confidential() -> bool {
    fs::read_to_string("/sys/kernel/security/lockdown").is_ok_and(|modes| modes.contains("[confidentiality]"))
}
