//! Where attempts of a cause or of a peer are: in which runs of them. Attempts that are near each other are often alike,
//! and a row for all of these costs little more than an index's row for one.

use std::collections::HashSet;

use rusqlite::Transaction;

use super::{
    conditions::Conditions,
    queue::Batch,
    reads::address_bytes,
    schema::{RUN_BITS, row_id, run_of},
};

/// What stands for every cause.
const ANY_CAUSE: &str = "";
/// What stands for every peer.
const ANY_PEER: &[u8] = &[];

/// Notes where the attempts of these batches are.
pub(super) fn keep(transaction: &Transaction<'_>, batches: &[&Batch]) -> rusqlite::Result<()> {
    let mut row = transaction.prepare_cached("INSERT OR IGNORE INTO places VALUES (?1, ?2, ?3)")?;
    let mut noted = HashSet::new();
    for batch in batches {
        for attempt in &batch.attempts {
            let run = run_of(row_id(batch.key, attempt.first_seq));
            let peer = address_bytes(attempt.head.network.peer.address);
            let cause = attempt.head.tcp.connect.cause.as_deref();
            if !noted.insert((cause, peer, run)) {
                continue;
            }
            row.execute((ANY_CAUSE, &peer[..], run))?;
            if let Some(cause) = cause {
                row.execute((cause, ANY_PEER, run))?;
                row.execute((cause, &peer[..], run))?;
            }
        }
    }
    Ok(())
}

/// Forgets the runs between these rows in which there are no attempts any more.
pub(super) fn forget(transaction: &Transaction<'_>, first: i64, last: i64) -> rusqlite::Result<()> {
    let mut delete = transaction.prepare_cached(
        "DELETE FROM places WHERE run BETWEEN ?1 AND ?2
            AND NOT EXISTS (SELECT 1 FROM attempts WHERE id BETWEEN run << ?3 AND ((run + 1) << ?3) - 1)",
    )?;
    delete.execute((run_of(first), run_of(last), RUN_BITS)).map(drop)
}

/// The query for the runs in which there may be such attempts, from a first one to a last one, newest first.
pub(super) fn runs_query(conditions: &Conditions) -> String {
    let any_cause = if conditions.are_of_causes() { "" } else { " AND cause = ''" };
    let any_peer = if conditions.are_of_peers() { "" } else { " AND peer = x''" };
    let text = &conditions.places.text;
    format!(
        "SELECT DISTINCT run FROM places WHERE run BETWEEN ? AND ?{any_cause}{any_peer}{text} ORDER BY run DESC"
    )
}
