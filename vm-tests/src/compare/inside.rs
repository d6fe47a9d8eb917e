//! The comparison inside a virtual machine.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::tools::{TOOLS, Tool};
use super::{Place, Watched, watch};
use crate::vm::errand::{self, Errand, Teller};

/// Emulation is slow.
const PATIENCE: f64 = 3.0;

/// Of what a tool printed, in bytes: as JSON it is less than a line of results may have.
const KEPT: usize = 24 << 10;

/// Boots the kernel, and returns what was watched there and the kernel's release.
pub(super) fn boot(place: Place<'_>, series: &str) -> Result<(Vec<Watched>, String)> {
    let tools: Vec<PathBuf> = TOOLS.iter().flat_map(Tool::files).collect();
    let errand = Errand {
        name: "comparison",
        series,
        synscope: place.synscope,
        target_dir: place.target_dir,
        tools: &tools,
        processors: None,
        words: "",
    };
    let mut all = Vec::new();
    let kernel = errand.run(|watched: Watched| {
        eprintln!("{}", watched.tool);
        all.push(watched);
    })?;
    Ok((all, kernel))
}

/// Compares there, when this program is a machine's `/init`.
pub fn take_over() -> bool {
    errand::take_over(|_, teller| inside(teller))
}

fn inside(teller: &mut Teller) -> Result<()> {
    for tool in TOOLS {
        let mut watched = watch(tool, Path::new(errand::SYNSCOPE), PATIENCE);
        // A line that is too long for the port is no line.
        watched.output.truncate(watched.output.floor_char_boundary(KEPT));
        teller.tell(&watched)?;
    }
    Ok(())
}
