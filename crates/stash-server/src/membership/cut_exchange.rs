//! Lists of cuts on the wire: told to others in pages, and fetched before the entry that names
//! them.

use std::sync::Arc;
use std::time::Duration;

use serde_bytes::ByteBuf;
use stash_crypto::member::{CutList, CutsHash};
use stash_crypto::{Cut, MemberLog, NodeId};
use stash_p2p::Peer;
use stash_store::Batch;
use tokio::time::{sleep, timeout};

use crate::ledger::RosterError;
use crate::ledger::cut_lists::{keep, missing, of_log};
use crate::membership::{Membership, learn};
use crate::message::{MAX_CLAIM_BYTES, MAX_ENTRY_BYTES, Refusal, Reply, Request, refused};
use crate::rpc::{AskError, ask, unexpected};
use crate::{message, rpc};

/// Longest time for a member to tell a list: 768 KiB at most, at 8 KiB a second.
const TELL: Duration = Duration::from_secs(96);

/// Answers with the cuts of a list from a position on: none at its end, or if it is not known here.
pub(crate) fn answer(membership: &Membership, list: [u8; 32], from: u64) -> Reply {
    membership.core.roster.log(|log| of_log(log, list, from))
}

/// Answers a peer that is told entries of this log and asks back for the lists that they name. For
/// an endpoint that else answers nothing. Ends when the peer is gone.
pub(crate) async fn serve(peer: &Peer, log: &MemberLog) {
    while let Some(stream) = peer.accept().await {
        let (mut send, mut recv) = stream.split();
        let reply = match rpc::opening(&mut recv).await {
            Ok(Some(Request::Cuts { list, from })) => of_log(log, list, from),
            Ok(_) => refused(Refusal::Unknown, "here only lists of cuts are shown"),
            Err(_) => continue,
        };
        if send.message(message::encode(&reply)).await.is_ok() {
            send.finish();
        }
    }
}

/// Takes what a peer announces of members, if that fits into what one announcement may have.
pub(crate) async fn announced(
    membership: &Arc<Membership>,
    member: NodeId,
    peer: &Peer,
    entries: Vec<ByteBuf>,
    addresses: Vec<ByteBuf>,
) -> Reply {
    let fit = message::together(&entries, MAX_ENTRY_BYTES)
        .and_then(|()| message::together(&addresses, MAX_CLAIM_BYTES));
    if let Err(error) = fit {
        return refused(Refusal::Malformed, &error.to_string());
    }
    sleep(membership.addresses.announced(member)).await;
    let raw = |list: Vec<ByteBuf>| list.into_iter().map(ByteBuf::into_vec).collect();
    match learn(membership, peer, raw(entries), raw(addresses)).await {
        Ok(()) => Reply::Done {},
        Err(error) => refused(Refusal::Failed, &error.to_string()),
    }
}

/// Takes news about members that a peer tells, and asks it for the lists that they name. Every list
/// is durable before an entry that names it is looked at.
pub(crate) async fn learn(
    membership: &Arc<Membership>,
    peer: &Peer,
    entries: Vec<Vec<u8>>,
    addresses: Vec<Vec<u8>>,
) -> Result<(), AskError> {
    // Each round makes one more list durable, or ends.
    loop {
        let learned = learn::learn(membership, entries.clone(), addresses.clone()).await;
        let Err(error) = learned else {
            return Ok(());
        };
        let Some((list, count)) = missing(&error) else {
            return Err(match error {
                RosterError::Read(error) => error.into(),
                RosterError::Commit(error) => error.into(),
                error => AskError::Protocol(error.to_string()),
            });
        };
        let list = fetch(peer, list, count).await?;
        let batch = keep(Batch::new(), &list).even_if_full();
        membership.core.disk.run(move |store| store.commit(batch)).await?;
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
    use super::*;

    use stash_crypto::member::MAX_LISTED;
    use stash_crypto::{
        Incarnation, MemberChange, MemberEntry, NodeKeys, RecordHash, RootSecret, StashId, Writer,
    };
    use stash_store::{Committer, MemDisk, Options, Store};

    use crate::ledger::cut_lists::{ROW, load};
    use crate::ledger::roster::{Roster, of_owner};
    use crate::ledger::rows;

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
        assert!(store.rows(rows::CUT_LIST).unwrap().is_empty(), "no entry named it");

        store.commit(keep(Batch::new(), &list)).unwrap();
        assert_eq!(roster.extend(&store, &entries).unwrap(), 1);
        let ended = |roster: &Roster| {
            let incarnation = list.cuts()[MAX_LISTED - 1].incarnation;
            roster.log(|log| log.cut_of(&Writer { node, incarnation }).copied())
        };
        assert_eq!(ended(&roster), list.cuts().last().copied());
        let again = Roster::open(&store, stash()).unwrap();
        assert_eq!(ended(&again), ended(&roster));
        assert_eq!(
            store.rows(rows::CUT_LIST).unwrap().len(),
            MAX_LISTED.div_ceil(ROW / Cut::ENCODED)
        );
    }

    #[test]
    fn a_list_whose_bytes_are_not_what_they_were_is_none() {
        let (store, list) = (store(), list());
        store.commit(keep(Batch::new(), &list)).unwrap();
        store.commit(Batch::new().row(&rows::cut_list(&list.hash(), 1), None)).unwrap();
        assert_eq!(load(&store, &list.hash()).unwrap(), None);
    }
}
