//! What a machine boots into: the guest is `/init`, the server `/bin/synscope`, and `/sbin/modprobe` the guest again.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};

use super::cpio::Archive;
use super::modules::{self, Loadable};
use super::programs::Programs;

/// With a `/usr` on the same file system, the programs are taken for the distribution's own, which they are here.
const DIRECTORIES: [&str; 9] = ["bin", "dev", "lib", modules::DIRECTORY, "proc", "sbin", "sys", "tmp", "usr"];

/// Writes the file.
pub fn write(programs: &Programs, modules: &[Loadable], path: &Path) -> Result<()> {
    let file = File::create(path).with_context(|| format!("{}", path.display()))?;
    let mut archive = Archive::new(BufWriter::new(file));
    for directory in DIRECTORIES {
        archive.directory(directory)?;
    }
    // The kernel opens it for /init before devtmpfs is mounted.
    archive.device("dev/console", 5, 1)?;
    add_program(&mut archive, "init", &programs.guest)?;
    add_program(&mut archive, "bin/synscope", &programs.server)?;
    archive.link("sbin/modprobe", "/init")?;
    for (module, content) in modules {
        archive.file(&format!("{}/{}.ko", modules::DIRECTORY, module.name), content)?;
    }
    let index: Vec<_> = modules.iter().map(|(module, _)| module).collect();
    archive.file(&format!("{}/{}", modules::DIRECTORY, modules::INDEX), &serde_json::to_vec(&index)?)?;
    archive.finish()?;
    Ok(())
}

fn add_program<W: Write>(archive: &mut Archive<W>, name: &str, program: &Path) -> Result<()> {
    let content = fs::read(program).with_context(|| format!("reading {}", program.display()))?;
    Ok(archive.program(name, &content)?)
}
