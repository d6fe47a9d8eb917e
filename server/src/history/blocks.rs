//! Blocks: runs of a trace's events, compressed. Events are much alike, and a row of many costs little more than a row
//! of one.

use lz4_flex::block::{
    CompressTable, DecompressError, compress_into_with_table, decompress_into, get_maximum_output_size,
    uncompressed_size,
};
use rusqlite::{CachedStatement, Connection, Row, types::Type};

use super::{
    queue::MAX_QUEUED_BYTES,
    schema::{row_id_beside, seq_of},
};

/// Bytes of lines in a block, if there are more than one: LZ4 finds again what is no further back.
const BLOCK_BYTES: usize = 64 << 10;
/// What they may become.
const PACKED_BYTES: usize = SIZE_BYTES + get_maximum_output_size(BLOCK_BYTES);
/// Bytes of the size in front.
const SIZE_BYTES: usize = size_of::<u32>();
/// Of LZ4, a byte stands for so many at most.
const MAX_RATIO: usize = 255;

/// Compresses. The room that it takes is taken by the first block, and stays for the next ones.
pub(super) struct Packer {
    lines: Vec<u8>,
    packed: Vec<u8>,
    table: CompressTable,
}

impl Default for Packer {
    fn default() -> Self {
        Self { lines: Vec::new(), packed: Vec::new(), table: CompressTable::large() }
    }
}

impl Packer {
    /// Begins to write blocks.
    pub(super) fn begin<'a>(&'a mut self, connection: &'a Connection) -> rusqlite::Result<Packing<'a>> {
        // What was gathered when something went wrong is lost.
        self.clear();
        let insert = connection.prepare_cached("INSERT OR REPLACE INTO blocks VALUES (?1, ?2, ?3, ?4)")?;
        Ok(Packing { packer: self, insert, run: None })
    }

    /// The lines, compressed.
    fn pack(&mut self) -> Result<&[u8], Box<dyn std::error::Error + Send + Sync>> {
        let size = u32::try_from(self.lines.len())?;
        let most = SIZE_BYTES + get_maximum_output_size(self.lines.len());
        if self.packed.len() < most {
            self.packed.resize(most, 0);
        }
        let (front, rest) = self.packed.split_at_mut(SIZE_BYTES);
        front.copy_from_slice(&size.to_le_bytes());
        let packed = compress_into_with_table(&self.lines, rest, &mut self.table)?;
        Ok(&self.packed[..SIZE_BYTES + packed])
    }

    /// Lets go of the lines, and of room that hardly a block needs.
    fn clear(&mut self) {
        self.lines.clear();
        self.lines.shrink_to(BLOCK_BYTES);
        self.packed.truncate(PACKED_BYTES);
        self.packed.shrink_to(PACKED_BYTES);
    }
}

/// Blocks that are being written.
pub(super) struct Packing<'a> {
    packer: &'a mut Packer,
    insert: CachedStatement<'a>,
    run: Option<Run>,
}

/// What the lines are that were gathered.
struct Run {
    /// Row numbers of the first and of the last event.
    first: i64,
    last: i64,
    newest_ns: i64,
}

impl Packing<'_> {
    /// Takes an event, by its row number. Events of one trace come in order.
    pub(super) fn add(&mut self, id: i64, time_ns: i64, json: &str) -> rusqlite::Result<()> {
        if self.run.as_ref().is_some_and(|run| run.last + 1 != id || !self.has_room(json)) {
            self.write()?;
        }
        let run = self.run.get_or_insert(Run { first: id, last: id, newest_ns: time_ns });
        (run.last, run.newest_ns) = (id, run.newest_ns.max(time_ns));
        self.packer.lines.extend_from_slice(json.as_bytes());
        self.packer.lines.push(b'\n');
        Ok(())
    }

    fn has_room(&self, json: &str) -> bool {
        self.packer.lines.len() + json.len() < BLOCK_BYTES
    }

    /// Writes what has been gathered.
    fn write(&mut self) -> rusqlite::Result<()> {
        let Some(Run { first, last, newest_ns }) = self.run.take() else { return Ok(()) };
        let packed = self.packer.pack().map_err(rusqlite::Error::ToSqlConversionFailure)?;
        self.insert.execute((first, seq_of(last), newest_ns, packed))?;
        self.packer.clear();
        Ok(())
    }

    /// Writes the last of them.
    pub(super) fn finish(mut self) -> rusqlite::Result<()> {
        self.write()
    }
}

/// A run of events, as they were.
pub(super) struct Block {
    /// Row numbers of the first and of the last event.
    first: i64,
    last: i64,
    lines: String,
}

/// The columns that a block is made of, and which of them has the lines.
pub(super) const COLUMNS: &str = "id, last_seq, lines";
pub(super) const LINES: usize = 2;

/// What is in a block is not what was written.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("a block of {packed} bytes cannot hold {size}")]
    Size { packed: usize, size: usize },
    #[error("a block cannot be decompressed: {0}")]
    Packed(#[from] DecompressError),
    #[error("a block is not text: {0}")]
    Text(#[from] std::string::FromUtf8Error),
    #[error("a block has {lines} lines for the events {first_seq} to {last_seq}")]
    Lines { lines: usize, first_seq: u64, last_seq: u64 },
}

impl Block {
    /// Of a row with these columns. One that is broken is an error of whoever wants it, and no damage for which the file
    /// would be set aside: the other blocks can be read, and the file be written.
    pub(super) fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let (first, last_seq, packed) = (row.get(0)?, row.get(1)?, row.get_ref(LINES)?.as_blob()?);
        Self::unpack(first, last_seq, packed)
            .map_err(|broken| rusqlite::Error::FromSqlConversionFailure(LINES, Type::Blob, broken.into()))
    }

    fn unpack(first: i64, last_seq: u64, packed: &[u8]) -> Result<Self, Broken> {
        let lines = String::from_utf8(decompress(packed)?)?;
        let last = row_id_beside(first, last_seq);
        let count = lines.bytes().filter(|&byte| byte == b'\n').count();
        if !lines.ends_with('\n') || i64::try_from(count) != Ok(last - first + 1) {
            return Err(Broken::Lines { lines: count, first_seq: seq_of(first), last_seq });
        }
        Ok(Self { first, last, lines })
    }

    /// The event of this row number.
    pub(super) fn line(&self, id: i64) -> Option<&str> {
        self.lines.split_terminator('\n').nth(usize::try_from(id - self.first).ok()?)
    }

    /// Whether that is one of its events.
    pub(super) fn has(&self, id: i64) -> bool {
        (self.first..=self.last).contains(&id)
    }

    /// The events, with their row numbers.
    pub(super) fn lines(&self) -> impl Iterator<Item = (i64, &str)> {
        (self.first..).zip(self.lines.split_terminator('\n'))
    }
}

fn decompress(packed: &[u8]) -> Result<Vec<u8>, Broken> {
    let (size, rest) = uncompressed_size(packed)?;
    // Nothing longer has ever been queued.
    if size > MAX_QUEUED_BYTES || size > rest.len().saturating_mul(MAX_RATIO) {
        return Err(Broken::Size { packed: packed.len(), size });
    }
    let mut lines = vec![0; size];
    // Should there be fewer, the rest does not end as lines do.
    decompress_into(rest, &mut lines)?;
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(lines: &[String]) -> Vec<u8> {
        let lines = lines.iter().flat_map(|line| [line.as_bytes(), b"\n"]).flatten().copied().collect();
        Packer { lines, ..Packer::default() }.pack().unwrap().to_owned()
    }

    fn lines() -> impl Strategy<Value = Vec<String>> {
        proptest::collection::vec(prop_oneof!["[^\n]{0,80}", "(\"attempt\":){1,40}\r?"], 1..30)
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out_the_same(lines in lines(), first in 0..1_i64 << 50) {
            let packed = packed(&lines);
            let last = first + i64::try_from(lines.len()).unwrap() - 1;
            prop_assume!(seq_of(first) <= seq_of(last));
            let block = Block::unpack(first, seq_of(last), &packed).unwrap();
            let unpacked: Vec<_> = block.lines().map(|(id, line)| (id, line.to_owned())).collect();
            prop_assert_eq!(unpacked, (first..).zip(lines.clone()).collect::<Vec<_>>());
            for (id, line) in (first..).zip(&lines) {
                prop_assert!(block.has(id));
                prop_assert_eq!(block.line(id), Some(&**line));
            }
            prop_assert_eq!((block.line(first - 1), block.line(last + 1)), (None, None));
            for other in [seq_of(last) - 1, seq_of(last) + 1] {
                prop_assert!(Block::unpack(first, other, &packed).is_err());
            }
        }

        #[test]
        fn damaged_bytes_are_an_error_or_something_else(
            lines in lines(), place in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>(),
        ) {
            let mut packed = packed(&lines);
            let (place, cut) = (place.index(packed.len()), cut.index(packed.len()));
            prop_assert!(Block::unpack(1, lines.len() as u64, &packed[..cut]).is_err());
            packed[place] = byte;
            let _ = Block::unpack(1, lines.len() as u64, &packed);
        }

        #[test]
        fn any_bytes_are_an_error_or_something(packed: Vec<u8>, last_seq: u64) {
            let _ = Block::unpack(1, last_seq, &packed);
        }
    }

    #[test]
    fn a_size_that_cannot_be_takes_no_memory() {
        let mut packed = packed(&["{}".to_owned()]);
        packed[..SIZE_BYTES].copy_from_slice(&2_000_u32.to_le_bytes());
        assert!(matches!(Block::unpack(1, 1, &packed), Err(Broken::Size { size: 2_000, .. })));
        packed[..SIZE_BYTES].copy_from_slice(&4_u32.to_le_bytes());
        assert!(matches!(Block::unpack(1, 1, &packed), Err(Broken::Lines { .. })), "one more than there is");
        let long = vec![0; 1 << 20];
        let packed = [&u32::MAX.to_le_bytes()[..], &long].concat();
        assert!(matches!(Block::unpack(1, 1, &packed), Err(Broken::Size { .. })));
    }

    #[test]
    fn the_room_of_a_long_line_is_given_back() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("schema/4.sql")).unwrap();
        let mut packer = Packer::default();
        let mut packing = packer.begin(&connection).unwrap();
        packing.add(1, 1, &"x".repeat(1 << 20)).unwrap();
        packing.finish().unwrap();
        assert_eq!((packer.lines.capacity(), packer.packed.capacity()), (BLOCK_BYTES, PACKED_BYTES));
    }
}
