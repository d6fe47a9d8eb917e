//! The README's commands do what it says.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The shell blocks of the README, in order.
fn commands() -> Vec<String> {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = readme.split("```sh\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().trim().to_owned()).collect()
}

#[test]
fn the_first_command_starts_the_dashboard() {
    let command = commands().remove(0);
    assert!(command.starts_with("cargo run --release"), "{command}");
    // Any free port and a directory of its own, so that a running Synscope is not disturbed.
    let data = root().join("target/readme-test");
    let command = format!("exec {command} -- --listen 127.0.0.1:0 --data-dir {}", data.display());
    let mut server = Command::new("bash")
        .args(["-c", &command])
        .current_dir(root())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut url).unwrap();
    let page =
        url.strip_prefix("http://").and_then(|rest| rest.split_once("/#token=")).map(|(address, _)| {
            let mut page = String::new();
            let mut stream = TcpStream::connect(address).unwrap();
            write!(stream, "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
            stream.read_to_string(&mut page).unwrap();
            page
        });
    server.kill().unwrap();
    server.wait().unwrap();
    let page = page.unwrap_or_else(|| panic!("no URL was printed, but `{url}`"));
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(page.contains("Synscope"), "{page}");
}

#[test]
fn the_second_command_is_what_ci_runs() {
    let command = commands().remove(1);
    let ci = fs::read_to_string(root().join(".ci/run")).unwrap();
    assert_eq!(ci.lines().last(), Some(command.as_str()));
}

#[test]
fn every_file_that_the_readme_links_is_there() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let links = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for link in links.filter(|link| !link.starts_with("http") && !link.starts_with('#')) {
        assert!(root().join(link).exists(), "{link}");
    }
}
