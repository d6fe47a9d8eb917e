//! The committed object, its manifest and its sources belong together.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn manifest(key: &str) -> String {
    let manifest = fs::read_to_string(package().join("prebuilt/manifest.toml")).unwrap();
    let value = manifest.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
    value.unwrap_or_else(|| panic!("the manifest has no {key}")).trim_matches('"').to_owned()
}

fn files_below(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, files) } else { files.push(path) }
    }
}

/// The same computation as `hash_sources` in build.sh.
fn hash_of_sources() -> String {
    let mut files = vec![package().join("Cargo.toml"), package().join("build.sh")];
    files_below(&package().join("src"), &mut files);
    let mut names: Vec<String> =
        files.iter().map(|file| file.strip_prefix(package()).unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    let list = names.iter().fold(String::new(), |mut list, name| {
        let _ = writeln!(list, "{}  {name}", sha256(&fs::read(package().join(name)).unwrap()));
        list
    });
    sha256(list.as_bytes())
}

#[test]
fn the_object_is_the_one_that_the_manifest_names() {
    assert_eq!(sha256(synscope_ebpf::OBJECT), manifest("object_sha256"), "run `just bytecode`");
}

#[test]
fn the_object_was_built_from_these_sources() {
    assert_eq!(hash_of_sources(), manifest("sources_sha256"), "run `just bytecode`");
}

#[test]
fn the_object_was_built_against_the_locked_aya_ebpf() {
    let lock = fs::read_to_string(package().join("../../Cargo.lock")).unwrap();
    let locked = format!("name = \"aya-ebpf\"\nversion = \"{}\"", manifest("aya_ebpf"));
    assert!(lock.contains(&locked), "run `just bytecode`");
}
