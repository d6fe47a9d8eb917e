//! Whoever uses the tracer sees in `public-api.txt` what a release may not break without saying so in its version.
//! `UPDATE_PUBLIC_API=1` writes the list anew; what changed then stands in the commit.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

const PACKAGE: &str = env!("CARGO_MANIFEST_DIR");
/// What the crate `public-api` reads; each rustdoc writes one version only.
const FORMAT: u64 = 57;

/// Has rustdoc describe the crate as JSON, and returns the file.
fn describe(work: &Path) -> PathBuf {
    // JSON is unstable, and asked of rustdoc alone: the compiler keeps its artefacts.
    let rustdoc = work.join("rustdoc");
    fs::write(&rustdoc, "#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc \"$@\"\n").unwrap();
    fs::set_permissions(&rustdoc, fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["rustdoc", "--lib", "--locked", "--offline", "--package", env!("CARGO_PKG_NAME"), "--"])
        .args(["-Zunstable-options", "--output-format", "json"])
        .env("RUSTDOC", &rustdoc)
        .current_dir(PACKAGE)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // CARGO_TARGET_TMPDIR is TARGET/tmp.
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("doc").join("synscope_tracer.json")
}

/// The version of rustdoc's JSON, which stands at its end.
fn format_of(json: &str) -> Option<u64> {
    let digits = json.rsplit_once("\"format_version\":")?.1;
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[test]
fn the_list_of_public_items_is_true() {
    let work = tempfile::tempdir().unwrap();
    let described = describe(work.path());
    let format = format_of(&fs::read_to_string(&described).unwrap());
    if format != Some(FORMAT) {
        // Where everything must be tested, the toolchain is the one that the list was made with.
        assert!(
            env::var_os("CI").is_none(),
            "rustdoc writes format {format:?}, not {FORMAT}: update public-api"
        );
        eprintln!(
            "skipped: this toolchain's rustdoc writes JSON of format {format:?}, and {FORMAT} can be read"
        );
        return;
    }
    let items = public_api::Builder::from_rustdoc_json(described)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .build()
        .unwrap()
        .to_string();
    let list = Path::new(PACKAGE).join("public-api.txt");
    if env::var_os("UPDATE_PUBLIC_API").is_some() {
        fs::write(&list, &items).unwrap();
    }
    let written = fs::read_to_string(&list).unwrap_or_default();
    let only_in = |one: &str, other: &str, sign: char| -> Vec<String> {
        let lines = one.lines().filter(|line| !other.lines().any(|there| there == *line));
        lines.map(|line| format!("{sign} {line}")).collect()
    };
    let changes = [only_in(&written, &items, '-'), only_in(&items, &written, '+')].concat();
    assert!(
        changes.is_empty() && written == items,
        "UPDATE_PUBLIC_API=1 accepts this:\n{}",
        changes.join("\n")
    );
}
