//! Kernel modules for the guest: those that scenarios may need, with all that they depend on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSection};
use serde::{Deserialize, Serialize};

/// Where the guest finds them; the index stands beside the files.
pub const DIRECTORY: &str = "lib/modules";
/// The index: what `modprobe` needs to know, as JSON.
pub const INDEX: &str = "index.json";

/// What the guest's `modprobe` knows of a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Its name, with underscores.
    pub name: String,
    /// Names of those that must be loaded before.
    pub depends: Vec<String>,
    /// What the kernel asks for when it needs this one.
    pub aliases: Vec<String>,
}

/// A module and its file's content.
pub type Loadable = (Module, Vec<u8>);

/// The wanted modules that the directory has, and all that they depend on. What is not there is in the kernel itself,
/// or nowhere.
pub fn closure(directory: &Path, wanted: &[String]) -> Result<Vec<Loadable>> {
    let files = files(directory)?;
    let mut seen = BTreeSet::new();
    let mut waiting: Vec<String> = wanted.to_vec();
    let mut found = Vec::new();
    while let Some(name) = waiting.pop() {
        let Some(path) = files.get(&name).filter(|_| seen.insert(name.clone())) else { continue };
        let content = read(path).with_context(|| format!("{}", path.display()))?;
        let module = describe(name, &content).with_context(|| format!("{}", path.display()))?;
        waiting.extend(module.depends.iter().cloned());
        found.push((module, content));
    }
    found.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    Ok(found)
}

/// Files of modules by the modules' names.
fn files(directory: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).with_context(|| format!("{}", directory.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else if let Some((name, _)) =
            path.file_name().and_then(|it| it.to_str()).and_then(|it| it.split_once(".ko"))
        {
            files.insert(name.replace('-', "_"), path);
        }
    }
    Ok(files)
}

/// Unpacked here, since not every kernel can do it by itself.
fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path)?;
    let mut content = Vec::new();
    match path.extension().and_then(|it| it.to_str()) {
        Some("ko") => return Ok(bytes),
        Some("xz") => lzma_rust2::XzReader::new(bytes.as_slice(), true).read_to_end(&mut content)?,
        Some("zst") => {
            ruzstd::decoding::StreamingDecoder::new(bytes.as_slice())?.read_to_end(&mut content)?
        }
        _ => bail!("modules are read plain, or packed by xz or zstd"),
    };
    Ok(content)
}

/// What the module says of itself: strings `key=value`, a zero behind each.
fn describe(name: String, content: &[u8]) -> Result<Module> {
    let file = object::File::parse(content)?;
    let info = file.section_by_name(".modinfo").context("no section .modinfo")?.data()?;
    let values = |key: &str| {
        let texts = info.split(|&byte| byte == 0).filter_map(|text| std::str::from_utf8(text).ok());
        let values = texts.filter_map(|text| text.strip_prefix(key)?.strip_prefix('='));
        values.filter(|value| !value.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let depends =
        values("depends").iter().flat_map(|it| it.split(',')).map(|it| it.replace('-', "_")).collect();
    Ok(Module { name, depends, aliases: values("alias") })
}

/// Takes a signature off a module's file: without one a kernel that does not insist on it does not compute the module's
/// checksum, which emulated takes longer than all else of loading.
pub fn remove_signature(content: &mut Vec<u8>) {
    // Behind the module: signature, `struct module_signature`, mark (include/linux/module_signature.h, 6.18).
    const MARK: &[u8] = b"~Module signature appended~\n";
    const INFO: usize = 12;
    let Some(signed) = content.strip_suffix(MARK) else { return };
    let Some((_, length)) = signed.split_last_chunk() else { return };
    let signature = INFO + u32::from_be_bytes(*length) as usize;
    if let Some(length) = signed.len().checked_sub(signature) {
        content.truncate(length);
    }
}

/// True inside a machine whose image comes without any module.
pub fn are_absent() -> bool {
    let index = Path::new("/").join(DIRECTORY).join(INDEX);
    fs::read(index).is_ok_and(|index| index == b"[]")
}

/// The order in which to load, to have what the kernel asks for by name or alias. Empty when nothing answers to it.
pub fn order<'a>(index: &'a [Module], wanted: &str) -> Vec<&'a str> {
    let by_name = wanted.replace('-', "_");
    let answers =
        |module: &&Module| module.name == by_name || module.aliases.iter().any(|alias| alias == wanted);
    let mut order = Vec::new();
    for module in index.iter().filter(answers) {
        append(index, module, &mut order);
    }
    order
}

/// Dependencies first. The kernel's build refuses circles.
fn append<'a>(index: &'a [Module], module: &'a Module, order: &mut Vec<&'a str>) {
    if order.contains(&module.name.as_str()) {
        return;
    }
    for module in index.iter().filter(|other| module.depends.contains(&other.name)) {
        append(index, module, order);
    }
    order.push(&module.name);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str, depends: &[&str], aliases: &[&str]) -> Module {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Module { name: name.to_owned(), depends: owned(depends), aliases: owned(aliases) }
    }

    #[test]
    fn signature_is_taken_off_a_module() {
        let file = |signature: &str, length: u32| {
            let info = [&[0; 8], length.to_be_bytes().as_slice()].concat();
            [b"module", signature.as_bytes(), &info, b"~Module signature appended~\n"].concat()
        };
        let unsigned = |mut content: Vec<u8>| {
            remove_signature(&mut content);
            content
        };
        assert_eq!(unsigned(file("signature", 9)), b"module");
        assert_eq!(unsigned(b"module".to_vec()), b"module");
        let too_long = file("signature", 900);
        assert_eq!(unsigned(too_long.clone()), too_long);
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let index = [
            module("nf_conntrack", &["nf_defrag_ipv4", "nf_defrag_ipv6"], &[]),
            module("nf_defrag_ipv4", &[], &[]),
            module("nf_defrag_ipv6", &[], &[]),
            module("nf_nat", &["nf_conntrack"], &[]),
            module("nft_ct", &["nf_conntrack", "nf_nat"], &["nft-expr-ct"]),
        ];
        let expected = ["nf_defrag_ipv4", "nf_defrag_ipv6", "nf_conntrack", "nf_nat", "nft_ct"];
        assert_eq!(order(&index, "nft-expr-ct"), expected);
        assert_eq!(order(&index, "nft-ct"), expected);
        assert!(order(&index, "nft-expr-log").is_empty());
    }
}
