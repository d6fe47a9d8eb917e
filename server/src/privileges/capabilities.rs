//! Which capabilities tracing needs, and what each is needed for.

use rustix::{
    io,
    thread::{
        CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
        clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    },
};

/// Each with its name. Without those after the second Synscope works, and tells less.
const NEEDED: [(CapabilitySet, &str); 8] = [
    // Loading programs and creating maps.
    (CapabilitySet::BPF, "CAP_BPF"),
    // Attaching to tracepoints and reading kernel memory from programs.
    (CapabilitySet::PERFMON, "CAP_PERFMON"),
    // The executable, the files and the namespaces of other users' processes.
    (CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE"),
    // Executables and libraries that not everybody may read, for symbols.
    (CapabilitySet::DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"),
    // Mapped files that were replaced or removed since (/proc/PID/map_files).
    (CapabilitySet::CHECKPOINT_RESTORE, "CAP_CHECKPOINT_RESTORE"),
    // Tracked connections, for translated addresses.
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
    // Addresses in /proc/kallsyms, where kernel.kptr_restrict is 1.
    (CapabilitySet::SYSLOG, "CAP_SYSLOG"),
    // Entering another network namespace, to look for the socket at the other end.
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
];

fn needed() -> CapabilitySet {
    NEEDED.iter().fold(CapabilitySet::empty(), |set, (capability, _)| set | *capability)
}

/// Removes all others from every set of this thread.
pub(super) fn keep_only_needed() -> io::Result<()> {
    let now = capabilities(None)?;
    clear_ambient_capability_set()?;
    // First: it takes CAP_SETPCAP. Who has not got that cannot be given more by starting a program either, because of
    // no_new_privs.
    if now.effective.contains(CapabilitySet::SETPCAP) {
        shrink_bounding_set()?;
    }
    let kept = now.permitted & needed();
    set_capabilities(
        None,
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() },
    )
}

fn shrink_bounding_set() -> io::Result<()> {
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match capability_is_in_bounding_set(capability) {
            Ok(true) if !needed().contains(capability) => remove_capability_from_bounding_set(capability)?,
            Ok(_) => {}
            // Past the last that this kernel has.
            Err(_) => break,
        }
    }
    Ok(())
}

/// The names of those in the set that are needed, and `others` where there are others.
pub(super) fn names(set: u64) -> Vec<&'static str> {
    let set = CapabilitySet::from_bits_retain(set);
    let mut names: Vec<_> =
        NEEDED.iter().filter(|(capability, _)| set.contains(*capability)).map(|(_, name)| *name).collect();
    if !needed().contains(set) {
        names.push("others");
    }
    names
}

pub(super) fn is_needed_only(set: u64) -> bool {
    needed().contains(CapabilitySet::from_bits_retain(set))
}
