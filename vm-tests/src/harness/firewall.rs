//! This host's own firewall, by the `nft` tool.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;

use super::Netns;

impl Netns {
    /// Adds what an nft script says to the namespace.
    pub fn firewall(&self, script: &str) -> Result<()> {
        self.run("nft", || {
            let mut nft = Command::new("nft");
            let output = nft.arg(script).stdin(Stdio::null()).output().context("starting nft")?;
            let complaint = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "nft refused {script:?}: {complaint}");
            Ok(())
        })
    }
}

/// Whether there is the tool, and a kernel that listens to it.
pub fn is_there() -> rustix::io::Result<()> {
    let listed = Command::new("nft").args(["list", "tables"]).stdin(Stdio::null()).output();
    let output = listed.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOENT))?;
    if output.status.success() { Ok(()) } else { Err(Errno::OPNOTSUPP) }
}
