//! The columns that a line may have: the one table that `-o`, its help and the printed lines go by.

use clap::{ValueEnum, builder::PossibleValue};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;

use crate::terminal::{Colour, harmless, paint};

/// A column, in the order of [`COLUMNS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column(usize);

struct Definition {
    name: &'static str,
    heading: &'static str,
    /// At least; a column grows with what it has to show, up to [`MAX_WIDTH`].
    width: usize,
    right: bool,
    meaning: &'static str,
    show: fn(&Value) -> String,
}

/// An IPv6 address with its port, at its longest.
const MAX_WIDTH: usize = 47;

const fn column(
    name: &'static str,
    heading: &'static str,
    width: usize,
    meaning: &'static str,
    show: fn(&Value) -> String,
) -> Definition {
    Definition { name, heading, width, right: false, meaning, show }
}

impl Definition {
    /// With what it shows at the right, as numbers are.
    const fn right(self) -> Self {
        Self { right: true, ..self }
    }
}

const COLUMNS: [Definition; 25] = [
    column("time", "TIME", 12, "time of day, in this host's time zone", time_of_day),
    column("date", "DATE", 10, "the day", date),
    column("seq", "SEQ", 6, "number of the event", |told| text(told, "/seq")).right(),
    column("attempt", "ATTEMPT", 10, "number of the attempt", |told| text(told, "/attempt")).right(),
    column("pid", "PID", 7, "process of the caller", |told| text(told, "/process/pid")).right(),
    column("tid", "TID", 7, "thread of the caller", |told| text(told, "/process/tid")).right(),
    column("uid", "UID", 5, "user of the caller", |told| text(told, "/process/user/id")).right(),
    column("comm", "COMM", 16, "thread name of the caller", |told| text(told, "/process/comm")),
    column("executable", "EXECUTABLE", 20, "its program", |told| text(told, "/process/executable/path")),
    column("cgroup", "CGROUP", 20, "its cgroup", |told| text(told, "/process/cgroup")),
    column("container", "CONTAINER", 12, "its container", |told| text(told, "/container/id")),
    column("pod", "POD", 36, "its Kubernetes pod", |told| text(told, "/k8s/pod/uid")),
    column("unit", "UNIT", 20, "its systemd unit", |told| text(told, "/systemd/unit")),
    column("netns", "NETNS", 10, "the socket's network namespace", |told| text(told, "/process/netns"))
        .right(),
    column("local", "LOCAL", 21, "local address and port", |told| endpoint(told, "/network/local")),
    column("peer", "PEER", 21, "peer's address and port", |told| endpoint(told, "/network/peer")),
    column("retx", "RETX", 4, "SYNs sent again", |told| text(told, "/tcp/connect/syn_retransmits")).right(),
    column("challenges", "CHAL", 4, "challenge ACKs", |told| text(told, "/tcp/connect/challenges")).right(),
    column("after", "AFTER", 9, "since the attempt began", after).right(),
    column("what", "WHAT", 10, "what happened, and why", what),
    column("cause", "CAUSE", 16, "why it failed", |told| text(told, "/tcp/connect/cause")),
    column("error", "ERROR", 12, "the error that the application got", |told| text(told, "/error/type")),
    column("soft_error", "SOFT_ERROR", 12, "ICMP error", |told| text(told, "/tcp/connect/soft_error")),
    column("code", "CODE", 30, "the calling code's functions, innermost first", code),
    column("diagnosis", "DIAGNOSIS", 40, "what it means", |told| text(told, "/diagnosis/summary")),
];

/// What a line has unless told otherwise.
pub(crate) const USUAL: &str = "time,pid,comm,local,peer,retx,after,what";

impl ValueEnum for Column {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Column; COLUMNS.len()] = {
            let mut all = [Column(0); COLUMNS.len()];
            let mut place = 0;
            while place < all.len() {
                all[place] = Column(place);
                place += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let Definition { name, meaning, .. } = self.definition();
        Some(PossibleValue::new(name).help(meaning))
    }
}

impl Column {
    fn definition(self) -> &'static Definition {
        &COLUMNS[self.0]
    }
}

/// Lines of columns that stay aligned: a column is as wide as the widest that it had to show.
pub(super) struct Table {
    columns: Vec<(&'static Definition, usize)>,
    colours: bool,
}

impl Table {
    pub(super) fn new(columns: &[Column], colours: bool) -> Self {
        let columns = columns.iter().map(|column| (column.definition(), column.definition().width)).collect();
        Self { columns, colours }
    }

    pub(super) fn heading(&mut self) -> String {
        let line = self.align(|column| column.heading.to_owned());
        paint(&line, self.colours.then_some(Colour::Grey))
    }

    /// The line of an event or attempt, as JSON has it.
    pub(super) fn line(&mut self, told: &Value) -> String {
        let line = self.align(|column| harmless(&(column.show)(told)));
        paint(&line, self.colours.then(|| colour(told)).flatten())
    }

    fn align(&mut self, cell: impl Fn(&Definition) -> String) -> String {
        let mut line = String::new();
        for (column, width) in &mut self.columns {
            let cell = cell(column);
            *width = (*width).max(cell.chars().count().min(MAX_WIDTH));
            let cell = if column.right { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&cell);
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// Red for what failed, yellow for what is in trouble.
fn colour(told: &Value) -> Option<Colour> {
    let of_event = told.get("event").or(told.get("state")).and_then(Value::as_str)?;
    match of_event {
        "connect.failed" | "failed" => Some(Colour::Red),
        "connect.retransmit" | "accept.retransmit" | "skb.drop" => Some(Colour::Yellow),
        "connect.challenge" => Some(Colour::Cyan),
        "connect.established" | "established" => Some(Colour::Green),
        _ => None,
    }
}

/// The member at this place, as a line shows it; nothing when it is not there.
fn text(told: &Value, pointer: &str) -> String {
    match told.pointer(pointer) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

/// An attempt that has ended is told at its end.
fn moment(told: &Value) -> Option<jiff::Zoned> {
    let nanos = ["time_unix_nano", "end_unix_nano", "start_unix_nano"];
    let nanos = nanos.iter().find_map(|name| told.get(name)?.as_str()?.parse().ok())?;
    Some(Timestamp::from_nanosecond(nanos).ok()?.to_zoned(TimeZone::system()))
}

fn time_of_day(told: &Value) -> String {
    moment(told).map(|time| time.strftime("%H:%M:%S%.3f").to_string()).unwrap_or_default()
}

fn date(told: &Value) -> String {
    moment(told).map(|time| time.date().to_string()).unwrap_or_default()
}

pub(super) fn endpoint(told: &Value, pointer: &str) -> String {
    let address = text(told, &format!("{pointer}/address"));
    let port = text(told, &format!("{pointer}/port"));
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

fn after(told: &Value) -> String {
    let ms = told.pointer("/tcp/connect/duration_ms").and_then(Value::as_f64);
    ms.map(|ms| if ms < 10.0 { format!("{ms:.2}ms") } else { format!("{ms:.0}ms") }).unwrap_or_default()
}

fn what(told: &Value) -> String {
    let name = text(told, if told.get("event").is_some() { "/event" } else { "/state" });
    let mut what = name.trim_start_matches("connect.").to_owned();
    let cause = told.pointer("/tcp/connect/cause").or(told.pointer("/tcp/connect/drop_reason"));
    if let Some(cause) = cause.and_then(Value::as_str) {
        what = format!("{what}: {cause}");
    }
    if let Some(error) = told.pointer("/error/type").and_then(Value::as_str) {
        what = format!("{what} ({error})");
    }
    if told.pointer("/tcp/connect/stale_peer") == Some(&Value::Bool(true)) {
        what.push_str(", stale peer");
    }
    what
}

/// Functions of a stack that fit a line.
const FUNCTIONS: usize = 3;

fn code(told: &Value) -> String {
    let frames = told.pointer("/stack/user").and_then(Value::as_array).into_iter().flatten();
    let names: Vec<_> = frames.filter_map(|frame| frame.get("function")?.as_str()).take(FUNCTIONS).collect();
    names.join(" < ")
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;
    use serde_json::json;

    use super::*;

    fn columns(names: &str) -> Vec<Column> {
        names.split(',').map(|name| Column::from_str(name, false).unwrap()).collect()
    }

    fn failed(peer: &str) -> Value {
        json!({
            "event": "connect.failed",
            "network": {"local": {"address": "::1", "port": 4000}, "peer": {"address": peer, "port": 22}},
            "process": {"pid": 4242, "comm": "a\x1bb"},
            "error": {"type": "ETIMEDOUT"},
            "tcp": {"connect": {"duration_ms": 7123.4, "syn_retransmits": 5, "cause": "timeout", "stale_peer": true}},
            "stack": {"user": [{"function": "connect"}, {"address": "0x1"}, {"function": "dial"}]},
        })
    }

    #[test]
    fn a_line_tells_who_where_and_why() {
        let mut table = Table::new(&columns("pid,comm,local,peer,retx,after,what,code"), false);
        let line = table.line(&failed("203.0.113.7"));
        let cells: Vec<_> = line.split_whitespace().collect();
        assert_eq!(
            cells,
            [
                "4242",
                "a\\u{1b}b",
                "[::1]:4000",
                "203.0.113.7:22",
                "5",
                "7123ms",
                "failed:",
                "timeout",
                "(ETIMEDOUT),",
                "stale",
                "peer",
                "connect",
                "<",
                "dial"
            ]
        );
    }

    #[test]
    fn lines_stay_aligned_after_the_longest() {
        let mut table = Table::new(&columns("peer,retx"), false);
        let heading = table.heading();
        assert_eq!(heading.find("RETX"), Some(22));
        let long = table.line(&failed("2001:db8:1111:2222:3333:4444:5555:6666"));
        let short = table.line(&failed("::1"));
        assert_eq!(long.len(), short.len());
        assert!(short.ends_with(" 5"), "{short}");
    }

    #[test]
    fn colours_are_for_terminals() {
        let told = failed("::1");
        assert!(!Table::new(&columns(USUAL), false).line(&told).contains('\x1b'));
        let line = Table::new(&columns(USUAL), true).line(&told);
        assert!(line.starts_with("\x1b[31m") && line.ends_with("\x1b[0m"), "{line:?}");
    }

    #[test]
    fn an_attempt_has_lines_too() {
        let attempt = json!({"state": "failed", "tcp": {"connect": {"cause": "refused"}}, "error": {"type": "ECONNREFUSED"}});
        assert_eq!(Table::new(&columns("what"), false).line(&attempt), "failed: refused (ECONNREFUSED)");
    }
}
