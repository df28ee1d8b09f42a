//! The keys of all store rows, in the order of `docs/format.md`, part C.

use stash_crypto::member::CutsHash;
use stash_crypto::{NodeId, RecordHash, Writer};
use stash_store::{Batch, ReadError, Store};

/// Store rows of the member log, by index. An entry that is too long for one row goes on in the
/// next ones, whose keys have one byte more: 1, 2.
pub(crate) const MEMBER: &[u8] = b"member/";

/// Store rows of the lists, by hash and page (one byte).
pub(crate) const CUT_LIST: &[u8] = b"cuts/";

pub(crate) fn cut_list(list: &CutsHash, page: u8) -> Vec<u8> {
    [CUT_LIST, list.as_bytes(), &[page]].concat()
}

/// Store rows of members' signed addresses, by node id.
pub(crate) const ADDRESS: &[u8] = b"address/";

/// The store row of a member's signed addresses.
pub(crate) fn address(node: &NodeId) -> Vec<u8> {
    [ADDRESS, node.as_bytes()].concat()
}

/// Store rows of the places at which a member is dialled beside those that it names, by node id.
pub(crate) const WAY: &[u8] = b"way/";

/// The store row of such places of a member.
pub(crate) fn way(node: &NodeId) -> Vec<u8> {
    [WAY, node.as_bytes()].concat()
}

/// Store row of the newest confirmation of the member log that this node was told.
pub(crate) const CONFIRMED: &[u8] = b"confirmed";

/// Store row of the members that the text names that was printed last.
pub(crate) const RECOVERY_TEXT: &[u8] = b"recovery-text";

/// Store rows of the counters that others have used towards us, by Noise static.
pub(crate) const COUNTER_IN: &[u8] = b"counter/in/";

/// Store rows of the counters that we have used towards others.
pub(crate) const COUNTER_OUT: &[u8] = b"counter/out/";

pub(crate) const TICKET: &[u8] = b"ticket/";

pub(crate) fn ticket(id: &[u8; 16]) -> Vec<u8> {
    [TICKET, id].concat()
}

/// The store row that keeps this node's current incarnation.
pub(crate) const INCARNATION: &[u8] = b"writer/incarnation";

/// The store row with the last number and hash of this node's incarnation, once that record has
/// been dropped: the number is used up all the same.
pub(crate) const LAST_RECORD: &[u8] = b"writer/last";

/// Store rows of incarnations that were given up because their numbers were used elsewhere, by
/// writer: the last number, its hash, the last number that certainly means the same in all lives,
/// and the last sequence number in the store.
pub(crate) const PAST_INCARNATION: &[u8] = b"writer/past/";

/// Store rows of the incarnations of this life of the node, by writer; the value is empty.
pub(crate) const OWN_INCARNATION: &[u8] = b"writer/own/";

pub(crate) fn own_incarnation(writer: &Writer) -> Vec<u8> {
    [OWN_INCARNATION, &writer.to_bytes()[..]].concat()
}

/// The store row of how far the current incarnation's numbers certainly mean one record each: its
/// writer, the number (little-endian), and whether this node has exchanged all records with a
/// member since.
pub(crate) const AGREED: &[u8] = b"writer/agreed";

/// Store rows of records that were written again, by hash; the value is empty.
pub(crate) const REISSUED: &[u8] = b"reissued/";

/// Store row that is there while the store may not be the one that this node left: the uptime since
/// when, in seconds (little-endian), and the members with whom a full exchange has ended since.
pub(crate) const STANDING: &[u8] = b"standing/doubt";

/// Store row that says that one full exchange of records has ended.
pub(crate) const COMPLETE: &[u8] = b"sync/complete";

/// Store rows of stretches, by the sequence number they begin with; the value is the name.
pub(crate) const STRETCH: &[u8] = b"log/";

pub(crate) fn stretch(first: u64) -> Vec<u8> {
    [STRETCH, &first.to_be_bytes()].concat()
}

/// Store rows of how far this node has come in the order of each member: log id, sequence number
/// (little-endian).
pub(crate) const CURSOR: &[u8] = b"cursor/";

/// Store rows of records that found no room, by record hash; the value is empty.
pub(crate) const REFUSED: &[u8] = b"refused/";

pub(crate) fn refused(hash: &RecordHash) -> Vec<u8> {
    [REFUSED, hash.as_bytes()].concat()
}

/// Store row that says that more were refused than are kept: all that is held is compared once
/// there is room.
pub(crate) const REFUSED_MORE: &[u8] = b"refused-more";

/// Store rows of records that lack chunks here, by record hash; the value is how many connected
/// members had what they lack when that was looked at, one byte; empty before.
pub(crate) const WANT: &[u8] = b"want/";

/// The row of a record.
pub(crate) fn want(hash: &RecordHash) -> Vec<u8> {
    [WANT, hash.as_bytes()].concat()
}

/// Store rows of records whose bytes were given up here and of which there are too few copies
/// elsewhere, by record hash; the value is the uptime from which on they are to be brought back.
pub(crate) const DUE: &[u8] = b"repair/";

/// The row of a record that waits to be brought back.
pub(crate) fn due(record: &RecordHash) -> Vec<u8> {
    [DUE, record.as_bytes()].concat()
}

/// The uptime in a row under [`DUE`].
pub(crate) fn due_at(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_le_bytes)
}

/// Store rows of when members were last connected, by node id, in seconds of the store's uptime.
pub(crate) const MET: &[u8] = b"met/";

/// Store rows for people of when members were last connected, by node id, in seconds since 1970 (8 bytes,
/// little-endian), and the version of the program with which they came.
pub(crate) const SEEN: &[u8] = b"seen/";

/// Store rows of members in doubt: since when, in seconds since 1970, and how much they failed to
/// show; 8 bytes each, little-endian.
pub(crate) const SUSPECT: &[u8] = b"doubt/";

/// Store rows of what members said of themselves, by node id: when it came, in seconds since 1970 (8 bytes,
/// little-endian), and the signed statement.
pub(crate) const STATED: &[u8] = b"stated/";

/// The row of one member.
pub(crate) fn stated(node: &NodeId) -> Vec<u8> {
    [STATED, node.as_bytes()].concat()
}

/// Store rows of the forgets held, by record hash, so that one that cannot be read is still known
/// to be one; the value is empty.
pub(crate) const FORGET: &[u8] = b"forget/";

/// The row that says that a held record is a forget.
pub(crate) fn forget(hash: &[u8; 32]) -> Vec<u8> {
    [FORGET, hash].concat()
}

/// Store rows of names of which not everything that has to go has gone, by name id.
pub(crate) const UNSETTLED: &[u8] = b"unsettled/";

/// Store rows of records that members do not have whole, by record hash; the value names the members, 33 bytes each: the
/// node id, and what the member has, by the numbers of [`crate::message::Holding`].
pub(crate) const LACKED: &[u8] = b"lacked/";

/// The row of one record.
pub(crate) fn lacked(record: &RecordHash) -> Vec<u8> {
    [LACKED, record.as_bytes()].concat()
}

/// Store rows that older versions wrote in place of [`LACKED`]; they are struck out.
pub(crate) const SHORT: &[u8] = b"short/";

/// Store rows of members whose word of what is whole there was the same as what was believed of them here, by node id: a
/// position in this store's order, as in a [`CURSOR`] row. Of records up to there it is known who has them.
pub(crate) const BELIEVED: &[u8] = b"believed/";

/// The row of one member.
pub(crate) fn believed(node: &NodeId) -> Vec<u8> {
    [BELIEVED, node.as_bytes()].concat()
}

/// Store rows of versions whose local bytes were given up, by name id; the value is the record
/// hash, and one byte more if it was said how many copies others were to have.
pub(crate) const EVICTED: &[u8] = b"evicted/";

/// Store rows of nodes whose records are to be looked through, by node id and the index of the
/// entry of the log that cuts them. Written with that entry, struck out when everything past the
/// cut is aside.
pub(crate) const UNCUT: &[u8] = b"uncut/";

/// Store rows of nodes that are owners again, by node id and the index of the entry of the log that
/// says so: what was set aside of them is to be looked through. Written with that entry, struck out
/// when it is done.
pub(crate) const REGAINED: &[u8] = b"regained/";

/// Store rows of records that were set aside, by record hash; the value is the record.
pub(crate) const ASIDE: &[u8] = b"aside/";

/// The store row that counts the records ever set aside: 8 bytes, little-endian.
pub(crate) const ASIDE_COUNT: &[u8] = b"aside-count";

/// Store rows of what is damaged and could not be healed; the value says why.
pub(crate) const DAMAGED: &[u8] = b"damaged/";

/// Store row of the last collection: when it ended, and the bytes that it gave back.
pub(crate) const COLLECTION: &[u8] = b"house/gc";

/// Store row that is there while files may lie beside the chunks that nothing announces; the value is empty.
pub(crate) const STRAYS: &[u8] = b"house/strays";

/// Store row of the last pass: when it began, and when it ended (0: it has not).
pub(crate) const SCRUB: &[u8] = b"house/scrub";

/// Store row of the last pass: when it began and when it ended (0: it has not), in seconds since
/// 1970, and up to which sequence number it has come.
pub(crate) const REPAIR: &[u8] = b"house/repair";

/// Store row: wall clock and uptime at the last look, uptime since when the clock runs evenly, the wall clock at the end
/// of the last work that relied on it (0: never), openings of the store at the last look, and for how long the clock
/// ran evenly before the node was off; times in seconds, 8 bytes each. Older versions have the first four.
pub(crate) const CLOCK: &[u8] = b"house/clock";

/// Rows under this prefix are alarms that `status` shows until somebody looks into them.
pub(crate) const ALARM: &[u8] = b"alarm/";

/// Strikes out what rows say of a record that goes.
pub(crate) fn unlist(store: &Store, mut batch: Batch, hash: &[u8; 32]) -> Result<Batch, ReadError> {
    let hash = RecordHash::from_bytes(*hash);
    let rows = [lacked(&hash), want(&hash), due(&hash), forget(hash.as_bytes())];
    for row in rows {
        if store.row(&row)?.is_some() {
            batch = batch.row(&row, None);
        }
    }
    Ok(batch)
}
