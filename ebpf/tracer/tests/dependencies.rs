//! Who uses the tracer alone does not build the server.

use std::process::Command;

/// The crates that a package is built from.
fn crates(package: &str) -> Vec<String> {
    let tree =
        ["tree", "--offline", "--locked", "--edges", "normal", "--prefix", "none", "--package", package];
    let output =
        Command::new(env!("CARGO")).args(tree).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).unwrap();
    names.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
}

#[test]
fn the_server_is_no_part_of_the_tracer() {
    let has = |crates: &[String], name: &str| crates.iter().any(|there| there == name);
    let (tracer, server) = (crates("synscope-tracer"), crates("synscope"));
    for name in ["axum", "clap", "hyper", "rusqlite", "serde_json", "synscope-web", "tower"] {
        assert!(has(&server, name), "{name} is not of the server: this test looks for the wrong names");
        assert!(!has(&tracer, name), "the tracer pulls in {name}");
    }
    assert!(has(&tracer, "aya"));
}
