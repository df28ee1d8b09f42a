//! Requests: the first message of a stream.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::message::limits::LogId;
use crate::message::room::MemberRoom;

/// The first message of a stream: what the initiator wants.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Opens a put stream: `Put` messages and chunk bytes follow, `PutReply` comes back.
    Put {},
    /// The sealed bytes of one chunk.
    Get {
        /// The chunk.
        #[serde(with = "serde_bytes")]
        address: [u8; 32],
    },
    /// Asks which of these chunks are here, durably.
    Have {
        /// Addresses, 32 bytes each.
        chunks: ByteBuf,
    },
    /// The initiator is about to drop its bytes of these chunks: show that they are here, and that
    /// their records keep them.
    Evict {
        /// Fresh random bytes of the verifier.
        #[serde(with = "serde_bytes")]
        nonce: [u8; 32],
        /// At most 64 chunks and 4,096 record hashes, all together.
        groups: Vec<Together>,
    },
    /// Show that these chunks are here.
    Prove {
        /// Fresh random bytes of the verifier.
        #[serde(with = "serde_bytes")]
        nonce: [u8; 32],
        /// Addresses, 32 bytes each, at most 16.
        chunks: ByteBuf,
    },
    /// Show a leaf of each of these chunks, whose bytes the initiator has not got.
    Leaves {
        /// 36 bytes each, at most 16: the address, and a random number (little-endian) that draws the leaf.
        drawn: ByteBuf,
    },
    /// Entries of the member log from this index on.
    Members {
        /// Index of the first entry wanted.
        from: u64,
    },
    /// New entries of the member log, and signed addresses.
    Announce {
        /// Member entries in log order.
        entries: Vec<ByteBuf>,
        /// Signed addresses of members.
        addresses: Vec<ByteBuf>,
    },
    /// The root's confirmation of the member log.
    Confirmed {
        /// The encoded confirmation.
        confirmation: ByteBuf,
    },
    /// Hashes of records behind a position in the responder's order.
    Log {
        /// The stretch that `after` belongs to, as the responder named it; zeros at the beginning.
        #[serde(with = "serde_bytes")]
        log: LogId,
        /// Sequence number of the last record that the initiator has seen.
        after: u64,
    },
    /// All records held, and the member log, in a few figures.
    All {},
    /// Records that turned whole or stopped being so, behind a position of the responder's; and all that are whole, in
    /// a few figures.
    Turned {
        /// With `after`, the position; as the responder named it.
        run: u64,
        /// The number of the last change that the initiator has heard of.
        after: u64,
    },
    /// Sums of records, by the first bytes of their hashes.
    Sums {
        /// Prefixes side by side, at most 64.
        prefixes: ByteBuf,
        /// Bytes of each: 0 (then there is one prefix, and no bytes) or 1.
        length: u8,
        /// The records that the question is about.
        #[serde(default, skip_serializing_if = "Which::is_held")]
        which: Which,
    },
    /// Hashes of the records in some parts.
    Ids {
        /// The first two bytes of the hashes in each part, at most 4,096 parts.
        parts: ByteBuf,
        /// Bytes of each hash wanted: 16 or 32.
        size: u8,
        /// The records that the question is about.
        #[serde(default, skip_serializing_if = "Which::is_held")]
        which: Which,
    },
    /// Whole hashes of records, by their halves.
    Match {
        /// The first 16 bytes of each hash, at most 4,096.
        halves: ByteBuf,
    },
    /// There may be new records in the initiator's order.
    News {},
    /// Records that the initiator has and the responder lacks.
    Lack {
        /// Record hashes, 32 bytes each.
        hashes: ByteBuf,
    },
    /// Asks for the states of these records: the part of each that is held.
    Holding {
        /// Record hashes, 32 bytes each, at most 256.
        hashes: ByteBuf,
    },
    /// The last record of each incarnation of a node.
    Writers {
        /// The node.
        #[serde(with = "serde_bytes")]
        node: [u8; 32],
        /// The first incarnation wanted.
        #[serde(with = "serde_bytes")]
        from: [u8; 8],
    },
    /// Cuts of a list that an entry of the member log names.
    Cuts {
        /// The hash of the list.
        #[serde(with = "serde_bytes")]
        list: [u8; 32],
        /// Position of the first cut wanted.
        from: u64,
    },
    /// Records by their hashes.
    Find {
        /// Record hashes, 32 bytes each.
        hashes: ByteBuf,
        /// Puts that may come.
        #[serde(default, skip_serializing_if = "FindPuts::is_all")]
        puts: FindPuts,
    },
    /// Room of the initiator.
    Room(MemberRoom),
    /// What members say of themselves.
    State {
        /// Signed statements, at most 48 KiB.
        statements: Vec<ByteBuf>,
        /// The first eight bytes of the ids of members to which the initiator is connected: at most 4,096.
        met: ByteBuf,
    },
    /// A signed join request; only on a connection of a ticket's realm.
    Join {
        /// The encoded request.
        request: ByteBuf,
    },
}

/// Chunks that the same records name.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Together {
    /// Addresses, 32 bytes each, none twice.
    pub chunks: ByteBuf,
    /// The records that name each of them in the initiator's store, directly or through manifests.
    pub named: NamedBy,
}

/// The records that name some chunks.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NamedBy {
    /// Each of them.
    Records {
        /// Record hashes, 32 bytes each, at least one.
        hashes: ByteBuf,
    },
    /// Too many to be listed.
    Digest {
        /// BLAKE3 of all record hashes in ascending order, side by side.
        #[serde(with = "serde_bytes")]
        digest: [u8; 32],
    },
}

/// Records that a comparison is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Which {
    /// Those that are held.
    #[default]
    Held,
    /// Those of them that are whole.
    Whole,
}

impl Which {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
    fn is_held(&self) -> bool {
        *self == Which::Held
    }
}

/// Puts that a question for records is about; it is always about those that end something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FindPuts {
    /// None.
    None,
    /// Puts that name chunks: their content is elsewhere.
    Naming,
    /// All.
    #[default]
    All,
}

impl FindPuts {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
    fn is_all(&self) -> bool {
        *self == FindPuts::All
    }
}
