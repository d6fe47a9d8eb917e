//! The serial port to the host.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use rustix::termios::tcdrain;

use crate::vm::protocol::Record;

/// The port; any thread may tell.
pub(super) struct Results(Mutex<File>);

impl Results {
    pub(super) fn open(port: &str) -> Result<Self> {
        let file = OpenOptions::new().write(true).open(port).with_context(|| port.to_owned())?;
        Ok(Self(Mutex::new(file)))
    }

    pub(super) fn tell(&self, record: &Record) {
        self.write(record.line().as_bytes());
    }

    /// Whole lines only, and out of the buffer: the machine may die at any moment.
    pub(super) fn write(&self, bytes: &[u8]) {
        let mut port = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told = port.write_all(bytes);
        if let Err(error) = told.and_then(|()| Ok(tcdrain(port.as_fd())?)) {
            eprintln!("guest: telling the host: {error}");
        }
    }

    /// Keeps everybody from telling anything meanwhile.
    pub(super) fn hold(&self, work: impl FnOnce()) {
        let _port = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        work();
    }
}
