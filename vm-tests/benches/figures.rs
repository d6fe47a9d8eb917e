//! The figures that the project promises, measured on the real binary: `cargo bench --bench figures`.
//!
//! `-- --no-build` leaves out the cold build, which takes minutes.

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use vm_tests::harness::{Connect, Lab, Netns, Server, Trace};

const CREATES: usize = 20;
const CREATE_BOUND_MS: f64 = 200.0;
const EVENTS: usize = 200;
const EVENT_BOUND_MS: f64 = 20.0;
const BUILD_BOUND_MS: f64 = 5.0 * 60.0 * 1e3;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("figures: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let binary = Lab::find_binary().context("no server: `cargo build --release` builds it")?;
    println!("{} on {} cores", binary.display(), thread::available_parallelism()?);
    let server = Server::start(&binary)?;
    let mut kept = print("POST to probes attached", &mut creates(&server)?, CREATE_BOUND_MS);
    kept &= print("kernel event to WebSocket client", &mut events(&server)?, EVENT_BOUND_MS);
    if !env::args().any(|argument| argument == "--no-build") {
        kept &= print("cold release build", &mut [cold_build()?], BUILD_BOUND_MS);
    }
    Ok(kept)
}

/// Prints median and extremes, and says whether the median keeps the bound.
fn print(what: &str, milliseconds: &mut [f64], bound: f64) -> bool {
    milliseconds.sort_by(f64::total_cmp);
    let median = milliseconds[milliseconds.len() / 2];
    let (least, most) = (milliseconds[0], milliseconds[milliseconds.len() - 1]);
    let kept = median <= bound;
    println!(
        "{what}: median {median:.1} ms, {least:.1} to {most:.1} ms of {} (bound {bound:.0} ms): {}",
        milliseconds.len(),
        if kept { "kept" } else { "MISSED" },
    );
    kept
}

fn creates(server: &Server) -> Result<Vec<f64>> {
    let create = |_| {
        let begun = Instant::now();
        let reply = server.api().post("/api/v1/traces", &json!({}))?;
        let took = begun.elapsed();
        reply.expect(201)?;
        server.api().delete(&reply.location)?;
        Ok(took.as_secs_f64() * 1e3)
    };
    (0..CREATES).map(create).collect()
}

fn events(server: &Server) -> Result<Vec<f64>> {
    let netns = Netns::new()?;
    let request = json!({"filter": {"netns": netns.inode()}});
    let mut trace = Trace::start(server, &request)?;
    thread::scope(|scope| {
        let connects = scope.spawn(|| {
            netns.run("figures", || {
                let connect = Connect::to_address("127.0.0.1:81")?;
                (0..EVENTS).try_for_each(|_| {
                    thread::sleep(Duration::from_millis(10));
                    connect.run().map(drop)
                })
            })
        });
        let delays = (0..EVENTS).map(|_| {
            let event = trace.expect("connect.failed")?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
            Ok(now * 1e3 - event.number("/time_unix_nano")? / 1e6)
        });
        let delays = delays.collect::<Result<Vec<f64>>>()?;
        connects.join().ok().context("the connects panicked")??;
        Ok(delays)
    })
}

fn cold_build() -> Result<f64> {
    let target = tempfile::tempdir()?;
    let begun = Instant::now();
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--target-dir"])
        .arg(target.path())
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .status()?;
    ensure!(status.success(), "the build failed");
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}
