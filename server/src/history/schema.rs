//! The tables, and how older files become newer ones.
//!
//! Rows of events and attempts are numbered by trace and sequence number at once: a table in the order in which it
//! is written and read needs no index for that.

use rusqlite::Connection;

/// Marks the file as ours (`application_id`).
const APPLICATION: i32 = 0x5379_6e73;
/// Bits of a row number that are the sequence number; the rest is the trace's key.
const SEQ_BITS: u32 = 40;
/// Sequence numbers that have room in a row number. At a million events a second, twelve days.
pub(crate) const MAX_SEQ: u64 = (1 << SEQ_BITS) - 1;

/// Each brings a file from the version of its index to the next one.
const MIGRATIONS: &[&str] =
    &[include_str!("schema/1.sql"), include_str!("schema/2.sql"), include_str!("schema/3.sql")];

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
        migration.execute_batch(step)?;
        migration.pragma_update(None, "user_version", index + 1)?;
    }
    migration.pragma_update(None, "application_id", APPLICATION)?;
    migration.commit()?;
    Ok(())
}

/// The row of an event, or of the attempt that began with it.
pub(super) fn row_id(key: i64, seq: u64) -> i64 {
    (key << SEQ_BITS) | seq.min(MAX_SEQ).cast_signed()
}

/// The sequence number in a row number.
pub(super) fn seq_of(id: i64) -> u64 {
    id.cast_unsigned() & MAX_SEQ
}
