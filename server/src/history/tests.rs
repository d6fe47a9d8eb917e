//! The database by itself: older files, what leaves, what queries find.

use std::{
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, types::Value as Sql};
use tokio::sync::oneshot;

use super::{
    blocks::Packer,
    conditions::Conditions,
    directory, places,
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
    begin(connection, key, state, time);
    keep(connection, &[batch(key, 1..=count, time)]);
}

fn begin(connection: &Connection, key: i64, state: &str, time: u64) {
    connection
        .execute(
            "INSERT INTO traces VALUES (?1, ?2, ?3, ?4, ?4, ?4, 'requested', '{}', '{}', NULL, NULL)",
            (key, format!("trace-{key}"), state, time.cast_signed()),
        )
        .unwrap();
}

fn batch(key: i64, seqs: impl IntoIterator<Item = u64>, time: u64) -> Batch {
    let attempts: Vec<_> = seqs.into_iter().map(|seq| sample("connect.failed", seq)).collect();
    let line = |it: &Attempt| Line { seq: it.first_seq, time, json: Arc::clone(&it.newest) };
    Batch { key, since: Instant::now(), events: attempts.iter().map(line).collect(), attempts }
}

/// Writes these at once.
fn keep(connection: &mut Connection, batches: &[Batch]) {
    let transaction = connection.transaction().unwrap();
    writer::keep(&transaction, &mut Packer::default(), batches.iter().collect()).unwrap();
    transaction.commit().unwrap();
}

/// The first and the last event of each block of a trace.
fn blocks(connection: &Connection, key: i64) -> Vec<(u64, u64)> {
    let mut select = connection
        .prepare("SELECT id & ((1 << 40) - 1), last_seq FROM blocks WHERE id >> 40 = ?1 ORDER BY id")
        .unwrap();
    let rows = select.query_map([key], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn attempts(connection: &Connection, key: i64, filter: &str, before: Option<u64>) -> Vec<u64> {
    let filter: Filter = filter.parse().unwrap();
    let found = reads::attempts(connection, key, &filter, UnixNano::now(), before, 3).unwrap();
    found.iter().map(|attempt| attempt.first_seq).collect()
}

/// The numbers of what is read from this one on, each of which is in its event too.
fn seqs_from(connection: &Connection, key: i64, from: u64, limit: usize) -> Vec<u64> {
    let events = reads::events(connection, key, from, limit).unwrap();
    let seq = |(seq, json): &(u64, Arc<str>)| {
        let event: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(event["seq"], *seq);
        *seq
    };
    events.iter().map(seq).collect()
}

fn seqs(connection: &Connection, key: i64) -> Vec<u64> {
    seqs_from(connection, key, 1, 10_000)
}

#[test]
fn a_file_of_the_first_version_is_brought_to_the_newest() {
    let mut connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(include_str!("schema/1-filled.sql")).unwrap();
    schema::migrate(&mut connection).unwrap();
    let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 5);
    let kept = reads::list(&connection).unwrap();
    assert_eq!((kept.len(), kept[0].id.as_str(), kept[0].next_seq), (1, "0123456789ab", 3));
    assert_eq!(seqs(&connection, 1), [1, 2]);
    for filter in ["cause=timeout", "peer=203.0.113.7", "cause=timeout peer=203.0.113.7"] {
        assert_eq!(attempts(&connection, 1, filter, None), [1], "{filter}");
    }
    assert_eq!(attempts(&connection, 1, "cause=timeout peer=203.0.113.0/24 port=22", None), [1]);
    let places = [("", 16, 0), ("timeout", 0, 0), ("timeout", 16, 0)];
    assert_eq!(runs(&connection, 1), places.map(|(cause, peer, run)| (cause.to_owned(), peer, run)));
    assert_eq!(kept[0].recorded, None);
    let events = reads::events(&connection, 1, 1, 2).unwrap();
    assert!(include_str!("schema/1-filled.sql").contains(&*events[0].1), "{}", events[0].1);
    assert_eq!(blocks(&connection, 1), [(1, 2)]);
}

#[test]
fn a_large_file_of_an_older_version_is_brought_to_the_newest_and_becomes_small() {
    let mut connection = Connection::open_in_memory().unwrap();
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").unwrap();
    connection.execute_batch(include_str!("schema/1-filled.sql")).unwrap();
    let more =
        "WITH RECURSIVE more (id) AS (SELECT (1 << 40) | 3 UNION ALL SELECT id + 1 FROM more LIMIT 20000)
        INSERT INTO events
        SELECT more.id, time_ns, json FROM more JOIN events AS newest ON newest.id = (1 << 40) | 2";
    connection.execute_batch(more).unwrap();
    let pages = |connection: &Connection| {
        connection.pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0)).unwrap()
    };
    let full = pages(&connection);
    schema::migrate(&mut connection).unwrap();
    let blocks = blocks(&connection, 1);
    assert!(blocks.len() > 100, "{blocks:?}");
    assert!(blocks.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0), "{blocks:?}");
    assert_eq!((blocks[0].0, blocks[blocks.len() - 1].1), (1, 20_002));
    assert_eq!(reads::events(&connection, 1, 1, 30_000).unwrap().len(), 20_002);
    assert_eq!(attempts(&connection, 1, "", None), [1]);
    remove_all(&mut connection, &limits(Duration::MAX, u64::MAX));
    let left = pages(&connection);
    assert!(full > 2_500 && left < 1_024 + full / 5, "of {full} pages {left} are left");
}

#[test]
fn events_make_blocks_of_64_kib_without_holes() {
    let mut connection = database();
    // In one transaction, beside those of another trace.
    keep(&mut connection, &[batch(2, 1..=900, 1), batch(1, 1..=300, 1), batch(2, 901..=1010, 1)]);
    keep(&mut connection, &[batch(2, 1011..=1012, 1)]);
    keep(&mut connection, &[batch(1, [301, 302, 304, 900], 1)]);
    let (one, other) = (blocks(&connection, 1), blocks(&connection, 2));
    assert_eq!(one[one.len() - 3..], [(301, 302), (304, 304), (900, 900)]);
    let [first, .., before, last] = other[..] else { panic!("{other:?}") };
    assert!(before.1 == 1010 && other.iter().all(|block| block.1 != 900), "{other:?}");
    assert_eq!(last, (1011, 1012), "another transaction, another block");
    let size = |seqs: (u64, u64)| -> usize {
        (seqs.0..=seqs.1).map(|seq| sample("connect.failed", seq).newest.len() + 1).sum()
    };
    assert!(size(first) <= 64 << 10 && size((first.0, first.1 + 1)) > 64 << 10, "{first:?}");
    assert_eq!(seqs(&connection, 2), (1..=1012).collect::<Vec<_>>());
    assert_eq!(seqs_from(&connection, 1, 299, 9), [299, 300, 301, 302, 304, 900]);
    assert_eq!(seqs_from(&connection, 1, 303, 1), [304], "from the first one that is there");
    assert_eq!(seqs_from(&connection, 1, 901, 9), [0; 0], "none of another trace");
    for from in [first.1 - 1, first.1, first.1 + 1] {
        assert_eq!(seqs_from(&connection, 2, from, 3), [from, from + 1, from + 2]);
    }
    let newest = |before| attempts(&connection, 2, "", Some(before));
    assert_eq!(newest(first.1 + 3), [first.1 + 2, first.1 + 1, first.1]);
    assert_eq!(attempts(&connection, 1, "", Some(901)), [900, 304, 302]);
    assert_eq!(attempts(&connection, 1, "", Some(302)), [301, 300, 299]);
}

#[test]
fn a_line_may_be_longer_than_a_block() {
    let mut connection = database();
    let mut batch = batch(1, 1..=3, 1);
    let long: Arc<str> = format!("{{\"seq\":2,\"long\":\"{}\"}}\r", "x".repeat(1 << 20)).into();
    batch.events[1].json = Arc::clone(&long);
    keep(&mut connection, &[batch]);
    assert_eq!(blocks(&connection, 1), [(1, 1), (2, 2), (3, 3)]);
    assert_eq!(reads::events(&connection, 1, 2, 1).unwrap(), [(2, long)]);
}

#[test]
fn a_broken_block_is_an_error_of_those_who_want_it_and_of_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("history.db");
    let (mut connection, _) = directory::open_database(&file).unwrap();
    begin(&connection, 1, "ended", 1);
    keep(&mut connection, &[batch(1, 1..=3, 1)]);
    keep(&mut connection, &[batch(1, 4..=6, 1)]);
    keep(&mut connection, &[batch(1, 7..=9, 1)]);
    let broken: i64 =
        connection.query_row("SELECT id FROM blocks WHERE last_seq = 6", [], |row| row.get(0)).unwrap();
    let ruin = |how: &str| {
        let ruined = connection.execute(&format!("UPDATE blocks SET {how} WHERE id = ?1"), [broken]).unwrap();
        assert_eq!(ruined, 1);
    };
    ruin("lines = zeroblob(100)");
    check_broken(&file, "block");
    ruin("lines = x'ffffffff00'");
    check_broken(&file, "cannot hold");
    ruin("lines = (SELECT lines FROM blocks WHERE last_seq = 3), last_seq = 5");
    check_broken(&file, "a block has 3 lines for the events 4 to 5");
    // It leaves as others do, whatever it says of itself.
    connection.execute("UPDATE blocks SET last_seq = 1 WHERE last_seq = 9", []).unwrap();
    remove_all(&mut connection, &limits(Duration::from_secs(1), u64::MAX));
    assert!(reads::list(&connection).unwrap().is_empty() && blocks(&connection, 1).is_empty());
}

/// Of nine attempts, those from 4 to 6 are in a broken block.
fn check_broken(file: &Path, how: &str) {
    let readers = reads::Readers::of(file);
    let events = |from, limit| readers.with(|connection| reads::events(connection, 1, from, limit));
    let attempts = |before| {
        readers
            .with(|connection| reads::attempts(connection, 1, &Filter::default(), UnixNano::now(), before, 3))
    };
    for error in [events(1, 9).err(), events(4, 1).err(), attempts(Some(7)).err(), attempts(Some(8)).err()] {
        let error = error.unwrap().to_string();
        assert!(error.contains(how), "{error}");
    }
    assert_eq!((events(1, 3).unwrap().len(), events(7, 3).unwrap().len()), (3, 3));
    assert_eq!((attempts(Some(4)).unwrap().len(), attempts(None).unwrap().len()), (3, 3));
    assert!(readers.damage().is_none(), "nothing that the file is set aside for");
}

#[test]
fn places_of_one_cause_and_peer_are_not_sorted() {
    let connection = database();
    for filter in ["cause=timeout", "peer=::1", "peer=::1 cause=timeout", "peer=::1 duration>1s port=22"] {
        let plan = plan(&connection, filter, true);
        let found = "SEARCH places USING PRIMARY KEY (cause=? AND peer=? AND run>? AND run<?)";
        assert_eq!(plan.trim(), found, "{filter}");
    }
    for (filter, found) in [
        ("cause=timeout,refused", "(cause=? AND peer=? AND run>? AND run<?)"),
        ("peer=10.0.0.0/8,::1", "(cause=? AND peer>? AND peer<?)"),
        ("peer=10.0.0.0/8 cause=timeout", "(cause=? AND peer>? AND peer<?)"),
    ] {
        let plan = plan(&connection, filter, false);
        assert!(plan.contains(&format!("PRIMARY KEY {found}")), "{filter}: {plan}");
    }
}

/// How the database would find the places of these attempts.
fn plan(connection: &Connection, filter: &str, in_order: bool) -> String {
    let conditions = Conditions::of(&filter.parse().unwrap(), UnixNano::now());
    assert_eq!(conditions.are_in_order(), in_order, "{filter}");
    let query = format!("EXPLAIN QUERY PLAN {}", places::runs_query(&conditions));
    let values = vec![Sql::Null; conditions.places.values.len() + 2];
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
    keep(&mut connection, &[batch(1, [100_000, 100_001], 1)]);
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

#[test]
fn an_attempt_that_took_long_is_found_by_what_it_was_and_what_it_became() {
    let mut connection = database();
    let now = UnixNano::now().0;
    begin(&connection, 1, "running", 1);
    let told = |seq: u64, attempt: Attempt, time| {
        let line = Line { seq, time, json: Arc::clone(&attempt.newest) };
        Batch { key: 1, since: Instant::now(), events: vec![line], attempts: vec![attempt] }
    };
    let of_another_peer = |event, seq| {
        let mut attempt = sample(event, seq);
        Arc::make_mut(&mut attempt.head).network.peer.address = [10, 0, 0, 9].into();
        attempt
    };
    let mut attempt = of_another_peer("connect.retransmit", 1);
    Arc::make_mut(&mut attempt.head).tcp.connect.cause = None;
    keep(&mut connection, &[told(1, attempt.clone(), 1)]);
    keep(&mut connection, &[batch(1, 2..=3000, 1)]);
    assert_eq!(attempts(&connection, 1, "cause=timeout", Some(2)), [0; 0]);
    assert_eq!(attempts(&connection, 1, "peer=10.0.0.9 outcome=pending", None), [1]);
    let ended = of_another_peer("connect.failed", 3001);
    attempt.take(3001, Arc::unwrap_or_clone(ended.head), ended.newest);
    keep(&mut connection, &[told(3001, attempt, now)]);
    // All before its end leave, and it stays with its places.
    remove_all(&mut connection, &limits(Duration::from_secs(50), u64::MAX));
    assert_eq!(seqs(&connection, 1), [3001]);
    for filter in ["cause=timeout", "peer=10.0.0.9", "cause=timeout peer=10.0.0.9", "peer=10.0.0.0/8", ""] {
        assert_eq!(attempts(&connection, 1, filter, None), [1], "{filter}");
    }
    assert_eq!(attempts(&connection, 1, "peer=::1", None), [0; 0], "though its run is still noted");
}

fn limits(max_age: Duration, max_bytes: u64) -> Limits {
    Limits { max_age, max_bytes, keep_free: 0 }
}

fn remove_all(connection: &mut Connection, limits: &Limits) {
    let pieces = (0..1_000).take_while(|_| retention::remove_piece(connection, limits).unwrap()).count();
    assert!(pieces < 1_000, "there is no end to it");
}

#[test]
fn what_has_left_gives_its_room_back() {
    let mut connection = Connection::open_in_memory().unwrap();
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").unwrap();
    schema::migrate(&mut connection).unwrap();
    fill(&mut connection, 1, "ended", 80_000, 1);
    let pages = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    let full = pages("page_count");
    remove_all(&mut connection, &limits(Duration::from_secs(50), u64::MAX));
    let pages = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    let (left, free) = (pages("page_count"), pages("freelist_count"));
    assert!(full > 1_500 && left < 1_100 && free == 1_024, "of {full} pages {left} are left, {free} free");
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
    assert_eq!((runs(&connection, 1), runs(&connection, 2)), (Vec::new(), Vec::new()));
    let alike = [("", 16, 0), ("timeout", 0, 0), ("timeout", 16, 0)];
    assert_eq!(runs(&connection, 3), alike.map(|(cause, peer, run)| (cause.to_owned(), peer, run)));
}

/// Where attempts of a trace are: the cause, how long the peer's address is, the run.
fn runs(connection: &Connection, key: i64) -> Vec<(String, usize, i64)> {
    let mut select = connection
        .prepare(
            "SELECT cause, length(peer), run - (?1 << 34) FROM places WHERE run >> 34 = ?1 ORDER BY 3, 1, 2",
        )
        .unwrap();
    let rows = select.query_map([key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn blocks_leave_whole_and_some_at_a_time() {
    let mut connection = database();
    let now = UnixNano::now().0;
    begin(&connection, 1, "running", 1);
    keep(&mut connection, &[batch(1, 1..=5000, 1)]);
    let whole = blocks(&connection, 1);
    keep(&mut connection, &[batch(1, 5001..=5003, now)]);
    let limits = limits(Duration::from_secs(50), u64::MAX);
    assert!(retention::remove_piece(&mut connection, &limits).unwrap());
    let left = blocks(&connection, 1);
    let gone = whole.len() + 1 - left.len();
    assert_eq!(whole[gone].0, left[0].0);
    assert!(whole[gone - 1].0 <= 2000 && 2000 <= whole[gone - 1].1, "{:?}", whole[gone - 1]);
    let first = left[0].0;
    assert_eq!(seqs_from(&connection, 1, 1, 2), [first, first + 1]);
    assert_eq!(attempts(&connection, 1, "", Some(first + 1)), [first]);
    let rows: u64 = connection.query_row("SELECT count(*) FROM attempts", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 5003 + 1 - first, "attempts leave with their newest events");
    let kept = &reads::list(&connection).unwrap()[0];
    assert_eq!((kept.first_seq, kept.next_seq), (first, 5004));
    let oldest_run = |connection: &Connection| runs(connection, 1)[0].2.cast_unsigned();
    assert_eq!(oldest_run(&connection), first / 64, "places leave with the last attempt there");
    remove_all(&mut connection, &limits);
    assert_eq!(seqs(&connection, 1), [5001, 5002, 5003], "what is new stays");
    assert_eq!(attempts(&connection, 1, "", Some(5003)), [5002, 5001]);
    assert_eq!(attempts(&connection, 1, "cause=timeout", None), [5003, 5002, 5001]);
    assert_eq!(oldest_run(&connection), 5001 / 64);

    // A block is as old as its newest event.
    let mut events = batch(2, 1..=3, 1);
    events.events[1].time = now;
    begin(&connection, 2, "running", 1);
    keep(&mut connection, &[events]);
    remove_all(&mut connection, &limits);
    assert_eq!(seqs(&connection, 2), [1, 2, 3]);
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

#[test]
fn who_waits_for_the_writer_does_not_wait_for_more_events() {
    const LONG: Duration = Duration::from_mins(10);
    let (queue, queued) = queue();
    let (sender, gathered) = mpsc::channel();
    thread::spawn(move || sender.send(queued.gather(LONG, LONG).map(|messages| messages.len())));
    let batch = Batch { key: 1, since: Instant::now(), events: Vec::new(), attempts: Vec::new() };
    assert!(queue.offer(batch).is_ok());
    // Asleep by now, or it finds the next message by itself.
    thread::sleep(Duration::from_millis(100));
    assert!(queue.send(Message::Flush(oneshot::channel().0)).is_ok());
    assert_eq!(gathered.recv_timeout(Duration::from_mins(1)), Ok(Some(2)));
}
