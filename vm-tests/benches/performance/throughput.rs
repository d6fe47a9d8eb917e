//! How much of a storm's speed is left while it is traced.

use std::time::Duration;

use anyhow::Result;
use vm_tests::harness::{Load, Server, storm::paces};

use crate::{
    Bench, empty,
    report::{Report, Spread},
    subject::{Subject, peers},
};

const PART: &str = "Throughput kept, one thread on loopback, against untraced";
const ELSEWHERE: &str = "Added to a system call that has nothing to do with sockets";

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let server = bench.lab.own_server()?;
    let (plain, stacks) = (Subject::Synscope { stacks: false }, Subject::Synscope { stacks: true });
    let rounds = rounds(bench, 40);
    for (load, subject, goal) in [
        (Load::Refused, plain, 95.0),
        (Load::Refused, stacks, 88.0),
        (Load::Healthy, plain, 98.0),
        (Load::Healthy, stacks, 98.0),
    ] {
        let kept = kept(bench, &server, load, subject, rounds)?;
        let what = format!("{load:?}: {}", subject.name());
        report.judge(PART, what, percent(&kept), format!("≥ {goal} %"), kept.median >= goal);
    }
    for load in [Load::Refused, Load::Healthy] {
        for hooks in [empty::STATES, empty::ALL] {
            let subject = Subject::Empty(hooks);
            let kept = kept(bench, &server, load, subject, rounds)?;
            report.tell(PART, format!("{load:?}: {}", subject.name()), percent(&kept));
        }
    }
    for peer in peers() {
        let told = match kept(bench, &server, Load::Refused, peer, self::rounds(bench, 10)) {
            Ok(kept) => percent(&kept),
            Err(error) => format!("does not run: {error}"),
        };
        report.tell(PART, format!("Refused: {}", peer.name()), told);
    }
    for subject in [plain, Subject::Empty(empty::STATES), Subject::Empty(empty::ALL)] {
        let pairs = pairs(bench, &server, Load::Unrelated, subject, self::rounds(bench, 10))?;
        let added = Spread::of(pairs.into_iter().map(|pair| (pair.traced - pair.untraced) * 1e9).collect());
        let told = format!("{:.0} ns ({:.0} to {:.0})", added.median, added.lower, added.upper);
        report.tell(ELSEWHERE, subject.name(), told);
    }
    Ok(())
}

/// As many as are wanted, or as many as there is time for.
fn rounds(bench: &Bench, wanted: usize) -> usize {
    if bench.quick || bench.emulated { 3 } else { wanted }
}

fn percent(kept: &Spread) -> String {
    format!("{:.1} % ({:.1} to {:.1})", kept.median, kept.lower, kept.upper)
}

/// Percent of the untraced speed.
fn kept(bench: &Bench, server: &Server, load: Load, subject: Subject, rounds: usize) -> Result<Spread> {
    let pairs = pairs(bench, server, load, subject, rounds)?;
    Ok(Spread::of(pairs.into_iter().map(|pair| pair.untraced * 100.0 / pair.traced).collect()))
}

/// Seconds that an operation takes.
struct Pair {
    traced: f64,
    untraced: f64,
}

/// Each traced run stands between two untraced ones, which cancels a drift.
fn pairs(bench: &Bench, server: &Server, load: Load, subject: Subject, rounds: usize) -> Result<Vec<Pair>> {
    let time = Duration::from_millis(match (bench.quick, bench.emulated) {
        (true, _) => 50,
        (_, false) => 250,
        (_, true) => 1_000,
    });
    let run = |time| paces(&bench.netns, load, time).map(middle);
    let mut pairs = Vec::new();
    let mut before = run(time)?;
    for _ in 0..rounds {
        let running = subject.start(server)?;
        // The first connects warm caches and translate addresses for the first time.
        run(time / 5)?;
        let traced = run(time)?;
        drop(running);
        let after = run(time)?;
        pairs.push(Pair { traced, untraced: before.midpoint(after) });
        before = after;
    }
    Ok(pairs)
}

/// The mean of the middle half. A host that others share takes its processors away now and then, and a slice that this
/// happens to says nothing of what is measured.
fn middle(mut paces: Vec<f64>) -> f64 {
    paces.sort_by(f64::total_cmp);
    let quarter = paces.len() / 4;
    let half = &paces[quarter..paces.len() - quarter];
    #[expect(clippy::cast_precision_loss)]
    let count = half.len() as f64;
    half.iter().sum::<f64>() / count
}
