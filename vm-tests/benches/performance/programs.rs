//! What the programs take, counted by the kernel.

use std::{collections::BTreeSet, fs, thread, time::Duration};

use anyhow::{Context as _, Result};
use aya::programs::ProgramInfo;
use vm_tests::harness::{Length, Load, Server, storm, storms};

use crate::{
    Bench,
    empty::{Empty, STATES},
    report::Report,
    subject::{Subject, peers, spent},
};

const PART: &str = "Program time per state change, an empty program subtracted";
const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";
/// State changes of a connect that the programs look at: into SYN_SENT and out of it.
const OF_A_CONNECT: f64 = 2.0;

/// The kernel's own counting, until it is dropped.
struct Statistics(String);

impl Statistics {
    fn on() -> Result<Self> {
        let before = fs::read_to_string(SWITCH).context("the kernel does not count")?;
        fs::write(SWITCH, "1")?;
        Ok(Self(before))
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        // As it was; there is nobody to tell when that fails.
        let _ = fs::write(SWITCH, self.0.trim());
    }
}

/// What a load cost per run of the state-change programs.
struct Cost {
    runs: f64,
    nanoseconds: f64,
    empty: f64,
}

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let _statistics = Statistics::on()?;
    let server = bench.lab.own_server()?;
    let times = times(bench);
    let cost = |load, stacks| cost(bench, &server, load, Subject::Synscope { stacks }, (1, times));
    let listening = cost(Load::Listening, false)?;
    report.tell(PART, "an empty program", nanoseconds(listening.empty));
    // Several programs at one tracepoint: each has the overhead of an empty one.
    let early = listening.mean();
    report.judge(PART, "no connect's: early exit", nanoseconds(early), "≤ 15 ns", early <= 15.0);
    for (load, goal) in [(Load::Healthy, 300.0), (Load::Refused, 450.0)] {
        let each = of_a_connect(&cost(load, false)?, early, times);
        let what = format!("{load:?}, without stacks");
        report.judge(PART, what, nanoseconds(each), format!("≤ {goal} ns"), each <= goal);
        let each = of_a_connect(&cost(load, true)?, early, times);
        report.tell(PART, format!("{load:?}, with stacks"), nanoseconds(each));
    }
    for peer in peers() {
        let cost = self::cost(bench, &server, Load::Refused, peer, (1, times / 10));
        // All that its programs take, whatever hooks they are at.
        let each = |cost: Cost| nanoseconds(cost.total() / (OF_A_CONNECT * count(times / 10)));
        let told = cost.map_or_else(|error| format!("does not run: {error}"), each);
        report.tell(PART, format!("Refused: {}", peer.name()), told);
    }
    Ok(())
}

/// What several traces at once cost together.
pub(crate) fn measure_many(bench: &Bench, report: &mut Report) -> Result<()> {
    const PART: &str = "Program time per state change of a refused connect, all traces together";
    let _statistics = Statistics::on()?;
    let server = bench.lab.own_server()?;
    let times = if bench.quick { 1_000 } else { 30_000 };
    for traces in [1_u32, 2, 4, 8] {
        let subject = Subject::Synscope { stacks: false };
        let running = (0..traces).map(|_| subject.start(&server)).collect::<Result<Vec<_>>>()?;
        let ours = |id| running.iter().any(|running| running.programs.contains(&id));
        let before = spent(|info| ours(info.id()));
        storm(&bench.netns, "storm", Load::Refused, Length::Times(times))?;
        let (_, time) = since(before, spent(|info| ours(info.id())));
        let each = per(time, times) / OF_A_CONNECT;
        report.tell(PART, format!("{traces} at once"), nanoseconds(each));
    }
    Ok(())
}

/// What connects cost whose processors meet at what is shared.
pub(crate) fn measure_processors(bench: &Bench, report: &mut Report) -> Result<()> {
    const PART: &str = "Program time per state change of a refused connect, as processors storm";
    let _statistics = Statistics::on()?;
    let server = bench.lab.own_server()?;
    let all = thread::available_parallelism()?.get() as u64;
    let subject = Subject::Synscope { stacks: false };
    for storming in BTreeSet::from([1, all]) {
        let times = times(bench) / storming;
        let cost = cost(bench, &server, Load::Refused, subject, (storming, times))?;
        let each = cost.total() / (OF_A_CONNECT * count(storming * times));
        let told = format!("{}, an empty program {}", nanoseconds(each), nanoseconds(cost.empty));
        report.tell(PART, format!("{storming} of {all} processors"), told);
    }
    Ok(())
}

/// How many operations a load has: whatever part of it is taken, a multiple of sixteen.
fn times(bench: &Bench) -> u64 {
    if bench.quick || bench.emulated { 3_200 } else { 96_000 }
}

impl Cost {
    /// Nanoseconds of one run beyond an empty program.
    fn mean(&self) -> f64 {
        self.nanoseconds / self.runs.max(1.0) - self.empty
    }

    /// Nanoseconds of all runs beyond an empty program.
    fn total(&self) -> f64 {
        self.nanoseconds - self.runs * self.empty
    }
}

/// The mean of a connect's own two state changes: the others leave early, and what they cost is known.
fn of_a_connect(cost: &Cost, early: f64, times: u64) -> f64 {
    #[expect(clippy::cast_precision_loss)]
    let own = OF_A_CONNECT * times as f64;
    (cost.total() - (cost.runs - own) * early) / own
}

/// The cost of so many threads' loads of so many operations each.
fn cost(
    bench: &Bench,
    server: &Server,
    load: Load,
    subject: Subject,
    (threads, times): (u64, u64),
) -> Result<Cost> {
    let running = subject.start(server)?;
    let empty = Empty::attach(STATES[0])?;
    let is_peer = matches!(subject, Subject::Peer { .. });
    let on_hook =
        |info: &ProgramInfo| running.programs.contains(&info.id()) && (is_peer || is_state_program(info));
    let before = (spent(on_hook), spent(|info| info.id() == empty.id));
    storms(&bench.netns, load, Length::Times(times), threads)?;
    let (runs, time) = since(before.0, spent(on_hook));
    let (empty_runs, empty_time) = since(before.1, spent(|info| info.id() == empty.id));
    Ok(Cost { runs: count(runs), nanoseconds: nanos(time), empty: per(empty_time, empty_runs) })
}

/// What was added between two readings.
fn since(before: (u64, Duration), after: (u64, Duration)) -> (u64, Duration) {
    (after.0 - before.0, after.1.saturating_sub(before.1))
}

/// Programs of ours at `inet_sock_set_state`.
fn is_state_program(info: &ProgramInfo) -> bool {
    matches!(info.name_as_str(), Some("set_state" | "connect_start" | "connect_end"))
}

#[expect(clippy::cast_precision_loss, reason = "a mean of far less than 2^52")]
fn count(count: u64) -> f64 {
    count as f64
}

fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

fn per(time: Duration, times: u64) -> f64 {
    nanos(time) / count(times.max(1))
}

fn nanoseconds(value: f64) -> String {
    format!("{value:.0} ns")
}
