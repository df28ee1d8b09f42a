//! The function that a fuzzer runs. It panics when a promise is broken.
//!
//! Compiled for tests and with `cfg(fuzzing)` only. `fuzz/` has the target, and the inputs from which
//! both the fuzzer and the tests below begin.

#[cfg(test)]
mod tests;

use arbitrary::Unstructured;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::ErrorBody;
use crate::files::{
    EvictDone, EvictRequest, GetDone, GetRequest, Listing, PutDone, PutRequest, RmDone, RmRequest,
    Where,
};
use crate::members::{
    InviteDone, InviteRequest, JoinDone, JoinRequest, PeerChanged, PeerRemove, PeerRole, Peers,
};
use crate::node::{Recovery, Status};
use crate::operation::Event;

/// A JSON document of the local API: 1 byte for its type, then its text. A document that is
/// understood says the same once it is written again.
pub fn body(bytes: &[u8]) -> bool {
    let mut input = Unstructured::new(bytes);
    let which: u8 = input.arbitrary().unwrap_or_default();
    let text = input.take_rest();
    match which % 16 {
        0 => same::<PutRequest>(text),
        1 => same::<GetRequest>(text),
        2 => same::<EvictRequest>(text),
        3 => same::<RmRequest>(text),
        4 => same::<InviteRequest>(text) || same::<PeerRemove>(text) || same::<PeerRole>(text),
        5 => same::<JoinRequest>(text),
        6 => same::<Status>(text),
        7 => same::<Peers>(text),
        8 => same::<Listing>(text),
        9 => same::<Where>(text),
        10 => same::<Event<PutDone>>(text),
        11 => same::<Event<GetDone>>(text),
        12 => same::<Event<EvictDone>>(text),
        13 => same::<Event<RmDone>>(text) || same::<Event<JoinDone>>(text),
        14 => same::<InviteDone>(text) || same::<Recovery>(text) || same::<PeerChanged>(text),
        _ => same::<ErrorBody>(text),
    }
}

fn same<T: Serialize + DeserializeOwned>(text: &[u8]) -> bool {
    let Ok(document) = serde_json::from_slice::<T>(text) else {
        return false;
    };
    let written = serde_json::to_string(&document).expect("it was read from JSON");
    let read: T = serde_json::from_str(&written).expect("it was written here");
    assert_eq!(serde_json::to_string(&read).ok(), Some(written));
    true
}
