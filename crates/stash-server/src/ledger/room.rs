//! Rules for records when there is no room for all of them.

use stash_crypto::{Record, RecordKind};
use stash_store::room::Allowance;
use stash_store::{Batch, Store};

use crate::message::FindPuts;

/// Bytes of a record that only says something about content: the longest clear part, and a sealed
/// one with the longest key and some attributes. What is longer has content in it.
const SAYS_ONLY: usize = 8 << 10;

/// Bytes of the least record, with what the store writes beside it.
pub(crate) const LEAST: u64 = 1 << 10;

/// Records that are asked for at once while room is scarce.
pub(crate) const FEW: usize = 16;

/// Bytes that such a question brings at most, of records that say something only.
const FEW_BYTES: u64 = (FEW * SAYS_ONLY) as u64;

/// Part of a small store, one in so many, that has to be left for a question to be of use.
const PART: u64 = 256;

/// Room that must be left for a few records to be asked for.
fn enough(store: &Store) -> u64 {
    (store.stats().limit_bytes / PART).clamp(LEAST, FEW_BYTES)
}

/// The puts that may be asked for: those that should find room.
pub(crate) fn readable(store: &Store) -> FindPuts {
    let enough = enough(store);
    if store.has_room(enough, Allowance::None) {
        FindPuts::All
    } else if store.has_room(enough, Allowance::Records) {
        FindPuts::Naming
    } else {
        FindPuts::None
    }
}

/// True if there is room for several questions at once.
pub(crate) fn is_roomy(store: &Store) -> bool {
    store.has_room(8 * enough(store), Allowance::None)
}

/// True if a record is among those that are to be read.
pub(crate) fn is_read(record: &Record, puts: FindPuts) -> bool {
    match allowance(record) {
        Allowance::Endings => true,
        Allowance::Records => puts != FindPuts::None,
        Allowance::None => puts == FindPuts::All,
    }
}

/// Room beyond the quota that a record may use. A put that names no chunks may have its content in
/// itself, where only its readers see how much: that counts as a chunk would.
pub(crate) fn allowance(record: &Record) -> Allowance {
    let clear = record.clear();
    let says_only = record.bytes().len() <= SAYS_ONLY;
    match clear.kind {
        _ if !says_only => Allowance::None,
        RecordKind::Put if clear.manifest.refs().is_empty() => Allowance::None,
        RecordKind::Put => Allowance::Records,
        RecordKind::Tombstone | RecordKind::Forget(_) => Allowance::Endings,
    }
}

fn is_ending(record: &Record) -> bool {
    record.clear().kind != RecordKind::Put
}

/// Lets a batch with these new records use the room that is for them. Endings of this node's own,
/// and those that let as many held records go, are written whatever the quota says: there is less
/// afterwards.
pub(crate) fn with_room(batch: Batch, new: &[&Record], drops: usize, whose: Whose) -> Batch {
    let endings = new.iter().all(|record| is_ending(record));
    if endings && (whose == Whose::Own || drops >= new.len()) {
        return batch.even_if_full();
    }
    let least = || new.iter().map(|record| allowance(record)).min_by_key(|one| rank(*one));
    match whose {
        Whose::Own => batch,
        Whose::Others => batch.with_allowance(least().unwrap_or_default()),
    }
}

fn rank(allowance: Allowance) -> u8 {
    match allowance {
        Allowance::None => 0,
        Allowance::Records => 1,
        Allowance::Endings => 2,
    }
}

/// The author of records that are to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// This node, whose owner sees what they take.
    Own,
    /// Any member.
    Others,
}
