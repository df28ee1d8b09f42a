//! Lists of cuts that entries of the member log name by count and hash, as rows of the store:
//! durable before the entry takes effect.

use serde_bytes::ByteBuf;
use stash_crypto::member::{CutList, CutsHash, MemberError};
use stash_crypto::{Cut, MemberLog, NodeId, RecordHash, Writer};
use stash_store::batch::MAX_ROW_VALUE;
use stash_store::{Batch, ReadError, Store};

use crate::ledger::error::{LedgerError, RosterError};
use crate::ledger::rows;
use crate::message::{CUTS_PAGE, Reply};

/// Bytes of a page in the store: as many whole cuts as a row takes.
pub(crate) const ROW: usize = MAX_ROW_VALUE / Cut::ENCODED * Cut::ENCODED;

/// Adds the rows of a list to a batch: fewer than a megabyte, so one batch takes it whole.
pub(crate) fn keep(batch: Batch, list: &CutList) -> Batch {
    let bytes = list.encode();
    let pages = bytes.chunks(ROW).zip(0u8..);
    pages.fold(batch, |batch, (page, at)| batch.row(&rows::cut_list(&list.hash(), at), Some(page)))
}

/// A list that is durable here.
pub(crate) fn load(store: &Store, list: &CutsHash) -> Result<Option<CutList>, ReadError> {
    let pages = store.rows(&[rows::CUT_LIST, list.as_bytes()].concat())?;
    let bytes: Vec<u8> = pages.into_iter().flat_map(|(_, page)| page).collect();
    Ok(CutList::decode(&bytes).ok().filter(|read| read.hash() == *list))
}

/// Drops the lists that no entry of the log names: their founder, or this node, was stopped before
/// the entry was durable. It comes with a list of its own.
pub(crate) fn tidy(store: &Store, log: &MemberLog) -> Result<(), RosterError> {
    let named = |key: &[u8]| {
        let hash = key.strip_prefix(rows::CUT_LIST).and_then(|rest| rest.first_chunk::<32>());
        hash.is_some_and(|hash| log.list(&CutsHash::from_bytes(*hash)).is_some())
    };
    let rows = store.rows(rows::CUT_LIST)?;
    let left = rows.iter().filter(|(key, _)| !named(key));
    let batch = left.fold(Batch::new(), |batch, (key, _)| batch.row(key, None));
    if !batch.is_empty() {
        store.commit(batch.even_if_full())?;
    }
    Ok(())
}

/// The ends of a node's records: the last one held here of each incarnation that is not cut
/// already, by ascending incarnation.
pub(crate) fn ends(log: &MemberLog, store: &Store, node: &NodeId) -> Result<Vec<Cut>, LedgerError> {
    let mut cuts = last(store, node)?;
    cuts.retain(|cut| {
        let writer = Writer { node: *node, incarnation: cut.incarnation };
        log.cut_of(&writer).is_none()
    });
    Ok(cuts)
}

/// The last record of each incarnation of a node that is held here, by ascending incarnation.
pub(crate) fn last(store: &Store, node: &NodeId) -> Result<Vec<Cut>, LedgerError> {
    let cut = |(writer, n, hash): stash_store::WriterEnd| Cut {
        incarnation: Writer::from_bytes(&writer).incarnation,
        n,
        hash: RecordHash::from_bytes(hash),
    };
    let mut last: Vec<Cut> = store.writers(node.as_bytes())?.into_iter().map(cut).collect();
    last.sort_by_key(|cut| cut.incarnation);
    Ok(last)
}

pub(crate) fn of_log(log: &MemberLog, list: [u8; 32], from: u64) -> Reply {
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let list = log.list(&CutsHash::from_bytes(list));
    let cuts = list.map(CutList::cuts).and_then(|cuts| cuts.get(from..)).unwrap_or_default();
    let cuts: Vec<u8> = cuts.iter().take(CUTS_PAGE).flat_map(Cut::to_bytes).collect();
    Reply::Cuts { cuts: ByteBuf::from(cuts) }
}

/// The list that an entry could not do without.
pub(crate) fn missing(error: &RosterError) -> Option<(CutsHash, u32)> {
    match error {
        RosterError::Entry { source: MemberError::ListMissing { list, count }, .. } => {
            Some((*list, *count))
        }
        _ => None,
    }
}
