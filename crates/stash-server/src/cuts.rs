//! Lists of cuts that entries of the member log name by count and hash: kept in rows of the store,
//! told to others in pages, and durable before the entry takes effect.

use std::sync::Arc;
use std::time::Duration;

use serde_bytes::ByteBuf;
use stash_crypto::{
    Cut, CutList, CutsHash, MAX_CUTS, MAX_LISTED, MemberChange, MemberEntry, MemberError,
    MemberLog, NodeId, RecordHash, Writer,
};
use stash_p2p::Peer;
use stash_store::{Batch, MAX_ROW_VALUE, ReadError, Store};
use tokio::time::timeout;

use crate::catchup::here;
use crate::core::{AskError, Core, ask, unexpected};
use crate::join::Admission;
use crate::ledger::LedgerError;
use crate::members::{self, ChangeMemberError};
use crate::message::{Refusal, Reply, Request};
use crate::roster::RosterError;
use crate::serve::{self, refused};

/// Store rows of the lists, by hash and page (one byte).
const LISTS: &[u8] = b"cuts/";

/// Bytes of a page in the store: as many whole cuts as a row takes.
const ROW: usize = MAX_ROW_VALUE / Cut::ENCODED * Cut::ENCODED;

/// Cuts in one message: 192 KiB.
pub(crate) const PAGE: usize = 4_096;

/// How long a member may take to tell a list: 768 KiB at most, at 8 KiB a second.
const TELL: Duration = Duration::from_secs(96);

/// Adds the rows of a list to a batch: fewer than a megabyte, so one batch takes it whole.
pub(crate) fn keep(batch: Batch, list: &CutList) -> Batch {
    let bytes = list.encode();
    let pages = bytes.chunks(ROW).zip(0u8..);
    pages.fold(batch, |batch, (page, at)| batch.row(&row(&list.hash(), at), Some(page)))
}

fn row(list: &CutsHash, page: u8) -> Vec<u8> {
    [LISTS, list.as_bytes(), &[page]].concat()
}

/// A list that is durable here.
pub(crate) fn load(store: &Store, list: &CutsHash) -> Result<Option<CutList>, ReadError> {
    let pages = store.rows(&[LISTS, list.as_bytes()].concat())?;
    let bytes: Vec<u8> = pages.into_iter().flat_map(|(_, page)| page).collect();
    Ok(CutList::decode(&bytes).ok().filter(|read| read.hash() == *list))
}

/// Drops the lists that no entry of the log names: their founder, or this node, was stopped before
/// the entry was durable. It comes with a list of its own.
pub(crate) fn tidy(store: &Store, log: &MemberLog) -> Result<(), RosterError> {
    let named = |key: &[u8]| {
        let hash = key.strip_prefix(LISTS).and_then(|rest| rest.first_chunk::<32>());
        hash.is_some_and(|hash| log.list(&CutsHash::from_bytes(*hash)).is_some())
    };
    let rows = store.rows(LISTS)?;
    let left = rows.iter().filter(|(key, _)| !named(key));
    let batch = left.fold(Batch::new(), |batch, (key, _)| batch.row(key, None));
    if !batch.is_empty() {
        store.commit(batch.even_if_full())?;
    }
    Ok(())
}

/// The entries that end a member's incarnations here, with the change that ends its writing as the
/// last. What does not fit into that is durable, as lists, when this returns.
pub(crate) fn entries(
    admission: &dyn Admission,
    log: &MemberLog,
    store: &Store,
    cuts: Vec<Cut>,
    node: NodeId,
    change: impl Fn(Vec<Cut>) -> MemberChange,
) -> Result<Vec<MemberEntry>, ChangeMemberError> {
    let sign =
        |log: &MemberLog, change| admission.change(log, change).map_err(ChangeMemberError::Sign);
    if cuts.len() <= MAX_CUTS {
        return sign(log, change(cuts));
    }
    let (mut log, mut made) = (log.clone(), Vec::new());
    for part in cuts.chunks(MAX_LISTED) {
        let list = CutList::new(part.to_vec());
        let list = list.map_err(|error| ChangeMemberError::Sign(error.to_string()))?;
        store.commit(keep(Batch::new(), &list).even_if_full()).map_err(RosterError::from)?;
        let change = MemberChange::Cuts { node, count: list.count(), list: list.hash() };
        log.know(list);
        for entry in sign(&log, change)? {
            log.push(entry.clone()).map_err(|error| ChangeMemberError::Sign(error.to_string()))?;
            made.push(entry);
        }
    }
    made.extend(sign(&log, change(Vec::new()))?);
    Ok(made)
}

/// Where the records of a node end: at the last that is held here of each incarnation that is not
/// cut already, by ascending incarnation.
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

/// Answers with the cuts of a list from a position on: none at its end, or if it is not known here.
pub(crate) fn answer(core: &Core, list: [u8; 32], from: u64) -> Reply {
    core.roster.log(|log| of_log(log, list, from))
}

fn of_log(log: &MemberLog, list: [u8; 32], from: u64) -> Reply {
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let list = log.list(&CutsHash::from_bytes(list));
    let cuts = list.map(CutList::cuts).and_then(|cuts| cuts.get(from..)).unwrap_or_default();
    let cuts: Vec<u8> = cuts.iter().take(PAGE).flat_map(Cut::to_bytes).collect();
    Reply::Cuts { cuts: ByteBuf::from(cuts) }
}

/// Answers whoever is told entries of this log from an endpoint that else answers nothing, and asks back
/// for the lists that they name. Until the peer is gone.
pub(crate) async fn serve(peer: &Peer, log: &MemberLog) {
    while let Some(stream) = peer.accept().await {
        let (mut send, mut recv) = stream.split();
        let reply = match serve::opening(&mut recv).await {
            Ok(Some(Request::Cuts { list, from })) => of_log(log, list, from),
            Ok(_) => refused(Refusal::Unknown, "here only lists of cuts are shown"),
            Err(_) => continue,
        };
        if send.message(crate::message::encode(&reply)).await.is_ok() {
            send.finish();
        }
    }
}

/// Takes news about members that a peer tells, and asks it for the lists that they name. Every list
/// is durable before an entry that names it is looked at.
pub(crate) async fn learn(
    core: &Arc<Core>,
    peer: &Peer,
    entries: Vec<Vec<u8>>,
    addresses: Vec<Vec<u8>>,
) -> Result<(), AskError> {
    // Each round makes one more list durable, or ends.
    loop {
        let learned = members::learn(core, entries.clone(), addresses.clone()).await;
        let Err(error) = learned else {
            return Ok(());
        };
        let Some((list, count)) = missing(&error) else {
            return Err(AskError::Protocol(error.to_string()));
        };
        let list = fetch(peer, list, count).await?;
        let batch = keep(Batch::new(), &list).even_if_full();
        core.disk.run(move |store| store.commit(batch)).await.map_err(|error| here(&error))?;
    }
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

/// Reads a list from a peer: whole, and the one that was asked for.
pub(crate) async fn fetch(peer: &Peer, list: CutsHash, count: u32) -> Result<CutList, AskError> {
    let late = || AskError::Protocol("a list of cuts takes too long".to_owned());
    timeout(TELL, read(peer, list, count)).await.map_err(|_| late())?
}

async fn read(peer: &Peer, list: CutsHash, count: u32) -> Result<CutList, AskError> {
    let wrong = || AskError::Protocol(format!("{} is not the list of cuts it tells", list.short()));
    let len = count as usize * Cut::ENCODED;
    let mut bytes = Vec::new();
    while bytes.len() < len {
        let from = (bytes.len() / Cut::ENCODED) as u64;
        let reply = ask(peer, &Request::Cuts { list: *list.as_bytes(), from }).await?;
        let Reply::Cuts { cuts } = reply else {
            return Err(unexpected(&reply));
        };
        if cuts.is_empty() || cuts.len() % Cut::ENCODED != 0 || bytes.len() + cuts.len() > len {
            return Err(wrong());
        }
        bytes.extend_from_slice(&cuts);
    }
    let read = CutList::decode(&bytes).map_err(|_| wrong())?;
    if read.hash() == list && read.count() == count { Ok(read) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use stash_crypto::{Incarnation, NodeKeys, RootSecret, StashId};
    use stash_store::{Committer, MemDisk, Options};

    use super::*;
    use crate::roster::{Roster, of_owner};

    const ROOT: [u8; 32] = [4; 32];

    fn store() -> Store {
        let disk = Arc::new(MemDisk::new(1));
        let options = Options { committer: Committer::Inline, disk, ..Options::default() };
        Store::create(std::path::Path::new("/store"), &options).unwrap()
    }

    fn stash() -> StashId {
        RootSecret::from_bytes(ROOT).stash_id()
    }

    /// As many as a list may have: several rows.
    fn list() -> CutList {
        let cut = |at: usize| Cut {
            incarnation: Incarnation::from_bytes((at as u64).to_be_bytes()),
            n: 7,
            hash: RecordHash::from_bytes([1; 32]),
        };
        CutList::new((0..MAX_LISTED).map(cut).collect()).unwrap()
    }

    // A stop between any two of: the list is durable, the entry is durable, the entry takes effect.
    #[test]
    fn a_list_without_an_entry_goes_and_an_entry_without_its_list_takes_no_effect() {
        let (store, keys, list) = (store(), NodeKeys::from_seed([9; 32]), list());
        let roster = of_owner(&store, &keys);
        let before = roster.log(MemberLog::clone);
        let (node, count) = (keys.node_id(), list.count());
        let change = MemberChange::Cuts { node, count, list: list.hash() };
        let root = RootSecret::from_bytes(ROOT).root_signer();
        let entry = MemberEntry::sign(&root, before.len(), before.head(), change).unwrap();
        let entries = vec![entry.bytes().to_vec()];
        let refused = roster.extend(&store, &entries).unwrap_err();
        assert_eq!(missing(&refused), Some((list.hash(), count)));
        assert_eq!(roster.log(MemberLog::clone), before);

        store.commit(keep(Batch::new(), &list)).unwrap();
        assert_eq!(load(&store, &list.hash()).unwrap().as_ref(), Some(&list));
        let roster = Roster::open(&store, stash()).unwrap();
        assert_eq!(roster.log(MemberLog::clone), before);
        assert!(store.rows(LISTS).unwrap().is_empty(), "no entry named it");

        store.commit(keep(Batch::new(), &list)).unwrap();
        assert_eq!(roster.extend(&store, &entries).unwrap(), 1);
        let ended = |roster: &Roster| {
            let incarnation = list.cuts()[MAX_LISTED - 1].incarnation;
            roster.log(|log| log.cut_of(&Writer { node, incarnation }).copied())
        };
        assert_eq!(ended(&roster), list.cuts().last().copied());
        let again = Roster::open(&store, stash()).unwrap();
        assert_eq!(ended(&again), ended(&roster));
        assert_eq!(store.rows(LISTS).unwrap().len(), MAX_LISTED.div_ceil(ROW / Cut::ENCODED));
    }

    #[test]
    fn a_list_whose_bytes_are_not_what_they_were_is_none() {
        let (store, list) = (store(), list());
        store.commit(keep(Batch::new(), &list)).unwrap();
        store.commit(Batch::new().row(&row(&list.hash(), 1), None)).unwrap();
        assert_eq!(load(&store, &list.hash()).unwrap(), None);
    }
}
