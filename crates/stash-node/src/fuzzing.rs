//! What a fuzzer runs: one function for each thing that people or programs write, which panics
//! when a promise is broken.
//!
//! Compiled for tests and with `cfg(fuzzing)` only. `fuzz/` has a target for each function, and
//! the inputs from which both the fuzzer and the tests below begin. This is a program: the fuzz
//! package has its `main.rs` as a library.

#[path = "../../../xtask/fuzz/input.rs"]
mod input;

#[cfg(test)]
#[path = "../../../xtask/fuzz/corpus.rs"]
mod corpus;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::range::Range;
use crate::body::{
    Event, EvictDone, EvictRequest, GetDone, GetRequest, InviteDone, InviteRequest, JoinDone,
    JoinRequest, Listing, PeerChanged, PeerRemove, PeerRole, Peers, PutDone, PutRequest, Recovery,
    RmDone, RmRequest, Status, Where,
};
use crate::config::of_text;
use crate::error::{Class, ErrorBody};
use input::Input;

/// A configuration file: settings that make sense, or a usage error that names the file.
pub fn config(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let path = Path::new("/etc/stash/config.toml");
    match of_text(path, text) {
        Ok(settings) => {
            let name = &settings.name.value;
            assert!((1..=64).contains(&name.len()) && !name.chars().any(char::is_control));
            for path in [&settings.data_dir.value, &settings.socket.value] {
                assert!(path.is_absolute(), "{}", path.display());
            }
            // As `stash config show --json` does.
            assert!(serde_json::to_string(&settings).is_ok());
            true
        }
        Err(problem) => {
            assert_eq!(problem.code, Class::Usage);
            assert!(problem.message.contains("/etc/stash/config.toml"), "{}", problem.message);
            false
        }
    }
}

/// A JSON document of the local API: 1 byte of which, then its text. What was understood says the
/// same once it is written again.
pub fn body(bytes: &[u8]) -> bool {
    let mut input = Input::new(bytes);
    let which = input.u8() % 16;
    let text = input.rest();
    match which {
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

/// A `Range` header: 8 bytes of the size of the file, then the text.
pub fn range(bytes: &[u8]) -> bool {
    let mut input = Input::new(bytes);
    let size = input.u64();
    let Some(range) = std::str::from_utf8(input.rest()).ok().and_then(Range::from_header) else {
        return false;
    };
    assert_eq!(range.to_string().parse(), Ok(range));
    if let Some(part) = range.within(size) {
        assert!(part.start < part.end && part.end <= size, "{part:?} of {size}");
    }
    true
}
