//! The state of a node of which another life has written under its numbers: it was restored from a copy,
//! or it was cloned. `other_lives.rs` notices it.
//!
//! A number says which record is meant only as long as it is used once. Once records show that this
//! node's numbers were used elsewhere, it goes on under a new incarnation. What it had written since
//! the two lives parted may be hidden by what has seen the other record of the same number, and the
//! other way round; so after the next full exchange, what is hidden without having been seen is written
//! again, under new numbers, with the `seen` it had before the lives parted.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use stash_crypto::{NameId, NodeId, Record, Writer};
use stash_store::{ReadError, Store};
use tokio::sync::watch;

use crate::ledger::divergence::{Divergence, Held, Reissue};
use crate::ledger::incarnation::pasts;
use crate::ledger::{self, LedgerError, incarnation, rows};
use crate::lock::lock;

/// Tells whoever can write versions again.
#[derive(Debug)]
pub(crate) struct Restored {
    /// Something came, since that was looked at, that may make a difference.
    pub(crate) changed: AtomicBool,
    pub(crate) told: watch::Sender<u64>,
    /// The incarnations that were given up.
    pub(crate) given_up: Mutex<BTreeSet<Writer>>,
}

impl Restored {
    pub(crate) fn load(store: &Store) -> Result<Restored, ReadError> {
        let given_up = pasts(store)?.into_iter().map(|past| past.writer).collect();
        let (changed, told) = (AtomicBool::new(true), watch::Sender::new(0));
        Ok(Restored { changed, told, given_up: Mutex::new(given_up) })
    }

    /// Whether a record may hide what this node wrote in one of its lives, or be hidden by it.
    pub(crate) fn concerns(&self, record: &Record, me: NodeId) -> bool {
        let clear = record.clear();
        clear.dot.writer.node == me
            || lock(&self.given_up).iter().any(|writer| clear.seen.get(writer) > 0)
    }
}

pub(crate) fn reissues(store: &Store) -> Result<Vec<Reissue>, LedgerError> {
    let (pasts, own) = (pasts(store)?, incarnation::own(store)?);
    let shown = pasts.iter().filter(|past| past.is_shown);
    let writers: BTreeSet<Writer> = shown.map(|past| past.writer).collect();
    let mut all = Vec::new();
    for past in &pasts {
        let divergence = Divergence::find(store, past)?;
        for name in divergence.names() {
            let held = held(store, &name)?;
            let later = |writer: &Writer| own.contains(writer) && !writers.contains(writer);
            for reissue in divergence.confused(&held, later) {
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
