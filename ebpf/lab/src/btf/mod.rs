//! A reader of BTF for tests: it keeps whole types, where a tracer keeps only what it looks up, and it
//! shares no code with any tracer, so that the two can be compared.

pub mod reduce;
mod write;

use thiserror::Error;

/// Why bytes are not BTF.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("not BTF: {0}")]
pub struct BtfError(&'static str);

/// `BTF_KIND_*`
pub mod kind {
    #![expect(missing_docs, reason = "the names are those of the format's documentation")]
    pub const INT: u8 = 1;
    pub const PTR: u8 = 2;
    pub const ARRAY: u8 = 3;
    pub const STRUCT: u8 = 4;
    pub const UNION: u8 = 5;
    pub const ENUM: u8 = 6;
    pub const TYPEDEF: u8 = 8;
    pub const VOLATILE: u8 = 9;
    pub const CONST: u8 = 10;
    pub const RESTRICT: u8 = 11;
    pub const FUNC_PROTO: u8 = 13;
    pub const VAR: u8 = 14;
    pub const DATASEC: u8 = 15;
    pub const DECL_TAG: u8 = 17;
    pub const TYPE_TAG: u8 = 18;
    pub const ENUM64: u8 = 19;
}

/// One type. Number 1 is the first; 0 is `void`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    /// Empty when it has none.
    pub name: String,
    /// From [`kind`].
    pub kind: u8,
    /// Members are bit fields, or the enum is signed.
    pub flag: bool,
    /// Size in bytes, or the type that this one stands for.
    pub size_or_type: u32,
    /// What follows.
    pub body: Body,
}

/// What follows a type's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Of structures and unions.
    Members(Vec<Member>),
    /// Of enums.
    Values(Vec<(String, i32)>),
    /// Of function prototypes: the type of each parameter.
    Parameters(Vec<u32>),
    /// Of arrays: type and number of elements.
    Elements(u32, u32),
    /// Of all others: nothing that matters here.
    Other,
}

/// A member of a structure or union.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Empty when it has none.
    pub name: String,
    /// Its type's number.
    pub type_id: u32,
    /// As in the format: an offset in bits, with the width of a bit field above it if the type says so.
    pub offset: u32,
}

/// Parsed BTF.
#[derive(Clone, Debug, Default)]
pub struct Btf {
    types: Vec<Type>,
}

/// How a structure is laid out, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout<'a> {
    /// Of the whole structure.
    pub size: usize,
    /// Each member's name, offset and size; bit fields have none.
    pub members: Vec<(&'a str, usize, usize)>,
}

const HEADER_LEN: usize = 24;
const MAGIC: u16 = 0xeb9f;

impl Btf {
    /// Parses BTF of little-endian machines.
    pub fn parse(data: &[u8]) -> Result<Self, BtfError> {
        let header = data.get(..HEADER_LEN).ok_or(BtfError("no header"))?;
        if u16::from_le_bytes([header[0], header[1]]) != MAGIC {
            return Err(BtfError("no magic number"));
        }
        let word = |at: usize| word_at(header, at).unwrap_or(0);
        let section = |offset: usize, len: usize| data.get(word(4) + offset..)?.get(..len);
        let types = section(word(8), word(12)).ok_or(BtfError("types lie outside"))?;
        let strings = section(word(16), word(20)).ok_or(BtfError("strings lie outside"))?;
        let mut reader = Reader { data: types, at: 0, strings };
        let mut btf = Self::default();
        while reader.at < types.len() {
            btf.types.push(reader.read().ok_or(BtfError("a type is cut off or of an unknown kind"))?);
        }
        Ok(btf)
    }

    /// A type by number.
    pub fn get(&self, id: u32) -> Option<&Type> {
        self.types.get((id as usize).checked_sub(1)?)
    }

    /// All types with their numbers.
    pub fn types(&self) -> impl Iterator<Item = (u32, &Type)> {
        (1..).zip(&self.types)
    }

    /// The number of the first type of this kind and name.
    pub fn find(&self, kind: u8, name: &str) -> Option<u32> {
        self.types().find(|(_, it)| it.kind == kind && it.name == name).map(|(id, _)| id)
    }

    /// Follows type definitions, `const` and the like.
    pub fn resolve(&self, mut id: u32) -> u32 {
        use kind::{CONST, RESTRICT, TYPE_TAG, TYPEDEF, VOLATILE};
        while let Some(it) = self.get(id)
            && [TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG].contains(&it.kind)
        {
            id = it.size_or_type;
        }
        id
    }

    /// Size in bytes.
    pub fn size(&self, id: u32) -> usize {
        match self.get(self.resolve(id)) {
            Some(Type { kind: kind::PTR, .. }) => 8,
            Some(Type { body: Body::Elements(element, count), .. }) => self.size(*element) * *count as usize,
            Some(it) => it.size_or_type as usize,
            None => 0,
        }
    }

    /// The same, but that every member of every named structure lies further down: a kernel that does not
    /// exist, with offsets larger than any that does.
    #[must_use]
    pub fn stretched(&self, bytes: u32) -> Self {
        let mut types = self.types.clone();
        for it in types.iter_mut().filter(|it| it.kind == kind::STRUCT && !it.name.is_empty()) {
            if let Body::Members(members) = &mut it.body
                && !members.is_empty()
            {
                for member in members {
                    member.offset += bytes * 8;
                }
                // Room for what an embedded structure has moved by as well.
                it.size_or_type += 2 * bytes;
            }
        }
        Self { types }
    }

    /// How a structure is laid out.
    pub fn layout(&self, structure: &str) -> Option<Layout<'_>> {
        let it = self.get(self.find(kind::STRUCT, structure)?)?;
        let Body::Members(members) = &it.body else { return None };
        let place = |member: &'_ Member| {
            // Of structures with bit fields, the upper byte is a field's width in bits.
            let (at, width) =
                if it.flag { (member.offset & 0x00ff_ffff, member.offset >> 24) } else { (member.offset, 0) };
            (at as usize / 8, if width == 0 { self.size(member.type_id) } else { 0 })
        };
        let members = members.iter().map(|it| (it.name.as_str(), place(it).0, place(it).1)).collect();
        Some(Layout { size: it.size_or_type as usize, members })
    }
}

fn word_at(data: &[u8], at: usize) -> Option<usize> {
    let bytes = data.get(at..at + 4)?;
    Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
}

struct Reader<'data> {
    data: &'data [u8],
    at: usize,
    strings: &'data [u8],
}

impl Reader<'_> {
    fn word(&mut self) -> Option<u32> {
        let bytes = self.data.get(self.at..self.at + 4)?;
        self.at += 4;
        Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn name(&mut self) -> Option<String> {
        let start = self.word()? as usize;
        let bytes = self.strings.get(start..)?.split(|&byte| byte == 0).next()?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    fn read(&mut self) -> Option<Type> {
        let name = self.name()?;
        let info = self.word()?;
        let size_or_type = self.word()?;
        let (kind, count) = ((info >> 24 & 0x1f) as u8, info & 0xffff);
        let body = match kind {
            kind::STRUCT | kind::UNION => {
                Body::Members((0..count).map(|_| self.member()).collect::<Option<_>>()?)
            }
            kind::ENUM => Body::Values(
                (0..count)
                    .map(|_| Some((self.name()?, self.word()?.cast_signed())))
                    .collect::<Option<_>>()?,
            ),
            kind::FUNC_PROTO => Body::Parameters(
                (0..count).map(|_| self.word().and_then(|_| self.word())).collect::<Option<_>>()?,
            ),
            kind::ARRAY => {
                let (element, _index, count) = (self.word()?, self.word()?, self.word()?);
                Body::Elements(element, count)
            }
            _ => {
                let words = match kind {
                    kind::INT | kind::VAR | kind::DECL_TAG => 1,
                    kind::DATASEC | kind::ENUM64 => 3 * count,
                    2 | 7..=12 | 16 | 18 => 0,
                    _ => return None,
                };
                for _ in 0..words {
                    self.word()?;
                }
                Body::Other
            }
        };
        Some(Type { name, kind, flag: info >> 31 == 1, size_or_type, body })
    }

    fn member(&mut self) -> Option<Member> {
        Some(Member { name: self.name()?, type_id: self.word()?, offset: self.word()? })
    }
}
