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
    let rounds = rounds(bench, 80);
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
        let told = match kept(bench, &server, Load::Refused, peer, self::rounds(bench, 20)) {
            Ok(kept) => percent(&kept),
            Err(error) => format!("does not run: {error}"),
        };
        report.tell(PART, format!("Refused: {}", peer.name()), told);
    }
    for subject in [plain, Subject::Empty(empty::STATES), Subject::Empty(empty::ALL)] {
        let runs = runs(bench, &server, Load::Unrelated, subject, self::rounds(bench, 20))?;
        let added = runs.compare(|untraced, traced| (traced - untraced) * 1e9);
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
    let runs = runs(bench, server, load, subject, rounds)?;
    Ok(runs.compare(|untraced, traced| untraced * 100.0 / traced))
}

/// Seconds that an operation takes: the slices of runs that alternate, of which one more is untraced.
struct Runs {
    untraced: Vec<Vec<f64>>,
    traced: Vec<Vec<f64>>,
}

impl Runs {
    /// By the medians of all slices. The interval is that of the rounds, each traced run between its two neighbours.
    fn compare(&self, by: impl Fn(f64, f64) -> f64) -> Spread {
        let neighbours = self.untraced.windows(2).map(<[_]>::concat);
        let rounds =
            neighbours.zip(&self.traced).map(|(untraced, traced)| by(median(&untraced), median(traced)));
        let median = by(median(&self.untraced.concat()), median(&self.traced.concat()));
        Spread { median, ..Spread::of(rounds.collect()) }
    }
}

fn median(paces: &[f64]) -> f64 {
    Spread::of(paces.to_vec()).median
}

fn runs(bench: &Bench, server: &Server, load: Load, subject: Subject, rounds: usize) -> Result<Runs> {
    // What slows the machine down for longer is in both then.
    let time = Duration::from_millis(match subject {
        _ if bench.emulated => 1_000,
        // Some have much to do at first.
        Subject::Peer { .. } => 250,
        _ => 30,
    });
    let mut runs = Runs { untraced: vec![paces(&bench.netns, load, time)?], traced: Vec::new() };
    for _ in 0..rounds {
        let running = subject.start(server)?;
        // The first connects warm caches and translate addresses for the first time.
        paces(&bench.netns, load, time / 5)?;
        runs.traced.push(paces(&bench.netns, load, time)?);
        drop(running);
        runs.untraced.push(paces(&bench.netns, load, time)?);
    }
    Ok(runs)
}
