//! What the commands print that need no kernel: files shown again, the man page, completions.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

fn synscope(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_synscope"));
    command
        .args(arguments)
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Standard output of a run that must be fine.
fn printed(arguments: &[&str], input: &str) -> String {
    let output = synscope(arguments, input);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// One retried attempt that times out and one that is refused, as an export has them.
fn file() -> String {
    let event = |seq: u64, attempt: u64, event: &str, connect: Value, error: Option<&str>| {
        let mut event = json!({
            "seq": seq, "time_unix_nano": format!("179000000{seq}123456789"), "event": event, "attempt": attempt,
            "network": {
                "transport": "tcp", "type": "ipv4", "local": {"address": "10.0.0.5", "port": 43210},
                "peer": {"address": "203.0.113.7", "port": 20 + attempt},
            },
            "process": {"pid": 4242, "comm": "nc"}, "tcp": {"connect": connect},
        });
        if let Some(error) = error {
            event["error"] = json!({ "type": error });
        }
        format!("{event}\n")
    };
    let connect = |ms: f64, retransmits: u32, cause: Option<&str>| {
        let mut connect = json!({
            "start_unix_nano": "1790000000000000000", "duration_ms": ms, "syn_retransmits": retransmits,
            "stale_peer": false, "challenges": 0,
        });
        if let Some(cause) = cause {
            connect["cause"] = cause.into();
        }
        connect
    };
    event(1, 1, "connect.retransmit", connect(1024.0, 1, None), None)
        + &event(2, 2, "connect.failed", connect(0.25, 0, Some("refused")), Some("ECONNREFUSED"))
        + &event(3, 1, "connect.failed", connect(3072.0, 1, Some("timeout")), Some("ETIMEDOUT"))
        + &event(4, 3, "connect.retransmit", connect(1024.0, 1, None), None)
}

#[test]
fn a_file_is_shown_again_as_it_was_told() {
    let shown = printed(&["trace", "--replay", "-"], &file());
    let expected = "\
TIME             PID COMM             LOCAL                 PEER                  RETX     AFTER WHAT
14:13:21.123    4242 nc               10.0.0.5:43210        203.0.113.7:21           1    1024ms retransmit
14:13:22.123    4242 nc               10.0.0.5:43210        203.0.113.7:22           0    0.25ms failed: refused (ECONNREFUSED)
14:13:23.123    4242 nc               10.0.0.5:43210        203.0.113.7:21           1    3072ms failed: timeout (ETIMEDOUT)
14:13:24.123    4242 nc               10.0.0.5:43210        203.0.113.7:23           1    1024ms retransmit
";
    assert_eq!(shown, expected);
    let lines: Vec<Value> = printed(&["trace", "--replay", "-", "--json"], &file())
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    let told: Vec<Value> = file().lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(lines, told);
}

#[test]
fn attempts_are_shown_when_they_have_ended() {
    let output = synscope(&["trace", "--replay", "-", "--attempts", "-o", "attempt,retx,what"], &file());
    let expected = "   ATTEMPT RETX WHAT\n         2    0 failed: refused (ECONNREFUSED)\n         1    1 failed: timeout (ETIMEDOUT)\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    let summary = String::from_utf8_lossy(&output.stderr);
    assert!(summary.contains("\n         1  203.0.113.7:21\n         1  203.0.113.7:22\n"), "{summary}");
    assert!(summary.contains("1 attempts had not ended"), "{summary}");
    let json = printed(&["trace", "--replay", "-", "--attempts", "--json"], &file());
    let last: Value = json.lines().last().unwrap().parse().unwrap();
    assert_eq!(last["retransmit_unix_nano"], json!(["1790000001123456789"]));
}

#[test]
fn a_filter_hides_and_says_so() {
    let output = synscope(&["trace", "--replay", "-", "-o", "cause", "cause=timeout"], &file());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "CAUSE\ntimeout\n");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("3  not shown, because of the filter"),
        "{output:?}"
    );
}

#[test]
fn fail_on_tells_by_the_exit_code() {
    for (cause, code) in [("refused", 3), ("killed,timeout", 3), ("any", 3), ("killed", 0)] {
        let output = synscope(&["trace", "--replay", "-", "--fail-on", cause], &file());
        assert_eq!(output.status.code(), Some(code), "{cause}: {output:?}");
    }
    assert_eq!(synscope(&["trace", "--fail-on", "bad luck"], "").status.code(), Some(2));
}

#[test]
fn a_line_that_is_no_event_is_named() {
    let long = format!("{{\"x\": \"{}\"}}\n", "x".repeat(1 << 20));
    for (line, word) in
        [("{\"a\": 1}\n", "missing field"), ("nonsense\n", "expected"), (&long, "longer than")]
    {
        let output = synscope(&["trace", "--replay", "-"], &format!("{}{line}", file()));
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{complaint}");
        assert!(complaint.contains("line 5") && complaint.contains(word), "{complaint}");
        assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 5, "what came before is shown");
    }
    let output = synscope(&["trace", "--replay", "/no/such/file"], "");
    assert!(String::from_utf8_lossy(&output.stderr).contains("/no/such/file"), "{output:?}");
}

#[test]
fn what_a_file_cannot_answer_is_refused() {
    for flags in [["--peer", "10.0.0.1"], ["--ttl-s", "1"]] {
        let output = synscope(&[&["trace", "--replay", "-"], flags.as_slice()].concat(), "");
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {output:?}");
    }
}

/// The long flags of a command, as its own help has them.
fn flags(command: &str) -> Vec<String> {
    let help = printed(&[command, "--help"], "");
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    lines.filter_map(|line| Some(line[line.find("--")?..].split([' ', ',']).next()?.to_owned())).collect()
}

#[test]
fn manual_and_completions_have_every_flag() {
    let shells = ["bash", "zsh", "fish"].map(|shell| (shell, printed(&["completions", shell], "")));
    for command in ["serve", "trace", "attach", "doctor", "man", "completions"] {
        let page = printed(&["man", command], "").replace(r"\-", "-");
        assert!(page.contains(&format!(".TH synscope-{command} 1")), "{page}");
        let flags = flags(command);
        assert!(flags.len() > 1 || ["man", "completions"].contains(&command), "{command}: {flags:?}");
        for flag in flags {
            assert!(page.contains(&flag), "{flag} is not in the man page of {command}");
            for (shell, script) in &shells {
                // Fish has flags without their dashes.
                assert!(
                    script.contains(flag.trim_start_matches('-')),
                    "{flag} of {command} is not in {shell}"
                );
            }
        }
    }
    assert!(printed(&["man"], "").contains("synscope"));
    assert_eq!(synscope(&["man", "no-such"], "").status.code(), Some(1));
}

#[test]
fn lines_go_to_a_file_when_asked() {
    let file_name = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("lines");
    let path = file_name.to_str().unwrap();
    assert_eq!(printed(&["trace", "--replay", "-", "--output", path, "-o", "pid"], &file()), "");
    assert_eq!(fs::read_to_string(&file_name).unwrap().lines().count(), 5);
}
