//! What leaves history, and when: the oldest first, a bounded piece at a time.

use std::{io, path::Path, time::Duration};

use rusqlite::{Connection, OptionalExtension as _};

use super::schema::{MAX_SEQ, row_id};
use crate::event::UnixNano;

/// Events removed in one transaction. Between two of them, what is new is written.
const PIECE: i64 = 2_000;
/// Pages that stay in the file though they are free: 4 MiB.
const SPARE_PAGES: i64 = 1_024;

/// What may be kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_age: Duration,
    pub(crate) max_bytes: u64,
    /// Bytes that stay free on the file system: nothing is written that would take of them.
    pub(crate) keep_free: u64,
}

/// Bytes that are free in the file system of this file.
pub(super) fn free_bytes(file: &Path) -> io::Result<u64> {
    let system = rustix::fs::statvfs(file)?;
    Ok(system.f_bavail * system.f_frsize)
}

/// Removes one piece of what is too old, too much, or deleted. Tells whether there may be more.
pub(super) fn remove_piece(connection: &mut Connection, limits: &Limits) -> rusqlite::Result<bool> {
    let age = u64::try_from(limits.max_age.as_nanos()).unwrap_or(u64::MAX);
    let cutoff = UnixNano::now().0.saturating_sub(age).cast_signed();
    let piece = connection.transaction()?;
    let Some((key, until)) = deleted(&piece)?.or(too_old(&piece, cutoff)?).or(too_much(&piece, limits)?)
    else {
        return Ok(false);
    };
    let last: Option<i64> = piece.query_row(
        "SELECT max(id) FROM (SELECT id FROM events WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3)",
        (row_id(key, 0), until, PIECE),
        |row| row.get(0),
    )?;
    let end = last.unwrap_or(row_id(key, MAX_SEQ));
    piece.execute("DELETE FROM events WHERE id BETWEEN ?1 AND ?2", (row_id(key, 0), end))?;
    // An attempt lives as long as the event that shows how it stands.
    piece.execute(
        "DELETE FROM attempts WHERE id BETWEEN ?1 AND ?2 AND (id & ~?3) | last_seq <= ?2",
        (row_id(key, 0), end, MAX_SEQ),
    )?;
    if last.is_none() {
        piece.execute("DELETE FROM attempts WHERE id BETWEEN ?1 AND ?2", (row_id(key, 0), end))?;
        piece.execute("DELETE FROM traces WHERE key = ?1 AND state <> 'running'", [key])?;
    }
    piece.commit()?;
    give_back(connection)?;
    Ok(true)
}

/// Takes free pages out of the file, but for those that what comes next is written to.
fn give_back(connection: &Connection) -> rusqlite::Result<()> {
    let free: i64 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    if free <= SPARE_PAGES {
        return Ok(());
    }
    // Every page that is given back is a row of the answer.
    let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum({})", free - SPARE_PAGES))?;
    let mut given_back = vacuum.query([])?;
    while given_back.next()?.is_some() {}
    Ok(())
}

/// The key of a trace, and the last row number that is to go.
type Doomed = Option<(i64, i64)>;

fn deleted(connection: &Connection) -> rusqlite::Result<Doomed> {
    let key = connection
        .query_row("SELECT key FROM traces WHERE state = 'deleted' LIMIT 1", [], |row| row.get(0))
        .optional()?;
    Ok(key.map(|key| (key, row_id(key, MAX_SEQ))))
}

/// A trace that ended before the cutoff, or the oldest events of one that began before it.
fn too_old(connection: &Connection, cutoff: i64) -> rusqlite::Result<Doomed> {
    let ended = connection
        .query_row(
            "SELECT key FROM traces WHERE state = 'ended' AND ended_ns < ?1 ORDER BY key LIMIT 1",
            [cutoff],
            |row| row.get::<_, i64>(0),
        )
        .optional()?;
    if let Some(key) = ended {
        return Ok(Some((key, row_id(key, MAX_SEQ))));
    }
    let mut running =
        connection.prepare_cached("SELECT key FROM traces WHERE created_ns < ?1 ORDER BY key")?;
    for key in running.query_map([cutoff], |row| row.get::<_, i64>(0))? {
        let key = key?;
        // Events are in the order of time, but for those of different processors.
        let last: Option<i64> = connection.query_row(
            "SELECT max(id) FROM (SELECT id, time_ns FROM events WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3)
             WHERE time_ns < ?4",
            (row_id(key, 0), row_id(key, MAX_SEQ), PIECE, cutoff),
            |row| row.get(0),
        )?;
        if let Some(last) = last {
            return Ok(Some((key, last)));
        }
    }
    Ok(None)
}

/// The oldest trace, when all of them take too much.
fn too_much(connection: &Connection, limits: &Limits) -> rusqlite::Result<Doomed> {
    if used_bytes(connection)? <= limits.max_bytes {
        return Ok(None);
    }
    // Of a trace that still runs only events can go, so it must have some.
    let oldest = connection.query_row(
        "SELECT key FROM traces WHERE state <> 'running'
            OR EXISTS (SELECT 1 FROM events WHERE id BETWEEN key << 40 AND (key << 40) + ?1) ORDER BY key LIMIT 1",
        [MAX_SEQ],
        |row| row.get::<_, i64>(0),
    );
    Ok(oldest.optional()?.map(|key| (key, row_id(key, MAX_SEQ))))
}

/// Whether it has grown by a sixteenth more than it may: it is written faster than one piece a time makes room.
pub(super) fn is_far_beyond(connection: &Connection, limits: &Limits) -> rusqlite::Result<bool> {
    Ok(used_bytes(connection)? > limits.max_bytes.saturating_add(limits.max_bytes / 16))
}

pub(super) fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    Ok((number("page_count")? - number("freelist_count")?) * number("page_size")?)
}
