//! Writes BTF.

use std::collections::HashMap;

use super::{Body, Btf, Type};

/// Strings of BTF: each once, the empty one first.
struct Strings {
    bytes: Vec<u8>,
    known: HashMap<String, u32>,
}

impl Strings {
    fn at(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        *self.known.entry(text.to_owned()).or_insert_with(|| {
            let at = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
            self.bytes.extend(text.bytes().chain([0]));
            at
        })
    }
}

impl Btf {
    /// Writes it in the format that it was read from.
    pub fn to_bytes(&self) -> Vec<u8> {
        write(&self.types)
    }
}

fn write(types: &[Type]) -> Vec<u8> {
    let mut strings = Strings { bytes: vec![0], known: HashMap::new() };
    let mut words: Vec<u32> = Vec::new();
    for it in types {
        let count = match &it.body {
            Body::Members(members) => members.len(),
            Body::Values(values) => values.len(),
            Body::Parameters(parameters) => parameters.len(),
            Body::Elements(..) | Body::Other => 0,
        };
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        words.extend([strings.at(&it.name), u32::from(it.flag) << 31 | u32::from(it.kind) << 24 | count]);
        words.push(it.size_or_type);
        match &it.body {
            Body::Members(members) => {
                for member in members {
                    words.extend([strings.at(&member.name), member.type_id, member.offset]);
                }
            }
            Body::Values(values) => {
                for (name, value) in values {
                    words.extend([strings.at(name), value.cast_unsigned()]);
                }
            }
            Body::Parameters(parameters) => words.extend(parameters.iter().flat_map(|&id| [0, id])),
            Body::Elements(..) | Body::Other => {}
        }
    }
    let types_len = u32::try_from(words.len() * 4).unwrap_or(u32::MAX);
    let strings_len = u32::try_from(strings.bytes.len()).unwrap_or(u32::MAX);
    let mut out = vec![0x9f, 0xeb, 1, 0];
    let header = [24, 0, types_len, types_len, strings_len];
    out.extend(header.into_iter().chain(words).flat_map(u32::to_le_bytes));
    out.extend(strings.bytes);
    out
}
