//! `/sbin/modprobe`: the kernel starts it when it needs a module, by name or by alias, as `modprobe -q -- NAME`.

use std::env;
use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::system::finit_module;

use crate::vm::modules::{self, Module};

pub(super) fn main() {
    let Some(wanted) = env::args().skip(1).find(|argument| !argument.starts_with('-')) else { return };
    if let Err(error) = load(&wanted) {
        eprintln!("guest: modprobe {wanted}: {error:#}");
    }
}

/// Loads what answers to the name. That nothing does is no error: kernels ask for much.
fn load(wanted: &str) -> Result<()> {
    let directory = Path::new("/").join(modules::DIRECTORY);
    let index: Vec<Module> = serde_json::from_slice(&fs::read(directory.join(modules::INDEX))?)?;
    for name in modules::order(&index, wanted) {
        let file = File::open(directory.join(format!("{name}.ko")))?;
        match finit_module(&file, c"", 0) {
            // Another modprobe was faster.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).with_context(|| name.to_owned()),
        }
    }
    Ok(())
}
