//! The loader that all traces share, made without the work that it would do for nothing.

use std::{
    env::consts::ARCH,
    io,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

use aya::EbpfLoader;
use nix::{errno::Errno, libc};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::aside::aside;

/// A new loader reads and parses all of the kernel's BTF, which takes longer than loading does. The object has no use for
/// it: it has no CO-RE relocations, offsets come as globals. aya 0.14 cannot be told so before it is done; but on a thread
/// that cannot open files it finds no BTF.
static LOADER: LazyLock<Mutex<EbpfLoader<'static>>> = LazyLock::new(|| {
    let mut loader = without_files(EbpfLoader::new).unwrap_or_else(|_| EbpfLoader::new());
    // Where there was no such thread, or it could open files after all.
    loader.btf(None);
    Mutex::new(loader)
});

/// The loader, for one trace at a time: what another trace has set is set anew, all of it.
pub(crate) fn shared() -> MutexGuard<'static, EbpfLoader<'static>> {
    LOADER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does `work` on a thread of its own, which cannot open files if the kernel has seccomp.
fn without_files<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    aside("loader", || {
        // What fails here costs time and nothing else.
        let _ = refuse_to_open();
        work()
    })
}

/// For this thread, and for good.
fn refuse_to_open() -> Result<(), seccompiler::Error> {
    let refuse = SeccompAction::Errno(Errno::EACCES as u32);
    let filter = SeccompFilter::new(
        [(libc::SYS_openat, Vec::new())].into(),
        SeccompAction::Allow,
        refuse,
        ARCH.try_into().map_err(seccompiler::Error::Backend)?,
    );
    let program: BpfProgram =
        filter.and_then(SeccompFilter::try_into).map_err(seccompiler::Error::Backend)?;
    seccompiler::apply_filter(&program)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn open() -> io::Result<File> {
        File::open("/proc/self/status")
    }

    #[test]
    fn a_loader_is_made_where_no_file_can_be_opened() {
        let refused = without_files(|| open().unwrap_err()).unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert!(open().is_ok(), "other threads are not concerned");
    }
}
