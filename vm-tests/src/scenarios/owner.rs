//! Whose attempt it was, when the kernel works on it under somebody else's name.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::expect::{only, owned};
use crate::harness::{Actor, Connect, Lab, Netns};

super::scenarios!["owner":
    retransmit_while_other_processes_burn_every_core,
    process_that_is_gone_when_the_end_is_told,
];

/// The softirq that sends a SYN again runs on top of whatever task the core was busy with.
fn retransmit_while_other_processes_burn_every_core(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only(&netns))?;
    let cores = thread::available_parallelism()?.get();
    let spinners = (0..=cores).map(|_| Actor::spin(&netns)).collect::<Result<Vec<_>>>()?;
    let connect = Connect::to_address("203.0.113.7:22")?;
    let patience = Duration::from_millis(1600);
    let tried = netns.run("owner-busy", || connect.giving_up_after(patience).run())?;
    drop(spinners);
    let (retransmits, end) = trace.expect_end("connect.failed")?;
    ensure!(!retransmits.is_empty(), "no retransmit was told");
    retransmits.iter().chain([&end]).try_for_each(|event| owned(event, &tried, "owner-busy", &netns))
}

fn process_that_is_gone_when_the_end_is_told(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only(&netns))?;
    let patience = Duration::from_secs(5);
    let mut actor = Actor::connect(&netns, "owner-gone", "127.0.0.1:81", patience)?;
    actor.wait()?;
    let end = trace.expect("connect.failed")?;
    end.is("/process/pid", actor.pid())?
        .is("/process/tid", actor.pid())?
        .is("/process/comm", "owner-gone")?;
    Ok(())
}
