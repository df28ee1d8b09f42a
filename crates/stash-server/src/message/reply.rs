//! Answers to requests.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use stash_store::ReadError;

use crate::message::limits::{ITEM, LogId};
use crate::message::put::RecordBytes;

/// An answer on any stream but a put stream.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// The chunk follows as data of this length.
    Chunk {
        /// Sealed length in bytes.
        length: u32,
    },
    /// The chunk is not here.
    NotHere {},
    /// A bit for each chunk, lowest bit of the first byte first.
    Have {
        /// The bits.
        chunks: ByteBuf,
    },
    /// Proofs of chunks that stay as long as a record that was named.
    Kept {
        /// 32 bytes a chunk, in the order of the groups and of the chunks in each; zeros for one
        /// that is not proven.
        proofs: ByteBuf,
        /// The reason why chunks are not proven, for people; empty when all are.
        reason: String,
    },
    /// Proofs of possession.
    Proofs {
        /// 32 bytes a chunk; zeros for one that is not here.
        proofs: ByteBuf,
    },
    /// Leaves of chunks.
    Leaves {
        /// For each chunk the leaf with its way to the address; empty if the chunk is not here whole.
        leaves: Vec<ByteBuf>,
    },
    /// States of records: the part of each that is held.
    Holding {
        /// A byte for each record: 0 absent, 1 incomplete, 2 whole, 3 given up.
        states: ByteBuf,
    },
    /// Done; nothing to report.
    Done {},
    /// Entries of the member log, and addresses of members.
    Members {
        /// Encoded entries in log order; fewer than there are when they do not fit.
        entries: Vec<ByteBuf>,
        /// Signed addresses of members.
        addresses: Vec<ByteBuf>,
    },
    /// Records that were asked for by their hashes.
    Records {
        /// Encoded records, in the order of the request.
        records: Vec<RecordBytes>,
    },
    /// A page of the responder's order.
    Log {
        /// True if the position that was asked for is one of this store as it is.
        known: bool,
        /// Record hashes, 32 bytes each, at most 4,096; none if the position is not known.
        hashes: ByteBuf,
        /// With `last`, where to go on; the end of the order if the position is not known.
        #[serde(with = "serde_bytes")]
        log: LogId,
        /// Sequence number of the last record in the page; the request's at the end of the order.
        last: u64,
    },
    /// All records held, and the member log. Short names: equal members learn that they are equal
    /// for 64 bytes.
    All {
        /// Number of records.
        n: u64,
        /// The sum of their hashes as 256-bit little-endian numbers, modulo 2^256.
        #[serde(with = "serde_bytes")]
        sum: [u8; 32],
        /// Entries in the member log.
        log: u64,
        /// Number of records that are known and found no room here.
        #[serde(default, skip_serializing_if = "is_zero")]
        full: u64,
        /// The sum of their hashes; empty if there are none.
        #[serde(default, skip_serializing_if = "is_none")]
        less: ByteBuf,
    },
    /// Records that turned whole or stopped being so, and all that are whole. Short names, as in `all`.
    Turned {
        /// False if the position that was asked for means nothing any more.
        known: bool,
        /// 33 bytes each, at most 1,024: the hash, and the state of the record now, as in `holding`.
        records: ByteBuf,
        /// With `last`, where to go on; the newest position if that which was asked for is not known.
        run: u64,
        /// The number of the last of these changes; the request's if there are no later ones.
        last: u64,
        /// Number of the records that are whole. Every change that is not in it is behind the end of all.
        n: u64,
        /// The sum of their hashes.
        #[serde(with = "serde_bytes")]
        sum: [u8; 32],
    },
    /// The sums of the 256 parts of each prefix.
    Sums {
        /// 8 bytes a part.
        sums: ByteBuf,
    },
    /// Hashes in the first of the parts that were asked for.
    Ids {
        /// For each part a count (u16, little-endian), then its hashes in order.
        ids: ByteBuf,
        /// Number of these parts: as many as fit, one at least.
        parts: u64,
    },
    /// The last record of each incarnation of a node, by ascending incarnation: the first of those
    /// that were asked for, and none at their end.
    Writers {
        /// 48 bytes each, at most 4,096: incarnation, number (little-endian), record hash.
        last: ByteBuf,
    },
    /// A page of a list of cuts; none at its end, or if the list is not known.
    Cuts {
        /// 48 bytes each, at most 4,096.
        cuts: ByteBuf,
    },
    /// Record hashes.
    Hashes {
        /// 32 bytes each.
        hashes: ByteBuf,
    },
    /// The joiner is admitted.
    Welcome {
        /// The whole member log.
        entries: Vec<ByteBuf>,
        /// The keys of the role, wrapped to the joiner.
        grant: ByteBuf,
        /// Signed addresses of members.
        addresses: Vec<ByteBuf>,
    },
    /// The request is refused.
    Refused {
        /// A word for programs.
        code: Refusal,
        /// A sentence for people.
        reason: String,
    },
}

/// Reason why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The request is not known here.
    Unknown,
    /// The request breaks the protocol.
    Malformed,
    /// The asker's role does not allow it.
    Role,
    /// The ticket's time is over.
    TicketExpired,
    /// The responder cannot do it now.
    Failed,
    /// The directory of the responder's chunk files is away: whether it has what was asked for is
    /// not known before that is back.
    Unavailable,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn is_none(bytes: &ByteBuf) -> bool {
    bytes.is_empty()
}

pub(crate) fn refused(code: Refusal, reason: &str) -> Reply {
    Reply::Refused { code, reason: reason.to_owned() }
}

/// The refusal of a request that the store could not answer.
pub(crate) fn unable(error: &ReadError) -> Reply {
    let code = match error {
        ReadError::Away(_) => Refusal::Unavailable,
        _ => Refusal::Failed,
    };
    // Where a store keeps its files is its own affair.
    match code {
        Refusal::Unavailable => refused(code, "the directory of its chunk files is away"),
        code => refused(code, &error.to_string()),
    }
}

/// A page of encoded items: at least one, at most `limit` bytes.
pub(crate) fn page<T: AsRef<[u8]>, U: From<T>>(items: Vec<T>, limit: usize) -> Vec<U> {
    let mut bytes = 0;
    let fits = |item: &T| {
        let first = bytes == 0;
        bytes += item.as_ref().len() + ITEM;
        first || bytes <= limit
    };
    items.into_iter().take_while(fits).map(U::from).collect()
}
