//! Functions for a fuzzer: one for each message, which panics when a promise is broken.
//!
//! Compiled for tests and with `cfg(fuzzing)` only. `fuzz/` has a target for each function, and
//! the inputs from which both the fuzzer and the tests below begin.
//!
//! MessagePack has more than one encoding of a value, and the protocol lets a sender choose: what
//! must hold is that a message that was understood says the same once it is written again.

use std::fmt::Debug;

use arbitrary::Unstructured;
use serde::Serialize;
use serde::de::DeserializeOwned;
use stash_crypto::NodeId;

use crate::door::Hello;
use crate::founder::writers::unpack_cuts;
use crate::ledger::tickets;
use crate::message::{self, MAX_ADDRESSES, MAX_OFFERED, Put, PutReply, Reply, Request};

/// The first message of a stream.
pub fn request(bytes: &[u8]) -> bool {
    same::<Request>(bytes)
}

/// A message of the initiator of a put stream.
pub fn put(bytes: &[u8]) -> bool {
    same::<Put>(bytes)
}

/// A message of the responder on a put stream.
pub fn put_reply(bytes: &[u8]) -> bool {
    same::<PutReply>(bytes)
}

/// The answer on any other stream.
pub fn reply(bytes: &[u8]) -> bool {
    same::<Reply>(bytes)
}

/// The application part of a hello.
pub fn door(bytes: &[u8]) -> bool {
    let Ok(hello) = message::decode::<Hello>(bytes) else {
        return false;
    };
    let again = message::encode(&hello);
    let read = message::decode::<Hello>(&again).expect("it was written here");
    assert_eq!((read.members, read.head), (hello.members, hello.head));
    assert_eq!((read.addresses, read.confirmed), (hello.addresses, hello.confirmed));
    assert_eq!(read.program, hello.program);
    true
}

/// The row of a ticket, with what it says to a joiner at any time.
pub fn ticket_row(bytes: &[u8]) -> bool {
    let Ok(row) = rmp_serde::from_slice::<tickets::Row>(bytes) else {
        return false;
    };
    let again = rmp_serde::to_vec_named(&row).expect("it is a map of plain values");
    let read: tickets::Row = rmp_serde::from_slice(&again).expect("it was written here");
    assert_eq!(rmp_serde::to_vec_named(&read).ok(), Some(again));
    let me = NodeId::from_bytes([1; 32]);
    for now in [0, row.expires.saturating_sub(1), row.expires, u64::MAX] {
        for (certain, uptime) in [(0, 0), (now, 0), (0, now)] {
            let seen = tickets::Now { wall: now, certain, uptime };
            assert_eq!(read.judge(&me, None, &seen), row.judge(&me, None, &seen));
            let mut struck = row.clone();
            struck.strike(&seen);
            assert!(
                !struck.struck || struck.is_over(&tickets::Now { wall: 0, certain: 0, uptime: 0 })
            );
        }
        assert!(!row.forgotten(now) || now >= row.expires);
    }
    true
}

fn same<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> bool {
    let Ok(message) = message::decode::<T>(bytes) else {
        return false;
    };
    let again = message::encode(&message);
    let read = message::decode::<T>(&again).expect("it was written here");
    assert_eq!(read, message);
    assert_eq!(message::encode(&read), again);
    true
}

/// Lists inside messages: 2 bytes of count, then the bytes of the list.
pub fn lists(bytes: &[u8]) -> bool {
    let mut input = Unstructured::new(bytes);
    let count: u16 = input.arbitrary().unwrap_or_default();
    let (count, list) = (usize::from(count), input.take_rest());
    let addresses = message::unpack(list);
    if let Ok(addresses) = &addresses {
        assert!(addresses.len() <= MAX_ADDRESSES);
        assert_eq!(message::pack(addresses).as_ref(), list);
    }
    let references = message::unpack_references(list);
    if let Ok(references) = &references {
        assert!(references.len() <= MAX_OFFERED);
        assert_eq!(message::pack_references(references).as_ref(), list);
    }
    let flags = message::flags(list, count);
    if let Ok(flags) = &flags {
        let again = message::bits(flags.iter().copied());
        assert_eq!(again.len(), list.len());
        assert_eq!(message::flags(&again, count).as_ref().ok(), Some(flags));
    }
    let cuts = unpack_cuts(list);
    if let Some(cuts) = &cuts {
        let again: Vec<u8> = cuts.iter().flat_map(|cut| cut.to_bytes()).collect();
        assert_eq!(again, list);
    }
    addresses.is_ok() || references.is_ok() || flags.is_ok() || cuts.is_some()
}

#[cfg(test)]
mod tests;
