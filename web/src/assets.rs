//! Embedded files and the directory they are served under.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use include_dir::{Dir, File, include_dir};
use sha2::{Digest, Sha256};

static DIRECTORY: Dir<'_> = include_dir!("$OUT_DIR/assets");

static ASSETS: LazyLock<Assets> = LazyLock::new(Assets::collect);

/// What the build script adds to the name of a file for its compressed form.
const COMPRESSED: &str = ".br";

/// One embedded file.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Its bytes, uncompressed; scripts and styles without the comments that fill lines of their own.
    pub bytes: &'static [u8],
    /// The same compressed (the content coding `br`), where that is smaller.
    pub brotli: Option<&'static [u8]>,
    /// The value of `Content-Type`.
    pub content_type: &'static str,
}

/// The directory of the assets, without a slash at its end: `/assets/` and the hash of all of them.
pub fn asset_base() -> &'static str {
    &ASSETS.base
}

/// The asset at what follows `/assets/` in a request's path: the hash, a slash, and the file's name.
///
/// An old hash finds nothing: its answer may still be in a cache, but never the wrong file under its name.
pub fn asset(path: &str) -> Option<Asset> {
    let (hash, file) = path.split_once('/')?;
    if ASSETS.base.strip_prefix("/assets/") != Some(hash) {
        return None;
    }
    ASSETS.files.get(file).copied()
}

/// Names of the embedded files that end in `extension`, sorted.
pub(crate) fn names(extension: &str) -> impl Iterator<Item = &'static str> {
    ASSETS.files.keys().copied().filter(move |name| name.ends_with(extension))
}

struct Assets {
    base: String,
    files: BTreeMap<&'static str, Asset>,
}

impl Assets {
    fn collect() -> Self {
        let mut files = BTreeMap::new();
        gather(&DIRECTORY, &mut files);
        let mut digest = Sha256::new();
        for (name, asset) in &files {
            digest.update((name.len() as u64).to_le_bytes());
            digest.update(name);
            digest.update((asset.bytes.len() as u64).to_le_bytes());
            digest.update(asset.bytes);
        }
        let digest = digest.finalize();
        let hash = digest.iter().take(8).fold(String::new(), |hash, byte| format!("{hash}{byte:02x}"));
        Self { base: format!("/assets/{hash}"), files }
    }
}

fn gather(directory: &'static Dir<'static>, files: &mut BTreeMap<&'static str, Asset>) {
    for file in directory.files() {
        // A file of an unknown kind is a compressed form or an editor's leftover; the tests refuse the latter.
        if let (Some(name), Some(content_type)) = (file.path().to_str(), content_type(file.path())) {
            let brotli = DIRECTORY.get_file(format!("{name}{COMPRESSED}")).map(File::contents);
            files.insert(name, Asset { bytes: file.contents(), brotli, content_type });
        }
    }
    for inner in directory.dirs() {
        gather(inner, files);
    }
}

fn content_type(path: &std::path::Path) -> Option<&'static str> {
    match path.extension()?.to_str()? {
        "js" => Some("text/javascript; charset=utf-8"),
        "css" => Some("text/css; charset=utf-8"),
        "svg" => Some("image/svg+xml"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash() -> &'static str {
        asset_base().strip_prefix("/assets/").unwrap()
    }

    #[test]
    fn serves_files_under_the_hash_only() {
        let main = asset(&format!("{}/js/main.js", hash())).unwrap();
        assert_eq!(main.content_type, "text/javascript; charset=utf-8");
        assert!(!main.bytes.is_empty());
        assert!(asset("js/main.js").is_none());
        assert!(asset("0000000000000000/js/main.js").is_none());
    }

    #[test]
    fn never_leaves_the_directory() {
        for path in [
            "",
            "/",
            "..",
            "../Cargo.toml",
            "js/../../Cargo.toml",
            "/etc/passwd",
            "js",
            "js/",
            "js//main.js",
            "./js/main.js",
            "js/main.js/",
            "js/main.js\0",
            "%2e%2e/Cargo.toml",
            "js\\main.js",
        ] {
            assert!(asset(path).is_none(), "{path:?}");
            assert!(asset(&format!("{}/{path}", hash())).is_none(), "{path:?}");
        }
    }

    #[test]
    fn every_file_has_a_known_type() {
        fn all(directory: &'static Dir<'static>) -> usize {
            directory.files().count() + directory.dirs().map(all).sum::<usize>()
        }
        let compressed = ASSETS.files.values().filter(|asset| asset.brotli.is_some()).count();
        assert_eq!(all(&DIRECTORY), ASSETS.files.len() + compressed);
    }

    #[test]
    fn all_scripts_and_styles_together_stay_small() {
        let sent = [".js", ".css"].into_iter().flat_map(names).map(|name| {
            ASSETS.files[name].brotli.unwrap_or_else(|| panic!("{name} is not compressed")).len()
        });
        let bytes: usize = sent.sum();
        assert!((20_000..=60_000).contains(&bytes), "{bytes} bytes, each file compressed for itself");
    }

    /// What stands in quotes after `from` or `import` at the start of a statement.
    fn imports(source: &str) -> Vec<&str> {
        source
            .lines()
            .filter(|line| !line.trim_start().starts_with(['*', '/']))
            .filter_map(|line| {
                let rest = line.split_once(" from '").or_else(|| line.split_once("import '"))?.1;
                rest.split_once('\'').map(|(module, _)| module)
            })
            .collect()
    }

    #[test]
    fn every_import_is_embedded() {
        let mut seen = 0;
        for name in names(".js") {
            let source = std::str::from_utf8(ASSETS.files[name].bytes).unwrap();
            for import in imports(source) {
                let module = import
                    .strip_prefix("./")
                    .unwrap_or_else(|| panic!("{name} imports {import:?}, which is not a sibling"));
                let (directory, _) = name.rsplit_once('/').unwrap();
                assert!(
                    ASSETS.files.contains_key(format!("{directory}/{module}").as_str()),
                    "{name} imports {import:?}, which is not embedded"
                );
                seen += 1;
            }
        }
        assert!(seen > 10, "the scan found {seen} imports only");
    }

    #[test]
    fn scripts_never_make_markup_of_text() {
        for name in names(".js") {
            let source = std::str::from_utf8(ASSETS.files[name].bytes).unwrap();
            for forbidden in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"]
            {
                assert!(!source.contains(forbidden), "{name} uses {forbidden}");
            }
        }
    }
}
