//! Work on a thread of its own, for what a thread alone can enter or give up.

use std::{io, panic::resume_unwind, thread};

/// Does `work` on a thread of this name that ends with it. Fails where no thread can be started.
pub(crate) fn aside<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(name.into()).spawn_scoped(scope, work)?;
        Ok(thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}
