//! Versions to be written again because their numbers mean two things, after
//! [`other_lives`](crate::transfer::other_lives) has noticed that.

use std::collections::BTreeSet;

use stash_crypto::{NameId, Writer};
use stash_store::{Batch, Store};

use crate::ledger::divergence::{Divergence, Held, Reissue, twice};
use crate::ledger::incarnation::{Past, pasts};
use crate::ledger::{self, LedgerError, incarnation, rows};
use crate::lock::lock;
use crate::transfer::Transfer;

/// Versions to be written again. Blocking.
pub(crate) fn reissues(transfer: &Transfer, store: &Store) -> Result<Vec<Reissue>, LedgerError> {
    let restored = &transfer.restored;
    notice_unknown(transfer, store)?;
    let (pasts, own) = (pasts(store)?, incarnation::own(store)?);
    let shown = pasts.iter().filter(|past| past.is_shown);
    let writers: BTreeSet<Writer> = shown.map(|past| past.writer).collect();
    let later = |writer: &Writer| own.contains(writer) && !writers.contains(writer);
    let mut all = Vec::new();
    for past in &pasts {
        let find = || {
            let divergence = Divergence::find(store, past)?;
            // Of one that is shown, what is not held now may be held later.
            Ok((past.is_shown || !divergence.is_one_life()).then_some(divergence))
        };
        let Some(divergence) = restored.look(past.writer, find)? else { continue };
        for name in divergence.names() {
            let held = held(store, &name)?;
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

/// Notes writers of this node that its store does not remember, and that have two records under one
/// number: the store was put back and used, and then its disk was lost.
fn notice_unknown(transfer: &Transfer, store: &Store) -> Result<(), LedgerError> {
    let restored = &transfer.restored;
    let known: BTreeSet<Writer> = pasts(store)?.into_iter().map(|past| past.writer).collect();
    for (writer, _, _) in store.writers(transfer.core.me.as_bytes())? {
        let writer = Writer::from_bytes(&writer);
        if known.contains(&writer) || transfer.core.author.is(&writer) {
            continue;
        }
        let Some(numbers) = restored.look(writer, || twice(store, &writer))? else { continue };
        // Whoever gave it up meanwhile knows more of it.
        if pasts(store)?.iter().any(|past| past.writer == writer) {
            continue;
        }
        let past = Past::unknown(writer, numbers, store.last_sequence());
        store.commit(incarnation::note(store, Batch::new().even_if_full(), &past)?)?;
        lock(&restored.given_up).insert(writer);
        tracing::error!(
            ?numbers,
            "another life of this node has used its numbers, before its store was lost"
        );
    }
    Ok(())
}

/// The readable records of a name.
fn held(store: &Store, name: &NameId) -> Result<Vec<Held>, LedgerError> {
    let (stored, _) = store.records_of_and_damaged(name.as_bytes())?;
    stored.iter().map(|one| Ok((one.sequence, ledger::decode(one)?))).collect()
}
