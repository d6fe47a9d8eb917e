//! What the running kernel says about itself.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Major and minor number.
pub type Version = (u32, u32);

/// The running kernel's full release, `6.1.0-56-cloud-amd64`.
pub fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The running kernel's version.
pub fn version() -> Result<Version> {
    parse_version(&release())
}

fn parse_version(release: &str) -> Result<Version> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => anyhow::bail!("not a kernel release: {release}"),
    }
}

/// Lets this process have as many descriptors as it may.
pub fn raise_descriptor_limit() -> Result<()> {
    let limits = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, ..limits })?;
    Ok(())
}

/// Ids of every BPF program in the kernel, by the kernel's own list.
pub fn loaded_programs() -> Result<BTreeSet<u32>> {
    let ids = aya::programs::loaded_programs().map(|program| Ok(program?.id()));
    ids.filter(|id| !is_gone(id)).collect()
}

/// Ids of the BPF programs that a process holds open, by `/proc/PID/fdinfo`.
pub fn programs_of(pid: u32) -> Result<BTreeSet<u32>> {
    ids_of(pid, "prog_id:")
}

/// A program as the kernel describes it.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its name, up to 15 bytes.
    pub name: String,
    /// Bytes of its instructions, as the verifier left them.
    pub bytes: u32,
    /// Bytes of machine code, 0 when it is interpreted.
    pub jited: u32,
    /// Instructions that the verifier walked through; kernels tell since 5.16.
    pub verified: Option<u32>,
}

/// Describes the programs of these ids.
pub fn described(ids: &BTreeSet<u32>) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    for info in aya::programs::loaded_programs() {
        let info = match info {
            Ok(info) if ids.contains(&info.id()) => info,
            // Others come and go meanwhile.
            _ => continue,
        };
        programs.push(Program {
            name: info.name_as_str().context("a program without a name")?.to_owned(),
            bytes: info.size_translated().unwrap_or(0),
            jited: info.size_jitted(),
            verified: info.verified_instruction_count().filter(|&count| count > 0),
        });
    }
    Ok(programs)
}

/// Ids of every BPF map in the kernel.
pub fn loaded_maps() -> Result<BTreeSet<u32>> {
    let ids = aya::maps::loaded_maps().map(|map| Ok(map?.id()));
    ids.filter(|id| !is_gone(id)).collect()
}

/// Ids of the BPF maps that a process holds open.
pub fn maps_of(pid: u32) -> Result<BTreeSet<u32>> {
    ids_of(pid, "map_id:")
}

/// Something may be unloaded between its turn in the kernel's list and the look at it.
fn is_gone(id: &Result<u32>) -> bool {
    let Err(error) = id else { return false };
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::NotFound)
    })
}

fn ids_of(pid: u32, key: &str) -> Result<BTreeSet<u32>> {
    let directory = format!("/proc/{pid}/fdinfo");
    let mut ids = BTreeSet::new();
    for entry in fs::read_dir(&directory).with_context(|| directory.clone())? {
        // A descriptor may be closed between the listing and the reading.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        let values = text.lines().filter_map(|line| line.strip_prefix(key));
        ids.extend(values.filter_map(|value| value.trim().parse::<u32>().ok()));
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_distributions_parse() {
        assert_eq!(parse_version("6.1.0-56-cloud-amd64").unwrap(), (6, 1));
        assert_eq!(parse_version("7.3.4+deb13-cloud-amd64").unwrap(), (7, 3));
        assert_eq!(parse_version("5.10").unwrap(), (5, 10));
        assert!(parse_version("mainline").is_err());
    }
}
