//! From the embedded object to attached programs.

use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{Map, MapError},
    programs::{
        Program, ProgramError, ProgramFd, RawTracePoint, TracePoint, raw_trace_point::RawTracePointLink,
        trace_point::TracePointLink,
    },
};
use zerocopy::IntoBytes as _;

use crate::{
    error::Error,
    host,
    layout::{DROP, Hook, Layout, Probe},
    loader, tracefs,
    tracer::Options,
    watch,
};

/// Processes whose code the programs keep: those that started an attempt last.
const MAX_CODE: u32 = 1024;

/// Keeps a program attached; dropping it detaches.
pub(crate) enum Link {
    Raw { _link: RawTracePointLink },
    Syscall { _link: TracePointLink },
}

/// What is in the kernel now, attached to nothing.
pub(crate) type Loaded = (Ebpf, Vec<(&'static Probe, ProgramFd)>);

/// The programs that the trace asks for, in the kernel.
pub(crate) fn programs(layout: &Layout, options: &Options) -> Result<Loaded, Error> {
    host::check_jit()?;
    match programs_for(layout, options, host::has_jit()) {
        // It was on a moment ago. The second form needs no compiler.
        Err(Error::JitSwitchedOff) => {
            host::check_jit()?;
            programs_for(layout, options, false)
        }
        loaded => loaded,
    }
}

fn programs_for(layout: &Layout, options: &Options, with_jit: bool) -> Result<Loaded, Error> {
    let mut ebpf = object(layout, options, with_jit)?;
    let programs = probes(layout, options)
        .map(|probe| Ok((probe, load(&mut ebpf, probe)?)))
        .collect::<Result<_, Error>>()?;
    Ok((ebpf, programs))
}

/// The object with everything that the trace asks for compiled in as read-only globals. No program is in the
/// kernel yet.
fn object(layout: &Layout, options: &Options, with_jit: bool) -> Result<Ebpf, Error> {
    let filters = options.filter.bits();
    let [starts, stacks] = [options.starts, options.stacks].map(u32::from);
    let Layout { retransmit_has_error, drop_has_reason, has_task_pt_regs, has_code, has_icmp, .. } = *layout;
    let (object, has_preempt_disable) = layout.object(with_jit);
    let features = [
        ("RETRANSMIT_HAS_ERROR", retransmit_has_error),
        ("DROP_HAS_REASON", drop_has_reason),
        ("HAS_TASK_PT_REGS", has_task_pt_regs),
        ("HAS_CODE", has_code),
        ("HAS_ICMP", has_icmp),
        ("HAS_PREEMPT_DISABLE", has_preempt_disable),
    ];
    let features = features.map(|(global, has)| (global, u32::from(has)));

    let words = [("FILTERS", filters), ("STARTS", starts), ("STACKS", stacks)];

    // What another trace set is set anew here, all of it.
    let mut loader = loader::shared();
    for (global, value) in layout.offsets.iter().copied().chain(features).chain(words) {
        loader.override_global(global, kept(&value.to_ne_bytes()), true);
    }
    loader
        .override_global("SLOW_NS", kept(&slow_ns(options.slow).to_ne_bytes()), true)
        .map_max_entries("ATTEMPTS", options.max_attempts)
        .map_max_entries("USER_STACKS", if options.stacks { options.max_attempts } else { 1 })
        .map_max_entries("CODE", if options.stacks { MAX_CODE } else { 1 })
        .map_max_entries("EVENTS", options.ringbuf_bytes);
    loader.load(object.as_bytes()).map_err(Error::loading)
}

/// The same bytes, for as long as the loader may refer to them. Each value is kept once: offsets and switches are few, and
/// [`slow_ns`] gives at most 600,001.
fn kept(value: &[u8]) -> &'static [u8] {
    static VALUES: Mutex<BTreeSet<&[u8]>> = Mutex::new(BTreeSet::new());
    let mut values = VALUES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = values.get(value) {
        return known;
    }
    let new: &'static [u8] = Box::leak(value.into());
    values.insert(new);
    new
}

/// What the programs take for slow: as [`Options::slow`] says.
fn slow_ns(slow: Duration) -> u64 {
    let milliseconds = slow.min(Options::MAX_SLOW).as_millis();
    u64::try_from(milliseconds * 1_000_000).unwrap_or(u64::MAX)
}

/// The programs of a trace: what the kernel takes, without what the trace does not ask for.
pub(crate) fn probes<'a>(
    layout: &'a Layout,
    options: &Options,
) -> impl DoubleEndedIterator<Item = &'static Probe> + 'a {
    let drops = options.drops;
    layout.present().filter(move |probe| drops || probe.program != DROP)
}

/// Has the kernel verify and take a program. Programs refer to maps by descriptor, so this must be done while
/// the object still owns every map.
fn load(ebpf: &mut Ebpf, probe: &Probe) -> Result<ProgramFd, Error> {
    let program = program(ebpf, probe)?;
    let loaded = match probe.hook {
        Hook::Raw(_) => <&mut RawTracePoint>::try_from(&mut *program).and_then(RawTracePoint::load),
        Hook::SyscallExit(_) => <&mut TracePoint>::try_from(&mut *program).and_then(TracePoint::load),
    };
    let fd = loaded.and_then(|()| program.fd()?.try_clone().map_err(unclonable));
    fd.map_err(|error| Error::program(&describe("loading", probe), error))
}

fn unclonable(io_error: io::Error) -> ProgramError {
    aya::sys::SyscallError { call: "fcntl", io_error }.into()
}

/// Attaches a loaded program to its hook.
pub(crate) fn attach(ebpf: &mut Ebpf, probe: &Probe) -> Result<Link, Error> {
    let program = program(ebpf, probe)?;
    let attached = match probe.hook {
        Hook::Raw(tracepoint) => attach_raw(program, tracepoint),
        Hook::SyscallExit(call) => tracefs::within(|| attach_syscall(program, &format!("sys_exit_{call}"))),
    };
    attached.map_err(|error| Error::program(&describe("attaching", probe), error))
}

fn attach_raw(program: &mut Program, tracepoint: &str) -> Result<Link, ProgramError> {
    let program: &mut RawTracePoint = program.try_into()?;
    let id = program.attach(tracepoint)?;
    Ok(Link::Raw { _link: program.take_link(id)? })
}

fn attach_syscall(program: &mut Program, tracepoint: &str) -> Result<Link, ProgramError> {
    let program: &mut TracePoint = program.try_into()?;
    let id = program.attach("syscalls", tracepoint)?;
    Ok(Link::Syscall { _link: program.take_link(id)? })
}

fn program<'a>(ebpf: &'a mut Ebpf, probe: &Probe) -> Result<&'a mut Program, Error> {
    ebpf.program_mut(probe.program).ok_or_else(|| Error::Refused {
        doing: describe("finding", probe),
        message: "not in the object".into(),
    })
}

fn describe(doing: &str, probe: &Probe) -> String {
    format!("{doing} program `{}` on {}", probe.program, probe.name())
}

/// Takes a map of the object by name.
pub(crate) fn map<M>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, MapError>
where
    M: TryFrom<Map, Error = MapError>,
{
    let missing = || MapError::InvalidName { name: name.into() };
    M::try_from(ebpf.take_map(name).ok_or_else(missing)?)
}

/// How often the kernel did not run a program because the processor was in it already: a network interrupt
/// came while the program ran for a process. Known from kernel 5.12 on.
pub(crate) fn recursion_misses(program: &ProgramFd) -> u64 {
    watch::field(program.as_fd().as_raw_fd(), "recursion_misses:").ok().flatten().unwrap_or(0)
}
