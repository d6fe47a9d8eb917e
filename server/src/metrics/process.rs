//! This process's own health, by the names that Prometheus' client libraries use. What /proc does not tell is left out.

use std::fs;

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

use super::{Families, Kind};

#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact")]
pub(super) fn write(out: &mut Families) {
    if let Some(stat) = Stat::read() {
        out.family("process_cpu_seconds_total", Kind::Counter, "Processor time, user and system.")
            .sample(&[], stat.cpu);
        out.family("process_resident_memory_bytes", Kind::Gauge, "Memory that is resident.")
            .sample(&[], stat.resident);
        out.family("process_virtual_memory_bytes", Kind::Gauge, "Address space.").sample(&[], stat.virtual_);
        out.family("process_threads", Kind::Gauge, "Threads.").sample(&[], stat.threads);
        if let Some(boot) = boot_time() {
            let help = "When the process started, in seconds since 1970.";
            out.family("process_start_time_seconds", Kind::Gauge, help)
                .sample(&[], boot as f64 + stat.started_after_boot);
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is that of the directory itself.
        let count = open.count().saturating_sub(1);
        out.family("process_open_fds", Kind::Gauge, "Open file descriptors.").sample(&[], count);
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        out.family("process_max_fds", Kind::Gauge, "Most file descriptors that may be open.")
            .sample(&[], most);
    }
}

struct Stat {
    cpu: f64,
    threads: u64,
    started_after_boot: f64,
    virtual_: u64,
    resident: u64,
}

impl Stat {
    #[expect(clippy::cast_precision_loss, reason = "ticks of centuries are exact")]
    /// From /proc/self/stat, see proc_pid_stat(5).
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name, in brackets, may have anything in it; the fields behind it begin with the third.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let field = |number: usize| fields.get(number - 3)?.trim().parse::<u64>().ok();
        let ticks = clock_ticks_per_second() as f64;
        Some(Self {
            cpu: (field(14)? + field(15)?) as f64 / ticks,
            threads: field(20)?,
            started_after_boot: field(22)? as f64 / ticks,
            virtual_: field(23)?,
            resident: field(24)? * page_size() as u64,
        })
    }
}

fn boot_time() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}
