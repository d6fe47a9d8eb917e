//! Events from the kernel of this host.

use std::{
    future::pending,
    io,
    process::{ExitCode, ExitStatus},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use synscope_tracer::{CounterReader, Event, Kernel, Tracer, process::Processes};
use tokio::{
    process::Child,
    signal::unix::{SignalKind, signal},
};

use super::{
    command::{self, OwnCgroup},
    usage,
    view::View,
};
use crate::{
    Failure,
    cli::TraceArgs,
    event::{Describer, look},
    filter::Filter,
    request::{Cgroup, FieldError, TraceRequest},
    trace::CountersJson,
};

/// Events taken from the ring buffer at once.
const BATCH: usize = 512;
/// Programs that were running when they were detached end within microseconds; this is how long the last of their
/// records is waited for.
const LAST_RECORDS: Duration = Duration::from_millis(100);

/// Traces until Ctrl-C, the end of the command, the time or the number of events that was asked for.
pub(super) async fn run(args: &TraceArgs, mut filter: Filter) -> Result<ExitCode, Failure> {
    let mut request = request(args).map_err(|error| usage(&error))?;
    let cgroup = if args.command.is_empty() { None } else { Some(OwnCgroup::new()?) };
    request.filter.cgroup.extend(cgroup.iter().map(|cgroup| Cgroup::Id(cgroup.id())));
    filter.push_down(&mut request.filter);
    request.check().map_err(|error| usage(&error))?;
    let options = request.options().map_err(|error| usage(&error))?;
    let kernel = Kernel::of_this_host()?;
    let (tracer, counters) = Tracer::start(&kernel, &options)?;
    let view = View::new(&args.view, filter, request.max_events, cgroup.is_some())?;
    let child = match cgroup.as_ref().map(|cgroup| cgroup.spawn(&args.command)).transpose() {
        Ok(child) => child,
        Err(error) => return Ok(error.exit_code()),
    };
    if !args.view.json && child.is_none() {
        eprintln!("tracing; Ctrl-C ends");
    }
    let processes = Arc::new(Processes::new());
    let describer = Describer::new(kernel, Arc::clone(&processes));
    let mut live = Live { tracer, counters, processes, describer, seq: 0, view };
    let ended = live.run(child, request.ttl_s).await;
    let status =
        ended.map_err(|error| Failure::new(format!("cannot go on: {error}"), "see the system's log"))?;
    Ok(match status {
        Some(status) if !status.success() => command::exit_code(status),
        _ => live.view.exit_code(),
    })
}

/// The same request that the API takes, read by the same code.
fn request(args: &TraceArgs) -> Result<TraceRequest, FieldError> {
    let filter = &args.filter;
    TraceRequest::from_json(json!({
        "filter": {
            "pid": filter.pid, "comm": filter.comm, "uid": filter.uid, "cgroup": filter.cgroup,
            "netns": filter.netns, "family": filter.family, "peer": filter.peer, "peer_port": filter.peer_port,
            "local_port": filter.local_port,
        },
        "slow_ms": args.slow_ms, "starts": args.starts, "stacks": !args.no_stacks, "drops": args.drops,
        "ttl_s": args.ttl_s, "max_events": args.max_events,
    }))
}

struct Live {
    tracer: Tracer,
    counters: CounterReader,
    processes: Arc<Processes>,
    describer: Describer,
    seq: u64,
    view: View,
}

impl Live {
    /// Returns how the command ended, if there was one.
    async fn run(&mut self, mut child: Option<Child>, ttl_s: Option<u64>) -> io::Result<Option<ExitStatus>> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let ttl = tokio::time::sleep(ttl_s.map_or(Duration::MAX, Duration::from_secs));
        tokio::pin!(ttl);
        let mut status = None;
        let mut events = Vec::new();
        let mut read_by_somebody = true;
        while read_by_somebody && !self.view.is_done() {
            tokio::select! {
                read = self.tracer.read(&mut events, BATCH) => read?,
                ended = end_of(child.as_mut()) => {
                    status = Some(ended?);
                    break;
                }
                // The terminal tells the command as well: it ends the trace by ending.
                _ = interrupt.recv() => if child.is_none() { break },
                _ = terminate.recv() => match &child {
                    None => break,
                    Some(child) => command::terminate(child),
                },
                () = &mut ttl => break,
            }
            read_by_somebody = self.show(&mut events)?;
        }
        if read_by_somebody {
            self.last_records().await?;
            let mut counters = CountersJson::from(&self.counters.read()?);
            counters.attempts.missed = self.tracer.missed();
            self.view.summary.counters = Some(serde_json::to_value(counters)?);
            self.view.finish();
        }
        match (status, child) {
            (None, Some(mut child)) => child.wait().await.map(Some),
            (status, _) => Ok(status),
        }
    }

    /// False when nobody reads any more (`| head`): that is an end like any other.
    fn show(&mut self, events: &mut Vec<Event>) -> io::Result<bool> {
        look(&self.processes, events);
        let shown = tokio::task::block_in_place(|| {
            for event in events.drain(..) {
                self.seq += 1;
                let mut told = serde_json::to_value(self.describer.describe(event))?;
                if let Value::Object(members) = &mut told {
                    members.insert("seq".into(), self.seq.into());
                }
                self.view.take(&told)?;
            }
            self.view.flush()
        });
        match shown {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            shown => shown.map(|()| true),
        }
    }

    /// Shows what the programs had produced when they were detached.
    async fn last_records(&mut self) -> io::Result<()> {
        self.tracer.detach();
        let deadline = tokio::time::Instant::now() + LAST_RECORDS;
        let (mut events, mut produced) = (Vec::new(), None);
        loop {
            while !self.tracer.drain(&mut events, BATCH) {
                self.show(&mut events)?;
            }
            self.show(&mut events)?;
            // Done once the counters have stood still for a moment.
            let now = self.counters.read().ok().map(|counted| counted.produced);
            if now == produced || tokio::time::Instant::now() > deadline {
                return Ok(());
            }
            produced = now;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Never, when there is no command.
async fn end_of(child: Option<&mut Child>) -> io::Result<ExitStatus> {
    match child {
        Some(child) => child.wait().await,
        None => pending().await,
    }
}
