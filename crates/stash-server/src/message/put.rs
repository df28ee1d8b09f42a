//! Messages of a put stream.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
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
        records: Vec<RecordBytes>,
    },
}

/// An encoded record in a message: shared with the record that it is of, on its way out and when
/// it has come.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RecordBytes(pub(crate) Arc<[u8]>);

impl AsRef<[u8]> for RecordBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for RecordBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for RecordBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RecordBytes, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = RecordBytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte string")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<RecordBytes, E> {
                Ok(RecordBytes(bytes.into()))
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
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
