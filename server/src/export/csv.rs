//! Attempts as a table.

use crate::{attempt::Attempt, event::UnixNano};

pub(super) const HEAD: &str = "attempt,state,cause,error,start_unix_nano,end_unix_nano,duration_ms,syn_retransmits,\
    stale_peer,local_address,local_port,peer_address,peer_port,pid,comm,uid,cgroup,netns\r\n";

/// One row, with its end (RFC 4180).
pub(super) fn row(attempt: &Attempt) -> String {
    let Attempt { id, state, head, ended, .. } = attempt;
    let (network, process, connect) = (&head.network, &head.process, &head.tcp.connect);
    let cells = [
        id.to_string(),
        state.name().to_owned(),
        connect.cause.as_deref().unwrap_or_default().to_owned(),
        head.error.as_ref().map(|error| error.r#type.clone()).unwrap_or_default(),
        connect.start_unix_nano.0.to_string(),
        shown(ended.map(|UnixNano(time)| time)),
        connect.duration_ms.to_string(),
        connect.syn_retransmits.to_string(),
        connect.stale_peer.to_string(),
        network.local.address.to_string(),
        network.local.port.to_string(),
        network.peer.address.to_string(),
        network.peer.port.to_string(),
        shown(process.pid),
        process.comm.clone(),
        shown(process.user.id),
        process.cgroup.clone(),
        shown(process.netns),
    ];
    cells.map(cell).join(",") + "\r\n"
}

fn shown<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// Names of threads are whatever their owners chose, and spreadsheets run what begins like a formula: an apostrophe
/// makes it text.
fn cell(text: String) -> String {
    let text = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text };
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_text_whatever_it_holds() {
        assert_eq!(cell("nc".into()), "nc");
        assert_eq!(cell("a,b".into()), "\"a,b\"");
        assert_eq!(cell("say \"hi\"".into()), "\"say \"\"hi\"\"\"");
        assert_eq!(cell("=cmd()".into()), "'=cmd()");
        assert_eq!(cell("@a\r\n,b".into()), "\"'@a\r\n,b\"");
    }

    #[test]
    fn a_row_has_a_cell_for_every_name() {
        let attempt = crate::attempt::sample("connect.failed", 7);
        let row = row(&attempt);
        assert_eq!(row.split(',').count(), HEAD.split(',').count(), "{row}");
        assert!(row.starts_with("7,failed,"), "{row}");
    }
}
