//! What leaves history, and when: the oldest first, a bounded piece at a time.

use std::{io, path::Path, time::Duration};

use rusqlite::{Connection, OptionalExtension as _};

use super::{
    places,
    schema::{MAX_SEQ, row_id, row_id_beside, seq_of},
};
use crate::event::UnixNano;

/// Events removed in one transaction, by whole blocks. Between two of them, what is new is written.
const PIECE: u64 = 2_000;
/// Pages that stay in the file though they are free: 4 MiB.
const SPARE_PAGES: i64 = 1_024;
/// Pages that leave the file at once.
const PAGES_AT_ONCE: i64 = 1_024;

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
        drop(piece);
        return give_back(connection);
    };
    let last = oldest(&piece, key, until)?.last().map(|block| block.end);
    let end = last.unwrap_or(row_id(key, MAX_SEQ));
    piece.execute("DELETE FROM blocks WHERE id BETWEEN ?1 AND ?2", (row_id(key, 0), end))?;
    // An attempt lives as long as the event that shows how it stands.
    piece.execute(
        "DELETE FROM attempts WHERE id BETWEEN ?1 AND ?2 AND (id & ~?3) | last_seq <= ?2",
        (row_id(key, 0), end, MAX_SEQ),
    )?;
    if last.is_none() {
        piece.execute("DELETE FROM attempts WHERE id BETWEEN ?1 AND ?2", (row_id(key, 0), end))?;
        piece.execute("DELETE FROM traces WHERE key = ?1 AND state <> 'running'", [key])?;
    }
    places::forget(&piece, row_id(key, 0), end)?;
    piece.commit()?;
    give_back(connection)?;
    Ok(true)
}

/// Takes free pages out of the file, but for those that what comes next is written to. Tells whether there are more.
fn give_back(connection: &Connection) -> rusqlite::Result<bool> {
    let free: i64 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    let too_many = free - SPARE_PAGES;
    if too_many <= 0 {
        return Ok(false);
    }
    // Every page that is given back is a row of the answer.
    let pages = too_many.min(PAGES_AT_ONCE);
    let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut given_back = vacuum.query([])?;
    while given_back.next()?.is_some() {}
    Ok(too_many > pages)
}

/// A block, without what is in it.
struct Outline {
    id: i64,
    /// The row number of its last event.
    end: i64,
    newest_ns: i64,
}

/// The oldest blocks of a trace that begin no later than `until`, as many as make up a piece.
fn oldest(connection: &Connection, key: i64, until: i64) -> rusqlite::Result<Vec<Outline>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, last_seq, newest_ns FROM blocks WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
    )?;
    let mut rows = statement.query([row_id(key, 0), until])?;
    let (mut blocks, mut events) = (Vec::new(), 0);
    while events < PIECE
        && let Some(row) = rows.next()?
    {
        let (id, last_seq): (i64, u64) = (row.get(0)?, row.get(1)?);
        // Whatever a damaged row says, it goes itself, else there would be no end to removing it.
        let end = row_id_beside(id, last_seq).max(id);
        blocks.push(Outline { id, end, newest_ns: row.get(2)? });
        events += (last_seq + 1).saturating_sub(seq_of(id));
    }
    Ok(blocks)
}

/// The key of a trace, and the row number of the last block that is to go, or beyond.
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
        let oldest = oldest(connection, key, row_id(key, MAX_SEQ))?;
        if let Some(last) = oldest.iter().rfind(|block| block.newest_ns < cutoff) {
            return Ok(Some((key, last.id)));
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
            OR EXISTS (SELECT 1 FROM blocks WHERE id BETWEEN key << 40 AND (key << 40) + ?1) ORDER BY key LIMIT 1",
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
