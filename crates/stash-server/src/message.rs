//! Messages between stash nodes: MessagePack maps, one request a stream.
//!
//! Byte tables and the order of messages are in `docs/protocol.md`, part B. Lists of addresses
//! travel as one byte string, so a decoder never allocates by a count that a peer chose.

pub(crate) mod encoding;
pub(crate) mod holding;
pub(crate) mod limits;
pub(crate) mod put;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod room;

pub(crate) use encoding::{
    Malformed, bits, decode, encode, flags, pack, pack_hashes, pack_references, together, unpack,
    unpack_hashes, unpack_references,
};
pub(crate) use holding::Holding;
pub(crate) use limits::{
    CUTS_PAGE, HOLDING_PAGE, LogId, MAX_ADDRESSES, MAX_CLAIM_BYTES, MAX_ENTRY_BYTES, MAX_OFFERED,
    MAX_RECORD_BYTES, TURNED_PAGE,
};
pub(crate) use put::{Put, PutReply, RecordBytes, RecordResult};
pub(crate) use reply::{Refusal, Reply, page, refused, unable};
pub(crate) use request::{FindPuts, NamedBy, Request, Together, Which};
pub(crate) use room::MemberRoom;

#[cfg(test)]
mod tests {
    use super::*;

    use std::fmt::Debug;

    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use serde_bytes::ByteBuf;
    use stash_crypto::{Address, ChunkRef};

    use crate::message::encoding::{
        bits, encode, flags, pack, pack_references, unpack, unpack_references,
    };
    use crate::message::limits::MAX_ADDRESSES;
    use crate::message::put::{Put, PutReply, RecordResult};
    use crate::message::reply::{Refusal, Reply};
    use crate::message::request::{FindPuts, NamedBy, Request, Together, Which};
    use crate::message::room::MemberRoom;

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
        round_trips(Put::Records { records: vec![RecordBytes(vec![9; 40].into())] });
        round_trips(PutReply::Results {
            results: vec![RecordResult::Stored {}, RecordResult::Need { chunks: chunks.clone() }],
        });
        let prefixes = ByteBuf::from(vec![7, 8]);
        round_trips(Request::Sums { prefixes, length: 1, which: Which::Held });
        let parts = ByteBuf::from(vec![7, 8]);
        round_trips(Request::Ids { parts, size: 16, which: Which::Whole });
        round_trips(Request::Turned { run: 7, after: 8 });
        let records = ByteBuf::from(vec![5; 33]);
        round_trips(Reply::Turned { known: true, records, run: 5, last: 6, n: 3, sum: [4; 32] });
        round_trips(Reply::Ids { ids: ByteBuf::from(vec![0, 0]), parts: 1 });
        round_trips(Request::Prove { nonce: [1; 32], chunks: ByteBuf::from(vec![5; 32]) });
        round_trips(Request::Leaves { drawn: ByteBuf::from(vec![5; 36]) });
        let leaves = vec![ByteBuf::from(vec![6; 1_060]), ByteBuf::new()];
        round_trips(Reply::Leaves { leaves });
        round_trips(Request::Holding { hashes: ByteBuf::from(vec![5; 32]) });
        round_trips(Reply::Holding { states: ByteBuf::from(vec![0, 1, 2, 3]) });
        round_trips(Reply::Proofs { proofs: ByteBuf::from(vec![6; 32]) });
        let less = ByteBuf::from(vec![6; 32]);
        round_trips(Reply::All { n: 3, sum: [4; 32], log: 5, full: 0, less: ByteBuf::new() });
        round_trips(Reply::All { n: 3, sum: [4; 32], log: 5, full: 1, less });
        round_trips(Request::Find { hashes: ByteBuf::from(vec![5; 32]), puts: FindPuts::Naming });
        let (statements, met) = (vec![ByteBuf::from(vec![7; 220])], ByteBuf::from(vec![1; 8]));
        round_trips(Request::State { statements, met });
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

#[cfg(test)]
mod lists_tests;
