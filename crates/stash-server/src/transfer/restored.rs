//! When another life of this node has written under its numbers: it was restored from a copy, or it
//! was cloned.
//!
//! A number says which record is meant only as long as it is used once. Once records show that this
//! node's numbers were used elsewhere, it goes on under a new incarnation. What it had written since
//! the two lives parted may be hidden by what has seen the other record of the same number, and the
//! other way round; so after the next full exchange, what is hidden without having been seen is written
//! again, under new numbers, with the `seen` it had before the lives parted.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use stash_crypto::{NameId, NodeId, Record, Writer};
use stash_store::{Batch, ReadError, Store};
use tokio::sync::watch;

use crate::core::Core;
use crate::ledger::divergence::{Divergence, Held, Reissue};
use crate::ledger::incarnation::pasts;
use crate::ledger::{LedgerError, incarnation, progress, rows};
use crate::lock::lock;
use crate::{core, ledger};

/// Tells whoever can write versions again.
#[derive(Debug)]
pub(crate) struct Restored {
    /// Something came, since that was looked at, that may make a difference.
    changed: AtomicBool,
    pub(crate) told: watch::Sender<u64>,
    /// The incarnations that were given up.
    given_up: Mutex<BTreeSet<Writer>>,
}

impl Restored {
    pub(crate) fn load(store: &Store) -> Result<Restored, ReadError> {
        let given_up = pasts(store)?.into_iter().map(|past| past.writer).collect();
        let (changed, told) = (AtomicBool::new(true), watch::Sender::new(0));
        Ok(Restored { changed, told, given_up: Mutex::new(given_up) })
    }

    /// Whether a record may hide what this node wrote in one of its lives, or be hidden by it.
    fn concerns(&self, record: &Record, me: NodeId) -> bool {
        let clear = record.clear();
        clear.dot.writer.node == me
            || lock(&self.given_up).iter().any(|writer| clear.seen.get(writer) > 0)
    }
}

/// Looks whether records that others offer, and that are not here, show that this node's numbers were
/// used elsewhere. Before they are stored: what comes of it is durable first, or else a process that
/// ends in between would go on with those numbers. Blocking.
pub(crate) fn look(core: &Core, store: &Store, offered: &[Record]) -> Result<(), LedgerError> {
    let offered: Vec<Record> = offered
        .iter()
        .filter(|record| {
            record.clear().dot.writer.node == core.me || core.author.is_touched(record)
        })
        .cloned()
        .collect();
    if offered.is_empty() {
        return Ok(());
    }
    let new = ledger::unknown(store, offered)?;
    let own = new.iter().map(|record| record.clear().dot.writer);
    let own: BTreeSet<Writer> = own.filter(|writer| writer.node == core.me).collect();
    cloned(core, store, &own)?;
    if let Some(given_up) = core.author.overtaken(store, &new)? {
        lock(&core.restored.given_up).insert(given_up);
        tracing::error!("another life of this node has used its numbers: going on as a new writer");
        progress::doubt(store)?;
        core::compare_with_all(core);
    }
    Ok(())
}

/// Raises an alarm if records come of a life of this node of which nothing is known: before the first
/// exchange has ended, it is what this node wrote before it lost its store.
fn cloned(core: &Core, store: &Store, own: &BTreeSet<Writer>) -> Result<(), LedgerError> {
    if !core::synchronised(core) {
        return Ok(());
    }
    for writer in own.iter().filter(|writer| !core.author.is(writer)) {
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
pub(crate) fn came(core: &Core, records: &[Record]) {
    if records.iter().any(|record| core.restored.concerns(record, core.me)) {
        core.restored.changed.store(true, Ordering::Relaxed);
    }
}

/// A full exchange has ended: what was written in another life is here, as far as anybody has it.
pub(crate) fn exchanged(core: &Core) {
    if core.restored.changed.swap(false, Ordering::Relaxed) {
        core.restored.told.send_modify(|count| *count += 1);
    }
}

pub(crate) fn reissues(store: &Store) -> Result<Vec<Reissue>, LedgerError> {
    let (pasts, own) = (pasts(store)?, incarnation::own(store)?);
    let writers: BTreeSet<Writer> = pasts.iter().map(|past| past.writer).collect();
    let mut all = Vec::new();
    for past in &pasts {
        let parting = Divergence::find(store, past)?;
        for name in parting.names() {
            let held = held(store, &name)?;
            let later = |writer: &Writer| own.contains(writer) && !writers.contains(writer);
            for reissue in parting.confused(&held, later) {
                let row = [rows::REISSUED, reissue.record.hash().as_bytes()].concat();
                if store.row(&row)?.is_none() {
                    all.push(reissue);
                }
            }
        }
    }
    Ok(all)
}

/// What is held of a name and can be read.
fn held(store: &Store, name: &NameId) -> Result<Vec<Held>, LedgerError> {
    let (stored, _) = store.records_of_and_damaged(name.as_bytes())?;
    stored.iter().map(|one| Ok((one.sequence, ledger::decode(one.sequence, &one.bytes)?))).collect()
}
