//! Prepares what is embedded: scripts and styles without their comments, and each file compressed beside it.
//!
//! `include_dir!` alone would track only the files it knew; a new one must lead to a rebuild as well.

use std::{env, fs, io, path::Path};

#[path = "src/comments.rs"]
mod comments;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=assets");
    println!("cargo::rerun-if-changed=templates");
    println!("cargo::rerun-if-changed=src/comments.rs");
    let out = env::var_os("OUT_DIR").expect("cargo sets it for build scripts");
    let target = Path::new(&out).join("assets");
    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    prepare(Path::new("assets"), &target)
}

/// Every file below `from` to the same place below `to`, and its Brotli form where that is smaller.
fn prepare(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().expect("what a directory lists has a name"));
        if path.is_dir() {
            prepare(&path, &target)?;
            continue;
        }
        let mut bytes = fs::read(&path)?;
        if path.extension().is_some_and(|extension| extension == "js" || extension == "css") {
            let source = String::from_utf8(bytes).map_err(io::Error::other)?;
            bytes = comments::without_comments(&source).into_bytes();
        }
        let mut compressed = Vec::new();
        brotli::BrotliCompress(
            &mut bytes.as_slice(),
            &mut compressed,
            &brotli::enc::BrotliEncoderParams::default(),
        )?;
        if compressed.len() < bytes.len() {
            let mut name = target.clone().into_os_string();
            name.push(".br");
            fs::write(name, compressed)?;
        }
        fs::write(target, bytes)?;
    }
    Ok(())
}
