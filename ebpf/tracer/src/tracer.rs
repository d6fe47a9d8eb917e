//! One trace: its own set of programs and maps, loaded when it starts and gone when it is dropped.

use std::{fs, io, time::Duration};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapData, MapError, PerCpuArray, RingBuf},
    programs::{RawTracePoint, raw_trace_point::RawTracePointLink},
};
use synscope_ebpf::{OBJECT, record::Counters};
use tokio::io::unix::AsyncFd;

use crate::{
    btf::Btf,
    clock::Clock,
    error::Error,
    event::{Event, decode},
    filter::Filter,
    host,
    layout::{Layout, PROBES, Probe},
};

const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// What a trace asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which attempts.
    pub filter: Filter,
    /// Attempts that took at least this long to establish are told, even without a retransmit.
    pub slow: Duration,
    /// Tell every start and every end, of quick healthy attempts too.
    pub starts: bool,
    /// Take user and kernel stacks.
    pub stacks: bool,
    /// Size of the ring buffer in bytes: a power of two, at least a page. When it is full, records are lost
    /// and counted in [`Counters::lost_ringbuf`].
    pub ringbuf_bytes: u32,
    /// Attempts that can be under way at once. Further ones are counted in [`Counters::untracked`].
    pub max_attempts: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            filter: Filter::default(),
            slow: Duration::from_secs(1),
            starts: false,
            stacks: true,
            ringbuf_bytes: 8 << 20,
            max_attempts: 16_384,
        }
    }
}

/// What is known of the running kernel: read once, used by every trace.
#[derive(Clone, Debug)]
pub struct Kernel {
    layout: Layout,
}

impl Kernel {
    /// Reads the running kernel's BTF (`/sys/kernel/btf/vmlinux`, 20 ms on a common host).
    pub fn of_this_host() -> Result<Self, Error> {
        host::check_release()?;
        let btf = fs::read(BTF_PATH).map_err(|source| Error::NoBtf { path: BTF_PATH, source })?;
        Ok(Self { layout: Layout::resolve(&Btf::parse(btf)?)? })
    }

    /// Where the kernel keeps things, and what it lacks.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
}

/// Reads a trace's counters, from any thread, while the trace runs and after.
pub struct CounterReader {
    map: PerCpuArray<MapData, [u64; COUNTER_WORDS]>,
}

const COUNTER_WORDS: usize = size_of::<Counters>() / size_of::<u64>();

impl CounterReader {
    /// The sum over all processors.
    pub fn read(&self) -> io::Result<Counters> {
        let values = self.map.get(&0, 0).map_err(io::Error::other)?;
        let mut sum = [0_u64; COUNTER_WORDS];
        for value in values.iter() {
            for (sum, word) in sum.iter_mut().zip(value) {
                *sum = sum.wrapping_add(*word);
            }
        }
        Ok(zerocopy::transmute!(sum))
    }
}

/// A running trace. Dropping it detaches and unloads everything.
pub struct Tracer {
    /// Closing a link detaches its program.
    links: Vec<RawTracePointLink>,
    ring: AsyncFd<RingBuf<MapData>>,
    clock: Clock,
    undecodable: u64,
    /// Keeps programs and maps loaded.
    _ebpf: Ebpf,
}

impl Tracer {
    /// Loads and attaches. When it returns, every event from now on is seen. Must run within a tokio runtime.
    ///
    /// If any step fails, whatever was loaded or attached before it is gone again.
    pub fn start(kernel: &Kernel, options: &Options) -> Result<(Self, CounterReader), Error> {
        let mut ebpf = load(kernel, options)?;
        let present: Vec<&Probe> =
            PROBES.iter().filter(|probe| !kernel.layout.missing.contains(probe)).collect();
        // Programs refer to maps by descriptor, so they are loaded while the object still owns every map.
        for probe in &present {
            let doing = describe("loading", probe);
            program(&mut ebpf, probe)?.load().map_err(|error| Error::program(&doing, error))?;
        }
        let refused = |error: MapError| Error::classified("preparing its maps".into(), &error);
        options.filter.install(&mut ebpf).map_err(refused)?;
        let counters = CounterReader { map: map(&mut ebpf, "COUNTERS").map_err(refused)? };
        let ring: RingBuf<MapData> = map(&mut ebpf, "EVENTS").map_err(refused)?;
        // SAFETY: a RingBuf owns its map's descriptor and gives out the same one until it is dropped.
        let ring = unsafe { AsyncFd::register(ring) }
            .map_err(|error| Error::Io { doing: "waiting on the ring buffer", source: error.into() })?;
        // Starts come last: no attempt is followed whose other hooks are not in place yet.
        let links = present.iter().rev().map(|probe| attach(&mut ebpf, probe)).collect::<Result<_, _>>()?;
        let tracer = Self { links, ring, clock: Clock::new(), undecodable: 0, _ebpf: ebpf };
        Ok((tracer, counters))
    }

    /// Waits until there are events, and appends up to `limit` of them. May be cancelled without loss.
    pub async fn read(&mut self, events: &mut Vec<Event>, limit: usize) -> io::Result<()> {
        loop {
            let mut ready = self.ring.readable_mut().await?;
            self.clock.refresh();
            let before = events.len();
            let ring = ready.get_inner_mut();
            let drained = drain(ring, self.clock, &mut self.undecodable, events, limit);
            // Readiness is edge-triggered: it may be cleared only after everything was taken.
            if drained {
                ready.clear_ready();
            }
            if events.len() > before {
                return Ok(());
            }
        }
    }

    /// Takes what is there, without waiting, up to `limit` events. True when nothing is left.
    pub fn drain(&mut self, events: &mut Vec<Event>, limit: usize) -> bool {
        drain(self.ring.get_mut(), self.clock, &mut self.undecodable, events, limit)
    }

    /// Detaches the programs: from now on nothing new is produced, and what was produced can be drained.
    pub fn detach(&mut self) {
        self.links.clear();
    }

    /// Records that could not be decoded: always 0, unless object and library are of different versions.
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }
}

fn drain(
    ring: &mut RingBuf<MapData>,
    clock: Clock,
    undecodable: &mut u64,
    events: &mut Vec<Event>,
    limit: usize,
) -> bool {
    let full = events.len().saturating_add(limit);
    while events.len() < full {
        match ring.next() {
            Some(bytes) => match decode(&bytes, clock) {
                Some(event) => events.push(event),
                None => *undecodable += 1,
            },
            None => return true,
        }
    }
    false
}

/// Loads the object with everything that the trace asks for compiled in as read-only globals.
fn load(kernel: &Kernel, options: &Options) -> Result<Ebpf, Error> {
    let layout = &kernel.layout;
    let filters = options.filter.bits();
    let slow_ns = u64::try_from(options.slow.as_nanos()).unwrap_or(u64::MAX);
    let [starts, stacks, retransmit_has_error] =
        [options.starts, options.stacks, layout.retransmit_has_error].map(u32::from);

    let mut loader = EbpfLoader::new();
    // The object has no CO-RE relocations: offsets come as globals.
    loader.btf(None);
    for (global, offset) in &layout.offsets {
        loader.override_global(global, offset, true);
    }
    loader
        .override_global("FILTERS", &filters, true)
        .override_global("SLOW_NS", &slow_ns, true)
        .override_global("STARTS", &starts, true)
        .override_global("STACKS", &stacks, true)
        .override_global("RETRANSMIT_HAS_ERROR", &retransmit_has_error, true)
        .map_max_entries("ATTEMPTS", options.max_attempts)
        .map_max_entries("USER_STACKS", if options.stacks { options.max_attempts } else { 1 })
        .map_max_entries("EVENTS", options.ringbuf_bytes);
    loader.load(OBJECT).map_err(Error::loading)
}

fn describe(doing: &str, probe: &Probe) -> String {
    format!("{doing} program `{}` on {}", probe.program, probe.tracepoint)
}

fn program<'a>(ebpf: &'a mut Ebpf, probe: &Probe) -> Result<&'a mut RawTracePoint, Error> {
    ebpf.program_mut(probe.program).and_then(|program| program.try_into().ok()).ok_or_else(|| {
        Error::Refused { doing: describe("finding", probe), message: "not in the object".into() }
    })
}

fn attach(ebpf: &mut Ebpf, probe: &Probe) -> Result<RawTracePointLink, Error> {
    let program = program(ebpf, probe)?;
    let attached = program.attach(probe.tracepoint).and_then(|id| program.take_link(id));
    attached.map_err(|error| Error::program(&describe("attaching", probe), error))
}

/// Takes a map of the object by name.
pub(crate) fn map<M>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, MapError>
where
    M: TryFrom<Map, Error = MapError>,
{
    let missing = || MapError::InvalidName { name: name.into() };
    M::try_from(ebpf.take_map(name).ok_or_else(missing)?)
}
