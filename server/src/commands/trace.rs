//! `synscope trace`: attempts on the terminal, without a server.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use synscope_tracer::{CounterReader, Event, Kernel, Tracer, process::Processes};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    Failure,
    attempt::{Attempt, Head},
    cli::TraceArgs,
    event::{Describer, EventBody, UnixNano, look},
    filter::{Filter, FilterError},
    request::{FieldError, TraceRequest},
};

/// Events taken from the ring buffer at once.
const BATCH: usize = 512;

/// Prints events until Ctrl-C, the time or the number of events that was asked for; then a summary.
pub(crate) async fn run(args: TraceArgs) -> Result<ExitCode, Failure> {
    let mut filter = filter(&args.terms.join(" "));
    let mut request = request(&args).map_err(|error| usage(&error))?;
    filter.push_down(&mut request.filter);
    request.check().map_err(|error| usage(&error))?;
    let options = request.options().map_err(|error| usage(&error))?;
    let kernel = Kernel::of_this_host()?;
    let (tracer, counters) = Tracer::start(&kernel, &options)?;
    let mut output = Output::new(kernel, args.json, filter, request.max_events.unwrap_or(u64::MAX));
    if !args.json {
        eprintln!("tracing; Ctrl-C ends");
    }
    print_all(tracer, &mut output, request.ttl_s)
        .await
        .map_err(|error| Failure::new(format!("cannot go on: {error}"), "see the system's log"))?;
    if !args.json {
        output.summarise(&counters);
    }
    Ok(ExitCode::SUCCESS)
}

/// Wrong values of flags end like wrong flags do.
fn usage(error: &FieldError) -> Failure {
    eprintln!("synscope: {error}\n  remedy: see `synscope trace --help`");
    std::process::exit(2);
}

/// Reads the terms; points at what cannot be read.
fn filter(terms: &str) -> Filter {
    terms.parse().unwrap_or_else(|FilterError { span, problem, remedy }| {
        let indent = " ".repeat(terms[..span.start].chars().count());
        let marks = "^".repeat(terms[span.start..span.end].chars().count().max(1));
        eprintln!("synscope: {problem}\n  {terms}\n  {indent}{marks}\n  remedy: {remedy}");
        std::process::exit(2);
    })
}

/// The same request that the API takes, read by the same code.
fn request(args: &TraceArgs) -> Result<TraceRequest, FieldError> {
    TraceRequest::from_json(json!({
        "filter": {
            "pid": args.pid, "comm": args.comm, "uid": args.uid, "cgroup": args.cgroup, "netns": args.netns,
            "family": args.family, "peer": args.peer, "peer_port": args.peer_port, "local_port": args.local_port,
        },
        "slow_ms": args.slow_ms, "starts": args.starts, "stacks": !args.no_stacks, "drops": args.drops,
        "ttl_s": args.ttl_s, "max_events": args.max_events,
    }))
}

async fn print_all(mut tracer: Tracer, output: &mut Output, ttl_s: Option<u64>) -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let ttl = tokio::time::sleep(ttl_s.map_or(Duration::MAX, Duration::from_secs));
    tokio::pin!(ttl);
    let mut events = Vec::new();
    while output.left > 0 {
        tokio::select! {
            read = tracer.read(&mut events, BATCH) => read?,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            () = &mut ttl => break,
        }
        look(&output.processes, &events);
        // Nobody reads any more (`| head`): that is an end like any other.
        match tokio::task::block_in_place(|| output.print(events.drain(..))) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            printed => printed?,
        }
    }
    Ok(())
}

struct Output {
    json: bool,
    /// What the kernel could not check.
    filter: Filter,
    left: u64,
    seq: u64,
    hidden: u64,
    processes: Arc<Processes>,
    describer: Describer,
    causes: BTreeMap<&'static str, u64>,
    header_printed: bool,
}

impl Output {
    fn new(kernel: Kernel, json: bool, filter: Filter, left: u64) -> Self {
        let processes = Arc::new(Processes::new());
        let (describer, causes) = (Describer::new(kernel, Arc::clone(&processes)), BTreeMap::new());
        Self { json, filter, left, seq: 0, hidden: 0, processes, describer, causes, header_printed: false }
    }

    fn print(&mut self, events: impl Iterator<Item = Event>) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        for event in events {
            if self.left == 0 {
                break;
            }
            let body = self.describer.describe(event);
            if !self.is_meant(&body)? {
                self.hidden += 1;
                continue;
            }
            self.left -= 1;
            self.seq += 1;
            if let Some(cause) = body.facts.tcp.connect.cause {
                *self.causes.entry(cause).or_default() += 1;
            }
            if self.json {
                let mut value = serde_json::to_value(&body)?;
                if let Value::Object(members) = &mut value {
                    members.insert("seq".into(), self.seq.into());
                }
                writeln!(stdout, "{value}")?;
            } else {
                if !std::mem::replace(&mut self.header_printed, true) {
                    writeln!(stdout, "{HEADER}")?;
                }
                writeln!(stdout, "{}", line(&body))?;
            }
        }
        stdout.flush()
    }

    /// An event is held against the filter as an attempt that has come so far.
    fn is_meant(&self, body: &EventBody) -> serde_json::Result<bool> {
        if self.filter.terms.is_empty() {
            return Ok(true);
        }
        let newest = serde_json::to_string(body)?.into();
        let attempt = Attempt::begin(body.attempt.unwrap_or(0), self.seq, Head::from(body), newest);
        Ok(self.filter.matches(&attempt.to_facts(), UnixNano::now()))
    }

    fn summarise(&self, counters: &CounterReader) {
        let Ok(counted) = counters.read() else { return };
        eprintln!(
            "\n{} attempts: {} established, {} failed; {} lost events",
            counted.started, counted.established, counted.failed, counted.lost_ringbuf,
        );
        if !self.filter.terms.is_empty() {
            eprintln!("{} events not shown, because of {}", self.hidden, self.filter);
        }
        for (cause, count) in &self.causes {
            eprintln!("{count:>8} {cause}");
        }
    }
}

const HEADER: &str =
    "    AFTER      PID COMM             LOCAL                  PEER                   RETX EVENT";

fn line(body: &EventBody) -> String {
    let facts = &body.facts;
    let (connect, caller) = (&facts.tcp.connect, facts.who.process.caller.as_ref());
    let endpoint = |endpoint: crate::event::Endpoint| {
        std::net::SocketAddr::new(endpoint.address, endpoint.port).to_string()
    };
    let what = match (connect.cause, &facts.error) {
        (Some(cause), Some(error)) => format!("failed: {cause} ({})", error.r#type),
        (Some(cause), None) => format!("failed: {cause}"),
        _ => body.event.name().trim_start_matches("connect.").to_owned(),
    };
    format!(
        "{:>7.0}ms {:>8} {:<16} {:<22} {:<22} {:>4} {what}",
        connect.duration_ms,
        caller.map_or_else(String::new, |caller| caller.pid.to_string()),
        // A thread name is whatever its owner made it: escape what could move the cursor.
        caller.map_or_else(String::new, |caller| caller.comm.escape_debug().to_string()),
        endpoint(facts.network.local),
        endpoint(facts.network.peer),
        connect.syn_retransmits,
    )
}
