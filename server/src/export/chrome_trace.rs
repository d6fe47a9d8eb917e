//! Attempts in the trace event format of Chrome, which Perfetto opens: a process for each that connected, in it a
//! lane for each peer, on it a slice for each attempt and an instant for each SYN that was sent again.

use std::{collections::HashSet, net::SocketAddr};

use serde_json::{Value, json};

use crate::{attempt::Attempt, event::UnixNano};

pub(super) const HEAD: &str = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
/// An event of no kind ends the list, so that every other one may end with a comma.
pub(super) const TAIL: &str = "{\"ph\":\"M\",\"name\":\"trace_end\",\"pid\":0,\"args\":{}}\n]}\n";

/// Processes that have been named.
#[derive(Default)]
pub(super) struct Events {
    named: HashSet<u32>,
}

impl Events {
    /// The lines of one attempt.
    pub(super) fn of(&mut self, attempt: &Attempt) -> String {
        let Attempt { id, state, retransmits, head, ended, .. } = attempt;
        let (network, process, connect) = (&head.network, &head.process, &head.tcp.connect);
        let pid = process.pid.unwrap_or(0);
        let peer = SocketAddr::new(network.peer.address, network.peer.port).to_string();
        let local = SocketAddr::new(network.local.address, network.local.port).to_string();
        let mut lines = String::new();
        let mut line = |event: &Value| lines.extend([&event.to_string(), ",\n"]);
        if self.named.insert(pid) {
            line(&json!({"ph": "M", "name": "process_name", "pid": pid, "args": {"name": process.comm}}));
        }
        // Asynchronous slices: attempts to one peer may overlap, which those of a thread may not. A local id is one of
        // its process; Perfetto takes others out of the processes.
        let slice = |phase: &str, time: UnixNano, args: Value| {
            json!({
                "ph": phase, "cat": "connect", "id2": {"local": format!("{id:#x}")}, "name": peer, "pid": pid, "tid": pid,
                "ts": microseconds(time), "args": args,
            })
        };
        let args = json!({
            "state": state.name(), "cause": connect.cause, "local": local, "comm": process.comm,
            "error": head.error.as_ref().map(|error| &error.r#type),
            "syn_retransmits": connect.syn_retransmits, "stale_peer": connect.stale_peer,
        });
        line(&slice("b", connect.start_unix_nano, args));
        for &time in retransmits {
            line(&slice("n", time, json!({"what": "SYN retransmit"})));
        }
        if let Some(time) = *ended {
            line(&slice("e", time, json!({})));
        }
        lines
    }
}

/// As far as a double is exact: a quarter of a microsecond.
#[expect(clippy::cast_precision_loss, reason = "that is what the format has")]
fn microseconds(UnixNano(time): UnixNano) -> f64 {
    time as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slice_begins_and_ends_in_one_lane_of_a_named_process() {
        let mut events = Events::default();
        let attempts = [
            crate::attempt::sample("connect.failed", 7),
            crate::attempt::sample("connect.failed", 8),
            crate::attempt::sample("connect.retransmit", 9),
        ];
        let body: String = attempts.iter().map(|attempt| events.of(attempt)).collect();
        let file: Value = serde_json::from_str(&format!("{HEAD}{body}{TAIL}")).unwrap();
        let events = file["traceEvents"].as_array().unwrap();
        let of = |phase: &str| events.iter().filter(|event| event["ph"] == phase).collect::<Vec<_>>();
        assert_eq!(of("M").iter().filter(|event| event["name"] == "process_name").count(), 1);
        let (started, ended) = (of("b"), of("e"));
        assert_eq!((started.len(), ended.len(), of("n").len()), (3, 2, 1));
        for end in ended {
            let same =
                |begin: &&&Value| ["id2", "cat", "name", "pid"].iter().all(|key| begin[*key] == end[*key]);
            let begin = started.iter().find(same).unwrap();
            assert!(begin["ts"].as_f64().unwrap() <= end["ts"].as_f64().unwrap());
        }
        assert_eq!(started[0]["name"], "[::1]:22");
    }
}
