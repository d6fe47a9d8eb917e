//! Attacks on the server's HTTP side, each with what comes of it.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::expect::only;
use crate::harness::raw::{header, status};
use crate::harness::{Lab, Netns, Raw, Stream};

super::scenarios!["attacks":
    bodies_that_stop_or_dribble_are_cut_off,
    slowloris_is_cut_off_while_others_are_served,
    idle_connections_beyond_the_bound_are_refused_with_words,
    dns_rebinding_reaches_nothing,
    foreign_page_opens_no_stream_of_any_kind,
    cors_preflight_is_granted_nothing,
    form_of_another_site_starts_nothing,
    endless_heads_are_refused,
    answer_before_the_body_is_read_says_that_it_is_the_last,
    path_traversal_finds_no_file,
    smuggled_second_request_is_not_answered,
    every_answer_forbids_scripts_of_others,
];

const TRACES: &str = "/api/v1/traces";
/// Longer than a request's head may take (15 s), on a busy machine.
const CUT_OFF: Duration = Duration::from_secs(45);

fn slowloris_is_cut_off_while_others_are_served(lab: &Lab) -> Result<()> {
    let server = lab.own_server()?;
    let authority = server.api().authority();
    let mut dribbling = Vec::new();
    for _ in 0..20 {
        let mut raw = Raw::open(authority)?;
        raw.send(format!("GET / HTTP/1.1\r\nHost: {authority}\r\n").as_bytes());
        dribbling.push(raw);
    }
    let deadline = Instant::now() + CUT_OFF;
    while !dribbling.is_empty() {
        ensure!(Instant::now() < deadline, "{} still may send their heads", dribbling.len());
        server.api().get(TRACES)?.expect(200)?;
        let mut left = Vec::new();
        for mut raw in dribbling {
            // Never silent, never done.
            if raw.send(b"X-A: b\r\n") && !raw.ends_within(Duration::from_millis(5))? {
                left.push(raw);
            }
        }
        dribbling = left;
        thread::sleep(Duration::from_millis(400));
    }
    Ok(())
}

fn idle_connections_beyond_the_bound_are_refused_with_words(lab: &Lab) -> Result<()> {
    // A server of its own: nobody else gets a place here.
    let server = lab.own_server()?;
    let authority = server.api().authority();
    let mut idle = Vec::new();
    let refusal = loop {
        ensure!(idle.len() < 2_000, "2,000 connections are open and none was refused");
        let mut raw = Raw::open(authority)?;
        // The first ones are surely accepted; later ones are watched for a refusal.
        if idle.len() >= 512
            && let Some(refusal) = raw.first_words(Duration::from_millis(200))?
        {
            break refusal;
        }
        idle.push(raw);
    };
    ensure!(status(&refusal) == 503, "refused with {refusal:?}");
    ensure!(refusal.contains("urn:synscope:too-many-connections"), "{refusal:?}");
    ensure!(server.log().contains("connections are open"), "nothing in the log: {}", server.log());
    drop(idle);
    let deadline = Instant::now() + CUT_OFF;
    while !server.api().get(TRACES).is_ok_and(|reply| reply.status == 200) {
        ensure!(Instant::now() < deadline, "the places were not given back");
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn dns_rebinding_reaches_nothing(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let trace = lab.trace(&only(&netns))?;
    let authority = trace.api().authority();
    let port = authority.rsplit(':').next().context("no port")?;
    let bearer = format!("Bearer {}", trace.api().token());
    let rebound = format!("rebound.example:{port}");
    let prefixed = format!("127.0.0.1.rebound.example:{port}");
    let user = format!("127.0.0.1:{port}@rebound.example");
    for host in [rebound.as_str(), &prefixed, &user, "127.0.0.1:1", "0.0.0.0", ""] {
        for path in ["/", "/healthz", TRACES, &trace.path("/events"), &trace.path("/stream")] {
            let answer =
                Raw::ask(authority, &format!("GET {path}"), &[("Host", host), ("Authorization", &bearer)])?;
            ensure!(matches!(status(&answer), 400 | 421), "{path} for {host:?}: {answer}");
            ensure!(!answer.contains("<html"), "the page was shown to {host:?}");
        }
    }
    // Two hosts: one for a proxy, another for the server.
    let twice = [("Host", authority), ("Host", rebound.as_str()), ("Authorization", bearer.as_str())];
    let answer = Raw::ask(authority, &format!("GET {TRACES}"), &twice)?;
    ensure!(matches!(status(&answer), 400 | 421), "two hosts: {answer}");
    Ok(())
}

fn foreign_page_opens_no_stream_of_any_kind(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let trace = lab.trace(&only(&netns))?;
    let (api, bearer) = (trace.api(), format!("Bearer {}", trace.api().token()));
    let other_scheme = format!("https://{}", api.authority());
    let origins = ["http://page.example", "null", "", "file://", &other_scheme, "http://127.0.0.1"];
    for origin in origins {
        let opened = Stream::open_with(api, &trace.path("/stream"), |request| {
            request.with_header("Authorization", &bearer).with_header("Origin", origin)
        })?;
        let Err(refused) = opened else { bail!("a WebSocket for Origin {origin:?}") };
        ensure!(refused == 403, "a WebSocket for Origin {origin:?}: {refused}");
        let headers = [("accept", "text/event-stream"), ("origin", origin)];
        api.send("GET", &trace.path("/events"), &headers, None)?.problem(403)?;
    }
    Ok(())
}

fn cors_preflight_is_granted_nothing(lab: &Lab) -> Result<()> {
    let server = lab.server()?;
    let authority = server.api().authority();
    for origin in ["http://page.example", server.api().origin()] {
        let headers = [
            ("Host", authority),
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "authorization,content-type"),
            ("Access-Control-Request-Private-Network", "true"),
        ];
        let answer = Raw::ask(authority, &format!("OPTIONS {TRACES}"), &headers)?;
        ensure!((400..500).contains(&status(&answer)), "{answer}");
        ensure!(!answer.to_lowercase().contains("access-control-allow"), "{answer}");
    }
    Ok(())
}

fn form_of_another_site_starts_nothing(lab: &Lab) -> Result<()> {
    let server = lab.server()?;
    // What forms can send without a preflight.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""] {
        let headers = [("content-type", kind)];
        server.api().send("POST", TRACES, &headers, Some(r#"{"name":"form"}"#))?.problem(415)?;
    }
    let listed = server.api().get(TRACES)?;
    ensure!(!listed.body.contains(r#""name":"form""#), "a form started a trace: {}", listed.body);
    Ok(())
}

fn endless_heads_are_refused(lab: &Lab) -> Result<()> {
    let server = lab.server()?;
    let authority = server.api().authority();
    let long = "a".repeat(20 << 10);
    let one = Raw::ask(authority, "GET /", &[("Host", authority), ("X-Long", &long)])?;
    ensure!(status(&one) == 431, "a header of 20 KiB: {one}");
    let many: Vec<_> = [("Host", authority)].into_iter().chain((0..100).map(|_| ("X-Many", "a"))).collect();
    let answer = Raw::ask(authority, "GET /", &many)?;
    ensure!(status(&answer) == 431, "100 headers: {answer}");
    let line = Raw::ask(authority, &format!("GET /{long}"), &[("Host", authority)])?;
    ensure!(matches!(status(&line), 414 | 431), "a path of 20 KiB: {line}");
    Ok(())
}

fn bodies_that_stop_or_dribble_are_cut_off(lab: &Lab) -> Result<()> {
    let server = lab.server()?;
    let api = server.api();
    let head = format!(
        "POST {TRACES} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: 1000\r\n\r\n{{",
        api.authority(),
        api.token(),
    );
    let (mut stopped, mut dribbling) = (Raw::open(api.authority())?, Raw::open(api.authority())?);
    stopped.send(head.as_bytes());
    dribbling.send(head.as_bytes());
    let deadline = Instant::now() + CUT_OFF;
    let mut answer = None;
    while answer.is_none() {
        ensure!(Instant::now() < deadline, "the dribbled body is still awaited");
        dribbling.send(b" ");
        answer = dribbling.first_words(Duration::from_secs(2))?;
    }
    let answer = answer.unwrap_or_default();
    ensure!(status(&answer) == 503 && answer.contains("urn:synscope:timeout"), "{answer}");
    let answer = stopped.rest()?;
    ensure!(status(&answer) == 400 && answer.contains("urn:synscope:unread-body"), "{answer}");
    Ok(())
}

/// A client that was not told would send its next request into a connection that is gone.
fn answer_before_the_body_is_read_says_that_it_is_the_last(lab: &Lab) -> Result<()> {
    let server = lab.server()?;
    let (authority, token) = (server.api().authority(), server.api().token());
    // The first is refused for its key alone.
    for (key, expected, connection) in [("Idempotency-Key:\r\n", 400, Some("close")), ("", 422, None)] {
        let mut raw = Raw::open(authority)?;
        raw.send(format!("POST {TRACES} HTTP/1.1\r\nHost: {authority}\r\n{key}").as_bytes());
        raw.send(format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n").as_bytes());
        raw.send(b"Content-Length: 11\r\n\r\n{\"ttl_s\":0}");
        let answer = raw.first_words(CUT_OFF)?.unwrap_or_default();
        ensure!(status(&answer) == expected, "{answer}");
        ensure!(header(&answer, "connection") == connection, "{answer}");
    }
    Ok(())
}

fn path_traversal_finds_no_file(lab: &Lab) -> Result<()> {
    let server = lab.server()?;
    let authority = server.api().authority();
    let up = [
        "/assets/../../../etc/passwd",
        "/assets/%2e%2e/%2e%2e/etc/passwd",
        "/assets/..%2f..%2fetc%2fpasswd",
        "/assets//etc/passwd",
        "/assets/..\\..\\etc\\passwd",
        "/assets/%00",
        "/../etc/passwd",
        "//etc/passwd",
    ];
    for path in up {
        let answer = Raw::ask(authority, &format!("GET {path}"), &[("Host", authority)])?;
        ensure!((400..500).contains(&status(&answer)) && !answer.contains("root:"), "{path}: {answer}");
    }
    Ok(())
}

fn smuggled_second_request_is_not_answered(lab: &Lab) -> Result<()> {
    let server = lab.server()?;
    let api = server.api();
    // One length for a proxy, another for the server: the rest would be a request of its own.
    let smuggled = format!(
        "POST {TRACES} HTTP/1.1\r\nHost: {0}\r\nAuthorization: Bearer {1}\r\nContent-Type: application/json\r\n\
         Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: {0}\r\n\
         Connection: close\r\n\r\n",
        api.authority(),
        api.token().replace(|_: char| true, "0"),
    );
    let mut raw = Raw::open(api.authority())?;
    raw.send(smuggled.as_bytes());
    let answer = raw.rest()?;
    ensure!(!answer.contains("\r\n\r\nok"), "the smuggled request was answered: {answer}");
    ensure!(matches!(status(&answer), 400 | 401), "{answer}");
    Ok(())
}

fn every_answer_forbids_scripts_of_others(lab: &Lab) -> Result<()> {
    let server = lab.server()?;
    let authority = server.api().authority();
    let page = Raw::ask(authority, "GET /", &[("Host", authority)])?;
    ensure!(status(&page) == 200, "{page}");
    let asset = page.split('"').find(|text| text.starts_with("/assets/")).context("no asset in the page")?;
    for path in ["/", asset, "/healthz", "/nothing", TRACES, "/api/v1/nothing"] {
        let answer = Raw::ask(authority, &format!("GET {path}"), &[("Host", authority)])?;
        let policy =
            header(&answer, "content-security-policy").with_context(|| format!("{path}: no policy"))?;
        for part in ["default-src 'none'", "require-trusted-types-for 'script'", "frame-ancestors 'none'"] {
            ensure!(policy.contains(part), "{path}: {policy}");
        }
        ensure!(!policy.contains("unsafe"), "{path}: {policy}");
        ensure!(header(&answer, "x-content-type-options") == Some("nosniff"), "{path}: {answer}");
        ensure!(header(&answer, "x-frame-options") == Some("DENY"), "{path}: {answer}");
        ensure!(header(&answer, "set-cookie").is_none(), "{path}: {answer}");
    }
    Ok(())
}
