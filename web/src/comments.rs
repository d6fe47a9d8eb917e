//! What readers of the sources need, and browsers do not. The build script uses this, the library only tests it.

/// The source with lines that hold nothing but comments left empty: what follows keeps its line number.
pub(crate) fn without_comments(source: &str) -> String {
    let mut kept = String::with_capacity(source.len());
    let mut inside = false;
    for line in source.split_inclusive('\n') {
        let text = line.trim();
        let comment = inside || text.starts_with("/*");
        inside = comment && !text.contains("*/");
        if inside || (comment && text.ends_with("*/")) || text.starts_with("//") {
            kept.push('\n');
        } else {
            kept.push_str(line);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_leave_and_lines_stay() {
        let source = "// one\n/**\n * two\n */\nlet a = 'b//c'; // kept\n  /** @type {T} */ (a).b();\n/* three */\nd();\n";
        let kept = "\n\n\n\nlet a = 'b//c'; // kept\n  /** @type {T} */ (a).b();\n\nd();\n";
        assert_eq!(without_comments(source), kept);
    }

    #[test]
    fn no_comment_of_several_lines_ends_before_code() {
        for directory in ["js", "css"] {
            let path = format!("{}/assets/{directory}", env!("CARGO_MANIFEST_DIR"));
            for file in std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()) {
                let mut inside = false;
                for line in std::fs::read_to_string(&file).unwrap().lines().map(str::trim) {
                    assert!(!inside || !line.contains("*/") || line.ends_with("*/"), "{file:?}: {line}");
                    inside = (inside || line.starts_with("/*")) && !line.contains("*/");
                }
            }
        }
    }
}
