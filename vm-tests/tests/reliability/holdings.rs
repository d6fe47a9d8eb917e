//! What a process holds, as the kernel tells it.

use std::fs;

use anyhow::{Context as _, Result};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Holdings {
    pub(crate) files: usize,
    pub(crate) threads: u64,
    pub(crate) resident_kib: u64,
    pub(crate) address_space_kib: u64,
}

impl Holdings {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let value = |name: &str| {
            let line =
                status.lines().find_map(|line| line.strip_prefix(name)).context("an unknown status")?;
            let digits: String = line.chars().filter(char::is_ascii_digit).collect();
            anyhow::Ok(digits.parse::<u64>()?)
        };
        let files = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        Ok(Self {
            files,
            threads: value("Threads:")?,
            resident_kib: value("VmRSS:")?,
            address_space_kib: value("VmSize:")?,
        })
    }
}
