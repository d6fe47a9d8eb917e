//! Cuts a kernel's BTF down to the structures, enums and tracepoints that a test asks for: some kilobytes
//! instead of megabytes, in the same format, with every offset and size as it was.
//!
//! Members of a kept structure are all kept. What they are made of is not: a pointer points to nothing, a
//! number is a number of that size, and a named structure that nobody asked for is an empty one of its size.
//! Structures without a name are kept whole, since members are looked up through them.

use std::collections::HashMap;

use thiserror::Error;

use super::{Body, Btf, Member, Type, kind};

/// What to keep.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Names of structures.
    pub structures: Vec<String>,
    /// Names of enums.
    pub enums: Vec<String>,
    /// Beginnings of tracepoints' names.
    pub tracepoints: Vec<String>,
}

/// Why a list of wishes cannot be read.
#[derive(Debug, Error)]
#[error("not a list of what to keep: {0}")]
pub struct WantedError(String);

impl Wanted {
    /// Reads TOML with the three lists, by the names of the fields.
    pub fn parse(text: &str) -> Result<Self, WantedError> {
        let table: toml::Table = text.parse().map_err(|error| WantedError(format!("{error}")))?;
        let list = |key: &str| {
            let values = table.get(key).and_then(toml::Value::as_array).into_iter().flatten();
            let names: Option<Vec<String>> = values.map(|value| value.as_str().map(str::to_owned)).collect();
            names.ok_or_else(|| WantedError(format!("`{key}` holds what is no name")))
        };
        Ok(Self { structures: list("structures")?, enums: list("enums")?, tracepoints: list("tracepoints")? })
    }
}

/// The reduced BTF. What the kernel does not have is left out.
pub fn reduce(btf: &Btf, wanted: &Wanted) -> Vec<u8> {
    let mut reducer =
        Reducer { btf, wanted, kept: Vec::new(), by_origin: HashMap::new(), scalars: HashMap::new() };
    for name in &wanted.structures {
        if let Some(id) = btf.find(kind::STRUCT, name) {
            reducer.keep(id);
        }
    }
    for name in &wanted.enums {
        if let Some(found) = btf.find(kind::ENUM, name).and_then(|id| btf.get(id)) {
            reducer.push(found.clone());
        }
    }
    for (_, definition) in btf.types().filter(|(_, it)| it.kind == kind::TYPEDEF) {
        let tracepoint = definition.name.strip_prefix("btf_trace_");
        if tracepoint
            .is_some_and(|name| wanted.tracepoints.iter().any(|start| name.starts_with(start.as_str())))
        {
            reducer.keep_tracepoint(definition);
        }
    }
    Btf { types: reducer.kept }.to_bytes()
}

struct Reducer<'a> {
    btf: &'a Btf,
    wanted: &'a Wanted,
    kept: Vec<Type>,
    by_origin: HashMap<u32, u32>,
    scalars: HashMap<usize, u32>,
}

impl Reducer<'_> {
    /// Appends a type and returns its number.
    fn push(&mut self, it: Type) -> u32 {
        self.kept.push(it);
        u32::try_from(self.kept.len()).unwrap_or(u32::MAX)
    }

    /// What a type becomes.
    fn keep(&mut self, id: u32) -> u32 {
        let id = self.btf.resolve(id);
        if let Some(&kept) = self.by_origin.get(&id) {
            return kept;
        }
        let Some(it) = self.btf.get(id) else { return 0 };
        match &it.body {
            Body::Members(members) => {
                // Noted before its members are looked at: they may lead back here.
                let kept = self.push(Type { body: Body::Members(Vec::new()), ..it.clone() });
                self.by_origin.insert(id, kept);
                if it.name.is_empty() || self.wanted.structures.contains(&it.name) {
                    let members = members
                        .iter()
                        .map(|member| Member { type_id: self.keep(member.type_id), ..member.clone() })
                        .collect();
                    self.kept[kept as usize - 1].body = Body::Members(members);
                }
                kept
            }
            _ => self.scalar(self.btf.size(id)),
        }
    }

    fn scalar(&mut self, size: usize) -> u32 {
        if let Some(&known) = self.scalars.get(&size) {
            return known;
        }
        // An empty structure: an integer larger than 16 bytes would not be BTF.
        let size_or_type = u32::try_from(size).unwrap_or(u32::MAX);
        let it = Type {
            name: format!("bytes_{size}"),
            kind: kind::STRUCT,
            flag: false,
            size_or_type,
            body: Body::Members(Vec::new()),
        };
        let id = self.push(it);
        self.scalars.insert(size, id);
        id
    }

    /// A tracepoint is a type definition of a pointer to a prototype, of which only the number of
    /// parameters is kept.
    fn keep_tracepoint(&mut self, definition: &Type) {
        let target = self.btf.get(self.btf.resolve(definition.size_or_type)).map(|it| it.size_or_type);
        let prototype = target.and_then(|id| self.btf.get(self.btf.resolve(id)));
        let Some(Type { body: Body::Parameters(parameters), .. }) = prototype else { return };
        let bare =
            |kind, size_or_type, body| Type { name: String::new(), kind, flag: false, size_or_type, body };
        let prototype = self.push(bare(kind::FUNC_PROTO, 0, Body::Parameters(vec![0; parameters.len()])));
        let pointer = self.push(bare(kind::PTR, prototype, Body::Other));
        self.push(Type { name: definition.name.clone(), ..bare(kind::TYPEDEF, pointer, Body::Other) });
    }
}
