//! Noticing that another life of this node has used its numbers.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use stash_crypto::{Record, Writer};
use stash_store::{Batch, Store};

use crate::ledger::{self, LedgerError, incarnation, progress};
use crate::lock::lock;
use crate::transfer::Transfer;

/// Looks whether records that others offer, and that are not here, show that this node's numbers
/// were used elsewhere. Before they are stored: what comes of it is durable first, or else a
/// process that ends in between would go on with those numbers. Blocking.
pub(crate) fn look(
    transfer: &Transfer,
    store: &Store,
    offered: &[Record],
) -> Result<(), LedgerError> {
    let offered: Vec<Record> = offered
        .iter()
        .filter(|record| {
            record.clear().dot.writer.node == transfer.core.me
                || transfer.core.author.is_touched(record)
        })
        .cloned()
        .collect();
    if offered.is_empty() {
        return Ok(());
    }
    let new = ledger::unknown(store, offered)?;
    let own = new.iter().map(|record| record.clear().dot.writer);
    let own: BTreeSet<Writer> = own.filter(|writer| writer.node == transfer.core.me).collect();
    cloned(transfer, store, &own)?;
    if let Some(given_up) = transfer.core.author.renew_if_reused(store, &new)? {
        lock(&transfer.restored.given_up).insert(given_up);
        tracing::error!("another life of this node has used its numbers: going on as a new writer");
        progress::doubt(store)?;
        transfer.core.peers.compare_with_all();
    }
    Ok(())
}

/// Raises an alarm if records come of a life of this node of which nothing is known: before the
/// first exchange has ended, it is what this node wrote before it lost its store.
fn cloned(transfer: &Transfer, store: &Store, own: &BTreeSet<Writer>) -> Result<(), LedgerError> {
    if !transfer.core.synchronised() {
        return Ok(());
    }
    for writer in own.iter().filter(|writer| !transfer.core.author.is(writer)) {
        let begun_here = incarnation::is_own(store, writer)?;
        if !begun_here && store.dots_from(&writer.to_bytes(), 1, 1)?.is_empty() {
            let text = "records came of another life of this node: a second machine seems to run with \
                        its keys. Stop it for good: it needs a ticket of its own";
            let batch = Batch::new().even_if_full();
            let about = writer.to_bytes();
            store.commit(ledger::one_more(store, batch, b"clone/", &about, text)?)?;
        }
    }
    Ok(())
}

/// Records were taken in.
pub(crate) fn came(transfer: &Transfer, records: &[Record]) {
    transfer.restored.came(records, transfer.core.me);
}

/// A full exchange has ended: what was written in another life is here, as far as anybody has it.
pub(crate) fn exchanged(transfer: &Transfer) {
    if transfer.restored.changed.swap(false, Ordering::Relaxed) {
        transfer.restored.told.send_modify(|count| *count += 1);
    }
}
