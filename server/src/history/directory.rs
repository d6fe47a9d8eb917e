//! The data directory: one server in it, one database, and what is done when that one is damaged.

use std::{
    fmt::Display,
    fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, config::DbConfig};

use super::schema::{self, SchemaError};
use crate::event::UnixNano;

const DATABASE: &str = "history.db";
/// What SQLite keeps beside a database that is used.
const PARTS: [&str; 2] = ["-wal", "-shm"];
/// Files up to this size are examined page by page when they are opened; larger ones would take seconds.
const MAX_EXAMINED: u64 = 32 << 20;
/// How long a connection waits for another one's lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// A database that is this server's alone.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) file: PathBuf,
    pub(super) inode: Inode,
    /// What the one before it is called now, if that was damaged.
    pub(super) aside: Option<PathBuf>,
    /// Held as long as the server runs.
    pub(super) lock: File,
}

/// Device and number of a file, whatever it is called.
pub(super) type Inode = (u64, u64);

/// Why the directory cannot be used.
#[derive(Debug)]
pub(super) struct Unusable {
    pub(super) detail: String,
    pub(super) remedy: String,
}

impl Unusable {
    pub(super) fn at(directory: &Path, error: &dyn Display) -> Self {
        let detail = format!("data directory {}: {error}", directory.display());
        Self { detail, remedy: "choose a --data-dir that this user may write to".into() }
    }
}

/// Makes the directory, for this user alone, when it is not there.
pub(crate) fn make_directory(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Opens the database in this directory, which is made when it is not there.
pub(super) fn open(directory: &Path) -> Result<Opened, Unusable> {
    let unusable = |error: io::Error| Unusable::at(directory, &error);
    make_directory(directory).map_err(unusable)?;
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(directory.join("lock"))
        .map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Unusable {
                detail: format!("another Synscope uses the data directory {}", directory.display()),
                remedy: "stop that one, or give this one a --data-dir of its own".into(),
            });
        }
        Err(TryLockError::Error(error)) => return Err(unusable(error)),
    }
    let file = directory.join(DATABASE);
    let mut aside = None;
    let connection = match open_database(&file) {
        Err(SchemaError::Sqlite(error)) if is_damage(&error) => {
            aside = Some(set_aside(&file, &error).map_err(unusable)?);
            open_database(&file)
        }
        opened => opened,
    };
    let (connection, inode) = connection.map_err(|error| Unusable::at(&file, &error))?;
    Ok(Opened { connection, file, inode, aside, lock })
}

pub(super) fn open_database(file: &Path) -> Result<(Connection, Inode), SchemaError> {
    // Made here, because SQLite would let others read it.
    drop(OpenOptions::new().append(true).create(true).mode(0o600).open(file));
    // SQLite says why it cannot be opened.
    let inode = fs::metadata(file).map_or((0, 0), |metadata| inode(&metadata));
    let mut connection = Connection::open(file)?;
    connection.busy_timeout(LOCK_PATIENCE)?;
    // Before the first table: whether space can be given back is a property of the file.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A crash of the server loses nothing that was committed; one of the whole host may lose the last second.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "journal_size_limit", 16 << 20)?;
    // The server may write to no other directory.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    if fs::metadata(file).is_ok_and(|metadata| metadata.len() <= MAX_EXAMINED) {
        examine(&connection)?;
    }
    schema::migrate(&mut connection)?;
    Ok((connection, inode))
}

fn inode(metadata: &Metadata) -> Inode {
    (metadata.dev(), metadata.ino())
}

/// Whether the file that this was is not there any more, or another one is. One that cannot be asked is one that writing
/// will tell of.
pub(super) fn was_removed(file: &Path, it_was: Inode) -> bool {
    match fs::metadata(file) {
        Ok(metadata) => inode(&metadata) != it_was,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Removes what a removed database left beside itself: a new one would take it for its own.
pub(super) fn remove_rest(file: &Path) {
    for part in PARTS {
        let _ = fs::remove_file(format!("{}{part}", file.display()));
    }
}

fn examine(connection: &Connection) -> Result<(), rusqlite::Error> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" {
        return Ok(());
    }
    let damage = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    Err(rusqlite::Error::SqliteFailure(damage, Some(verdict)))
}

/// Whether the file itself is to blame.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Has a connection leave the log beside the database as it is when it is closed. Else the last one would remove the log
/// by its name, and that may be another database's by then.
pub(super) fn leave_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(drop)
}

/// Renames a damaged database, with what belongs to it: whoever needs it may still get something out of it. Returns the
/// new name.
pub(super) fn set_aside(file: &Path, damage: &dyn Display) -> io::Result<PathBuf> {
    let suffix = format!("damaged-{}", UnixNano::now().0 / 1_000_000_000);
    let aside = |suffix: &str, of: &str| PathBuf::from(format!("{}{of}.{suffix}", file.display()));
    for part in PARTS {
        let from = PathBuf::from(format!("{}{part}", file.display()));
        if from.exists() {
            fs::rename(from, aside(&suffix, part))?;
        }
    }
    let to = aside(&suffix, "");
    fs::rename(file, &to)?;
    tracing::error!(
        "{} is damaged ({damage}): it is now {}, and a new one begins",
        file.display(),
        to.display()
    );
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_never_deleted() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(DATABASE), "not a database, but somebody's work".repeat(100))
            .unwrap();
        let opened = open(directory.path()).unwrap();
        drop(opened);
        let files = files(directory.path());
        let aside = files.iter().find(|name| name.starts_with("history.db.damaged-")).unwrap();
        assert!(fs::read_to_string(directory.path().join(aside)).unwrap().contains("somebody's work"));
    }

    #[test]
    fn a_damaged_page_is_found_in_a_small_file() {
        let directory = tempfile::tempdir().unwrap();
        let opened = open(directory.path()).unwrap();
        for key in 0..500 {
            let lines = [0; 500];
            opened.connection.execute("INSERT INTO blocks VALUES (?1, 1, 1, ?2)", (key, lines)).unwrap();
        }
        drop(opened);
        let file = directory.path().join(DATABASE);
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 4096].fill(0xee);
        fs::write(&file, bytes).unwrap();
        open(directory.path()).unwrap();
        assert!(files(directory.path()).iter().any(|name| name.contains("damaged")));
    }

    #[test]
    fn a_second_server_is_told_of_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let _first = open(directory.path()).unwrap();
        let Err(second) = open(directory.path()) else { panic!("two servers in one directory") };
        assert!(second.detail.contains("another Synscope"), "{}", second.detail);
    }

    #[test]
    fn the_database_of_another_program_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(DATABASE);
        let theirs = Connection::open(&file).unwrap();
        theirs.execute_batch("CREATE TABLE theirs (x)").unwrap();
        drop(theirs);
        let Err(refused) = open(directory.path()) else { panic!("opened") };
        assert!(refused.detail.contains("another program"), "{}", refused.detail);
    }
}
