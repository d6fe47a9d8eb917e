//! Entrances for fuzzers, to what takes bytes from outside. There only with `--cfg fuzzing`.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a fuzzer wants to see panics")]

use std::{
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex},
    time::{Duration, Instant},
};

use axum::Router;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    runtime::Runtime,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    api::{self, App, Examined, Failures, Keys},
    filter::{Filter, only_kernel_terms},
    history::{History, Limits},
    listen::{Connection, Peer, converse},
    rate::Rate,
    token::{Token, Tokens},
    trace::Manager,
};

/// What requests must show to get past the door.
const TOKEN: &str = "fuzzing-token-0000";
/// More than any answer of this small history.
const ANSWER: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(8);

/// A text of the filter language. One that is understood has a plain form that means the same.
pub fn filter(text: &str) {
    let Ok(filter) = text.parse::<Filter>() else { return };
    let plain = filter.to_string();
    let again: Filter = plain.parse().unwrap_or_else(|error| panic!("{plain:?} is not understood: {error}"));
    assert_eq!(again.to_string(), plain);
    let _ = only_kernel_terms(filter);
}

/// Bytes that a client sends: requests, as many as they make up.
pub fn connection(bytes: &[u8]) {
    SERVER.runtime.block_on(to_the_end(SERVER.connect(), bytes));
}

/// What a client sends over an open WebSocket.
pub fn websocket(bytes: &[u8]) {
    let trace = &SERVER.trace;
    let upgrade = format!(
        "GET /api/v1/traces/{trace}/stream HTTP/1.1\r\nHost: 127.0.0.1:7117\r\nAuthorization: Bearer {TOKEN}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: c3luc2NvcGUtZnV6emluZw==\r\n\r\n"
    );
    SERVER.runtime.block_on(async {
        let mut client = SERVER.connect();
        client.write_all(upgrade.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        to_the_end(client, bytes).await;
    });
}

/// Says this and nothing more, and reads until the server closes.
async fn to_the_end(client: DuplexStream, bytes: &[u8]) {
    let (mut reading, mut writing) = tokio::io::split(client);
    // It may be closed before all of it was read.
    let _ = writing.write_all(bytes).await;
    let _ = writing.shutdown().await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, reading.read_to_end(&mut answer));
    assert!(read.await.is_ok(), "the server waits for what will not come");
}

/// A server without a socket and without tracing, that knows one trace from a file.
struct Server {
    runtime: Runtime,
    router: Router,
    trace: String,
}

impl Server {
    /// A connection to it.
    fn connect(&self) -> DuplexStream {
        let (client, server) = tokio::io::duplex(ANSWER);
        let address = ([127, 0, 0, 1], 7117).into();
        let connection = Connection { peer: Peer::Tcp(address), local: Some(address), scheme: "http" };
        self.runtime.spawn(converse(server, connection, self.router.clone(), CancellationToken::new()));
        client
    }
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let data = PathBuf::from(format!("/tmp/synscope-fuzzing-{}", std::process::id()));
    let limits = Limits { max_age: Duration::from_hours(1), max_bytes: 16 << 20, keep_free: 0 };
    let history = Arc::new(History::open(&data, limits));
    let app = Arc::new(App {
        // No place for a trace: none is started.
        manager: Manager::new(0, history, None),
        tokens: Tokens { full: Token::chosen(TOKEN.to_owned()).unwrap(), read: None },
        failures: Failures::default(),
        starts: Mutex::new(Rate::per_minute(u32::MAX, Instant::now())),
        hosts: Vec::new(),
        epoch: "0".into(),
        shutdown: CancellationToken::new(),
        examined: Examined::default(),
        keys: Keys::default(),
        streams: TaskTracker::new(),
    });
    let trace = runtime.block_on(imported(&app));
    Server { router: api::router(&app), runtime, trace }
});

/// A trace of two events.
async fn imported(app: &App) -> String {
    let file = include_str!("../fuzz/seeds/trace.ndjson");
    let mut import = crate::history::Import::begin(app.manager.history(), "fuzzed".into(), None).unwrap();
    import.take(file.as_bytes()).await.unwrap();
    import.finish().await.unwrap().id.clone()
}
