//! A reader of BTF, the kernel's own description of its types, for what the tracer asks of it: where a
//! member lies, how many arguments a tracepoint has, which names an enum gives to its values.
//!
//! The format is documented in the kernel's Documentation/bpf/btf.rst. Nothing of the input is trusted:
//! whatever it says, reading ends with a value or an [`Error`].

use thiserror::Error;

/// Why BTF could not be read or does not hold what was asked for.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not BTF of this machine's byte order.
    #[error("not BTF: {0}")]
    Malformed(&'static str),
    /// No such type.
    #[error("the kernel has no type `{0}`")]
    NoType(String),
    /// No such member in the structure.
    #[error("the kernel's `{structure}` has no member `{member}`")]
    NoMember {
        /// The structure that was searched.
        structure: String,
        /// The member that is missing, as a dotted path.
        member: String,
    },
}

/// What a type is; the numbers are BTF's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A pointer.
    Ptr = 2,
    /// A structure.
    Struct = 4,
    /// A union.
    Union = 5,
    /// An enumeration.
    Enum = 6,
    /// A type definition.
    Typedef = 8,
    /// A function.
    Func = 12,
    /// A function's prototype.
    FuncProto = 13,
    /// A variable: of the kernel's, those that each processor has.
    Var = 14,
}

/// Parsed BTF. Holds the bytes, and indexes of where each type starts and which types are of a kind.
#[derive(Debug)]
pub struct Btf {
    data: Vec<u8>,
    /// Where the string section starts and ends in `data`.
    strings: (usize, usize),
    /// Offset in `data` of type number i+1.
    types: Vec<u32>,
    /// Numbers of the types of each kind, in order: a kernel has ten times as many types as structures.
    of_kind: [Vec<u32>; KINDS],
}

/// A type's fixed head: `struct btf_type`.
#[derive(Clone, Copy, Debug)]
struct Head {
    at: usize,
    name: u32,
    kind: u8,
    kind_flag: bool,
    vlen: usize,
    size_or_type: u32,
}

/// A member of a structure or union.
struct Member {
    name: u32,
    type_id: u32,
    bit_offset: u32,
    is_bit_field: bool,
}

/// Kinds that BTF's five bits can tell.
const KINDS: usize = 32;
const HEADER_LEN: usize = 24;
const MAGIC: u16 = 0xeb9f;
const TYPE_LEN: usize = 12;
const MEMBER_LEN: usize = 12;
const ENUM_LEN: usize = 8;
/// Type modifiers and definitions that may stand in a row before a structure; a longer row is a loop.
const MAX_CHAIN: usize = 32;
/// Structures nested in each other without a name; more is a loop.
const MAX_NESTING: usize = 16;

impl Btf {
    /// Reads BTF, for example the content of `/sys/kernel/btf/vmlinux`.
    pub fn parse(data: Vec<u8>) -> Result<Self, Error> {
        let truncated = Error::Malformed("the header is truncated");
        if data.len() < HEADER_LEN {
            return Err(truncated);
        }
        if u16::from_le_bytes([data[0], data[1]]) != MAGIC {
            return Err(Error::Malformed("the magic number is missing"));
        }
        let word = |at: usize| u32_at(&data, at).map(|word| word as usize);
        let header_len = word(4).ok_or(truncated)?;
        let section = |at: usize| -> Option<(usize, usize)> {
            let start = header_len.checked_add(word(at)?)?;
            let end = start.checked_add(word(at + 4)?)?;
            (end <= data.len()).then_some((start, end))
        };
        let outside = Error::Malformed("a section lies outside the data");
        let (Some(types), Some(strings)) = (section(8), section(16)) else {
            return Err(outside);
        };
        let mut btf = Self { types: Vec::new(), of_kind: Default::default(), strings, data };
        btf.index(types)?;
        Ok(btf)
    }

    /// Walks the type section once and notes where each type starts.
    fn index(&mut self, (start, end): (usize, usize)) -> Result<(), Error> {
        self.types.reserve((end - start) / 24);
        let mut at = start;
        while at < end {
            let head = self.head_at(at).ok_or(Error::Malformed("a type is truncated"))?;
            let tail = match head.kind {
                1 | 14 | 17 => 4,
                3 => 12,
                4 | 5 | 15 | 19 => head.vlen * MEMBER_LEN,
                6 | 13 => head.vlen * ENUM_LEN,
                2 | 7..=12 | 16 | 18 => 0,
                _ => return Err(Error::Malformed("a type is of an unknown kind")),
            };
            let offset = u32::try_from(at).map_err(|_| Error::Malformed("larger than 4 GiB"))?;
            self.types.push(offset);
            // There are fewer types than offsets.
            let id = u32::try_from(self.types.len()).unwrap_or(u32::MAX);
            self.of_kind[usize::from(head.kind)].push(id);
            at += TYPE_LEN + tail;
        }
        if at == end { Ok(()) } else { Err(Error::Malformed("the last type is truncated")) }
    }

    fn head_at(&self, at: usize) -> Option<Head> {
        let info = u32_at(&self.data, at + 4)?;
        Some(Head {
            at,
            name: u32_at(&self.data, at)?,
            kind: (info >> 24 & 0x1f) as u8,
            kind_flag: info >> 31 == 1,
            vlen: (info & 0xffff) as usize,
            size_or_type: u32_at(&self.data, at + 8)?,
        })
    }

    fn head(&self, id: u32) -> Option<Head> {
        let index = (id as usize).checked_sub(1)?;
        self.head_at(*self.types.get(index)? as usize)
    }

    /// The string section from an offset on: a string, a zero, and others.
    fn strings_from(&self, offset: u32) -> &[u8] {
        let (start, end) = self.strings;
        self.data[start..end].get(offset as usize..).unwrap_or_default()
    }

    /// A string of the string section, without its final zero.
    fn string(&self, offset: u32) -> &[u8] {
        self.strings_from(offset).split(|&byte| byte == 0).next().unwrap_or_default()
    }

    /// The first type of this kind and name.
    fn find(&self, kind: Kind, name: &str) -> Option<Head> {
        self.head(self.id_of(kind, name)?)
    }

    /// True when there is a type of this kind and name.
    pub fn has(&self, kind: Kind, name: &str) -> bool {
        self.find(kind, name).is_some()
    }

    /// Number of the first type of this kind and name.
    pub fn id_of(&self, kind: Kind, name: &str) -> Option<u32> {
        let is_it = |head: Head| {
            let tail = self.strings_from(head.name).strip_prefix(name.as_bytes());
            tail.is_some_and(|tail| matches!(tail.first(), None | Some(0)))
        };
        self.of_kind[kind as usize].iter().copied().find(|&id| self.head(id).is_some_and(is_it))
    }

    /// Whether it describes anything of this kind.
    pub fn has_any(&self, kind: Kind) -> bool {
        !self.of_kind[kind as usize].is_empty()
    }

    /// Follows type definitions and modifiers (const, volatile …) to what they stand for.
    fn resolve(&self, id: u32) -> Option<Head> {
        let mut head = self.head(id)?;
        for _ in 0..MAX_CHAIN {
            match head.kind {
                8..=11 | 18 => head = self.head(head.size_or_type)?,
                _ => return Some(head),
            }
        }
        None
    }

    fn members(&self, head: Head) -> impl Iterator<Item = Member> + '_ {
        (0..head.vlen).filter_map(move |i| {
            let at = head.at + TYPE_LEN + i * MEMBER_LEN;
            let offset = u32_at(&self.data, at + 8)?;
            Some(Member {
                name: u32_at(&self.data, at)?,
                type_id: u32_at(&self.data, at + 4)?,
                // With the flag set, the upper byte is a bit field's width.
                bit_offset: if head.kind_flag { offset & 0x00ff_ffff } else { offset },
                is_bit_field: head.kind_flag && offset >> 24 != 0,
            })
        })
    }

    /// Finds a member by name, looking into members that have none, and returns it with its bit offset. Bit
    /// fields are not found: no helper could read them.
    fn member(&self, head: Head, name: &[u8], nesting: usize) -> Option<(Head, u32)> {
        if nesting > MAX_NESTING {
            return None;
        }
        self.members(head).find_map(|member| {
            let own = self.string(member.name);
            let inner = || self.resolve(member.type_id);
            if own == name && !member.is_bit_field {
                return Some((inner()?, member.bit_offset));
            }
            if !own.is_empty() {
                return None;
            }
            let inner =
                inner().filter(|inner| [Kind::Struct as u8, Kind::Union as u8].contains(&inner.kind))?;
            let (found, offset) = self.member(inner, name, nesting + 1)?;
            Some((found, member.bit_offset.checked_add(offset)?))
        })
    }

    /// Whether a structure has a member of its own with this name, bit fields included.
    pub(crate) fn has_member(&self, structure: &str, name: &str) -> bool {
        let found = self.find(Kind::Struct, structure);
        found.is_some_and(|head| self.members(head).any(|member| self.string(member.name) == name.as_bytes()))
    }

    /// Offset in bytes of a member, named as `structure` and a dotted path through it.
    pub fn offset_of(&self, structure: &str, path: &str) -> Result<u32, Error> {
        let mut head = self.find(Kind::Struct, structure).ok_or_else(|| Error::NoType(structure.into()))?;
        let mut bits = 0_u32;
        for name in path.split('.') {
            let (inner, offset) = self
                .member(head, name.as_bytes(), 0)
                .ok_or_else(|| Error::NoMember { structure: structure.into(), member: path.into() })?;
            bits = bits.checked_add(offset).ok_or(Error::Malformed("a member lies beyond 512 MiB"))?;
            head = inner;
        }
        if bits.is_multiple_of(8) {
            Ok(bits / 8)
        } else {
            Err(Error::Malformed("a member lies between bytes"))
        }
    }

    /// How many arguments a tracepoint hands to its programs; `None` when the kernel does not have it.
    pub fn tracepoint_args(&self, tracepoint: &str) -> Option<usize> {
        let definition = self.find(Kind::Typedef, &format!("btf_trace_{tracepoint}"))?;
        let pointer = self.resolve(definition.size_or_type).filter(|head| head.kind == Kind::Ptr as u8)?;
        let prototype =
            self.resolve(pointer.size_or_type).filter(|head| head.kind == Kind::FuncProto as u8)?;
        // The first parameter is the tracepoint's own data.
        prototype.vlen.checked_sub(1)
    }

    /// Names and values of an enum.
    pub fn enum_values(&self, name: &str) -> Result<Vec<(String, i32)>, Error> {
        let head = self.find(Kind::Enum, name).ok_or_else(|| Error::NoType(name.into()))?;
        let values = (0..head.vlen).filter_map(|i| {
            let at = head.at + TYPE_LEN + i * ENUM_LEN;
            let name = String::from_utf8_lossy(self.string(u32_at(&self.data, at)?)).into_owned();
            Some((name, u32_at(&self.data, at + 4)?.cast_signed()))
        });
        Ok(values.collect())
    }
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds BTF with `int a; union { int b; struct { int c; }; }` as `struct outer`, and nothing else.
    fn sample() -> Vec<u8> {
        let strings = b"\0outer\0a\0b\0c\0int\0";
        let mut types: Vec<u32> = Vec::new();
        types.extend([14, 1 << 24, 4, 32]); // 1: int
        types.extend([0, 4 << 24 | 1, 4, 11, 1, 0]); // 2: struct { int c; }
        types.extend([0, 5 << 24 | 2, 4, 9, 1, 0, 0, 2, 0]); // 3: union { int b; struct 2; }
        types.extend([1, 4 << 24 | 2, 8, 7, 1, 0, 0, 3, 32]); // 4: struct outer
        let types: Vec<u8> = types.into_iter().flat_map(u32::to_le_bytes).collect();
        let mut data = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, types.len(), types.len(), strings.len()] {
            data.extend(u32::try_from(word).unwrap().to_le_bytes());
        }
        data.extend(types);
        data.extend(strings);
        data
    }

    #[test]
    fn a_type_is_numbered_from_one() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.id_of(Kind::Struct, "outer"), Some(4));
        assert_eq!(btf.id_of(Kind::Union, "outer"), None);
    }

    #[test]
    fn members_are_found_through_anonymous_unions() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.offset_of("outer", "a"), Ok(0));
        assert_eq!(btf.offset_of("outer", "b"), Ok(4));
        assert_eq!(btf.offset_of("outer", "c"), Ok(4));
    }

    #[test]
    fn what_is_missing_is_named() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.offset_of("other", "a"), Err(Error::NoType("other".into())));
        let missing = btf.offset_of("outer", "a.x").unwrap_err();
        assert_eq!(missing.to_string(), "the kernel's `outer` has no member `a.x`");
        assert_eq!(btf.tracepoint_args("tcp_retransmit_skb"), None);
    }

    #[test]
    fn truncated_at_any_byte_it_is_refused() {
        let whole = sample();
        for len in 0..whole.len() {
            assert!(Btf::parse(whole[..len].to_vec()).is_err(), "{len} bytes were taken for BTF");
        }
    }

    #[test]
    fn a_structure_that_contains_itself_ends_the_search() {
        let mut data = sample();
        // Make the anonymous struct's only member anonymous and of the union's type, which holds the struct.
        let member = HEADER_LEN + 16 + TYPE_LEN;
        data[member..member + 4].copy_from_slice(&0_u32.to_le_bytes());
        data[member + 4..member + 8].copy_from_slice(&3_u32.to_le_bytes());
        let btf = Btf::parse(data).unwrap();
        assert!(btf.offset_of("outer", "c").is_err());
    }
}
