//! Plays a case in the running kernel: the unmodified programs, run by `BPF_PROG_TEST_RUN` on fabricated
//! sockets. Needs root.
//!
//! What a test cannot set here (the clock, other tasks, reads that fail) makes a case unfit, and
//! [`Bench::unfit`] says why. Times cannot be foretold; they are checked for order and left out of the
//! comparison, as are the frames of stacks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, HashMap, LpmTrie, Map, MapError, PerCpuArray, PerCpuValues, RingBuf, lpm_trie::Key},
    programs::{ProgramError, RawTracePoint, RawTracePointRunOptions, TestRun as _},
};
use bpf_lab::{
    Setup, Task,
    kernel::{Arena, KernelError},
};
use nix::{
    sched::{CpuSet, sched_getcpu, sched_setaffinity},
    sys::prctl,
    time::{ClockId, clock_gettime},
    unistd::Pid,
};
use synscope_ebpf::record::{Attempt, Code, Counters, Stack, USER_FRAMES};
use synscope_tracer::{Hook, Options, PROBES};
use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::{
    case::{Case, Index, Step},
    fabric::{Fabric, Memory},
    fixtures::Kernel,
    outcome::{Outcome, Sent, SentCode, Walk},
    program::Program,
    reference::{Host, Reference},
    settings::{self, Entry},
    things::Piece,
    world,
};

/// Why a case could not be played, or came out wrong.
pub type Wrong = Box<dyn std::error::Error>;

/// Pieces of kernel memory: more than any case fabricates.
const PIECES: u32 = 64;
/// Attempts that a case has under way, at the most, unless it asks for fewer.
const ENTRIES: u32 = 256;
/// Records that a case tells before it reads them, at the most.
const RING_BYTES: u32 = 1 << 18;
const ATTEMPT_LEN: usize = size_of::<Attempt>();
const STACK_LEN: usize = size_of::<Stack<USER_FRAMES>>();
const CODE_LEN: usize = size_of::<Code>();
const COUNTER_WORDS: usize = size_of::<Counters>() / 8;

/// The running kernel, ready to play cases on one processor.
pub struct Bench {
    kernel: Kernel,
    arena: Arena,
    host: Host,
    /// The object as this kernel is given it.
    object: Vec<u64>,
    /// What earlier cases ran, for those that ask for the same: the verifier's walk takes longer than all else.
    loaded: Vec<Loaded>,
    /// Instructions that the verifier walked through, the most for each program.
    pub verified: BTreeMap<&'static str, u32>,
}

impl Bench {
    /// Prepares the calling thread: it gets the name of the cases' task, and stays on its processor.
    pub fn new() -> Result<Self, Wrong> {
        let kernel = Kernel::running()?;
        let (object, _) = synscope_tracer::Kernel::of_this_host()?.layout().object(true);
        let cpu = sched_getcpu()?;
        let mut only = CpuSet::new();
        only.set(cpu)?;
        sched_setaffinity(Pid::from_raw(0), &only)?;
        let comm = world::task().comm;
        let end = comm.iter().position(|&byte| byte == 0).unwrap_or(comm.len());
        prctl::set_name(&std::ffi::CString::new(&comm[..end])?)?;
        let mut arena = Arena::new(PIECES)?;
        let task = Task { comm, ..arena.current_task()? };
        let host = Host { task, program: own_program()?, cpu: u32::try_from(cpu)?, counted: 0 };
        Ok(Self { kernel, arena, host, object, loaded: Vec::new(), verified: BTreeMap::new() })
    }

    /// Name of the kernel's series.
    pub fn kernel(&self) -> &str {
        &self.kernel.name
    }

    /// Why a case cannot be played here; `None` when it can.
    pub fn unfit(&self, case: &Case) -> Option<&'static str> {
        let reason = case.steps.iter().find_map(|step| match step {
            Step::Switch(_) | Step::Runs(_) => Some("there is no other task"),
            Step::Exiting(..) => Some("the task is not exiting"),
            Step::Cpu(_) => Some("programs run in the caller's place on its processor"),
            Step::FailRead(_) => Some("no read fails on demand"),
            Step::UserStack(_) => Some("the user stack is what it is"),
            Step::Returned(..) | Step::Address(..) => Some("the kernel runs no tracepoint on demand"),
            _ => None,
        });
        if reason.is_some() || !case.steps.iter().any(|step| matches!(step, Step::Wait(_))) {
            return reason;
        }
        let timeless = Case {
            steps: case.steps.iter().filter(|step| !matches!(step, Step::Wait(_))).cloned().collect(),
            ..case.clone()
        };
        let play = |case| without_times(Reference::play_as(&self.kernel, case, &self.host));
        (play(case) != play(&timeless)).then_some("it depends on the time that passes")
    }

    /// Plays a case; the first thing that is wrong is the error.
    pub fn judge(&mut self, case: &Case) -> Result<(), Wrong> {
        let case = self.localized(case);
        let expected = without_times(Reference::play_as(&self.kernel, &case, &self.host));
        let before = now()?;
        let outcome = self.play(&case)?;
        check_times(&outcome, before, now()?)?;
        match without_times(outcome).difference(&expected) {
            Some(difference) => Err(difference.into()),
            None => Ok(()),
        }
    }

    /// Has the kernel take raw tracepoint programs of an object that may be broken, as a trace would, and drops them
    /// again.
    pub fn try_load(&self, object: &[u8], wanted: impl Fn(&str) -> bool) -> Result<(), Wrong> {
        let mut ebpf = load(&small(settings::setup(&self.kernel, &Options::default())), object)?;
        let hooks = PROBES.iter().filter(|probe| matches!(probe.hook, Hook::Raw(_)));
        for probe in hooks.filter(|probe| self.kernel.runs(probe.program) && wanted(probe.program)) {
            raw_tracepoint(&mut ebpf, probe.program)?.load()?;
        }
        Ok(())
    }

    /// Counts what comes of a first connect when a global has another value than the kernel's.
    pub fn connect_with(&mut self, case: &Case, global: &str, value: u32) -> Result<Counters, Wrong> {
        self.arena.clear();
        let fabric = Fabric::new(&self.kernel, case, &mut self.arena);
        let mut setup = small(settings::setup(&self.kernel, &case.options));
        setup.globals.insert(global.into(), value.to_le_bytes().to_vec());
        let mut ebpf = load(&setup, self.object.as_bytes())?;
        raw_tracepoint(&mut ebpf, "set_state")?.load()?;
        for step in &case.steps {
            self.fire(&mut ebpf, &fabric, step)?;
        }
        counters(&mut ebpf)
    }

    /// The same case about the task that really runs.
    fn localized(&self, case: &Case) -> Case {
        let (modelled, real) = (world::task(), self.host.task);
        let mut case = case.clone();
        let filter = &mut case.options.filter;
        let swap = |value: &mut u32, from: u32, to: u32| {
            if *value == from {
                *value = to;
            }
        };
        filter.pids.iter_mut().for_each(|pid| swap(pid, modelled.tgid, real.tgid));
        filter.uids.iter_mut().for_each(|uid| swap(uid, modelled.uid, real.uid));
        for cgroup in filter.cgroups.iter_mut().filter(|cgroup| **cgroup == modelled.cgroup) {
            *cgroup = real.cgroup;
        }
        case.steps.retain(|step| !matches!(step, Step::Wait(_)));
        case
    }

    fn play(&mut self, case: &Case) -> Result<Outcome, Wrong> {
        self.arena.clear();
        let mut fabric = Fabric::new(&self.kernel, case, &mut self.arena);
        let mut loaded = self.load_for(case)?;
        let ebpf = &mut loaded.ebpf;
        let mut told = (Vec::new(), Vec::new());
        for step in &case.steps {
            match step {
                Step::Become(sock, socket) => {
                    fabric.change(&self.kernel, *sock, socket, &mut self.arena);
                }
                Step::Drain => drain(ebpf, &mut told)?,
                Step::Promise(ns) => promise(ebpf, *ns)?,
                Step::Unkept(sock) => forget_stack(ebpf, fabric.sockets[*sock])?,
                Step::Counted(sock, count) => set_counts(ebpf, fabric.sockets[*sock], *count)?,
                fired => self.fire(ebpf, &fabric, fired)?,
            }
        }
        drain(ebpf, &mut told)?;
        let outcome = outcome(ebpf, &fabric, told)?;
        self.loaded.push(loaded);
        Ok(outcome)
    }

    /// Programs and empty maps for a case. One that went wrong leaves nothing to the next.
    fn load_for(&mut self, case: &Case) -> Result<Loaded, Wrong> {
        let setup = small(settings::setup(&self.kernel, &case.options));
        let entries = settings::entries(&case.options.filter);
        let is_same = |earlier: &Loaded| earlier.setup == setup && earlier.entries == entries;
        let mut loaded = match self.loaded.iter().position(is_same) {
            Some(at) => {
                let mut earlier = self.loaded.swap_remove(at);
                clear(&mut earlier.ebpf)?;
                earlier
            }
            None => Loaded::new(&self.object, setup, entries)?,
        };
        for program in programs_of(case).filter(|program| self.kernel.runs(program)) {
            if loaded.programs.insert(program) {
                let new = raw_tracepoint(&mut loaded.ebpf, program)?;
                new.load()?;
                let count = new.info()?.verified_instruction_count().unwrap_or(0);
                let most = self.verified.entry(program).or_default();
                *most = count.max(*most);
            }
        }
        Ok(loaded)
    }

    fn fire(&self, ebpf: &mut Ebpf, fabric: &Fabric, step: &Step) -> Result<(), ProgramError> {
        let Some((program, arguments)) =
            arguments(fabric, step).filter(|(program, _)| self.kernel.runs(program))
        else {
            return Ok(());
        };
        let mut options = RawTracePointRunOptions::new();
        options.args[..arguments.len()].copy_from_slice(&arguments);
        raw_tracepoint(ebpf, program)?.test_run(options).map(|_| ())
    }
}

/// The object as the kernel has it, with the entries of its filters.
struct Loaded {
    setup: Setup,
    entries: Vec<Entry>,
    ebpf: Ebpf,
    /// Those that the kernel has taken.
    programs: BTreeSet<&'static str>,
}

impl Loaded {
    fn new(object: &[u64], setup: Setup, entries: Vec<Entry>) -> Result<Self, Wrong> {
        let mut ebpf = load(&setup, object.as_bytes())?;
        entries.iter().try_for_each(|entry| insert(&mut ebpf, entry))?;
        Ok(Self { setup, entries, ebpf, programs: BTreeSet::new() })
    }
}

/// Empties the maps of what the programs put there. The ring has been drained.
fn clear(ebpf: &mut Ebpf) -> Result<(), Wrong> {
    remove_all::<u64, [u8; ATTEMPT_LEN]>(ebpf, "ATTEMPTS")?;
    remove_all::<u64, [u8; STACK_LEN]>(ebpf, "USER_STACKS")?;
    remove_all::<u64, u8>(ebpf, "ENDED")?;
    remove_all::<[u64; 2], [u8; CODE_LEN]>(ebpf, "CODE")?;
    let mut counters: PerCpuArray<_, [u64; COUNTER_WORDS]> = PerCpuArray::try_from(map(ebpf, "COUNTERS")?)?;
    let zeros = vec![[0; COUNTER_WORDS]; counters.get(&0, 0)?.len()];
    Ok(counters.set(0, PerCpuValues::try_from(zeros)?, 0)?)
}

fn remove_all<K: Pod, V: Pod>(ebpf: &mut Ebpf, name: &str) -> Result<(), Wrong> {
    let mut map: HashMap<_, K, V> = HashMap::try_from(map(ebpf, name)?)?;
    let keys = map.keys().collect::<Result<Vec<_>, _>>()?;
    Ok(keys.iter().try_for_each(|key| map.remove(key))?)
}

impl Memory for Arena {
    /// # Panics
    ///
    /// When the kernel refuses: nothing can be tested then.
    fn add(&mut self, piece: &Piece) -> u64 {
        Self::add(self, &piece.bytes).unwrap_or_else(|error: KernelError| panic!("{error}"))
    }

    fn put(&mut self, address: u64, piece: &Piece) {
        Self::put(self, address, &piece.bytes).unwrap_or_else(|error: KernelError| panic!("{error}"));
    }
}

/// The program that a step fires, and its arguments.
fn arguments(fabric: &Fabric, step: &Step) -> Option<(&'static str, [u64; 3])> {
    let unsigned = |value: i32| u64::from(value.cast_unsigned());
    let socket = |index: Index| fabric.sockets[index];
    Some(match *step {
        Step::State(sock, old, new) => ("set_state", [socket(sock), old.into(), new.into()]),
        Step::Retransmit(sock, error) => ("retransmit", [socket(sock), 0, unsigned(error)]),
        Step::Challenge(sock) => ("challenge", [socket(sock), 0, 0]),
        Step::Refusal => ("challenge", [0; 3]),
        Step::Reset(sock) => ("receive_reset", [socket(sock), 0, 0]),
        Step::Report(sock) => ("error_report", [socket(sock), 0, 0]),
        Step::SynAck(request) => ("synack", [0, fabric.requests[request], 0]),
        Step::Drop(packet, reason) => ("drop", [fabric.packets[packet], 0, unsigned(reason)]),
        _ => return None,
    })
}

fn programs_of(case: &Case) -> impl Iterator<Item = &'static str> {
    let name = |step: &Step| match step {
        Step::State(..) => Some("set_state"),
        Step::Retransmit(..) => Some("retransmit"),
        Step::Challenge(_) | Step::Refusal => Some("challenge"),
        Step::Reset(_) => Some("receive_reset"),
        Step::Report(_) => Some("error_report"),
        Step::SynAck(_) => Some("synack"),
        Step::Drop(..) => Some("drop"),
        _ => None,
    };
    case.steps.iter().filter_map(name).collect::<BTreeSet<_>>().into_iter()
}

/// The same with maps that are no larger than cases need: the kernel fills all of a map when it makes one, and that
/// takes longer than everything else.
fn small(mut setup: Setup) -> Setup {
    for (map, most) in [("ATTEMPTS", ENTRIES), ("USER_STACKS", ENTRIES), ("EVENTS", RING_BYTES)] {
        let entries = setup.max_entries.entry(map.into()).or_insert(most);
        *entries = most.min(*entries);
    }
    setup
}

/// A new loader parses all of the kernel's BTF, in vain: so there is one, and what it refers to stays. A setup names
/// every global and every map that any other names.
fn load(setup: &Setup, object: &[u8]) -> Result<Ebpf, Wrong> {
    static LOADER: LazyLock<Mutex<EbpfLoader<'static>>> = LazyLock::new(|| Mutex::new(EbpfLoader::new()));
    let setup: &'static Setup = Box::leak(Box::new(setup.clone()));
    let mut loader = LOADER.lock().unwrap_or_else(PoisonError::into_inner);
    loader.btf(None);
    for (global, value) in &setup.globals {
        loader.override_global(global, value.as_slice(), true);
    }
    for (map, entries) in &setup.max_entries {
        loader.map_max_entries(map, *entries);
    }
    Ok(loader.load(object)?)
}

fn raw_tracepoint<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut RawTracePoint, ProgramError> {
    ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?.try_into()
}

fn map<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Map, MapError> {
    ebpf.map_mut(name).ok_or_else(|| MapError::InvalidName { name: name.into() })
}

/// Sets an entry of one of the filters' maps.
fn insert(ebpf: &mut Ebpf, entry: &Entry) -> Result<(), Wrong> {
    let map = map(ebpf, entry.map)?;
    match map {
        Map::Array(_) => {
            let mut array: Array<_, u64> = Array::try_from(map)?;
            let key = u32::from_le_bytes(entry.key.as_slice().try_into()?);
            array.set(key, u64::from_le_bytes(entry.value.as_slice().try_into()?), 0)?;
        }
        Map::LpmTrie(_) => {
            let mut trie: LpmTrie<_, [u8; 16], u8> = LpmTrie::try_from(map)?;
            let (len, address) = entry.key.split_first_chunk::<4>().ok_or("a trie's key is longer")?;
            trie.insert(&Key::new(u32::from_le_bytes(*len), address.try_into()?), entry.value[0], 0)?;
        }
        _ => {
            let mut hash: HashMap<_, [u8; 16], u8> = HashMap::try_from(map)?;
            let key: [u8; 16] = entry.key.as_slice().try_into()?;
            hash.insert(key, entry.value[0], 0)?;
        }
    }
    Ok(())
}

fn set_counts(ebpf: &mut Ebpf, sock: u64, count: u16) -> Result<(), Wrong> {
    let mut attempts: HashMap<_, u64, [u8; ATTEMPT_LEN]> = HashMap::try_from(map(ebpf, "ATTEMPTS")?)?;
    let mut value = attempts.get(&sock, 0)?;
    settings::set_counts(&mut value, count);
    Ok(attempts.insert(sock, value, 0)?)
}

fn promise(ebpf: &mut Ebpf, ns: u64) -> Result<(), Wrong> {
    let mut awake_until: Array<_, u64> = Array::try_from(map(ebpf, "AWAKE_UNTIL")?)?;
    Ok(awake_until.set(0, now()? + ns, 0)?)
}

fn forget_stack(ebpf: &mut Ebpf, sock: u64) -> Result<(), Wrong> {
    let mut stacks: HashMap<_, u64, [u8; STACK_LEN]> = HashMap::try_from(map(ebpf, "USER_STACKS")?)?;
    Ok(stacks.remove(&sock)?)
}

/// Records, and code of processes.
type AllTold = (Vec<Sent>, Vec<SentCode>);

fn drain(ebpf: &mut Ebpf, (sent, codes): &mut AllTold) -> Result<(), Wrong> {
    let mut ring = RingBuf::try_from(map(ebpf, "EVENTS")?)?;
    while let Some(bytes) = ring.next() {
        if let Some(code) = SentCode::read(&bytes, sent.len()) {
            codes.push(code);
            continue;
        }
        sent.push(Sent::read(&bytes).ok_or("a record of an unknown size")?);
    }
    Ok(())
}

fn counters(ebpf: &mut Ebpf) -> Result<Counters, Wrong> {
    let counters: PerCpuArray<_, [u64; COUNTER_WORDS]> = PerCpuArray::try_from(map(ebpf, "COUNTERS")?)?;
    let mut sum = [0_u64; COUNTER_WORDS];
    for value in counters.get(&0, 0)?.iter() {
        sum.iter_mut().zip(value).for_each(|(sum, word)| *sum += word);
    }
    Ok(zerocopy::transmute!(sum))
}

fn outcome(ebpf: &mut Ebpf, fabric: &Fabric, (sent, codes): AllTold) -> Result<Outcome, Wrong> {
    let counters = counters(ebpf)?;
    let index = |address: u64| -> Result<Index, Wrong> {
        let known = fabric.sockets.iter().position(|&sock| sock == address);
        known.ok_or_else(|| "an entry of a socket that does not exist".into())
    };
    let attempts: HashMap<_, u64, [u8; ATTEMPT_LEN]> = HashMap::try_from(map(ebpf, "ATTEMPTS")?)?;
    let mut pending = BTreeMap::new();
    for entry in &attempts {
        let (sock, value) = entry?;
        pending.insert(
            index(sock)?,
            Attempt::read_from_bytes(&value).map_err(|_| "an attempt of another size")?,
        );
    }
    let stacks: HashMap<_, u64, [u8; STACK_LEN]> = HashMap::try_from(map(ebpf, "USER_STACKS")?)?;
    let stacks_kept = stacks.keys().map(|sock| index(sock?)).collect::<Result<_, _>>()?;
    let mut codes_kept = BTreeMap::new();
    let kept: HashMap<_, [u64; 2], [u8; CODE_LEN]> = HashMap::try_from(map(ebpf, "CODE")?)?;
    for entry in &kept {
        let code = Code::read_from_bytes(&entry?.1).map_err(|_| "code of another size")?;
        codes_kept.insert((code.program.mm, code.program.tgid), code.is_sent == 1);
    }
    Ok(Outcome { sent, codes, counters, pending, stacks_kept, codes_kept, reads: 0, wakes: 0 })
}

/// Nanoseconds since boot.
fn now() -> Result<u64, Wrong> {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?);
    Ok(u64::try_from(now.as_nanos())?)
}

/// Times lie within the case, in order.
fn check_times(outcome: &Outcome, before: u64, after: u64) -> Result<(), Wrong> {
    let mut last = before;
    for Sent { record, .. } in &outcome.sent {
        let start = record.attempt.start_ns;
        if record.time_ns < last || record.time_ns > after || start < before || start > record.time_ns {
            return Err(format!("{} and {start} are not in order in {last}..={after}", record.time_ns).into());
        }
        last = record.time_ns;
    }
    Ok(())
}

/// What this process runs, as /proc shows it.
fn own_program() -> Result<Program, Wrong> {
    let executable = fs::read_link("/proc/self/exe")?;
    let names = executable.iter().skip(1).map(|name| name.to_string_lossy().into_owned());
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    // startcode and endcode of proc_pid_stat(5), counted from the first after the name.
    let code = (fields[23].parse()?, fields[24].parse()?);
    // Device and inode as the kernel has them: file systems made of others show another device in stat.
    let maps = fs::read_to_string("/proc/self/maps")?;
    let own = maps.lines().find(|line| line.ends_with(&*executable.to_string_lossy()));
    let own: Vec<&str> =
        own.ok_or("the test's own code is mapped from nowhere")?.split_whitespace().collect();
    let (major, minor) = own[3].split_once(':').ok_or("a device is two numbers")?;
    let device = u32::from_str_radix(major, 16)? << 20 | u32::from_str_radix(minor, 16)?;
    Ok(Program {
        number: 1,
        code,
        inode: own[4].parse()?,
        device,
        mounts: vec![names.collect::<Vec<_>>().into_iter().rev().collect()],
    })
}

/// What can be foretold and seen: no times, no frames, no reads or wake-ups, but whether there was a stack at all.
fn without_times(mut outcome: Outcome) -> Outcome {
    outcome.reads = 0;
    outcome.wakes = 0;
    let bare = |walk: &Walk| Walk { length: walk.length.signum(), frames: Vec::new() };
    for sent in &mut outcome.sent {
        sent.record.time_ns = 0;
        sent.record.attempt.start_ns = 0;
        sent.record.attempt.mm = sent.record.attempt.mm.min(1);
        sent.stacks = sent.stacks.as_ref().map(|(user, kernel)| (bare(user), bare(kernel)));
    }
    for attempt in outcome.pending.values_mut() {
        attempt.start_ns = 0;
        attempt.mm = attempt.mm.min(1);
    }
    for code in &mut outcome.codes {
        code.program.0 = code.program.0.min(1);
        code.addresses = bare(&code.addresses);
        code.places = code.places.as_ref().map(|_| Vec::new()).map_err(|errno| *errno);
    }
    let kept = std::mem::take(&mut outcome.codes_kept).into_iter();
    outcome.codes_kept = kept.map(|((mm, process), is_sent)| ((mm.min(1), process), is_sent)).collect();
    let durations = &mut outcome.counters.durations;
    let all: u64 = durations.iter().sum();
    durations.fill(0);
    durations[0] = all;
    outcome
}
