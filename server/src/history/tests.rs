//! The database by itself: older files, what leaves, what queries find.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rusqlite::{Connection, types::Value as Sql};

use super::{
    conditions::Conditions,
    queue::{Batch, Line, Message, queue},
    reads, retention, schema, writer,
};
use crate::{
    attempt::{Attempt, sample},
    event::UnixNano,
    filter::Filter,
    history::Limits,
};

fn database() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    schema::migrate(&mut connection).unwrap();
    connection
}

/// Attempts of one event each, with the sequence numbers 1 to `count`.
fn fill(connection: &mut Connection, key: i64, state: &str, count: u64, time: u64) {
    let transaction = connection.transaction().unwrap();
    transaction
        .execute(
            "INSERT INTO traces VALUES (?1, ?2, ?3, ?4, ?4, ?4, 'requested', '{}', '{}', NULL, NULL)",
            (key, format!("trace-{key}"), state, time.cast_signed()),
        )
        .unwrap();
    let attempts: Vec<_> = (1..=count).map(|seq| sample("connect.failed", seq)).collect();
    let events =
        attempts.iter().map(|it| Line { seq: it.first_seq, time, json: Arc::clone(&it.newest) }).collect();
    writer::keep(&transaction, &Batch { key, since: Instant::now(), events, attempts }).unwrap();
    transaction.commit().unwrap();
}

fn attempts(connection: &Connection, key: i64, filter: &str, before: Option<u64>) -> Vec<u64> {
    let filter: Filter = filter.parse().unwrap();
    let found = reads::attempts(connection, key, &filter, UnixNano::now(), before, 3).unwrap();
    found.iter().map(|attempt| attempt.first_seq).collect()
}

fn seqs(connection: &Connection, key: i64) -> Vec<u64> {
    reads::events(connection, key, 1, 10_000).unwrap().iter().map(|(seq, _)| *seq).collect()
}

#[test]
fn a_file_of_the_first_version_is_brought_to_the_newest() {
    let mut connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(include_str!("schema/1-filled.sql")).unwrap();
    schema::migrate(&mut connection).unwrap();
    let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 3);
    let kept = reads::list(&connection).unwrap();
    assert_eq!((kept.len(), kept[0].id.as_str(), kept[0].next_seq), (1, "0123456789ab", 3));
    assert_eq!(seqs(&connection, 1), [1, 2]);
    assert_eq!(attempts(&connection, 1, "cause=timeout peer=203.0.113.0/24 port=22", None), [1]);
    assert_eq!(kept[0].recorded, None);
}

#[test]
fn attempts_of_one_cause_and_peer_are_not_sorted() {
    let connection = database();
    for (filter, index) in [
        ("cause=timeout", "attempts_by_cause (cause=? AND rowid>"),
        ("peer=::1", "attempts_by_peer (peer=? AND rowid>"),
        ("peer=::1 cause=timeout", "attempts_by_cause_and_peer (cause=? AND peer=? AND rowid>"),
        (
            "peer=::1 cause=timeout duration>1s port=22",
            "attempts_by_cause_and_peer (cause=? AND peer=? AND rowid>",
        ),
        ("", "PRIMARY KEY (rowid>"),
    ] {
        let plan = plan(&connection, filter, true);
        // What comes behind concerns the rows of the page alone.
        let found = plan.split("SCAN page").next().unwrap();
        assert!(found.contains(index) && !found.contains("TEMP B-TREE"), "{filter}: {plan}");
    }
    for (filter, index) in [
        ("cause=timeout,refused", "attempts_by_cause (cause=? AND rowid>"),
        ("peer=10.0.0.0/8,::1", "attempts_by_peer (peer>? AND peer<?)"),
        ("peer=10.0.0.0/8 cause=timeout", "attempts_by_cause_and_peer (cause=? AND peer>? AND peer<?)"),
    ] {
        let plan = plan(&connection, filter, false);
        // Of the rows' numbers alone.
        assert!(plan.contains(&format!("COVERING INDEX {index}")), "{filter}: {plan}");
    }
}

/// How the database would find a page of these attempts.
fn plan(connection: &Connection, filter: &str, in_order: bool) -> String {
    let conditions = Conditions::of(&filter.parse().unwrap(), UnixNano::now());
    assert_eq!(conditions.are_in_order(), in_order, "{filter}");
    let query = format!("EXPLAIN QUERY PLAN {}", reads::page_query(&conditions, conditions.index()));
    let values = vec![Sql::Null; conditions.values.len() + 3];
    let mut statement = connection.prepare(&query).unwrap();
    let rows =
        statement.query_map(rusqlite::params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
    rows.fold(String::new(), |plan, row| plan + &row.unwrap() + "\n")
}

#[test]
fn a_page_goes_on_behind_the_newest_attempts() {
    let mut connection = database();
    // Few are among the newest, many before them, and between the two there are none.
    fill(&mut connection, 1, "ended", 5, 1);
    let newest: Vec<_> = [100_000, 100_001].map(|seq| sample("connect.failed", seq)).into();
    let transaction = connection.transaction().unwrap();
    let line = |it: &Attempt| Line { seq: it.first_seq, time: 1, json: Arc::clone(&it.newest) };
    let events = newest.iter().map(line).collect();
    writer::keep(&transaction, &Batch { key: 1, since: Instant::now(), events, attempts: newest }).unwrap();
    transaction.commit().unwrap();
    for filter in
        ["peer=::/64", "cause=timeout,refused", "peer=::/64 cause=timeout", "peer=::/64 duration>1ms"]
    {
        assert_eq!(attempts(&connection, 1, filter, None), [100_001, 100_000, 5], "{filter}");
        assert_eq!(attempts(&connection, 1, filter, Some(5)), [4, 3, 2], "{filter}");
    }
}

#[test]
fn a_file_of_a_newer_version_is_left_alone() {
    let mut connection = database();
    connection.pragma_update(None, "user_version", 99).unwrap();
    let refused = schema::migrate(&mut connection).unwrap_err().to_string();
    assert!(refused.contains("newer Synscope"), "{refused}");
}

#[test]
fn attempts_are_found_page_by_page_by_what_they_are() {
    let mut connection = database();
    fill(&mut connection, 1, "ended", 5, 1);
    fill(&mut connection, 2, "ended", 2, 1);
    assert_eq!(attempts(&connection, 1, "", None), [5, 4, 3]);
    assert_eq!(attempts(&connection, 1, "", Some(3)), [2, 1]);
    for meant in
        ["peer=::1", "peer=::/64", "port=20-25", "cause=timeout", "comm=nc", "pid=4,5", "outcome=failed"]
    {
        assert_eq!(attempts(&connection, 2, meant, None), [2, 1], "{meant}");
    }
    for not_meant in
        ["peer=::2", "peer=10.0.0.0/8", "port=23", "cause=refused", "comm=n", "pid=5", "since=-1s"]
    {
        assert_eq!(attempts(&connection, 2, not_meant, None), [0; 0], "{not_meant}");
    }
}

fn limits(max_age: Duration, max_bytes: u64) -> Limits {
    Limits { max_age, max_bytes, keep_free: 0 }
}

fn remove_all(connection: &mut Connection, limits: &Limits) {
    while retention::remove_piece(connection, limits).unwrap() {}
}

#[test]
fn what_has_left_gives_its_room_back() {
    let mut connection = Connection::open_in_memory().unwrap();
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").unwrap();
    schema::migrate(&mut connection).unwrap();
    fill(&mut connection, 1, "ended", 20_000, 1);
    let pages = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    let full = pages("page_count");
    remove_all(&mut connection, &limits(Duration::from_secs(50), u64::MAX));
    let pages = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    let (left, free) = (pages("page_count"), pages("freelist_count"));
    assert!(
        full > 2 * 1_024 && left < full / 2 && free == 1_024,
        "of {full} pages {left} are left, {free} free"
    );
}

#[test]
fn what_is_too_old_leaves_with_its_trace() {
    let mut connection = database();
    let now = UnixNano::now().0;
    fill(&mut connection, 1, "ended", 3000, now - 100_000_000_000);
    fill(&mut connection, 2, "running", 3, now - 100_000_000_000);
    fill(&mut connection, 3, "ended", 3, now);
    remove_all(&mut connection, &limits(Duration::from_secs(50), u64::MAX));
    let left: Vec<_> = reads::list(&connection).unwrap().iter().map(|kept| kept.key).collect();
    assert_eq!(left, [3, 2]);
    assert_eq!(
        (seqs(&connection, 1).len(), seqs(&connection, 2).len(), seqs(&connection, 3).len()),
        (0, 0, 3)
    );
    assert_eq!(attempts(&connection, 1, "", None), [0; 0]);
}

#[test]
fn too_much_leaves_from_the_oldest_on() {
    let mut connection = database();
    fill(&mut connection, 1, "ended", 2500, 1);
    fill(&mut connection, 2, "running", 2500, 1);
    let before = retention::used_bytes(&connection).unwrap();
    remove_all(&mut connection, &limits(Duration::MAX, before * 3 / 10));
    assert!(retention::used_bytes(&connection).unwrap() <= before * 3 / 10);
    assert!(seqs(&connection, 1).is_empty());
    let left = seqs(&connection, 2);
    assert_eq!(left.last(), Some(&2500), "the newest has to stay");
    assert!(left.len() < 2500);
    assert_eq!(attempts(&connection, 2, "", None), [2500, 2499, 2498]);
}

#[test]
fn what_the_queue_cannot_hold_is_refused_at_once() {
    let (queue, queued) = queue();
    let json: Arc<str> = "x".repeat(1 << 20).into();
    let offer = || {
        let line = Line { seq: 1, time: 1, json: Arc::clone(&json) };
        queue.offer(Batch { key: 1, since: Instant::now(), events: vec![line], attempts: Vec::new() }).is_ok()
    };
    let taken = (0..100).take_while(|_| offer()).count();
    assert_eq!(taken, 31, "32 MiB, less what an event takes besides its JSON");
    let messages = queued.gather(Duration::ZERO, Duration::ZERO).unwrap();
    assert!(matches!(messages[..], [Message::Keep(_), ..]));
    queued.done(&messages);
    assert!(offer(), "what was written gives its room back");
}
