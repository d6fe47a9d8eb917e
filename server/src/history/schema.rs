//! The tables, and how older files become newer ones.
//!
//! Rows of events and attempts are numbered by trace and sequence number at once: a table in the order in which it
//! is written and read needs no index for that.

use std::time::Instant;

use rusqlite::Connection;

use super::blocks::Packer;

/// Marks the file as ours (`application_id`).
const APPLICATION: i32 = 0x5379_6e73;
/// Bits of a row number that are the sequence number; the rest is the trace's key.
const SEQ_BITS: u32 = 40;
/// Sequence numbers that have room in a row number. At a million events a second, twelve days.
pub(crate) const MAX_SEQ: u64 = (1 << SEQ_BITS) - 1;

/// Bits of a row number that tell attempts of one run apart.
pub(super) const RUN_BITS: u32 = 6;

/// Each brings a file from the version of its index to the next one.
const MIGRATIONS: &[Step] = &[
    Step::sql(include_str!("schema/1.sql")),
    Step::sql(include_str!("schema/2.sql")),
    Step::sql(include_str!("schema/3.sql")),
    Step { sql: include_str!("schema/4.sql"), then: Some(pack_events) },
    Step::sql(include_str!("schema/5.sql")),
];

struct Step {
    sql: &'static str,
    /// What SQL cannot do.
    then: Option<fn(&Connection) -> rusqlite::Result<()>>,
}

impl Step {
    const fn sql(sql: &'static str) -> Self {
        Self { sql, then: None }
    }

    fn take(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection.execute_batch(self.sql)?;
        self.then.map_or(Ok(()), |then| then(connection))
    }
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SchemaError {
    #[error("it was made by a newer Synscope (schema {0})")]
    Newer(usize),
    #[error("it is the database of another program")]
    Foreign,
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// Brings an empty or an older file to the newest version.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), SchemaError> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION && tables > 0 {
        return Err(SchemaError::Foreign);
    }
    let version = usize::try_from(version).unwrap_or(0);
    if version > MIGRATIONS.len() {
        return Err(SchemaError::Newer(version));
    }
    let migration = connection.transaction()?;
    for (index, step) in MIGRATIONS.iter().enumerate().skip(version) {
        step.take(&migration)?;
        migration.pragma_update(None, "user_version", index + 1)?;
    }
    migration.pragma_update(None, "application_id", APPLICATION)?;
    migration.commit()?;
    Ok(())
}

/// Rows of single events become blocks.
fn pack_events(connection: &Connection) -> rusqlite::Result<()> {
    let begun = Instant::now();
    let count = pack_all(connection)?;
    connection.execute_batch("DROP TABLE events")?;
    if count > 0 {
        tracing::info!("{count} events of history were brought to its new form in {:.1?}", begun.elapsed());
    }
    Ok(())
}

/// Returns how many there were.
fn pack_all(connection: &Connection) -> rusqlite::Result<u64> {
    let mut packer = Packer::default();
    let mut packing = packer.begin(connection)?;
    let mut select = connection.prepare("SELECT id, time_ns, json FROM events ORDER BY id")?;
    let mut events = select.query([])?;
    let mut count = 0;
    while let Some(event) = events.next()? {
        if count == 0 {
            tracing::info!("history is brought to its new form: that may take a minute");
        }
        // One that is broken is no reason to do without the others.
        let json = String::from_utf8_lossy(event.get_ref(2)?.as_bytes()?);
        packing.add(event.get(0)?, event.get(1)?, &json)?;
        count += 1;
    }
    packing.finish()?;
    Ok(count)
}

/// The row of an event, or of the attempt that began with it.
pub(super) fn row_id(key: i64, seq: u64) -> i64 {
    (key << SEQ_BITS) | seq.min(MAX_SEQ).cast_signed()
}

/// The row of another event of the same trace.
pub(super) fn row_id_beside(id: i64, seq: u64) -> i64 {
    row_id(id >> SEQ_BITS, seq)
}

/// The sequence number in a row number.
pub(super) fn seq_of(id: i64) -> u64 {
    id.cast_unsigned() & MAX_SEQ
}

/// The run of attempts that this row is in.
pub(super) fn run_of(id: i64) -> i64 {
    id >> RUN_BITS
}

/// The first and the last row of a run.
pub(super) fn rows_of(run: i64) -> (i64, i64) {
    let first = run << RUN_BITS;
    (first, first + (1 << RUN_BITS) - 1)
}
