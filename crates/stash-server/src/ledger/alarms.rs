//! Alarms: rows that `status` shows until somebody looks into them.

use stash_crypto::Dot;
use stash_store::{Batch, ReadError, Store};

use crate::ledger::rows;

/// Raises an alarm: one writer has signed two records with one number. Both are kept.
pub(crate) fn equivocation(store: &Store, batch: Batch, dot: &Dot) -> Result<Batch, ReadError> {
    let (node, n) = (dot.writer.node, dot.n);
    tracing::error!(writer = %node.short(), n, "two records under one number");
    let about = [&dot.writer.to_bytes()[..], &n.to_be_bytes()].concat();
    let text = format!("two different records of node {node} carry number {n}");
    one_more(store, batch, b"equivocation/", &about, &text)
}

/// Alarms of one kind that are kept, at most: a node that can cause one can cause any number.
pub(crate) const MAX_ALARMS: usize = 64;

/// Adds an alarm of a kind about something. Beyond [`MAX_ALARMS`] of that kind, one says that there
/// are more.
pub(crate) fn one_more(
    store: &Store,
    batch: Batch,
    kind: &[u8],
    about: &[u8],
    text: &str,
) -> Result<Batch, ReadError> {
    let key = [kind, about].concat();
    let noted = store.rows(&[rows::ALARM, kind].concat())?;
    let known = noted.iter().any(|(row, _)| row[rows::ALARM.len()..] == key);
    if known || noted.len() < MAX_ALARMS {
        return Ok(alarm(batch, &key, text));
    }
    let more = format!("there are more alarms like the {MAX_ALARMS} that are shown: {text}");
    Ok(alarm(batch, &[kind, b"more"].concat(), &more))
}

/// Adds an alarm that `status` shows.
pub(crate) fn alarm(batch: Batch, key: &[u8], text: &str) -> Batch {
    batch.row(&[rows::ALARM, key].concat(), Some(text.as_bytes()))
}

/// Alarms about another continuation of the member log, by the first entry that differs.
pub(crate) const FORK: &[u8] = b"fork/";
