//! `synscope serve`: the dashboard and the HTTP API.

use std::{
    env, fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing_subscriber::EnvFilter;

use crate::{
    Failure,
    api::{self, App, Examined, Keys},
    cli::{HistoryArgs, ServeArgs, Switch},
    history::{History, Limits},
    otlp::{self, Exporting},
    terminal::has_colours,
    token::{Token, random_hex},
    trace::Manager,
};

/// Open connections and WebSockets have so long to end after the signal.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(20);

/// Serves until SIGINT or SIGTERM.
pub(crate) async fn run(args: ServeArgs) -> Result<ExitCode, Failure> {
    log_to_stderr();
    if !args.listen.ip().is_loopback() {
        let problem = format!("{} is not a loopback address", args.listen);
        let remedy = "listen on 127.0.0.1 and reach it through an SSH tunnel: the API shows what every process on \
                      this host does, and speaks no TLS";
        return Err(Failure::new(problem, remedy));
    }
    let (data_dir, chosen) = data_dir(args.data_dir.as_deref());
    let token = token(&data_dir, chosen)?;
    let (interrupt, terminate) = signals()?;
    let listener = listen(&args).await?;
    let address =
        listener.local_addr().map_err(|error| Failure::new(error.to_string(), "try another --listen"))?;
    let history = Arc::new(history(&data_dir, &args.history));
    let (outlet, exporter) = args.otlp.as_deref().map(otlp::open).transpose()?.unzip();
    let app = Arc::new(App {
        manager: Manager::new(args.max_traces.into(), history, outlet),
        token,
        address,
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
    println!("http://{address}/#token={}", app.token.reveal());
    let stopping = app.shutdown.clone().cancelled_owned();
    let server = axum::serve(listener, api::router(&app)).with_graceful_shutdown(stopping).into_future();
    let server = tokio::spawn(server);
    wait_for_either(interrupt, terminate).await;
    shut_down(&app, server, exporting).await;
    Ok(ExitCode::SUCCESS)
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
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

/// The token of the environment, or the one in the data directory. One that cannot be kept is a failure where the
/// directory was asked for.
fn token(data_dir: &Path, chosen: bool) -> Result<Token, Failure> {
    if let Ok(chosen) = env::var("SYNSCOPE_TOKEN") {
        return Token::chosen(chosen).map_err(|problem| {
            Failure::new(format!("SYNSCOPE_TOKEN: {problem}"), "choose another, or unset it")
        });
    }
    let kept = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .and_then(|()| Token::kept_in(data_dir));
    match kept {
        Ok(token) => Ok(token),
        Err(error) if !chosen => {
            tracing::warn!("{}: {error}; the token is for this run only", data_dir.display());
            Token::random().map_err(|error| Failure::new(error.to_string(), "the system gives no randomness"))
        }
        Err(error) => {
            let problem = format!("data directory {}: {error}", data_dir.display());
            let remedy = "choose a --data-dir that this user may write to, or set SYNSCOPE_TOKEN";
            Err(Failure::new(problem, remedy))
        }
    }
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

async fn listen(args: &ServeArgs) -> Result<TcpListener, Failure> {
    TcpListener::bind(args.listen).await.map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another process has this port: choose another with --listen 127.0.0.1:PORT"
            }
            _ => "choose another address with --listen",
        };
        Failure::new(format!("cannot listen on {}: {error}", args.listen), remedy)
    })
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
