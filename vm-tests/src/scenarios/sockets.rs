//! Where the server listens: never beyond loopback by accident, with TLS, and on a Unix socket.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Gid, Signal, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use tempfile::TempDir;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::harness::raw::status;
use crate::harness::{Lab, Raw, Run, Server};

super::scenarios!["sockets":
    plain_http_and_silence_get_nothing_from_tls,
    other_hosts_are_kept_out_unless_asked_for_with_tls,
    unix_socket_is_for_its_owner_and_group,
    unix_socket_left_behind_is_replaced_and_one_in_use_is_not,
];

fn other_hosts_are_kept_out_unless_asked_for_with_tls(lab: &Lab) -> Result<()> {
    let certificate = Certificate::make()?;
    let with_tls = ["--tls-cert", &certificate.chain, "--tls-key", &certificate.key];
    let serve = |more: &[&str]| {
        let base = ["serve", "--listen", "0.0.0.0:0", "--data-dir", &certificate.chain];
        Run::of(lab.binary(), &[&base[..], more].concat())
    };
    // The token comes before the address, and is not looked for in a directory here.
    let token = |more: &[&str]| serve(&[&["--token-file", certificate.token.as_str()], more].concat());
    token(&[])?.complains(1, &["not a loopback address", "SSH", "--allow-remote"])?;
    token(&["--allow-remote"])?.complains(1, &["not a loopback address", "--tls-cert"])?;
    token(&with_tls)?.complains(1, &["not a loopback address", "--allow-remote"])?;
    token(&["--tls-cert", &certificate.chain])?.complains(2, &["--tls-key"])?;
    let server = Server::start_at("0.0.0.0:0", lab.binary(), |command| {
        command.args(with_tls).arg("--allow-remote");
    })?;
    let port = server.api().authority().rsplit(':').next().context("no port")?.to_owned();
    let answer = certificate.ask(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{port}"))?;
    ensure!(status(&answer) == 200, "{answer}");
    let answer = certificate.ask(&format!("127.0.0.1:{port}"), &format!("rebound.example:{port}"))?;
    ensure!(status(&answer) == 421, "{answer}");
    Ok(())
}

fn plain_http_and_silence_get_nothing_from_tls(lab: &Lab) -> Result<()> {
    let certificate = Certificate::make()?;
    let server = Server::start_at("127.0.0.1:0", lab.binary(), |command| {
        command.args(["--tls-cert", &certificate.chain, "--tls-key", &certificate.key]);
    })?;
    ensure!(server.api().origin().starts_with("https://"), "{}", server.api().origin());
    let authority = server.api().authority();
    let mut silent = Raw::open(authority)?;
    let answer = Raw::ask(authority, "GET /", &[("Host", authority)])?;
    ensure!(!answer.contains("HTTP/1.1"), "plain HTTP was answered: {answer}");
    let answer = certificate.ask(authority, authority)?;
    ensure!(status(&answer) == 200 && answer.contains("Synscope"), "{answer}");
    ensure!(silent.rest()?.is_empty(), "who begins no handshake was told something");
    Ok(())
}

fn unix_socket_is_for_its_owner_and_group(lab: &Lab) -> Result<()> {
    let directory = open_directory()?;
    let socket = directory.path().join("synscope.sock");
    let server = serve_at(lab, &socket)?;
    ensure!(fs::metadata(&socket)?.mode() & 0o7777 == 0o660, "mode {:o}", fs::metadata(&socket)?.mode());
    let bearer = format!("Authorization: Bearer {}\r\n", server.api().token());
    ensure!(status(&ask(&socket, &bearer)?) == 200, "root is refused");
    ensure!(status(&ask(&socket, "")?) == 401, "no token is needed");
    let stranger = |socket: &Path| as_nobody(Vec::new(), socket, &bearer);
    ensure!(stranger(&socket).is_err(), "a stranger may connect");
    // Somebody meant well.
    fs::set_permissions(&socket, Permissions::from_mode(0o666))?;
    let answer = stranger(&socket).unwrap_or_default();
    ensure!(answer.is_empty(), "a stranger was answered: {answer}");
    server.logs("uid 65534")?;
    let member = as_nobody(vec![Gid::ROOT], &socket, &bearer)?;
    ensure!(status(&member) == 200, "a member of the socket's group is refused: {member}");
    Ok(())
}

fn unix_socket_left_behind_is_replaced_and_one_in_use_is_not(lab: &Lab) -> Result<()> {
    let directory = open_directory()?;
    let socket = directory.path().join("synscope.sock");
    let mut first = serve_at(lab, &socket)?;
    let refused = |socket: &Path| -> Result<Run> {
        let listen = format!("unix:{}", socket.display());
        let data = directory.path().join("data");
        Run::of(
            lab.binary(),
            &["serve", "--listen", &listen, "--data-dir", data.to_str().context("not UTF-8")?],
        )
    };
    refused(&socket)?.complains(1, &["another process listens there"])?;
    first.signal(Signal::KILL)?;
    first.wait(Duration::from_secs(20))?;
    ensure!(socket.exists(), "nothing was left behind");
    let second = serve_at(lab, &socket)?;
    ensure!(status(&ask(&socket, "")?) == 401, "the second server does not answer");
    drop(second);
    let file = directory.path().join("precious");
    fs::write(&file, "kept")?;
    refused(&file)?.complains(1, &["no socket"])?;
    ensure!(fs::read_to_string(&file)? == "kept", "the file was touched");
    Ok(())
}

/// A directory that any user may look into.
fn open_directory() -> Result<TempDir> {
    let directory = tempfile::tempdir()?;
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
    Ok(directory)
}

fn serve_at(lab: &Lab, socket: &Path) -> Result<Server> {
    Server::start_at(&format!("unix:{}", socket.display()), lab.binary(), |_| {})
}

fn ask(socket: &Path, headers: &str) -> Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let request =
        format!("GET /api/v1/traces HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n");
    let mut answer = String::new();
    // Who is refused may find the connection closed before it has said anything.
    let _ = stream.write_all(request.as_bytes());
    match stream.read_to_string(&mut answer) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => Err(error.into()),
        _ => Ok(answer),
    }
}

/// Asks on a thread of its own that has become another user.
fn as_nobody(groups: Vec<Gid>, socket: &Path, headers: &str) -> Result<String> {
    let (socket, headers) = (socket.to_owned(), headers.to_owned());
    let asked = thread::spawn(move || {
        let (uid, gid) = (Uid::from_raw(65_534), Gid::from_raw(65_534));
        set_thread_groups(&groups)?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        ask(&socket, &headers)
    });
    asked.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A fresh certificate for 127.0.0.1, its key, and a client that trusts nothing else.
struct Certificate {
    _directory: TempDir,
    chain: String,
    key: String,
    /// Where a token may be made.
    token: String,
    config: Arc<ClientConfig>,
}

impl Certificate {
    fn make() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let directory = tempfile::tempdir()?;
        let file = |name: &str| directory.path().join(name).display().to_string();
        let (chain, key, token) = (file("cert.pem"), file("key.pem"), file("token"));
        fs::write(&chain, made.cert.pem())?;
        fs::write(&key, made.signing_key.serialize_pem())?;
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone())?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { _directory: directory, chain, key, token, config: Arc::new(config) })
    }

    /// The page, asked for by TLS.
    fn ask(&self, authority: &str, host: &str) -> Result<String> {
        let name = ServerName::try_from("127.0.0.1")?;
        let client = ClientConnection::new(Arc::clone(&self.config), name)?;
        let tcp = TcpStream::connect(authority)?;
        tcp.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut stream = StreamOwned::new(client, tcp);
        write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}
