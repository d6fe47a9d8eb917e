//! Modelled maps. Full, missing and existing entries answer with the kernel's own error numbers.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::{
    memory::{Access, Kind, Memory},
    object::MapDef,
};

/// The model has no such map, or refuses what a test wants of it.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("map {map}: {what}")]
pub struct MapError {
    map: String,
    what: String,
}

impl MapError {
    pub(crate) fn new(map: &str, what: impl Into<String>) -> Self {
        Self { map: map.into(), what: what.into() }
    }
}

/// `enum bpf_map_type`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Hash,
    /// A hash map that forgets when it is full. What it forgets first is not modelled.
    LruHash,
    Array,
    PerCpuArray,
    LpmTrie,
    RingBuf,
}

pub(crate) const ENOENT: i64 = 2;
pub(crate) const E2BIG: i64 = 7;
pub(crate) const EEXIST: i64 = 17;
pub(crate) const EINVAL: i64 = 22;
const NOEXIST: u64 = 1;
const EXIST: u64 = 2;
/// What the kernel puts before a record in a ring buffer.
const RECORD_HEADER: usize = 8;
/// What room in a ring buffer holds before the program writes it: the remains of earlier records.
const REMAINS: u8 = 0xa5;

/// A map. Values live in regions of their own, so that reaching from one into its neighbour is an error.
#[derive(Clone, Debug)]
pub(crate) struct Map {
    pub(crate) def: MapDef,
    /// What the program's wide load gives it.
    pub(crate) handle: u64,
    kind: Type,
    /// Address of each value by key; arrays by index, per-CPU arrays by index and processor.
    values: BTreeMap<Vec<u8>, u64>,
    ring: Ring,
}

/// What submitting a record asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wakeup {
    /// Flags 0: the reader is woken when it has read all records before this one.
    IfWaiting,
    /// `BPF_RB_NO_WAKEUP`
    Never,
    /// `BPF_RB_FORCE_WAKEUP`
    Always,
}

#[derive(Clone, Debug, Default)]
struct Ring {
    used: usize,
    reserved: Vec<u64>,
    records: Vec<Vec<u8>>,
}

impl Map {
    pub(crate) fn new(def: MapDef, handle: u64) -> Result<Self, MapError> {
        let kind = match def.kind {
            1 => Type::Hash,
            2 => Type::Array,
            6 => Type::PerCpuArray,
            9 => Type::LruHash,
            11 => Type::LpmTrie,
            27 => Type::RingBuf,
            other => return Err(MapError::new(&def.name, format!("type {other} is not modelled"))),
        };
        if kind == Type::RingBuf && !def.max_entries.is_power_of_two() {
            return Err(MapError::new(&def.name, "a ring buffer's size is a power of two"));
        }
        Ok(Self { def, handle, kind, values: BTreeMap::new(), ring: Ring::default() })
    }

    /// True when another key would push one out.
    pub(crate) fn forgets(&self, key: &[u8]) -> bool {
        self.kind == Type::LruHash
            && self.values.len() >= self.def.max_entries as usize
            && !self.values.contains_key(key)
    }

    pub(crate) fn is_ring(&self) -> bool {
        self.kind == Type::RingBuf
    }

    /// Address of a key's value.
    pub(crate) fn lookup(&mut self, memory: &mut Memory, key: &[u8], cpu: u32) -> Option<u64> {
        match self.kind {
            Type::Hash | Type::LruHash => self.values.get(key).copied(),
            Type::LpmTrie => self.longest_match(key),
            Type::Array => self.element(memory, key, 0),
            Type::PerCpuArray => self.element(memory, key, cpu),
            Type::RingBuf => None,
        }
    }

    /// An element of an array; they all exist and start as zeros.
    fn element(&mut self, memory: &mut Memory, key: &[u8], cpu: u32) -> Option<u64> {
        let index = u32::from_le_bytes(key.try_into().ok()?);
        if index >= self.def.max_entries {
            return None;
        }
        let key = [key, &cpu.to_le_bytes()].concat();
        let size = self.def.value_size as usize;
        Some(
            *self
                .values
                .entry(key)
                .or_insert_with(|| memory.add(Kind::Data(Access::ReadWrite), vec![0; size])),
        )
    }

    /// Keys are a prefix length and big-endian data (trie_lookup_elem; 6.18, kernel/bpf/lpm_trie.c).
    fn longest_match(&self, key: &[u8]) -> Option<u64> {
        // A prefix that is longer than its data finds nothing.
        let (wanted, data) = prefix(key).filter(|(len, data)| *len <= data.len() * 8)?;
        let candidates = self.values.iter().filter_map(|(entry, &value)| {
            let (len, entry) = prefix(entry)?;
            (len <= wanted && shares_bits(entry, data, len)).then_some((len, value))
        });
        candidates.max_by_key(|&(len, _)| len).map(|(_, value)| value)
    }

    /// Sets a key's value; the negative errno is the kernel's.
    pub(crate) fn update(
        &mut self,
        memory: &mut Memory,
        key: &[u8],
        value: &[u8],
        flags: u64,
        cpu: u32,
    ) -> i64 {
        if flags > EXIST {
            return -EINVAL;
        }
        if matches!(self.kind, Type::Array | Type::PerCpuArray) {
            let Some(address) = self.element(memory, key, cpu) else { return -E2BIG };
            return match (flags, memory.bytes_mut(address)) {
                (NOEXIST, _) => -EEXIST,
                (_, Some(bytes)) => {
                    bytes.copy_from_slice(value);
                    0
                }
                (_, None) => -ENOENT,
            };
        }
        let old = self.values.get(key).copied();
        match (old, flags) {
            (Some(_), NOEXIST) => return -EEXIST,
            (None, EXIST) => return -ENOENT,
            (None, _) if self.values.len() >= self.def.max_entries as usize => return -E2BIG,
            _ => {}
        }
        // A new element takes the old one's place: pointers to the old value are stale from now on.
        if let Some(old) = old {
            memory.remove(old);
        }
        let address = memory.add(Kind::Data(Access::ReadWrite), value.to_vec());
        self.values.insert(key.to_vec(), address);
        0
    }

    pub(crate) fn delete(&mut self, memory: &mut Memory, key: &[u8]) -> i64 {
        if !matches!(self.kind, Type::Hash | Type::LruHash | Type::LpmTrie) {
            return -EINVAL;
        }
        match self.values.remove(key) {
            Some(address) => {
                memory.remove(address);
                0
            }
            None => -ENOENT,
        }
    }

    /// All entries; those of arrays only where they were touched.
    pub(crate) fn entries<'a>(&'a self, memory: &'a Memory) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.values.iter().filter_map(|(key, &address)| Some((key.as_slice(), memory.bytes(address)?)))
    }

    /// Room for a record, or `None` when the ring is full (__bpf_ringbuf_reserve; 6.18, kernel/bpf/ringbuf.c).
    pub(crate) fn reserve(&mut self, memory: &mut Memory, len: usize) -> Option<u64> {
        let room = (len + RECORD_HEADER).next_multiple_of(8);
        if self.ring.used + room > self.def.max_entries as usize - 1 {
            return None;
        }
        self.ring.used += room;
        let address = memory.add(Kind::Data(Access::ReadWrite), vec![REMAINS; len]);
        self.ring.reserved.push(address);
        Some(address)
    }

    /// True when a record that is submitted now wakes the reader (bpf_ringbuf_commit; 6.18, kernel/bpf/ringbuf.c).
    pub(crate) fn wakes(&self, flags: Wakeup) -> bool {
        match flags {
            Wakeup::IfWaiting => self.ring.records.is_empty(),
            Wakeup::Never => false,
            Wakeup::Always => true,
        }
    }

    /// True when there is a record at this address that was reserved and not submitted.
    pub(crate) fn has_reserved(&self, address: u64) -> bool {
        self.ring.reserved.contains(&address)
    }

    /// Hands a reserved record over.
    pub(crate) fn submit(&mut self, memory: &mut Memory, address: u64, discard: bool) {
        self.ring.reserved.retain(|&reserved| reserved != address);
        let record = memory.remove(address).unwrap_or_default();
        if !discard {
            self.ring.records.push(record);
        }
    }

    pub(crate) fn has_reservations(&self) -> bool {
        !self.ring.reserved.is_empty()
    }

    /// Takes all records, as a reader does.
    pub(crate) fn drain(&mut self) -> Vec<Vec<u8>> {
        self.ring.used = 0;
        std::mem::take(&mut self.ring.records)
    }
}

fn prefix(key: &[u8]) -> Option<(usize, &[u8])> {
    let (len, data) = key.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*len) as usize, data))
}

fn shares_bits(a: &[u8], b: &[u8], bits: usize) -> bool {
    let whole = bits / 8;
    let rest = bits % 8;
    a.get(..whole) == b.get(..whole)
        && (rest == 0 || a.get(whole).zip(b.get(whole)).is_some_and(|(a, b)| (a ^ b) >> (8 - rest) == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(kind: u32, max_entries: u32) -> (Map, Memory) {
        let def = MapDef {
            name: "m".into(),
            kind,
            key_size: 8,
            value_size: 1,
            max_entries,
            flags: 0,
            is_pinned: false,
        };
        (Map::new(def, 1).unwrap(), Memory::new())
    }

    fn network(len: u32, data: [u8; 4]) -> Vec<u8> {
        [len.to_le_bytes(), data].concat()
    }

    #[test]
    fn the_longest_prefix_wins() {
        let (mut trie, mut memory) = map(11, 8);
        for (len, data, value) in [(0, [0; 4], 0), (8, [10, 0, 0, 0], 8), (20, [10, 1, 0x10, 0], 20)] {
            assert_eq!(trie.update(&mut memory, &network(len, data), &[value], 0, 0), 0);
        }
        for (address, expected) in [([10, 1, 0x1f, 9], 20), ([10, 1, 0x20, 9], 8), ([11, 0, 0, 1], 0)] {
            let value = trie.lookup(&mut memory, &network(32, address), 0).unwrap();
            assert_eq!(memory.bytes(value).unwrap(), [expected], "{address:?}");
        }
        assert_eq!(trie.lookup(&mut memory, &network(33, [10, 1, 0x1f, 9]), 0), None);
    }

    #[test]
    fn a_full_hash_map_takes_no_new_key_but_known_ones() {
        let (mut hash, mut memory) = map(1, 1);
        assert_eq!(hash.update(&mut memory, &[1; 8], &[1], NOEXIST, 0), 0);
        assert_eq!(hash.update(&mut memory, &[2; 8], &[1], 0, 0), -E2BIG);
        assert_eq!(hash.update(&mut memory, &[1; 8], &[2], NOEXIST, 0), -EEXIST);
        assert_eq!(hash.update(&mut memory, &[1; 8], &[2], 0, 0), 0);
        assert_eq!(hash.delete(&mut memory, &[2; 8]), -ENOENT);
        assert_eq!(hash.entries(&memory).collect::<Vec<_>>(), [(&[1; 8][..], &[2][..])]);
    }

    #[test]
    fn a_ring_keeps_one_byte_free() {
        let (mut ring, mut memory) = map(27, 64);
        assert!(ring.reserve(&mut memory, 48).is_some(), "56 of 64 bytes");
        assert!(ring.reserve(&mut memory, 0).is_none(), "64 of 64 bytes");
    }
}
