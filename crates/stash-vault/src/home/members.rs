//! A copy of what this node knows of the members, beside its keyring: with these two files alone it
//! finds the others again, and takes everything back, when its store is lost.

use std::io;
use std::path::Path;

use stash_crypto::member::CutList;
use stash_crypto::{MemberEntry, MemberLog, StashId};
use stash_server::Engine;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::disk;
use crate::blocking::blocking;

/// The file in the data directory. `docs/format.md`, A.12, specifies it.
const NAME: &str = "members";

/// The beginning of the file: magic and version.
const HEAD: &[u8; 12] = b"stashmembers";
const VERSION: u8 = 1;
/// The version of a copy with lists of cuts.
const WITH_LISTS: u8 = 2;

/// Bytes of the checksum at its end.
const SUM: usize = 32;

/// The members of a stash, and where they say that they can be reached.
#[derive(Debug)]
pub(super) struct Members {
    pub(super) log: MemberLog,
    pub(super) addresses: Vec<Vec<u8>>,
}

impl Members {
    /// Reads the file; `None` if there is none, or none of this stash that is whole: every entry is
    /// verified.
    pub(super) fn read(directory: &Path, stash: StashId) -> io::Result<Option<Members>> {
        Ok(disk::read(&directory.join(NAME))?.and_then(|bytes| Members::decode(&bytes, stash)))
    }

    fn of(engine: &Engine) -> Members {
        Members { log: engine.member_log(), addresses: engine.signed_addresses() }
    }

    fn encode(&self) -> Vec<u8> {
        let cuts: Vec<Vec<u8>> = self.log.lists().map(CutList::encode).collect();
        let version = if cuts.is_empty() { VERSION } else { WITH_LISTS };
        let mut bytes = [HEAD.as_slice(), &[version]].concat();
        let entries: Vec<&[u8]> = self.log.entries().iter().map(MemberEntry::bytes).collect();
        let addresses: Vec<&[u8]> = self.addresses.iter().map(Vec::as_slice).collect();
        let cuts = (!cuts.is_empty()).then(|| cuts.iter().map(Vec::as_slice).collect());
        for list in [Some(entries), Some(addresses), cuts].into_iter().flatten() {
            bytes.extend(count(list.len()));
            for item in list {
                bytes.extend(count(item.len()));
                bytes.extend(item);
            }
        }
        let sum = blake3::hash(&bytes);
        bytes.extend(sum.as_bytes());
        bytes
    }

    fn decode(bytes: &[u8], stash: StashId) -> Option<Members> {
        let (body, sum) = bytes.split_last_chunk::<SUM>()?;
        if blake3::hash(body) != blake3::Hash::from_bytes(*sum) {
            return None;
        }
        let (version, body) = body.strip_prefix(HEAD)?.split_first()?;
        let (entries, rest) = list(body)?;
        let (addresses, rest) = list(rest)?;
        let (cuts, rest) = match *version {
            VERSION => (Vec::new(), rest),
            WITH_LISTS => list(rest).filter(|(cuts, _)| !cuts.is_empty())?,
            _ => return None,
        };
        let mut log = MemberLog::new(stash);
        for cuts in cuts {
            log.know(CutList::decode(&cuts).ok()?);
        }
        for entry in entries {
            log.push(MemberEntry::decode(&entry).ok()?).ok()?;
        }
        rest.is_empty().then_some(Members { log, addresses })
    }
}

fn count(len: usize) -> [u8; 4] {
    u32::try_from(len).expect("a file of far less than 4 GiB").to_le_bytes()
}

/// A list of byte strings, and what follows it.
fn list(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, &[u8])> {
    let (count, mut rest) = bytes.split_first_chunk::<4>()?;
    let mut items = Vec::new();
    for _ in 0..u32::from_le_bytes(*count) {
        let (len, after) = rest.split_first_chunk::<4>()?;
        let (item, after) =
            after.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
        items.push(item.to_vec());
        rest = after;
    }
    Some((items, rest))
}

/// The task that keeps the file as the engine knows the members.
#[derive(Debug)]
pub(crate) struct Keeping {
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Keeping {
    /// Ends it, with the file as the engine knows the members now.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "the copy of the member log may be an older one");
        }
    }
}

/// Keeps the file as the engine knows the members; it is there when this returns.
pub(super) async fn keep(engine: Engine, directory: &Path) -> Keeping {
    let path = directory.join(NAME);
    let mut changes = engine.membership();
    changes.borrow_and_update();
    // Not in the task: a node may be stopped as soon as it serves.
    refresh(&engine, &path).await;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let task = engine.list_task("member-file");
    let keep = async move {
        loop {
            task.ends(None);
            let ends = tokio::select! {
                biased;
                () = stopped.cancelled() => true,
                changed = changes.changed() => changed.is_err(),
            };
            task.begins();
            refresh(&engine, &path).await;
            if ends {
                return;
            }
        }
    };
    Keeping { stop, task: AbortOnDropHandle::new(tokio::spawn(keep)) }
}

/// Writes the file, if it is another one.
async fn refresh(engine: &Engine, path: &Path) {
    let (bytes, stash, path) = (Members::of(engine).encode(), engine.stash(), path.to_owned());
    let write = move || {
        if let Ok(Some(there)) = disk::read(&path) {
            if *there == bytes {
                return Ok(());
            }
            if Members::decode(&there, stash).is_none() {
                tracing::warn!("the copy of the member log was damaged: it is written anew");
            }
        }
        disk::write(&path, &bytes)
    };
    if let Err(error) = blocking(write).await {
        // The store has it all the same.
        tracing::warn!(%error, "the copy of the member log was not written");
    }
}

#[cfg(test)]
mod tests {
    use stash_crypto::{Cut, Incarnation, MemberChange, NodeKeys, RecordHash, RootSecret};

    use super::*;
    use crate::home::admission::founding;

    fn members() -> (StashId, Members) {
        let root = RootSecret::generate(&mut rand::rng());
        let log = founding(&root, &NodeKeys::generate(&mut rand::rng()), "n").unwrap();
        (root.stash_id(), Members { log, addresses: vec![vec![7; 90], vec![]] })
    }

    #[test]
    fn the_copy_is_frozen() {
        let root = RootSecret::from_bytes([1; 32]);
        let log = founding(&root, &NodeKeys::from_seed([2; 32]), "n").unwrap();
        let bytes = Members { log, addresses: vec![vec![7; 90]] }.encode();
        let sum = blake3::hash(&bytes).to_hex();
        let frozen = "ac5509cc75241a1ff2dfd4a4c013a87b5a5f85b8f67ccd20b194042fa511f9c6";
        assert_eq!((bytes.len(), sum.as_str()), (778, frozen));
    }

    #[test]
    fn the_copy_comes_back_whole_however_long_it_is() {
        let temp = tempfile::tempdir().unwrap();
        let (stash, mut members) = members();
        // As long as the longest log when the last member joins.
        members.addresses.push(vec![8; 8 << 20]);
        disk::write(&temp.path().join(NAME), &members.encode()).unwrap();
        let read = Members::read(temp.path(), stash).unwrap().unwrap();
        assert_eq!(read.log.head(), members.log.head());
        assert!(read.addresses == members.addresses);
    }

    #[test]
    fn a_copy_brings_the_lists_back_that_entries_name() {
        let root = RootSecret::from_bytes([1; 32]);
        let keys = NodeKeys::from_seed([2; 32]);
        let mut log = founding(&root, &keys, "n").unwrap();
        let cut = Cut {
            incarnation: Incarnation::from_bytes([4; 8]),
            n: 7,
            hash: RecordHash::from_bytes([5; 32]),
        };
        let list = CutList::new(vec![cut]).unwrap();
        let (node, count) = (keys.node_id(), list.count());
        let change = MemberChange::Cuts { node, count, list: list.hash() };
        log.know(list);
        let signer = root.root_signer();
        log.push(MemberEntry::sign(&signer, log.len(), log.head(), change).unwrap()).unwrap();
        let members = Members { log, addresses: vec![] };
        let bytes = members.encode();
        assert_eq!(bytes[HEAD.len()], WITH_LISTS);
        let read = Members::decode(&bytes, root.stash_id()).unwrap();
        assert_eq!(read.log, members.log);
        let as_before =
            [&bytes[..HEAD.len()], &[VERSION], &bytes[HEAD.len() + 1..bytes.len() - SUM]];
        let as_before = as_before.concat();
        let sum = blake3::hash(&as_before);
        let as_before = [&as_before[..], sum.as_bytes()].concat();
        assert!(Members::decode(&as_before, root.stash_id()).is_none(), "lists in version 1");
    }

    // Fault case 78.
    #[test]
    fn a_copy_that_is_cut_flipped_or_of_another_stash_is_none() {
        let (stash, members) = members();
        let bytes = members.encode();
        for cut in 0..bytes.len() {
            assert!(Members::decode(&bytes[..cut], stash).is_none(), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Members::decode(&flipped, stash).is_none(), "bit {bit}");
        }
        assert!(Members::decode(&bytes, StashId::from_bytes([9; 32])).is_none());
    }
}
