//! Reading: short queries on connections of their own, so that nothing that is read slowly holds the writer up.

use std::{
    net::{IpAddr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use rusqlite::{CachedStatement, Connection, OpenFlags, OptionalExtension as _, Params, Row, named_params};

use super::{
    HistoryError,
    blocks::{self, Block},
    conditions::{Clauses, Conditions},
    directory::{is_damage, leave_log},
    places,
    schema::{MAX_SEQ, row_id, row_id_beside, rows_of, run_of, seq_of},
};
use crate::{
    attempt::Attempt,
    event::UnixNano,
    filter::Filter,
    request::TraceRequest,
    trace::{CountersJson, EndReason, Recorded, lock},
};

/// Connections that read at once; who comes later waits.
const MAX_READERS: usize = 4;
/// Kibibytes of pages that each of them holds.
const READER_CACHE: i64 = 1024;
/// Sequence numbers among which a page is looked for before the whole trace is asked.
const NEWEST: i64 = 16_384;
/// Traces listed. There may be more when very many are short.
const MAX_LISTED: u32 = 1000;

/// Connections that read.
pub(super) struct Readers {
    file: Option<PathBuf>,
    idle: Mutex<Pool>,
    returned: Condvar,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Connection>,
    open: usize,
    /// How often the file was replaced.
    replaced: u64,
    /// That the file turned out to be damaged.
    damage: Option<rusqlite::Error>,
}

impl Pool {
    /// Remembers an error that the file itself is to blame for.
    fn note(&mut self, error: &rusqlite::Error) {
        if let Some(code) = error.sqlite_error().filter(|_| is_damage(error)) {
            self.damage = Some(rusqlite::Error::SqliteFailure(*code, Some(error.to_string())));
        }
    }
}

impl Readers {
    pub(super) fn none() -> Self {
        Self { file: None, idle: Mutex::default(), returned: Condvar::new() }
    }

    pub(super) fn of(file: &Path) -> Self {
        Self { file: Some(file.to_owned()), ..Self::none() }
    }

    /// Runs a query. Blocks: for as long as it takes, and until a connection is free.
    pub(super) fn with<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, HistoryError> {
        let Some(file) = &self.file else {
            return Err(HistoryError::Unavailable("nothing is kept".into()));
        };
        blocking(|| {
            let (connection, replaced) = self.take(file)?;
            let answer = query(&connection);
            self.give_back(connection, replaced, answer.as_ref().err());
            Ok(answer?)
        })
    }

    fn take(&self, file: &Path) -> rusqlite::Result<(Connection, u64)> {
        let mut pool = lock(&self.idle);
        loop {
            if let Some(connection) = pool.idle.pop() {
                return Ok((connection, pool.replaced));
            }
            if pool.open < MAX_READERS {
                let connection = open(file).inspect_err(|error| pool.note(error))?;
                pool.open += 1;
                return Ok((connection, pool.replaced));
            }
            pool = self.returned.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn give_back(&self, connection: Connection, replaced: u64, error: Option<&rusqlite::Error>) {
        let mut pool = lock(&self.idle);
        // One to a file that has been replaced since is closed, and counts no more.
        if pool.replaced != replaced {
            return;
        }
        match error {
            None => pool.idle.push(connection),
            Some(error) => {
                pool.open -= 1;
                pool.note(error);
            }
        }
        drop(pool);
        self.returned.notify_one();
    }

    /// The damage that somebody has met in the file.
    pub(super) fn damage(&self) -> Option<rusqlite::Error> {
        lock(&self.idle).damage.take()
    }

    /// The file was replaced.
    pub(super) fn clear(&self) {
        let mut pool = lock(&self.idle);
        *pool = Pool { replaced: pool.replaced + 1, ..Pool::default() };
        drop(pool);
        self.returned.notify_all();
    }
}

/// Tells the runtime that this thread is busy for a while, where there is one.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    let many = Handle::try_current().is_ok_and(|it| it.runtime_flavor() == RuntimeFlavor::MultiThread);
    if many { tokio::task::block_in_place(work) } else { work() }
}

fn open(file: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    leave_log(&connection)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -READER_CACHE)?;
    Ok(connection)
}

/// A trace as history has it.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) key: i64,
    pub(crate) id: String,
    pub(crate) created: UnixNano,
    pub(crate) ended: UnixNano,
    pub(crate) end_reason: EndReason,
    pub(crate) request: TraceRequest,
    pub(crate) counters: CountersJson,
    pub(crate) recorded: Option<Recorded>,
    /// The oldest event, and the one that would be next; equal when there is none.
    pub(crate) first_seq: u64,
    pub(crate) next_seq: u64,
}

const TRACES: &str =
    "SELECT key, id, created_ns, coalesce(ended_ns, touched_ns), end_reason, request, counters,
    (SELECT min(id) FROM blocks WHERE id BETWEEN key << 40 AND (key << 40) + :max),
    (SELECT last_seq FROM blocks WHERE id BETWEEN key << 40 AND (key << 40) + :max ORDER BY id DESC LIMIT 1),
    matched_ns, recorded_from_ns FROM traces WHERE state IN ('running', 'ended')";

/// The traces, newest first.
pub(super) fn list(connection: &Connection) -> rusqlite::Result<Vec<Kept>> {
    let query = format!("{TRACES} ORDER BY key DESC LIMIT {MAX_LISTED}");
    let mut statement = connection.prepare_cached(&query)?;
    statement.query_map(named_params! {":max": MAX_SEQ}, kept)?.collect()
}

/// The trace of this id.
pub(super) fn get(connection: &Connection, id: &str) -> rusqlite::Result<Option<Kept>> {
    let mut statement = connection.prepare_cached(&format!("{TRACES} AND id = :id"))?;
    statement.query_row(named_params! {":max": MAX_SEQ, ":id": id}, kept).optional()
}

fn kept(row: &Row<'_>) -> rusqlite::Result<Kept> {
    let counters: CountersJson = json(row, 6)?;
    let (first, last_seq): (Option<i64>, Option<u64>) = (row.get(7)?, row.get(8)?);
    // What was delivered and lost to history has a number too.
    let next_seq = last_seq.map_or(0, |last| last + 1).max(counters.delivered + 1);
    Ok(Kept {
        key: row.get(0)?,
        id: row.get(1)?,
        created: nanos(row.get(2)?),
        ended: nanos(row.get(3)?),
        end_reason: row
            .get::<_, Option<String>>(4)?
            .and_then(|reason| serde_json::from_value(reason.into()).ok())
            .unwrap_or(EndReason::Interrupted),
        request: json(row, 5)?,
        counters,
        recorded: recorded(row.get(9)?, row.get(10)?),
        first_seq: first.map_or(next_seq, seq_of),
        next_seq,
    })
}

fn recorded(matched: Option<i64>, from: Option<i64>) -> Option<Recorded> {
    Some(Recorded { matched: nanos(matched?), from: nanos(from?) })
}

fn nanos(value: i64) -> UnixNano {
    UnixNano(value.cast_unsigned())
}

fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    parse(row.get_ref(column)?.as_str()?, column)
}

fn parse<T: serde::de::DeserializeOwned>(text: &str, column: usize) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|error| {
        let text = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(column, text, error.into())
    })
}

/// The greatest key that was ever used, of traces that are still being removed too.
pub(super) fn last_key(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT coalesce(max(key), 0) FROM traces", [], |row| row.get(0))
}

/// Events from the number `from` on, or from the first one after it that is there, in order.
pub(super) fn events(
    connection: &Connection,
    key: i64,
    from: u64,
    limit: usize,
) -> rusqlite::Result<Vec<(u64, Arc<str>)>> {
    let first = row_id(key, from);
    // The first of them may be in the middle of a block.
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {} FROM blocks WHERE id BETWEEN
            coalesce((SELECT max(id) FROM blocks WHERE id BETWEEN ?1 AND ?2), ?2) AND ?3 ORDER BY id",
        blocks::COLUMNS
    ))?;
    let mut rows = statement.query([row_id(key, 0), first, row_id(key, MAX_SEQ)])?;
    let mut events = Vec::new();
    while events.len() < limit
        && let Some(row) = rows.next()?
    {
        let block = Block::of(row)?;
        let lines = block.lines().filter(|&(id, _)| id >= first).take(limit - events.len());
        events.extend(lines.map(|(id, json)| (seq_of(id), json.into())));
    }
    Ok(events)
}

/// Attempts that began before the event `before` and of which what the database can check of the filter holds,
/// newest first.
pub(super) fn attempts(
    connection: &Connection,
    key: i64,
    filter: &Filter,
    now: UnixNano,
    before: Option<u64>,
    limit: usize,
) -> rusqlite::Result<Vec<Attempt>> {
    let conditions = Conditions::of(filter, now);
    let first = row_id(key, 0);
    let last = row_id(key, before.map_or(MAX_SEQ, |before| before.saturating_sub(1)));
    let mut page = Page::of(connection, &conditions, limit)?;
    let is_of_places = conditions.are_of_causes() || conditions.are_of_peers();
    if is_of_places && conditions.are_in_order() {
        page.look_in_places(first, last)?;
    } else if !is_of_places || !conditions.are_all() {
        // Else all places would have to be sorted, and for every page anew.
        page.look(first, last)?;
    } else if let Some(newest) = newest(connection, first, last)? {
        // What fits often has a page among the newest already, and of what does not there is little to sort.
        let middle = first.max(newest - NEWEST);
        page.look(middle, last)?;
        page.look_in_places(first, middle - 1)?;
    }
    Ok(page.found)
}

/// The newest attempt among these rows.
fn newest(connection: &Connection, first: i64, last: i64) -> rusqlite::Result<Option<i64>> {
    connection
        .query_row("SELECT max(id) FROM attempts WHERE id BETWEEN ?1 AND ?2", [first, last], |row| row.get(0))
}

/// Attempts that are being gathered, newest first.
struct Page<'a> {
    connection: &'a Connection,
    conditions: &'a Conditions,
    rows: CachedStatement<'a>,
    lines: Lines<'a>,
    limit: usize,
    found: Vec<Attempt>,
}

impl<'a> Page<'a> {
    fn of(connection: &'a Connection, conditions: &'a Conditions, limit: usize) -> rusqlite::Result<Self> {
        let rows = connection.prepare_cached(&format!(
            "SELECT id, last_seq, retransmit_ns FROM attempts WHERE id BETWEEN ? AND ?{} ORDER BY id DESC",
            conditions.rows.text
        ))?;
        let lines = Lines::of(connection)?;
        Ok(Self { connection, conditions, rows, lines, limit, found: Vec::new() })
    }

    fn is_full(&self) -> bool {
        self.found.len() >= self.limit
    }

    /// Takes what fits between these rows, one after the other.
    fn look(&mut self, first: i64, last: i64) -> rusqlite::Result<()> {
        let mut rows = self.rows.query(within(first, last, &self.conditions.rows))?;
        // As long as there are rows to come, SQLite shows one moment of the file to whatever is asked in between.
        while self.found.len() < self.limit
            && let Some(row) = rows.next()?
        {
            self.found.extend(attempt(row, &mut self.lines)?);
        }
        Ok(())
    }

    /// Takes what fits between these rows, where there is something of the kind.
    fn look_in_places(&mut self, first: i64, last: i64) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached(&places::runs_query(self.conditions))?;
        let places = within(run_of(first), run_of(last), &self.conditions.places);
        let mut runs = statement.query(places)?;
        while !self.is_full()
            && let Some(run) = runs.next()?
        {
            let (first_of_run, last_of_run) = rows_of(run.get(0)?);
            self.look(first.max(first_of_run), last.min(last_of_run))?;
        }
        Ok(())
    }
}

/// What stands for the question marks of a query for a range.
fn within(first: i64, last: i64, clauses: &Clauses) -> impl Params {
    rusqlite::params_from_iter([first.into(), last.into()].into_iter().chain(clauses.values.iter().cloned()))
}

/// None when its newest event is not there.
fn attempt(row: &Row<'_>, lines: &mut Lines<'_>) -> rusqlite::Result<Option<Attempt>> {
    let (id, last_seq) = (row.get(0)?, row.get(1)?);
    let Some(newest) = lines.find(row_id_beside(id, last_seq))? else { return Ok(None) };
    let head = parse(newest, blocks::LINES)?;
    Ok(Some(Attempt::restore(seq_of(id), last_seq, json(row, 2)?, head, newest.into())))
}

/// Events by their row numbers. Attempts that are neighbours mostly ended in one block, so the last one is at hand.
struct Lines<'a> {
    newest_before: CachedStatement<'a>,
    block: Option<Block>,
}

impl<'a> Lines<'a> {
    fn of(connection: &'a Connection) -> rusqlite::Result<Self> {
        let newest_before = connection.prepare_cached(&format!(
            "SELECT {} FROM blocks WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC LIMIT 1",
            blocks::COLUMNS
        ))?;
        Ok(Self { newest_before, block: None })
    }

    fn find(&mut self, id: i64) -> rusqlite::Result<Option<&str>> {
        if !self.block.as_ref().is_some_and(|block| block.has(id)) {
            let range = [row_id_beside(id, 0), id];
            self.block = self.newest_before.query_row(range, Block::of).optional()?;
        }
        Ok(self.block.as_ref().and_then(|block| block.line(id)))
    }
}

/// As an attempt's peer is stored: in 16 bytes, so that networks are ranges.
pub(super) fn address_bytes(address: IpAddr) -> [u8; 16] {
    let address: Ipv6Addr = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    address.octets()
}
