//! Scenarios that go wrong on purpose, to see that the host notices.

use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::system::{RebootCommand, reboot};

use super::results::Results;
use crate::harness::Lab;
use crate::scenarios::{Place, Scenario};
use crate::vm::protocol::Injection;

/// For what speaks to the host past the runner.
static RESULTS: OnceLock<Arc<Results>> = OnceLock::new();

/// The scenario of this name.
pub(super) fn scenario(kind: &str, results: &Arc<Results>) -> Result<Scenario> {
    let _ = RESULTS.set(Arc::clone(results));
    let injection = Injection::of(kind).with_context(|| format!("no failure is called {kind}"))?;
    let run: fn(&Lab) -> Result<()> = match injection {
        Injection::Fail => |_| bail!("as asked for"),
        Injection::Once => |_| once(),
        Injection::Panic => |_| Ok(fs::write("/proc/sysrq-trigger", "c")?),
        Injection::Hang => |_| hang(),
        Injection::Flood => |_| flood(),
        Injection::HalfLine => |_| half_a_line(),
    };
    Ok(Scenario {
        name: injection.scenario(),
        needs: &[],
        limit: Duration::from_mins(1),
        place: Place::Guest,
        run,
    })
}

fn once() -> Result<()> {
    static BEFORE: AtomicBool = AtomicBool::new(false);
    ensure!(BEFORE.swap(true, Ordering::Relaxed), "as asked for, this time");
    Ok(())
}

/// Nobody can tell the host anything any more.
fn hang() -> Result<()> {
    let port = RESULTS.get().context("no port")?;
    port.hold(|| thread::sleep(Duration::from_hours(1)));
    Ok(())
}

fn flood() -> Result<()> {
    let line = [b'x'; 4096];
    loop {
        std::io::stderr().write_all(&line)?;
    }
}

/// As if the power failed while a result was being told.
fn half_a_line() -> Result<()> {
    RESULTS.get().context("no port")?.write(br#"{"type":"result","scenario":"#);
    Ok(reboot(RebootCommand::PowerOff)?)
}
