//! The language as people write it.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::{event::UnixNano, request::FilterRequest};

fn parse(text: &str) -> Filter {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> FilterError {
    text.parse::<Filter>().expect_err(text)
}

/// Half past noon, 2026-05-04.
const NOW: UnixNano = UnixNano(1_777_897_800_000_000_000);

fn attempt() -> Json {
    json!({
        "attempt": 17, "state": "failed", "start_unix_nano": "1777896000000000000", "duration_ms": 7123.4,
        "network": {
            "type": "ipv4",
            "local": {"address": "10.0.0.5", "port": 43210}, "peer": {"address": "10.1.2.3", "port": 443},
        },
        "process": {"pid": 42, "comm": "Envoy worker", "user": {"id": 101}, "cgroup": "/a/b", "netns": 4_026_531_840_u32},
        "error": {"type": "ETIMEDOUT"},
        "tcp": {"connect": {"cause": "timeout", "syn_retransmits": 3, "challenges": 0, "stale_peer": false}},
        "k8s": {"pod": {"uid": "1a2b-3c"}}, "systemd": {"unit": "mesh.service"},
        "listener": {"local": {"address": "127.0.0.1", "port": 8080}, "full": true},
    })
}

#[test]
fn each_term_finds_the_attempt_or_does_not() {
    for text in [
        "",
        "peer=10.0.0.0/8 port=443 cause=timeout comm~envoy duration>1s retransmits>=2 since=-1h",
        "peer=192.0.2.1,10.1.2.3",
        "port=80,400-500",
        "port!=80",
        "-port=80",
        "!port=80",
        "-port!=443",
        "comm=\"Envoy worker\"",
        "comm!~nginx",
        "container!=web",
        "duration<=1h duration>7.1s",
        "since=2026-05-04T12:00:00Z until=2026-05-04T14:00:00+02:00",
        "pod~1A2B unit=mesh.service",
        "stale_peer=false listener_full=true listener=8080",
        "outcome=failed attempt=17 uid>100 family=ipv4 error=ETIMEDOUT",
        "envoy",
        "10.1.2",
        "-nginx",
        "\"envoy w\"",
    ] {
        assert!(parse(text).matches(&attempt(), NOW), "{text}");
    }
    for text in [
        "peer=10.0.0.0/16",
        "port!=80,443",
        "-retransmits>=2",
        "comm=envoy",
        "container=web",
        "container~\"\"",
        "duration>7.2s",
        "duration<7.1s",
        "since=-10m",
        "until=-1h",
        "cause=timeout nginx",
        "soft_error~E",
        "challenges>0",
        "peer!=10.1.0.0/16",
        "listener_full=false",
    ] {
        assert!(!parse(text).matches(&attempt(), NOW), "{text}");
    }
}

#[test]
fn what_is_wrong_is_pointed_at() {
    for (text, start, end, problem) in [
        ("port=443 prot=22", 9, 13, "there is no field `prot`"),
        ("port~44", 4, 5, "`port` cannot be asked with `~`"),
        ("port=http", 5, 9, "`http` is no number"),
        ("port=65536", 5, 10, "`65536` is no number"),
        ("port=9000-8000", 5, 14, "`9000-8000` is no number"),
        ("port>80-90", 5, 10, "`80-90` is a range"),
        ("port>1,2", 5, 8, "`>` compares with one value"),
        ("port=", 5, 5, "a value is missing"),
        ("port=1, pid=2", 7, 8, "a value is missing"),
        ("=5", 0, 0, "the name of a field is missing"),
        ("-", 1, 1, "a value is missing"),
        ("comm=\"x", 5, 7, "this quote is never closed"),
        ("comm=x\"y\"", 6, 7, "a value is either quoted"),
        ("comm=\"x\"y", 8, 9, "a value is either quoted"),
        ("é cause=timeot", 9, 15, "`timeot` is no cause"),
        ("peer=10.0.0.0/33", 5, 16, "`10.0.0.0/33` is no address"),
        ("duration>10", 9, 11, "`10` is no duration"),
        ("duration=200y", 9, 13, "`200y` is no duration"),
        ("since=yesterday", 6, 15, "`yesterday` is no time"),
        ("since>-1h", 5, 6, "`since` cannot be asked with `>`"),
        ("stale_peer=yes", 11, 14, "`yes` is neither true nor false"),
    ] {
        let error = refused(text);
        assert!(error.problem.starts_with(problem), "{text}: {error}");
        assert_eq!((error.span.start, error.span.end), (start, end), "{text}: {error}");
        assert!(!error.remedy.is_empty(), "{text}");
    }
    assert_eq!(refused(&"a ".repeat(65)).span, Span { start: 128, end: 129 });
    assert_eq!(refused(&"x".repeat(5000)).span, Span { start: 4096, end: 5000 });
    assert_eq!(refused(&format!("pid={}1", "1,".repeat(64))).span.start, 4);
}

#[test]
fn json_says_it_without_the_text() {
    let filter = parse("peer!=10.0.0.0/8 port=80,8000-9000 -duration>1.5s since=-1h stale_peer=true");
    let terms = json!([
        {"field": "peer", "op": "=", "not": true, "values": ["10.0.0.0/8"], "start": 0, "end": 16},
        {"field": "port", "op": "=", "not": false, "values": [80, {"from": 8000, "to": 9000}], "start": 17, "end": 34},
        {"field": "duration", "op": ">", "not": true, "values": [1500.0], "start": 35, "end": 49},
        {"field": "since", "op": "=", "not": false, "values": [{"ago_ms": 3_600_000.0}], "start": 50, "end": 59},
        {"field": "stale_peer", "op": "=", "not": false, "values": [true], "start": 60, "end": 75},
    ]);
    assert_eq!(serde_json::to_value(filter).unwrap(), json!({ "terms": terms }));
}

#[test]
fn the_kernel_gets_what_it_can_check_and_the_rest_stays() {
    let mut filter = parse(
        "peer=10.0.0.0/8 port=443,8000-9000 comm=nc,curl pid=1 pid=2 uid>5 -netns=3 family=ipv4 cause=timeout \
         comm~n local_port=0 cgroup=/a",
    );
    let mut request = FilterRequest::default();
    filter.push_down(&mut request);
    let pushed = json!({
        "peer": ["10.0.0.0/8"], "peer_port": [443, "8000-9000"], "comm": ["nc", "curl"], "pid": [1],
        "family": "ipv4", "cgroup": ["/a"],
    });
    assert_eq!(serde_json::to_value(request).unwrap(), pushed);
    assert_eq!(filter.to_string(), "pid=2 uid>5 netns!=3 cause=timeout comm~n local_port=0");
}

#[test]
fn a_trace_is_refused_what_the_kernel_cannot_check() {
    let error = only_kernel_terms(parse("port=22 duration>1s")).unwrap_err();
    assert_eq!(error.span, Span { start: 8, end: 19 });
    assert!(error.problem.contains("`duration>1s`"), "{error}");
    assert!(only_kernel_terms(parse("port=22 comm=sixteen-letters-x")).is_err());
}

fn without_spans(mut filter: Filter) -> Filter {
    filter.terms.iter_mut().for_each(|term| term.span = Span::default());
    filter
}

/// Text that is often a filter, and else nearly one.
fn nearly_a_filter() -> impl Strategy<Value = String> {
    let name = FIELDS.map(|definition| definition.name).to_vec();
    let operator = vec!["=", "!=", "~", "!~", ">", ">=", "<", "<=", ""];
    let value = prop_oneof![
        "[0-9]{1,4}(-[0-9]{1,5})?",
        "-?[0-9.]{1,4}(us|ms|s|m|h|d|w)",
        "10\\.[0-9]{1,3}\\.0\\.0/[0-9]{1,2}",
        "20[0-9]{2}-0[1-9]-1[0-9]T12:00:0[0-9](\\.[0-9]{1,9})?(Z|[+]0[0-9]:30)",
        "(true|false|timeout|refused|failed|ipv6|::1|fe80::/10)",
        "\"([^\"\\\\]|\\\\.){0,8}\"",
        "\\PC{0,8}",
    ];
    let values = proptest::collection::vec(value, 1..4).prop_map(|values| values.join(","));
    let term = ("[-!]?", proptest::sample::select(name), proptest::sample::select(operator), values)
        .prop_map(|(not, name, operator, values)| format!("{not}{name}{operator}{values}"));
    proptest::collection::vec(term, 0..4).prop_map(|terms| terms.join(" "))
}

proptest! {
    #[test]
    fn what_is_printed_reads_the_same(text in nearly_a_filter()) {
        if let Ok(filter) = text.parse::<Filter>() {
            let printed = filter.to_string();
            let again: Filter = printed.parse().map_err(|error| TestCaseError::fail(format!("{printed}: {error}")))?;
            prop_assert_eq!(without_spans(again), without_spans(filter), "{}", printed);
        }
    }

    #[test]
    fn any_text_is_read_or_pointed_into(text in prop_oneof![any::<String>(), nearly_a_filter()]) {
        match text.parse::<Filter>() {
            Ok(filter) => prop_assert!(filter.terms.iter().all(|term| text.get(term.span.start..term.span.end).is_some())),
            Err(error) => prop_assert!(text.get(error.span.start..error.span.end).is_some(), "{:?}", error),
        }
    }
}

#[test]
fn a_duration_of_35_microseconds_is_equal_to_itself() {
    let attempt = json!({"duration_ms": 0.035});
    assert!(parse("duration=0.035ms").matches(&attempt, UnixNano(0)), "0.000035 s * 1000 is not 0.035");
}
