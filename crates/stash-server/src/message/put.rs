//! Messages of a put stream.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Messages of the initiator on a put stream. Chunk bytes follow as data, in offer order.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Put {
    /// Chunks that the initiator can send, 36 bytes each: address, sealed length as u32.
    Offer {
        /// The references.
        chunks: ByteBuf,
    },
    /// Whole records; every chunk that they name has been sent or is here.
    Records {
        /// Encoded records.
        records: Vec<ByteBuf>,
    },
}

/// Messages of the responder on a put stream. Each kind answers in the order of what it answers.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PutReply {
    /// Answers an offer: bit i (lowest bit of the first byte first) asks for chunk i.
    Want {
        /// A bit for each chunk.
        chunks: ByteBuf,
    },
    /// Answers records, one result each.
    Results {
        /// The results, in the order of the records.
        results: Vec<RecordResult>,
    },
}

/// Result for a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RecordResult {
    /// The record and every chunk that it names are durable here.
    Stored {},
    /// These chunks are not here; nothing was kept.
    Need {
        /// Addresses, 32 bytes each.
        chunks: ByteBuf,
    },
    /// The record is not accepted; sending it again is of no use.
    Refused {
        /// The rule that it breaks, for people.
        reason: String,
    },
    /// The responder cannot store now (a disk that fails, read-only); the record may be good.
    Failed {
        /// The reason, for people.
        reason: String,
    },
    /// The responder has no room for it now.
    Full {
        /// Bytes that its store takes.
        used: u64,
        /// Bytes that it may take.
        limit: u64,
    },
}
