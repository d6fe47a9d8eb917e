//! A kernel that takes a trace halfway and then no further: what it had taken is given back, and the answer says where
//! it stopped. The process has no descriptor to spare, one more each time.

use std::{collections::BTreeSet, fs, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::json;
use vm_tests::harness::{Lab, Length, Load, Netns, Server, Trace, kernel, storm};

use crate::Scale;

/// More descriptors than any trace takes.
const MOST: usize = 200;

pub(crate) fn what_is_refused_halfway_is_undone(lab: &Lab, _: Scale) -> Result<()> {
    let server = lab.own_server()?;
    let api = server.api();
    let start = || api.post("/api/v1/traces", &json!({}));
    // What the first trace opens for good is open now.
    ensure!(api.delete(&start()?.location)?.status == 204, "not deleted");
    let (before, spare) = (Held::by(&server)?, Spare::of(&server)?);
    let mut refusals = Vec::new();
    for descriptors in 0..MOST {
        spare.leave(descriptors)?;
        let reply = start()?;
        spare.leave(MOST)?;
        if reply.status == 201 {
            api.delete(&reply.location)?;
            ensure!(Held::by(&server)? == before, "with {descriptors} something is left of a trace that ran");
            return every_step_is_named(&refusals);
        }
        let problem = reply.problem(503)?;
        ensure!(Held::by(&server)? == before, "with {descriptors} something is left: {}", problem.0);
        ensure!(problem.text("/remedy")?.contains("LimitNOFILE="), "what would help? {}", problem.0);
        refusals.push(problem.text("/detail")?.to_owned());
    }
    anyhow::bail!("{MOST} descriptors are not enough: {refusals:?}")
}

/// Every program is refused as it is loaded. As they are attached, there are descriptors for the first ones that loading
/// has given back, and the last ones are refused. Looking at the links takes one: their list is closed before they are read.
fn every_step_is_named(refusals: &[String]) -> Result<()> {
    let of = |doing: &str| {
        let refusals: BTreeSet<_> = refusals.iter().filter(|refusal| refusal.contains(doing)).collect();
        refusals.len()
    };
    let (loading, attaching) = (of("loading program `"), of("attaching program `"));
    println!("{} refusals, {loading} while loading, {attaching} while attaching", refusals.len());
    ensure!(loading >= 7 && attaching >= 2, "{refusals:#?}");
    let unwatched =
        |refusal: &&String| refusal.contains("looking after") && refusal.contains("Too many open files");
    ensure!(refusals.iter().filter(unwatched).count() == 1, "{refusals:#?}");
    Ok(())
}

/// Whether programs are where they were cannot be told without a descriptor, which does not mean that they are gone.
pub(crate) fn a_trace_goes_on_without_descriptors(lab: &Lab, _: Scale) -> Result<()> {
    let (server, netns) = (lab.own_server()?, Netns::new()?);
    let mut trace = Trace::start(&server, &json!({"filter": {"netns": netns.inode()}}))?;
    let spare = Spare::of(&server)?;
    spare.leave(0)?;
    // It is looked every second.
    thread::sleep(Duration::from_secs(3));
    storm(&netns, "exhausted", Load::Refused, Length::Times(1))?;
    trace.expect("connect.failed")?;
    spare.leave(MOST)?;
    trace.stop()?.is("/end_reason", "requested")?;
    Ok(())
}

/// What a server holds of the kernel.
#[derive(PartialEq, Eq)]
struct Held {
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
    descriptors: usize,
}

impl Held {
    fn by(server: &Server) -> Result<Self> {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", server.pid()))?.count();
        Ok(Self {
            programs: kernel::programs_of(server.pid())?,
            maps: kernel::maps_of(server.pid())?,
            descriptors,
        })
    }
}

/// The descriptors that a server may open.
struct Spare {
    pid: Pid,
    taken: BTreeSet<u64>,
}

impl Spare {
    fn of(server: &Server) -> Result<Self> {
        let taken = fs::read_dir(format!("/proc/{}/fd", server.pid()))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().parse()?))
            .collect::<Result<_>>()?;
        Ok(Self { pid: Pid::from_raw(server.pid().try_into()?).context("no process")?, taken })
    }

    /// Leaves so many numbers that are free; the least of them is always given out next.
    fn leave(&self, descriptors: usize) -> Result<()> {
        let current = (0..).filter(|number| !self.taken.contains(number)).nth(descriptors);
        let maximum = getrlimit(Resource::Nofile).maximum;
        prlimit(Some(self.pid), Resource::Nofile, Rlimit { current, maximum })?;
        Ok(())
    }
}
