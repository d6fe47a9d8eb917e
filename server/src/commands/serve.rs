//! `synscope serve`: the dashboard and the HTTP API.

use std::{
    env, io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing_subscriber::EnvFilter;

use super::secrets;
use crate::{
    Failure,
    api::{self, App, Examined, Failures, Keys},
    cli::{HistoryArgs, ServeArgs, Switch},
    history::{History, Limits, make_directory},
    listen::Listener,
    otlp::{self, Exporting},
    rate::Rate,
    terminal::has_colours,
    token::{Tokens, random_hex},
    trace::Manager,
};

/// Open connections and WebSockets have so long to end after the signal.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(20);

/// What had to be done with all privileges and before there were threads.
pub(crate) struct Ready {
    args: ServeArgs,
    data_dir: PathBuf,
    tokens: Tokens,
    listener: Listener,
}

/// Reads secrets and binds the socket.
pub(crate) fn prepare(args: ServeArgs) -> Result<Ready, Failure> {
    log_to_stderr();
    let (data_dir, asked) = data_dir(args.data_dir.as_deref());
    let tokens = secrets::tokens(&args.access, &data_dir, asked)?;
    let listener = Listener::bind(&args.listen)?;
    if args.history.keep == Switch::On {
        // Later nothing can be made beside it. What fails here is told where it is opened.
        let _ = make_directory(&data_dir);
    }
    let data_dir = data_dir.canonicalize().unwrap_or(data_dir);
    Ok(Ready { args, data_dir, tokens, listener })
}

impl Ready {
    /// Where history and secrets are kept, if it exists.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Serves until SIGINT or SIGTERM.
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let Self { args, data_dir, tokens, listener } = self;
        let (interrupt, terminate) = signals()?;
        let url = listener.url().map_err(|error| Failure::new(error.to_string(), "try another --listen"))?;
        // Its thread must not have more privileges than the others.
        let history = Arc::new(history(&data_dir, &args.history));
        let (outlet, exporter) = args.otlp.as_deref().map(otlp::open).transpose()?.unzip();
        let app = Arc::new(App {
            manager: Manager::new(args.max_traces.into(), history, outlet),
            tokens,
            failures: Failures::default(),
            starts: Mutex::new(Rate::per_minute(args.access.starts_per_minute, Instant::now())),
            hosts: args.access.hosts,
            epoch: random_hex(8)
                .map_err(|error| Failure::new(error.to_string(), "the system gives no randomness"))?,
            shutdown: CancellationToken::new(),
            examined: Examined::default(),
            keys: Keys::default(),
            streams: TaskTracker::new(),
        });
        if let Some(error) = app.manager.kernel_error() {
            tracing::warn!("nothing can be traced: {error}; remedy: {}", error.remedy());
        }
        let exporting = exporter.map(|exporter| {
            exporter.start({
                let app = Arc::clone(&app);
                move || app.figures()
            })
        });
        announce(&url, &app.tokens);
        let server = tokio::spawn(listener.serve(api::router(&app), app.shutdown.clone()));
        wait_for_either(interrupt, terminate).await;
        shut_down(&app, server, exporting).await;
        Ok(ExitCode::SUCCESS)
    }
}

/// The one line on standard output. The journal is a log, and others read it: there the token is left out.
fn announce(url: &str, tokens: &Tokens) {
    if stdout_is_the_journal() {
        println!("{url}");
        tracing::info!("the token is not printed to the journal: see its file or SYNSCOPE_TOKEN");
    } else {
        println!("{url}#token={}", tokens.full.reveal());
    }
}

/// systemd gives device and inode of the socket that it connected to the journal.
fn stdout_is_the_journal() -> bool {
    let journal = env::var("JOURNAL_STREAM").unwrap_or_default();
    let own = rustix::fs::fstat(io::stdout()).map(|stat| format!("{}:{}", stat.st_dev, stat.st_ino));
    own.is_ok_and(|own| own == journal)
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Who changed what is logged, however quiet the rest is asked to be.
    let filter = match "audit=info".parse() {
        Ok(audit) => filter.add_directive(audit),
        Err(_) => filter,
    };
    let colours = has_colours(&io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(io::stderr).init();
}

/// The directory that was asked for, or the one that is usual for this user; and whether it was asked for.
fn data_dir(asked: Option<&Path>) -> (PathBuf, bool) {
    if let Some(asked) = asked {
        return (asked.to_owned(), true);
    }
    if rustix::process::geteuid().is_root() {
        return (PathBuf::from("/var/lib/synscope"), false);
    }
    // The XDG base directory specification: a path that is not absolute counts as none.
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    (state.unwrap_or_else(|| PathBuf::from("/var/lib")).join("synscope"), false)
}

fn history(data_dir: &Path, args: &HistoryArgs) -> History {
    if args.keep == Switch::Off {
        return History::off();
    }
    let limits = Limits {
        max_age: Duration::from_hours(24 * u64::from(args.days)),
        max_bytes: u64::from(args.mib) << 20,
        keep_free: u64::from(args.keep_free_mib) << 20,
    };
    History::open(data_dir, limits)
}

type Signal = tokio::signal::unix::Signal;

/// Set up before anything is announced, so that no signal finds nobody listening.
fn signals() -> Result<(Signal, Signal), Failure> {
    let both = signal(SignalKind::interrupt()).and_then(|int| Ok((int, signal(SignalKind::terminate())?)));
    both.map_err(|error| Failure::new(format!("cannot listen for signals: {error}"), "see the system's log"))
}

async fn wait_for_either(mut interrupt: Signal, mut terminate: Signal) {
    tokio::select! {
        _ = interrupt.recv() => tracing::info!("SIGINT: shutting down"),
        _ = terminate.recv() => tracing::info!("SIGTERM: shutting down"),
    }
}

/// Traces first: that ends the streams with their last events and a close. Then what is left of HTTP.
async fn shut_down(app: &App, server: JoinHandle<io::Result<()>>, exporting: Option<Exporting>) {
    app.shutdown.cancel();
    let orderly = async {
        app.manager.stop_all().await;
        if let Some(exporting) = exporting {
            exporting.finish().await;
        }
        app.streams.close();
        app.streams.wait().await;
        let _ = server.await;
    };
    if timeout(SHUTDOWN_PATIENCE, orderly).await.is_err() {
        tracing::warn!("some connections did not end in time; leaving anyway");
    }
}
