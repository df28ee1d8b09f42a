//! The functions that a fuzzer runs, one for each format. Each panics when a promise is broken.
//!
//! Compiled for tests and with `cfg(fuzzing)` only. `fuzz/` has a target for each function, and
//! the inputs from which both the fuzzer and the tests below begin.

mod chunk;
mod keyring;
mod letter;
mod member;
mod record;
mod text;

#[cfg(test)]
mod tests;

pub use chunk::{chunk, manifest, padding, seal};
pub use keyring::keyring;
pub use letter::{addresses, grant, join, label, statement, wrap};
pub use member::{member_entry, member_log};
pub use record::{meta, record};
pub use text::{id, key, recovery, ticket};

use std::sync::LazyLock;

use arbitrary::Unstructured;

use crate::{NodeKeys, RootSecret, StashId};

static ROOT: LazyLock<RootSecret> = LazyLock::new(|| RootSecret::from_bytes([1; 32]));
static NODES: LazyLock<[NodeKeys; 4]> =
    LazyLock::new(|| [2, 3, 4, 5].map(|n| NodeKeys::from_seed([n; 32])));

fn stash() -> StashId {
    static STASH: LazyLock<StashId> = LazyLock::new(|| ROOT.stash_id());
    *STASH
}

/// Bytes with their length, a little-endian u16, before them; as many as there are.
fn block<'a>(input: &mut Unstructured<'a>) -> &'a [u8] {
    let len: u16 = input.arbitrary().unwrap_or_default();
    input.bytes(input.len().min(len.into())).unwrap_or_default()
}
