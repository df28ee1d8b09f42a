//! What a fuzzer runs: one function for each thing that a vault reads back, which panics when a
//! promise is broken.
//!
//! Compiled for tests and with `cfg(fuzzing)` only. `fuzz/` has a target for each function, and
//! the inputs from which both the fuzzer and the tests below begin.

#[cfg(test)]
mod tests;

use arbitrary::Unstructured;
use stash_crypto::chunk::ChunkTag;

use crate::home::Opens;
use crate::index::{IndexEntry, Table, seal};
use crate::tags;

/// A value of the index of names: 2 bytes of length and the key, then the value, which is read as
/// it is and with its checksum put right behind it.
pub fn index_entry(bytes: &[u8]) -> bool {
    let mut input = Unstructured::new(bytes);
    let len: u16 = input.arbitrary().unwrap_or_default();
    let key = input.bytes(input.len().min(len.into())).unwrap_or_default();
    let Ok(key) = std::str::from_utf8(key) else {
        return false;
    };
    let plain = input.take_rest();
    let mut sealed = plain.to_vec();
    seal(Table::Names, key.as_bytes(), &mut sealed);
    let read = |value: &[u8]| {
        let entry = IndexEntry::decode(key, value);
        if let Some(entry) = &entry {
            assert_eq!(entry.encode(key), value, "the entry has another encoding");
        }
        entry.is_some()
    };
    read(plain) | read(&sealed)
}

/// A row of the cache of tags: 32 bytes of tag, then the value, likewise.
pub fn tag_row(bytes: &[u8]) -> bool {
    let mut input = Unstructured::new(bytes);
    let tag = ChunkTag::from_bytes(input.arbitrary().unwrap_or_default());
    let plain = input.take_rest();
    let mut sealed = plain.to_vec();
    seal(Table::Tags, tag.as_bytes(), &mut sealed);
    let read = |value: &[u8]| {
        let chunk = tags::decode(&tag, value);
        if let Some(chunk) = &chunk {
            assert_eq!(tags::encode(&tag, chunk), value, "the row has another encoding");
        }
        chunk.is_some()
    };
    read(plain) | read(&sealed)
}

/// The note of how often the store was opened, likewise.
pub fn opens_note(bytes: &[u8]) -> bool {
    let sum = blake3::hash(bytes);
    let sealed = [bytes, &sum.as_bytes()[..8]].concat();
    let read = |note: &[u8]| {
        let opens = Opens::decode(note);
        if let Some(opens) = &opens {
            assert_eq!(opens.encode(), note, "the note has another encoding");
        }
        opens.is_some()
    };
    read(bytes) | read(&sealed)
}
