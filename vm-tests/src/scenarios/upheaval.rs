//! What befalls a host as a whole: its clock is set, it sleeps, a processor goes.

use std::fs;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use rustix::time::{ClockId, Timespec, clock_settime};

use super::expect::{failure, only, refuse};
use crate::harness::{Connect, Json, Lab, Length, Load, Netns, Trace, storm};
use crate::vm::protocol::Fact;

super::scenarios!["upheaval":
    clock_that_is_set_changes_times_and_nothing_else [ALONE],
    sleep_is_time_that_passes [ALONE],
    processor_that_goes_takes_no_event_along [ALONE],
];

const HOUR: Duration = Duration::from_hours(1);
/// Less than a step, and more than anything takes on a slow machine.
const TOLERANCE: Duration = Duration::from_mins(1);

/// Wall time as it goes on when nobody sets it.
struct Clock {
    wall: SystemTime,
    since: Instant,
}

impl Clock {
    fn new() -> Self {
        Self { wall: SystemTime::now(), since: Instant::now() }
    }

    /// Sets the clock to so long before or after what it should be.
    fn set(&self, ahead: impl FnOnce(SystemTime) -> SystemTime) -> Result<()> {
        let time = ahead(self.wall + self.since.elapsed()).duration_since(UNIX_EPOCH)?;
        Ok(clock_settime(ClockId::Realtime, Timespec::try_from(time)?)?)
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        // Where it could be set, it can be set back.
        let _ = self.set(|time| time);
    }
}

fn clock_that_is_set_changes_times_and_nothing_else(lab: &Lab) -> Result<()> {
    let (server, netns) = (lab.own_server()?, Netns::new()?);
    let mut trace = Trace::start(&server, &only(&netns))?;
    let clock = Clock::new();
    for ahead in [|time| time, |time| time + HOUR, |time| time - HOUR] {
        clock.set(ahead)?;
        refuse(&netns, "set", "127.0.0.1:81")?;
        is_now(&trace.until("connect.failed")?.1)?;
    }
    // Set while an attempt is under way.
    amid_an_attempt(&netns, || clock.set(|time| time + HOUR))?;
    let (_, end) = trace.until("connect.failed")?;
    failure(&end, "closed_by_app", None)?;
    end.within("/tcp/connect/duration_ms", 1990.0..=TOLERANCE.as_secs_f64() * 1e3)?;
    is_now(&end)?;
    let told = trace.told().len();
    trace.stop()?.is("/counters/delivered", told)?.is("/counters/lost/history", 0)?;
    ensure!(trace.events()? == trace.told(), "other events than were told");
    ensure!(!server.log().contains("ERROR"), "the server complained: {}", server.log());
    Ok(())
}

/// Does this while an attempt is under way that gives up after two seconds.
fn amid_an_attempt(netns: &Netns, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let (patience, silent) = (Duration::from_secs(2), "203.0.113.7:22");
    let attempt = || netns.run("slow", || Connect::to_address(silent)?.giving_up_after(patience).run());
    thread::scope(|scope| {
        let slow = scope.spawn(attempt);
        thread::sleep(patience / 2);
        work()?;
        slow.join().ok().context("the attempt panicked")?.map(drop)
    })
}

/// Requires an event to be of this moment or so, by the clock as it stands.
fn is_now(event: &Json) -> Result<()> {
    is_since(SystemTime::now() - TOLERANCE, event)
}

/// Requires an event to be of a moment between this one and now.
fn is_since(begun: SystemTime, event: &Json) -> Result<()> {
    /// From the kernel's clock to that of the wall.
    const INACCURACY: Duration = Duration::from_millis(100);
    let time = UNIX_EPOCH + Duration::from_nanos(event.text("/time_unix_nano")?.parse()?);
    let now = SystemTime::now();
    ensure!(
        (begun - INACCURACY..=now + INACCURACY).contains(&time),
        "not from {begun:?} to {now:?}: {}",
        event.0
    );
    Ok(())
}

/// Longer than what is left of an attempt that is under way.
const ASLEEP: Duration = Duration::from_secs(10);

/// Suspends the host until its clock wakes it.
fn suspend() -> Result<()> {
    fs::write(ALARM, format!("+{}", ASLEEP.as_secs())).context("setting the alarm clock")?;
    fs::write("/sys/power/state", "mem").context("suspending")
}

const ALARM: &str = "/sys/class/rtc/rtc0/wakealarm";

fn sleep_is_time_that_passes(lab: &Lab) -> Result<()> {
    if !fs::exists(ALARM)? {
        lab.note(Fact::new("feature", "suspend", "no alarm clock"));
        return Ok(());
    }
    // The kernel wakes only those that it sent to sleep: QEMU 7.2 lets one that the kernel never had run wild, and all crawl.
    let _second = Second::switched_on()?;
    let (server, netns) = (lab.own_server()?, Netns::new()?);
    let mut trace = Trace::start(&server, &only(&netns))?;
    let begun = SystemTime::now();
    amid_an_attempt(&netns, suspend)?;
    let (_, end) = trace.expect_end("connect.failed")?;
    ensure!(begun.elapsed()? >= ASLEEP, "it did not sleep: {:?}", begun.elapsed());
    failure(&end, "closed_by_app", None)?;
    end.within("/tcp/connect/duration_ms", ASLEEP.as_secs_f64() * 1e3..=TOLERANCE.as_secs_f64() * 1e3)?;
    is_since(begun + ASLEEP, &end)?;
    let awake = SystemTime::now();
    refuse(&netns, "awake", "127.0.0.1:81")?;
    is_since(awake, &trace.expect("connect.failed")?)?;
    lab.note(Fact::new("feature", "suspend", "ok"));
    Ok(())
}

/// The second processor, which is left as it was found.
struct Second {
    was_on: bool,
}

impl Second {
    const SWITCH: &str = "/sys/devices/system/cpu/cpu1/online";

    fn switched_on() -> Result<Self> {
        let state = fs::read_to_string(Self::SWITCH).context("there is no second processor")?;
        Self::switch(true)?;
        Ok(Self { was_on: state.trim() == "1" })
    }

    fn switch(on: bool) -> Result<()> {
        fs::write(Self::SWITCH, if on { "1" } else { "0" }).with_context(|| format!("switching it on: {on}"))
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let _ = Self::switch(self.was_on);
    }
}

/// Of a thread, at once.
const FAILURES: u64 = 40;
/// Between one lot and the next, while a processor goes or comes.
const PAUSE: Duration = Duration::from_millis(5);

fn processor_that_goes_takes_no_event_along(lab: &Lab) -> Result<()> {
    let (server, netns, _second) = (lab.own_server()?, Netns::new()?, Second::switched_on()?);
    let start = || Trace::start(&server, &only(&netns));
    let with_both = start()?;
    let before = fail_on_all(&netns)? + while_failing(&netns, || Second::switch(false))?;
    let with_one = start()?;
    let after = fail_on_all(&netns)? + while_failing(&netns, || Second::switch(true))? + fail_on_all(&netns)?;
    for (trace, failures) in [(with_both, before + after), (with_one, after)] {
        let counters = trace.stop()?;
        let count = |counter: &str| counters.count(&format!("/counters/{counter}"));
        // From 7.1 on a kernel misses some, and says how often.
        let missed = count("attempts/missed")?;
        for seen in [count("attempts/started")?, count("attempts/failed")?] {
            ensure!(seen <= failures && seen + missed >= failures, "{seen} of {failures}: {}", counters.0);
        }
        let (produced, told) = (count("produced")?, count("delivered")?);
        ensure!(produced == told + count("lost/ringbuf")? + count("lost/queue")?, "{}", counters.0);
        ensure!(told > 0, "nothing was told: {}", counters.0);
    }
    Ok(())
}

/// Fails from before the work begins until after it has ended, however long it takes; returns how often.
fn while_failing(netns: &Netns, work: impl FnOnce() -> Result<()>) -> Result<u64> {
    let (begun, done) = (Barrier::new(3), AtomicBool::new(false));
    let fail = || -> Result<u64> {
        let mut failures = some_failures(netns);
        begun.wait();
        while failures.is_ok() && !done.load(Ordering::Relaxed) {
            // The kernel needs the processor, too, to switch one.
            thread::sleep(PAUSE);
            failures = failures.and_then(|before| Ok(before + some_failures(netns)?));
        }
        Ok(failures? + some_failures(netns)?)
    };
    thread::scope(|scope| {
        let failing = [scope.spawn(fail), scope.spawn(fail)];
        begun.wait();
        let worked = work();
        done.store(true, Ordering::Relaxed);
        let failures = sum(failing);
        worked.and(failures)
    })
}

/// Fails from two threads: on two processors, if there are. Returns how often.
fn fail_on_all(netns: &Netns) -> Result<u64> {
    thread::scope(|scope| sum([(); 2].map(|()| scope.spawn(|| some_failures(netns)))))
}

fn some_failures(netns: &Netns) -> Result<u64> {
    storm(netns, "storm", Load::Refused, Length::Times(FAILURES)).map(|(count, _)| count)
}

fn sum(threads: [ScopedJoinHandle<'_, Result<u64>>; 2]) -> Result<u64> {
    threads.into_iter().map(|thread| thread.join().ok().context("a storm panicked")?).sum()
}
