//! One trace: its own set of programs and maps, loaded when it starts and gone when it is dropped.

use std::{fs, io, time::Duration};

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, MapError, PerCpuArray, RingBuf},
    programs::ProgramFd,
};
use synscope_ebpf::record::{Attempt, Counters};
use tokio::{io::unix::AsyncFd, time::Instant};

use crate::{
    btf::Btf,
    clock::Clock,
    code::Codes,
    error::Error,
    event::{Event, decode},
    filter::Filter,
    host,
    layout::{Hook, Layout, Probe},
    load::{self, Link, map},
    tracefs::has_syscall_exit,
    watch::Watch,
};

const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// What a trace asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which attempts.
    pub filter: Filter,
    /// Attempts that took at least this long to establish are told, even without a retransmit. Whole milliseconds,
    /// at most [`Options::MAX_SLOW`]; the rest is dropped.
    pub slow: Duration,
    /// Tell every start and every end, of quick healthy attempts too.
    pub starts: bool,
    /// Tell packets of an attempt that this host dropped.
    pub drops: bool,
    /// Take user and kernel stacks.
    pub stacks: bool,
    /// Size of the ring buffer in bytes: a power of two, at least a page. When it is full, records are lost
    /// and counted in [`Counters::lost_ringbuf`].
    pub ringbuf_bytes: u32,
    /// Attempts that can be under way at once. Further ones are counted in [`Counters::untracked`].
    pub max_attempts: u32,
}

impl Options {
    /// The longest time that [`Options::slow`] can tell: longer than any kernel waits for an answer by default.
    pub const MAX_SLOW: Duration = Duration::from_mins(10);
}

impl Default for Options {
    fn default() -> Self {
        Self {
            filter: Filter::default(),
            slow: Duration::from_secs(1),
            starts: false,
            drops: false,
            stacks: true,
            ringbuf_bytes: 4 << 20,
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
        let mut layout = Layout::resolve(&Btf::parse(btf)?)?;
        layout.forget(|probe| matches!(probe.hook, Hook::SyscallExit(call) if !has_syscall_exit(call)));
        Ok(Self { layout })
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
const ATTEMPT_WORDS: usize = size_of::<Attempt>() / size_of::<u64>();

/// How long the reader waits between two looks at the ring buffer while there are events. Each look wakes
/// the threads behind it, whatever it finds; half of this is what an event waits on average.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(6);
/// How much later than its time a record may be submitted, and how late the reader may be for a look, before anything
/// comes of it: a record that waits for the next one, or an interrupt that had not been needed.
const LATE: Duration = Duration::from_millis(2);

/// No attempt lasts longer: 127 retries, the most that `tcp_syn_retries` takes, 120 s apart at most.
const LONGEST_ATTEMPT_NS: u64 = 127 * 120 * 1_000_000_000;

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

/// When the reader looks at the ring buffer.
struct Waking {
    /// Before that moment no record wakes the reader; the programs look at it.
    awake_until: Array<MapData, u64>,
    /// What the reader itself has said there, last: boot-time nanoseconds.
    promised_ns: u64,
    /// When to look for records that wake nobody.
    look_again: Option<Instant>,
}

impl Waking {
    /// After a look that found something, or found nothing, and took all or left some.
    fn plan(&mut self, found: bool, was_woken: bool, is_empty: bool) -> io::Result<()> {
        let now = Clock::boot_ns();
        if found && (is_empty || self.promised_ns < now + nanoseconds(LATE)) {
            self.promised_ns = now + nanoseconds(LOOK_AGAIN_AFTER + LATE);
            self.awake_until.set(0, self.promised_ns, 0).map_err(io::Error::other)?;
        }
        let wait = match (is_empty, found) {
            (false, _) => Duration::ZERO,
            (true, true) => LOOK_AGAIN_AFTER,
            (true, false) => {
                let kept = self.promised_ns + nanoseconds(LATE);
                // A record that woke the reader may still wait for one before it.
                let late = if was_woken { LOOK_AGAIN_AFTER } else { Duration::ZERO };
                late.max(Duration::from_nanos(kept.saturating_sub(now)))
            }
        };
        self.look_again = (!is_empty || !wait.is_zero()).then(|| Instant::now() + wait);
        Ok(())
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A running trace. Dropping it detaches and unloads everything.
pub struct Tracer {
    /// Closing a link detaches its program.
    links: Vec<(&'static Probe, Link)>,
    watch: Watch,
    ring: AsyncFd<RingBuf<MapData>>,
    waking: Waking,
    decoder: Decoder,
    programs: Vec<(&'static Probe, ProgramFd)>,
    attempts: HashMap<MapData, u64, [u64; ATTEMPT_WORDS]>,
    /// Keeps programs and maps loaded.
    _ebpf: Ebpf,
}

impl Tracer {
    /// Loads and attaches. When it returns, every event from now on is seen. Must run within a tokio runtime.
    ///
    /// If any step fails, whatever was loaded or attached before it is gone again.
    pub fn start(kernel: &Kernel, options: &Options) -> Result<(Self, CounterReader), Error> {
        let layout = &kernel.layout;
        let (mut ebpf, programs) = load::programs(layout, options)?;
        let refused = |error: MapError| Error::classified("preparing its maps".into(), &error);
        options.filter.install(&mut ebpf).map_err(refused)?;
        let counters = CounterReader { map: map(&mut ebpf, "COUNTERS").map_err(refused)? };
        let attempts = map(&mut ebpf, "ATTEMPTS").map_err(refused)?;
        let waking = Waking {
            awake_until: map(&mut ebpf, "AWAKE_UNTIL").map_err(refused)?,
            promised_ns: 0,
            look_again: None,
        };
        let ring: RingBuf<MapData> = map(&mut ebpf, "EVENTS").map_err(refused)?;
        // SAFETY: a RingBuf owns its map's descriptor and gives out the same one until it is dropped.
        let ring = unsafe { AsyncFd::register(ring) }.map_err(|error| Error::Io {
            doing: "waiting on the ring buffer".into(),
            source: error.into(),
        })?;
        // Starts come last: no attempt is followed whose other hooks are not in place yet.
        let links = load::probes(layout, options)
            .rev()
            .map(|probe| Ok((probe, load::attach(&mut ebpf, probe)?)))
            .collect::<Result<_, Error>>()?;
        let watch = Watch::over(&programs)
            .map_err(|source| Error::Io { doing: "looking after the attached programs".into(), source })?;
        let decoder = Decoder::new();
        let tracer = Self { links, watch, ring, waking, decoder, programs, attempts, _ebpf: ebpf };
        Ok((tracer, counters))
    }

    /// Waits until there are events, and appends up to `limit` of them. May be cancelled without loss.
    ///
    /// A record wakes the reader. Those that follow are found by looking again, and while there are some, none wakes it:
    /// it says that it will look by itself. From an empty look on, the next one wakes it.
    pub async fn read(&mut self, events: &mut Vec<Event>, limit: usize) -> io::Result<()> {
        loop {
            let was_woken = self.waking.look_again.is_none();
            match self.waking.look_again {
                Some(moment) => tokio::time::sleep_until(moment).await,
                // Readiness is edge-triggered: what comes from here on makes the ring ready anew.
                None => self.ring.readable().await?.clear_ready(),
            }
            self.decoder.clock.refresh();
            let before = events.len();
            let is_empty = self.drain(events, limit);
            let found = events.len() > before;
            self.waking.plan(found, was_woken, is_empty)?;
            if found {
                return Ok(());
            }
        }
    }

    /// Takes what is there, without waiting, up to `limit` events. True when nothing is left.
    pub fn drain(&mut self, events: &mut Vec<Event>, limit: usize) -> bool {
        drain(self.ring.get_mut(), &mut self.decoder, events, limit)
    }

    /// Detaches the programs: from now on nothing new is produced, and what was produced can be drained.
    pub fn detach(&mut self) {
        self.links.clear();
    }

    /// How often a program was not run because its processor was in it already: an event that nobody saw.
    pub fn missed(&self) -> u64 {
        self.programs.iter().map(|(_, program)| load::recursion_misses(program)).sum()
    }

    /// A hook that somebody else has detached its program from: what happens there is not seen any more. Worth a call
    /// every second or so.
    pub fn detached(&mut self) -> Option<&'static Probe> {
        let lost = self.watch.lost()?;
        // Its descriptor is closed, or another file's by now: not to be closed once more.
        self.links.extract_if(.., |(probe, _)| probe.program == lost.program).for_each(std::mem::forget);
        Some(lost)
    }

    /// Removes entries of attempts whose end nobody saw (see [`Self::missed`]), and returns how many. A socket
    /// that starts over replaces its entry by itself; this is for those that never do. Worth a call every
    /// some minutes.
    pub fn sweep(&mut self) -> u64 {
        let oldest = Clock::boot_ns().saturating_sub(LONGEST_ATTEMPT_NS);
        let stale: Vec<u64> = self
            .attempts
            .iter()
            .filter_map(Result::ok)
            .filter_map(|(sock, words)| {
                let attempt: Attempt = zerocopy::transmute!(words);
                (attempt.start_ns < oldest).then_some(sock)
            })
            .collect();
        stale.iter().filter(|sock| self.attempts.remove(sock).is_ok()).count() as u64
    }

    /// Attempts under way.
    pub fn pending(&self) -> usize {
        self.attempts.keys().count()
    }

    /// Records that could not be decoded: always 0, unless object and library are of different versions.
    pub fn undecodable(&self) -> u64 {
        self.decoder.undecodable
    }
}

/// Makes events of records, one after the other.
struct Decoder {
    clock: Clock,
    codes: Codes,
    undecodable: u64,
}

impl Decoder {
    fn new() -> Self {
        Self { clock: Clock::new(), codes: Codes::new(), undecodable: 0 }
    }

    /// An event, unless the record tells what the code of later ones is.
    fn event(&mut self, record: &[u8]) -> Option<Event> {
        if self.codes.learn(record) {
            return None;
        }
        let event = decode(record, self.clock, &mut self.codes);
        self.undecodable += u64::from(event.is_none());
        event
    }
}

/// True when the ring is empty.
fn drain(ring: &mut RingBuf<MapData>, decoder: &mut Decoder, events: &mut Vec<Event>, limit: usize) -> bool {
    let full = events.len().saturating_add(limit);
    while events.len() < full {
        let Some(record) = ring.next() else { return true };
        events.extend(decoder.event(&record));
    }
    false
}
