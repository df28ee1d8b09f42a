//! What stash nodes say to each other: MessagePack maps, one request a stream.
//!
//! Byte tables and the order of messages are in `docs/protocol.md`, part B. Lists of addresses
//! travel as one byte string, so a decoder never allocates by a count that a peer chose.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_bytes::ByteBuf;
use stash_crypto::{Address, ChunkRef, RecordHash};

use crate::logs::LogId;
use crate::rooms::MemberRoom;

/// Addresses in one message, at most: 128 KiB of the 256 KiB that a message may have.
pub(crate) const MAX_ADDRESSES: usize = 4_096;

/// Bytes of records in one message, at most: leaves room for the map around them.
pub(crate) const MAX_RECORD_BYTES: usize = 192 << 10;

/// Bytes around an item in a list of byte strings, at most.
pub(crate) const ITEM: usize = 5;

/// Bytes of an address and its sealed length in an offer.
const REFERENCE: usize = 36;

/// The first message of a stream: what the initiator wants.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Opens a put stream: [`Put`] messages and chunk bytes follow, [`PutReply`] comes back.
    Put {},
    /// The sealed bytes of one chunk.
    Get {
        /// The chunk.
        #[serde(with = "serde_bytes")]
        address: [u8; 32],
    },
    /// Which of these chunks are here, durably?
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
    /// What the root confirms of the member log.
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
    /// Sums of the records held, by the first bytes of their hashes.
    Sums {
        /// Prefixes side by side, at most 64.
        prefixes: ByteBuf,
        /// Bytes of each: 0 (then there is one prefix, and no bytes) or 1.
        length: u8,
    },
    /// Hashes of the records held in some parts.
    Ids {
        /// The first two bytes of the hashes in each part, at most 4,096 parts.
        parts: ByteBuf,
        /// Bytes of each hash wanted: 16 or 32.
        size: u8,
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
    /// How much is held of these records?
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
        /// Which puts are to be left out.
        #[serde(default, skip_serializing_if = "FindPuts::is_all")]
        puts: FindPuts,
    },
    /// How much room the initiator has.
    Room(MemberRoom),
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

/// Which puts a question for records is about; it is always about those that end something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FindPuts {
    /// None.
    None,
    /// Those that name chunks: their content is elsewhere.
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
        /// One bit a chunk.
        chunks: ByteBuf,
    },
    /// Answers records, one result each.
    Results {
        /// In the order of the records.
        results: Vec<RecordResult>,
    },
}

/// What became of one record.
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
        /// Why, for people.
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

/// What a stream other than a put stream answers.
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
    /// One bit a chunk, lowest bit of the first byte first.
    Have {
        /// The bits.
        chunks: ByteBuf,
    },
    /// Proofs of chunks that stay as long as a record that was named.
    Kept {
        /// 32 bytes a chunk, in the order of the groups and of the chunks in each; zeros for one that
        /// is not proven.
        proofs: ByteBuf,
        /// Why chunks are not proven, for people; empty when all are.
        reason: String,
    },
    /// Proofs of possession.
    Proofs {
        /// 32 bytes a chunk; zeros for one that is not here.
        proofs: ByteBuf,
    },
    /// How much is held of records.
    Holding {
        /// One byte a record: 0 absent, 1 incomplete, 2 whole, 3 given up.
        states: ByteBuf,
    },
    /// Done; nothing to report.
    Done {},
    /// Entries of the member log, and where members can be reached.
    Members {
        /// Encoded entries in log order; fewer than there are when they do not fit.
        entries: Vec<ByteBuf>,
        /// Signed addresses of members.
        addresses: Vec<ByteBuf>,
    },
    /// Records that were asked for by their hashes.
    Records {
        /// Encoded records, in the order of the request.
        records: Vec<ByteBuf>,
    },
    /// A page of the responder's order.
    Log {
        /// Whether the position that was asked for is one of this store as it is.
        known: bool,
        /// Record hashes, 32 bytes each, at most 4,096; none if the position is not known.
        hashes: ByteBuf,
        /// With `last`, where to go on; the end of the order if the position is not known.
        #[serde(with = "serde_bytes")]
        log: LogId,
        /// Sequence number of the last record in the page; the request's at the end of the order.
        last: u64,
    },
    /// All records held, and the member log. Short names: that two members are equal costs 64 bytes.
    All {
        /// How many records.
        n: u64,
        /// The sum of their hashes as 256-bit little-endian numbers, modulo 2^256.
        #[serde(with = "serde_bytes")]
        sum: [u8; 32],
        /// Entries in the member log.
        log: u64,
        /// How many records found no room here, and are known.
        #[serde(default, skip_serializing_if = "is_zero")]
        full: u64,
        /// The sum of their hashes; empty if there are none.
        #[serde(default, skip_serializing_if = "is_none")]
        less: ByteBuf,
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
        /// How many parts these are: as many as fit, one at least.
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

/// Why a request is refused.
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
    /// The directory of the responder's chunk files is away: whether it has what was asked for is not
    /// known before that is back.
    Unavailable,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn is_none(bytes: &ByteBuf) -> bool {
    bytes.is_empty()
}

/// Encodes a message. The types above always encode.
#[must_use]
pub(crate) fn encode<T: Serialize>(message: &T) -> bytes::Bytes {
    let bytes = rmp_serde::to_vec_named(message);
    bytes.expect("messages hold only maps, strings and byte strings").into()
}

/// The message is not one that this version understands.
#[derive(Debug, thiserror::Error)]
#[error("the message does not decode: {0}")]
pub(crate) struct Malformed(pub String);

/// Decodes a message; trailing bytes are an error.
///
/// # Errors
///
/// [`Malformed`], the sender's fault; nothing has changed.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    let mut rest = bytes;
    let message = rmp_serde::from_read(&mut rest).map_err(|error| Malformed(error.to_string()))?;
    match rest.len() {
        0 => Ok(message),
        left => Err(Malformed(format!("{left} trailing bytes"))),
    }
}

/// Packs addresses into one byte string.
pub(crate) fn pack<'a>(addresses: impl IntoIterator<Item = &'a Address>) -> ByteBuf {
    let mut bytes = Vec::new();
    addresses.into_iter().for_each(|address| bytes.extend_from_slice(address.as_bytes()));
    ByteBuf::from(bytes)
}

/// Unpacks addresses.
///
/// # Errors
///
/// [`Malformed`] when the length is no multiple of 32 or above [`MAX_ADDRESSES`] addresses.
pub(crate) fn unpack(bytes: &[u8]) -> Result<Vec<Address>, Malformed> {
    let (addresses, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() || addresses.len() > MAX_ADDRESSES {
        return Err(Malformed(format!("{} bytes are no list of addresses", bytes.len())));
    }
    Ok(addresses.iter().copied().map(Address::from_bytes).collect())
}

/// Packs record hashes into one byte string.
pub(crate) fn pack_hashes<'a>(hashes: impl IntoIterator<Item = &'a RecordHash>) -> ByteBuf {
    let mut bytes = Vec::new();
    hashes.into_iter().for_each(|hash| bytes.extend_from_slice(hash.as_bytes()));
    ByteBuf::from(bytes)
}

/// Unpacks record hashes.
///
/// # Errors
///
/// As [`unpack`].
pub(crate) fn unpack_hashes(bytes: &[u8]) -> Result<Vec<RecordHash>, Malformed> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() || hashes.len() > MAX_ADDRESSES {
        return Err(Malformed(format!("{} bytes are no list of hashes", bytes.len())));
    }
    Ok(hashes.iter().copied().map(RecordHash::from_bytes).collect())
}

/// Packs chunk references for an offer.
pub(crate) fn pack_references<'a>(chunks: impl IntoIterator<Item = &'a ChunkRef>) -> ByteBuf {
    let mut bytes = Vec::new();
    for chunk in chunks {
        bytes.extend_from_slice(chunk.address.as_bytes());
        bytes.extend_from_slice(&chunk.sealed_len.to_le_bytes());
    }
    ByteBuf::from(bytes)
}

/// Unpacks chunk references of an offer.
///
/// # Errors
///
/// [`Malformed`] when the length is no multiple of 36 or above [`MAX_ADDRESSES`] references.
pub(crate) fn unpack_references(bytes: &[u8]) -> Result<Vec<ChunkRef>, Malformed> {
    let (chunks, rest) = bytes.as_chunks::<REFERENCE>();
    if !rest.is_empty() || chunks.len() > MAX_ADDRESSES {
        return Err(Malformed(format!("{} bytes are no list of references", bytes.len())));
    }
    let reference = |bytes: &[u8; REFERENCE]| {
        let (address, len) = bytes.split_first_chunk::<32>().expect("36 is more than 32");
        let len = len.try_into().expect("36 less 32 is 4");
        ChunkRef { address: Address::from_bytes(*address), sealed_len: u32::from_le_bytes(len) }
    };
    Ok(chunks.iter().map(reference).collect())
}

/// Checks a list whose items have no length of their own: together they have at most `limit` bytes,
/// five more counted for each, unless it is one alone.
///
/// # Errors
///
/// [`Malformed`] when they have more.
pub(crate) fn together(items: &[ByteBuf], limit: usize) -> Result<(), Malformed> {
    let bytes: usize = items.iter().map(|item| item.len() + ITEM).sum();
    if items.len() > 1 && bytes > limit {
        return Err(Malformed(format!("{} items have more than {limit} bytes", items.len())));
    }
    Ok(())
}

/// Packs flags, lowest bit of the first byte first.
pub(crate) fn bits(flags: impl IntoIterator<Item = bool>) -> ByteBuf {
    let mut bytes = Vec::new();
    for (i, flag) in flags.into_iter().enumerate() {
        if i % 8 == 0 {
            bytes.push(0);
        }
        if flag && let Some(last) = bytes.last_mut() {
            *last |= 1 << (i % 8);
        }
    }
    ByteBuf::from(bytes)
}

/// Unpacks `count` flags.
///
/// # Errors
///
/// [`Malformed`] when the length does not fit `count`.
pub(crate) fn flags(bytes: &[u8], count: usize) -> Result<Vec<bool>, Malformed> {
    if bytes.len() != count.div_ceil(8) {
        return Err(Malformed(format!("{} bytes hold no {count} flags", bytes.len())));
    }
    Ok((0..count).map(|i| bytes[i / 8] >> (i % 8) & 1 == 1).collect())
}

#[cfg(test)]
mod lists;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Debug;

    fn round_trips<T: Serialize + DeserializeOwned + PartialEq + Debug>(message: T) {
        let bytes = encode(&message);
        assert_eq!(decode::<T>(&bytes).unwrap(), message);
        for cut in 0..bytes.len() {
            assert!(decode::<T>(&bytes[..cut]).is_err(), "cut at {cut} of {message:?}");
        }
        let trailing = [&bytes[..], &[0]].concat();
        assert!(decode::<T>(&trailing).is_err(), "a trailing byte of {message:?}");
    }

    // Fault cases 32 and 33.
    #[test]
    fn messages_round_trip_and_are_refused_cut_or_extended() {
        let chunks = pack(&[Address::from_bytes([7; 32]), Address::from_bytes([8; 32])]);
        round_trips(Request::Put {});
        round_trips(Request::Get { address: [3; 32] });
        round_trips(Request::Confirmed { confirmation: ByteBuf::from(vec![5; 124]) });
        round_trips(Request::Log { log: [5; 16], after: 1 << 40 });
        let records = NamedBy::Records { hashes: ByteBuf::from(vec![3; 64]) };
        let groups = [records, NamedBy::Digest { digest: [4; 32] }]
            .map(|named| Together { chunks: chunks.clone(), named });
        round_trips(Request::Evict { nonce: [1; 32], groups: groups.into() });
        round_trips(Reply::Kept { proofs: ByteBuf::from(vec![6; 32]), reason: "why".to_owned() });
        round_trips(Request::Announce { entries: vec![ByteBuf::from(vec![1])], addresses: vec![] });
        round_trips(Put::Records { records: vec![ByteBuf::from(vec![9; 40])] });
        round_trips(PutReply::Results {
            results: vec![RecordResult::Stored {}, RecordResult::Need { chunks: chunks.clone() }],
        });
        round_trips(Request::Sums { prefixes: ByteBuf::from(vec![7, 8]), length: 1 });
        round_trips(Reply::Ids { ids: ByteBuf::from(vec![0, 0]), parts: 1 });
        round_trips(Request::Prove { nonce: [1; 32], chunks: ByteBuf::from(vec![5; 32]) });
        round_trips(Request::Holding { hashes: ByteBuf::from(vec![5; 32]) });
        round_trips(Reply::Holding { states: ByteBuf::from(vec![0, 1, 2, 3]) });
        round_trips(Reply::Proofs { proofs: ByteBuf::from(vec![6; 32]) });
        let less = ByteBuf::from(vec![6; 32]);
        round_trips(Reply::All { n: 3, sum: [4; 32], log: 5, full: 0, less: ByteBuf::new() });
        round_trips(Reply::All { n: 3, sum: [4; 32], log: 5, full: 1, less });
        round_trips(Request::Find { hashes: ByteBuf::from(vec![5; 32]), puts: FindPuts::Naming });
        round_trips(Request::Room(MemberRoom { used: 1, limit: u64::MAX, full: true, lacks: 3 }));
        let hashes = ByteBuf::from(vec![6; 64]);
        round_trips(Reply::Log { known: true, hashes, log: [5; 16], last: 9 });
        round_trips(Reply::Refused { code: Refusal::Role, reason: "no".to_owned() });
    }

    // Fault case 32: counts that promise more than the bytes hold must not allocate.
    #[test]
    fn length_bombs_are_refused() {
        for bomb in [&b"\xdd\xff\xff\xff\xff"[..], b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"]
        {
            assert!(decode::<Request>(bomb).is_err());
        }
        let nested = vec![0x91; 100_000];
        assert!(decode::<Request>(&nested).is_err());
        let name = b"\x81\xa7records\x81\xa7records\xdd\xff\xff\xff\xff";
        assert!(decode::<Put>(name).is_err());
    }

    #[test]
    fn lists_of_addresses_are_strict() {
        assert!(unpack(&[0; 33]).is_err());
        assert!(unpack(&vec![0; 32 * (MAX_ADDRESSES + 1)]).is_err());
        assert_eq!(unpack(&[]).unwrap(), vec![]);
        assert!(unpack_references(&[0; 35]).is_err());
        let reference = ChunkRef { address: Address::from_bytes([5; 32]), sealed_len: 4_194_352 };
        let packed = pack_references([&reference]);
        assert_eq!(unpack_references(&packed).unwrap(), vec![reference]);
    }

    #[test]
    fn flags_keep_their_places() {
        let set = [true, false, false, true, true, false, true, false, true];
        let packed = bits(set);
        assert_eq!(packed.as_slice(), &[0b0101_1001, 1]);
        assert_eq!(flags(&packed, 9).unwrap(), set);
        assert!(flags(&packed, 17).is_err() && flags(&packed, 8).is_err());
    }
}
