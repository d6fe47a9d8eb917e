//! What this host allows and lacks: one place for every check of the surroundings.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader},
};

use nix::{sys::utsname::uname, unistd::geteuid};

use crate::{
    error::{Error, lockdown_is_confidential},
    layout::PROBES,
    netlink::conntrack::{self, Support},
    tracefs,
    tracer::{Kernel, Options, Tracer},
};

/// One finding about this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at, as `kernel` or `probe tcp_retransmit_skb`.
    pub name: String,
    /// How it stands.
    pub status: Status,
    /// What was found.
    pub found: String,
    /// What it costs when it is not in order; empty otherwise.
    pub costs: String,
    /// What to do about it; empty when there is nothing to do.
    pub remedy: String,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// In order.
    Ok,
    /// Synscope works, but cannot tell everything.
    Limited,
    /// Synscope cannot work.
    Missing,
}

impl Check {
    fn ok(name: &str, found: impl Into<String>) -> Self {
        let none = String::new;
        Self { name: name.into(), status: Status::Ok, found: found.into(), costs: none(), remedy: none() }
    }

    fn limited(name: &str, found: &str, costs: &str, remedy: &str) -> Self {
        Self {
            name: name.into(),
            status: Status::Limited,
            found: found.into(),
            costs: costs.into(),
            remedy: remedy.into(),
        }
    }

    fn missing(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            status: Status::Missing,
            found: found.into(),
            costs: "nothing can be traced".into(),
            remedy: remedy.into(),
        }
    }
}

/// Looks at everything that matters, and loads the programs once to see that it works. Must run within a
/// tokio runtime.
pub fn examine() -> Vec<Check> {
    let mut checks = vec![check_kernel(), check_user(), check_lockdown()];
    let kernel = Kernel::of_this_host();
    checks.extend(check_btf(&kernel));
    checks.push(check_load(kernel));
    checks.push(check_symbols());
    checks.push(check_conntrack());
    checks
}

/// Has tracefs mounted, for this thread and those that it will start, in a mount namespace of their own. Only for
/// processes that give up the right to mount: others have it mounted whenever it is needed. The host's mounts stay as
/// they are. Call it before there are threads.
pub fn mount_tracefs() {
    tracefs::mount_for_good();
}

/// `uname -r`.
pub fn release() -> String {
    uname().map_or_else(|error| error.to_string(), |name| name.release().to_string_lossy().into_owned())
}

/// `uname -n`.
pub fn name() -> String {
    uname().map_or_else(|error| error.to_string(), |name| name.nodename().to_string_lossy().into_owned())
}

/// Refuses kernels before 5.10, which lack the ring buffer and the clock that the programs use, and on which
/// nothing was ever tested.
pub(crate) fn check_release() -> Result<(), Error> {
    let release = release();
    if is_supported(&release) { Ok(()) } else { Err(Error::OldKernel { release }) }
}

fn is_supported(release: &str) -> bool {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    version >= (5, 10)
}

/// Refuses to be interpreted on 64-bit ARM: Linux 6.12 crashed there with the programs attached (7.3 refuses them). It may
/// be that the verifier leaves calls of helpers that the compiler would replace without an address for the interpreter.
pub(crate) fn check_jit() -> Result<(), Error> {
    if cfg!(target_arch = "aarch64") && jit_switch() == "0" { Err(Error::NoJit) } else { Ok(()) }
}

/// True when programs are known to be compiled.
pub(crate) fn has_jit() -> bool {
    ["1", "2"].contains(&&*jit_switch())
}

fn jit_switch() -> String {
    let switch = fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").unwrap_or_default();
    switch.trim().to_owned()
}

fn check_kernel() -> Check {
    match check_release() {
        Ok(()) => Check::ok("kernel", release()),
        Err(error) => Check::missing("kernel", error.to_string(), error.remedy()),
    }
}

// Bits of a capability set (include/uapi/linux/capability.h).
const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

fn check_user() -> Check {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap_or("").trim();
    let bits = u64::from_str_radix(effective, 16).unwrap_or(0);
    let has = |capability: u32| bits >> capability & 1 == 1;
    let found = format!("uid {}, effective capabilities {effective}", geteuid());
    if has(SYS_ADMIN) || (has(BPF) && has(PERFMON)) {
        Check::ok("privileges", found)
    } else {
        Check::missing("privileges", found, "run as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE")
    }
}

fn check_lockdown() -> Check {
    if lockdown_is_confidential() {
        let remedy = "boot with lockdown=integrity or none: confidentiality forbids reading kernel memory";
        Check::missing("lockdown", "confidentiality", remedy)
    } else {
        Check::ok("lockdown", "does not forbid reading kernel memory")
    }
}

fn check_btf(kernel: &Result<Kernel, Error>) -> Vec<Check> {
    let kernel = match kernel {
        Ok(kernel) => kernel,
        Err(error) => return vec![Check::missing("BTF", error.to_string(), error.remedy())],
    };
    let layout = kernel.layout();
    let mut checks = vec![Check::ok("BTF", "/sys/kernel/btf/vmlinux describes all that is read")];
    checks.extend(PROBES.iter().map(|probe| {
        let name = format!("probe {}", probe.name());
        if layout.missing().contains(probe) {
            let costs = format!("cannot tell {}", probe.tells);
            Check::limited(&name, "this kernel does not have it", &costs, "run a newer kernel")
        } else {
            Check::ok(&name, probe.tells)
        }
    }));
    checks.push(check_code(layout.has_code()));
    checks
}

fn check_code(is_shown: bool) -> Check {
    let name = "code of ended processes";
    if is_shown {
        Check::ok(name, "kept in the kernel for processes that are gone before they are looked at")
    } else {
        Check::limited(
            name,
            "this kernel's memory descriptors or mounts look otherwise",
            "user stacks of processes that end at once are shown as addresses only",
            "please report the kernel's version",
        )
    }
}

fn check_load(kernel: Result<Kernel, Error>) -> Check {
    let started = kernel.and_then(|kernel| Tracer::start(&kernel, &Options::default()));
    match started {
        Ok(_) => Check::ok("loading", "programs load and attach"),
        Err(error) => Check::missing("loading", error.to_string(), error.remedy()),
    }
}

fn check_symbols() -> Check {
    let name = "kernel symbols";
    let hidden =
        |line: &String| line.split(' ').next().is_some_and(|address| address.bytes().all(|b| b == b'0'));
    // Some are zero anyway. The whole file takes longer to read than all other checks together.
    let first = File::open("/proc/kallsyms")
        .and_then(|symbols| BufReader::new(symbols).lines().take(10).collect::<io::Result<Vec<_>>>());
    match first {
        Ok(symbols) if !symbols.iter().all(hidden) => Check::ok(name, "/proc/kallsyms is readable"),
        _ => Check::limited(
            name,
            "/proc/kallsyms shows no addresses",
            "kernel stacks are shown as addresses only",
            "sysctl kernel.kptr_restrict=1 or 0, and CAP_SYSLOG",
        ),
    }
}

fn check_conntrack() -> Check {
    let name = "connection tracking";
    match conntrack::support() {
        Ok(Support::Ready { .. }) => Check::ok(name, "translated connections are shown with both addresses"),
        // Nothing is translated where nothing is tracked: that costs nothing.
        Ok(Support::Absent) => Check::ok(name, "not loaded, so nothing is translated"),
        Err(error) => Check::limited(
            name,
            &error.to_string(),
            "translated connections are shown with the address that the application used only",
            "run a kernel with CONFIG_NF_CT_NETLINK, and with CAP_NET_ADMIN",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::is_supported;

    #[test]
    fn kernels_from_5_10_on_are_supported() {
        for release in ["5.10.0-30-cloud-amd64", "5.11", "6.18.44-fc", "10.0.1"] {
            assert!(is_supported(release), "{release}");
        }
        for release in ["5.9.16", "4.19.0-26-amd64", "3.10.0-1160.el7", ""] {
            assert!(!is_supported(release), "{release}");
        }
    }
}
