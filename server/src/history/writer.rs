//! The thread that writes: gathers what comes for a moment, and commits it at once.

use std::{
    collections::HashMap,
    fs::File,
    io,
    path::PathBuf,
    sync::{Arc, Weak},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, Transaction};

use super::{
    Limits, Record, STALLED, Shared,
    blocks::Packer,
    directory::{self, Inode, Opened},
    places,
    queue::{Batch, Message, Queued},
    reads::address_bytes,
    retention,
    schema::{SchemaError, row_id},
};
use crate::{
    attempt::Attempt,
    event::UnixNano,
    trace::{Trace, lock},
};

/// From the first event that waits to the commit that has it.
const GATHER: Duration = Duration::from_millis(100);
/// How often age, size and free space are looked at, and rows of running traces are renewed.
const TICK: Duration = Duration::from_secs(1);
/// While there is something to remove, new events wait for one piece at most.
const BETWEEN_PIECES: Duration = Duration::from_millis(5);
/// After a pause, so much more than what must stay free has to be free.
const ROOM_TO_RESUME: u64 = 1 << 20;

pub(super) struct Writer {
    connection: Connection,
    file: PathBuf,
    inode: Inode,
    _lock: File,
    queued: Queued,
    shared: Arc<Shared>,
    limits: Limits,
    packer: Packer,
    /// What became of the last file, while no new one could be opened yet.
    gone: Option<Gone>,
    followed: HashMap<i64, Followed>,
    /// Those that have ended, as long as somebody else has them.
    settled: Vec<Weak<Trace>>,
    ticked: Instant,
    /// There is more to remove.
    removing: bool,
}

/// Why there is no file.
enum Gone {
    /// It was damaged, and has this name now.
    Aside(PathBuf),
    /// Somebody removed it.
    Removed,
}

/// A trace whose row is kept up to date.
struct Followed {
    trace: Arc<Trace>,
    /// It has handed everything over.
    ended: bool,
    /// The row is not as it should be.
    stale: bool,
}

impl Writer {
    /// Closes what an earlier run left open, then writes until it is told to end.
    pub(super) fn start(
        opened: Opened,
        queued: Queued,
        shared: Arc<Shared>,
        limits: Limits,
    ) -> io::Result<JoinHandle<()>> {
        let Opened { connection, file, inode, lock, aside: _ } = opened;
        let mut writer = Self {
            connection,
            file,
            inode,
            _lock: lock,
            queued,
            shared,
            limits,
            packer: Packer::default(),
            gone: None,
            followed: HashMap::new(),
            settled: Vec::new(),
            ticked: Instant::now(),
            removing: true,
        };
        if let Err(error) = close_interrupted(&writer.connection) {
            writer.pause(&error);
        }
        thread::Builder::new().name("synscope-history".into()).spawn(move || writer.run())
    }

    fn run(mut self) {
        loop {
            let patience = if self.removing { BETWEEN_PIECES } else { TICK };
            let Some(messages) = self.queued.gather(patience, GATHER) else { return };
            let closing = matches!(messages.last(), Some(Message::Close));
            *lock(&self.shared.writing) = Some(Instant::now());
            self.take(messages);
            if self.ticked.elapsed() > TICK || self.removing || self.is_far_beyond() {
                self.tick();
            }
            let since = lock(&self.shared.writing).take();
            if let Some(took) = since.map(|since| since.elapsed()).filter(|took| *took > STALLED) {
                tracing::warn!("the file system took {took:.1?} for what was written to history");
            }
            if closing {
                return;
            }
        }
    }

    fn take(&mut self, messages: Vec<Message>) {
        if messages.is_empty() {
            return;
        }
        self.note(&messages);
        let written = if self.is_paused() { Ok(false) } else { self.write(&messages).map(|()| true) };
        if !matches!(written, Ok(true)) {
            self.lose(&messages);
        }
        match written {
            Ok(true) => self.settle(&messages),
            Ok(false) => {}
            Err(error) => self.fail(&error),
        }
        self.queued.done(&messages);
        for message in messages {
            match message {
                Message::Delete(key, done) => {
                    let _ = done.send(self.delete(key).map_err(|error| error.to_string()));
                }
                Message::Flush(done) => {
                    let _ = done.send(());
                }
                _ => {}
            }
        }
    }

    /// Which rows the messages concern.
    fn note(&mut self, messages: &[Message]) {
        for message in messages {
            match message {
                Message::Follow(trace) => {
                    if let Some(record) = trace.record() {
                        let followed = Followed { trace: Arc::clone(trace), ended: false, stale: true };
                        self.followed.insert(record.key, followed);
                    }
                }
                Message::Keep(Batch { key, .. }) => self.touch(*key, false),
                Message::Ended(key) => self.touch(*key, true),
                _ => {}
            }
        }
    }

    fn touch(&mut self, key: i64, ended: bool) {
        if let Some(followed) = self.followed.get_mut(&key) {
            followed.stale = true;
            followed.ended |= ended;
        }
    }

    /// Writes events, and the rows of their traces, so that both tell of the same moment.
    fn write(&mut self, messages: &[Message]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        let batches = messages.iter().filter_map(|message| match message {
            Message::Keep(batch) => Some(batch),
            _ => None,
        });
        let mut written = HashMap::<i64, u64>::new();
        for batch in batches.clone() {
            *written.entry(batch.key).or_default() += batch.events.len() as u64;
        }
        keep(&transaction, &mut self.packer, batches.collect())?;
        for (&key, followed) in self.followed.iter().filter(|(_, followed)| followed.stale) {
            write_row(&transaction, key, followed, written.get(&key).copied().unwrap_or(0))?;
        }
        transaction.commit()
    }

    /// What is committed may be forgotten elsewhere.
    fn settle(&mut self, messages: &[Message]) {
        for message in messages {
            if let Message::Keep(Batch { key, events, .. }) = message
                && let Some(record) = self.followed.get(key).and_then(|followed| followed.trace.record())
            {
                record.committed(events);
            }
        }
        for followed in self.followed.values_mut() {
            followed.stale = false;
        }
        self.followed.retain(|_, followed| {
            if followed.ended {
                followed.trace.settle();
                self.settled.push(Arc::downgrade(&followed.trace));
            }
            !followed.ended
        });
        self.settled.retain(|trace| trace.strong_count() > 0);
    }

    fn lose(&mut self, messages: &[Message]) {
        for message in messages {
            if let Message::Keep(Batch { key, events, .. }) = message
                && let Some(record) = self.followed.get(key).and_then(|followed| followed.trace.record())
            {
                record.lose(events.len() as u64);
            }
        }
    }

    fn delete(&mut self, key: i64) -> rusqlite::Result<()> {
        self.followed.remove(&key);
        self.connection.execute("UPDATE traces SET state = 'deleted' WHERE key = ?1", [key])?;
        self.removing = true;
        Ok(())
    }

    fn tick(&mut self) {
        self.ticked = Instant::now();
        if let Err(error) = self.look_after() {
            self.fail(&error);
        }
    }

    /// Free space first: without it nothing is written, and with it a pause ends.
    fn look_after(&mut self) -> rusqlite::Result<()> {
        if let Some(damage) = self.shared.readers.damage() {
            return Err(damage);
        }
        // A file system that cannot be asked is one that writing will tell of.
        let free = retention::free_bytes(&self.file).unwrap_or(u64::MAX);
        if self.gone.is_none() && directory::was_removed(&self.file, self.inode) {
            tracing::error!("{} was removed while it was used: a new one begins", self.file.display());
            self.let_go(Gone::Removed)?;
            directory::remove_rest(&self.file);
        }
        if self.gone.is_some() {
            self.open_anew();
        }
        if self.is_paused() {
            let room = self.limits.keep_free.saturating_add(ROOM_TO_RESUME);
            if free < room || self.gone.is_some() || !self.can_write() {
                self.removing = false;
                return Ok(());
            }
            lock(&self.shared.status).resume();
            tracing::info!("history is written again");
        } else if free < self.limits.keep_free {
            let (free, keep) = (free >> 20, self.limits.keep_free >> 20);
            let detail = format!("{free} MiB are free in the file system, and {keep} MiB shall stay so");
            self.pause_for(detail, "make room there, or start with another --data-dir");
            self.removing = false;
            return Ok(());
        }
        self.removing = self.remove()?;
        for followed in self.followed.values_mut() {
            followed.stale = true;
        }
        self.write(&[])?;
        self.settle(&[]);
        Ok(())
    }

    /// What cannot be asked fails where it is written.
    fn is_far_beyond(&self) -> bool {
        retention::is_far_beyond(&self.connection, &self.limits).unwrap_or(false)
    }

    /// Removes a piece of what shall go, so that new events wait for one only. Far beyond its size they wait until it
    /// is not: those that the queue cannot hold are counted as lost, and the disk is not filled.
    fn remove(&mut self) -> rusqlite::Result<bool> {
        loop {
            let is_more = retention::remove_piece(&mut self.connection, &self.limits)?;
            if !is_more || !self.is_far_beyond() {
                return Ok(is_more);
            }
        }
    }

    /// Writes a page that is the same afterwards.
    fn can_write(&self) -> bool {
        let version = self.connection.pragma_query_value(None, "user_version", |row| row.get::<_, i32>(0));
        version.and_then(|version| self.connection.pragma_update(None, "user_version", version)).is_ok()
    }

    fn is_paused(&self) -> bool {
        lock(&self.shared.status).state != super::status::HistoryState::Recording
    }

    fn fail(&mut self, error: &rusqlite::Error) {
        if directory::is_damage(error) {
            self.begin_anew(error);
        } else {
            self.pause(error);
        }
    }

    fn pause(&mut self, error: &rusqlite::Error) {
        let remedy = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => "make room in that file system",
            Some(ErrorCode::CannotOpen) => "make the data directory again, and start the server again",
            Some(ErrorCode::ReadOnly) => "make the data directory writable again",
            _ => "see the system's log for errors of that file system",
        };
        self.pause_for(format!("{}: {error}", self.file.display()), remedy);
    }

    fn pause_for(&mut self, detail: String, remedy: &str) {
        self.removing = false;
        let mut status = lock(&self.shared.status);
        if status.detail != detail {
            tracing::error!("nothing is written to history: {detail}; remedy: {remedy}");
            status.pause(detail, remedy);
        }
    }

    /// The file turned out to be damaged while it was used.
    fn begin_anew(&mut self, damage: &rusqlite::Error) {
        match self.set_aside(damage) {
            Ok(()) => self.open_anew(),
            Err(error) => self.pause_for(error, "start the server again with another --data-dir"),
        }
    }

    fn set_aside(&mut self, damage: &rusqlite::Error) -> Result<(), String> {
        let aside = directory::set_aside(&self.file, damage).map_err(|error| error.to_string())?;
        self.let_go(Gone::Aside(aside)).map_err(|error| error.to_string())
    }

    /// From here on nobody touches the file, and there is none until a new one can be opened.
    fn let_go(&mut self, gone: Gone) -> rusqlite::Result<()> {
        directory::leave_log(&self.connection)?;
        self.connection = Connection::open_in_memory()?;
        self.gone = Some(gone);
        self.shared.readers.clear();
        let followed = self.followed.values().map(|followed| Arc::clone(&followed.trace));
        for trace in followed.chain(self.settled.iter().filter_map(Weak::upgrade)) {
            trace.record().iter().for_each(|record| record.lose_kept());
        }
        Ok(())
    }

    /// Opens a new file in the place of the one that is gone.
    fn open_anew(&mut self) {
        match directory::open_database(&self.file) {
            Ok((connection, inode)) => (self.connection, self.inode) = (connection, inode),
            Err(SchemaError::Sqlite(error)) => return self.pause(&error),
            Err(error) => {
                return self.pause_for(error.to_string(), "start the server again with another --data-dir");
            }
        }
        for followed in self.followed.values_mut() {
            followed.stale = true;
        }
        match self.gone.take() {
            Some(Gone::Aside(aside)) => lock(&self.shared.status).began_anew(&aside),
            _ => lock(&self.shared.status).was_removed(),
        }
    }
}

/// Traces that ran when an earlier server died, and what it left half done.
fn close_interrupted(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("UPDATE traces SET state = 'deleted' WHERE state = 'importing'", [])?;
    let interrupted = connection.execute(
        "UPDATE traces SET state = 'ended', ended_ns = touched_ns, end_reason = 'interrupted' WHERE state = 'running'",
        [],
    )?;
    if interrupted > 0 {
        tracing::warn!(
            "{interrupted} traces ran when the server died: what they told in its last moment may be missing"
        );
    }
    Ok(())
}

/// Writes events, and the attempts as they stand after them.
pub(super) fn keep(
    transaction: &Transaction<'_>,
    packer: &mut Packer,
    mut batches: Vec<&Batch>,
) -> rusqlite::Result<()> {
    // Those of one trace together, in their order: they make larger blocks.
    batches.sort_by_key(|batch| batch.key);
    let mut packing = packer.begin(transaction)?;
    for batch in &batches {
        for line in &batch.events {
            packing.add(row_id(batch.key, line.seq), line.time.cast_signed(), &line.json)?;
        }
    }
    packing.finish()?;
    batches.iter().try_for_each(|batch| keep_attempts(transaction, batch))?;
    places::keep(transaction, &batches)
}

fn keep_attempts(transaction: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<()> {
    let mut row = transaction.prepare_cached(
        "INSERT INTO attempts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
            ON CONFLICT (id) DO UPDATE SET
            last_seq = excluded.last_seq, state = excluded.state, cause = excluded.cause, peer = excluded.peer,
            peer_port = excluded.peer_port, local_port = excluded.local_port, pid = excluded.pid, comm = excluded.comm,
            start_ns = excluded.start_ns, retransmit_ns = excluded.retransmit_ns",
    )?;
    for Attempt { state, first_seq, last_seq, retransmits, head, .. } in &batch.attempts {
        let (network, process, connect) = (&head.network, &head.process, &head.tcp.connect);
        row.execute(rusqlite::params![
            row_id(batch.key, *first_seq),
            last_seq,
            state.name(),
            connect.cause.as_deref(),
            address_bytes(network.peer.address),
            network.peer.port,
            network.local.port,
            process.pid,
            process.comm,
            connect.start_unix_nano.0.cast_signed(),
            serde_json::to_string(retransmits).unwrap_or_default(),
        ])?;
    }
    Ok(())
}

/// The row of a trace of which this transaction writes so many events. It tells how things stand should the server die
/// now: events that were told and are not here are lost to history.
fn write_row(
    transaction: &Transaction<'_>,
    key: i64,
    followed: &Followed,
    written: u64,
) -> rusqlite::Result<()> {
    let mut row = followed.trace.row();
    let kept = followed.trace.record().map_or(0, Record::kept) + written;
    let lost = &mut row.counters.lost.history;
    *lost = (*lost).max(row.meant.saturating_sub(kept));
    let state = if followed.ended { "ended" } else { row.state };
    transaction
        .prepare_cached(
            "INSERT INTO traces VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
                ON CONFLICT (key) DO UPDATE SET
                state = excluded.state, touched_ns = excluded.touched_ns, ended_ns = excluded.ended_ns,
                end_reason = excluded.end_reason, counters = excluded.counters,
                matched_ns = excluded.matched_ns, recorded_from_ns = excluded.recorded_from_ns",
        )?
        .execute(rusqlite::params![
            key,
            row.id,
            state,
            row.created.0.cast_signed(),
            UnixNano::now().0.cast_signed(),
            row.ended.map(|(time, _)| time.0.cast_signed()),
            row.ended.and_then(|(_, reason)| word(&reason)),
            serde_json::to_string(row.request).unwrap_or_default(),
            serde_json::to_string(&row.counters).unwrap_or_default(),
            row.recorded.map(|recorded| recorded.matched.0.cast_signed()),
            row.recorded.map(|recorded| recorded.from.0.cast_signed()),
        ])?;
    Ok(())
}

/// As JSON has it, without the quotes.
fn word(named: &impl serde::Serialize) -> Option<String> {
    serde_json::to_value(named).ok()?.as_str().map(str::to_owned)
}
