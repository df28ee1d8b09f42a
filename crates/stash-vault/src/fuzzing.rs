//! The functions that a fuzzer runs: one for each thing that a vault reads back, which panics when a
//! promise is broken.
//!
//! Compiled for tests and with `cfg(fuzzing)` only. `fuzz/` has a target for each function, and
//! the inputs from which both the fuzzer and the tests below begin.

#[cfg(test)]
mod tests;

use crate::home::Opens;
use crate::index::{IndexEntry, leaf, tag_row as tag_row_of_old};
use crate::tags;

/// A value of the index of names.
pub fn index_entry(bytes: &[u8]) -> bool {
    let entry = IndexEntry::decode(bytes);
    if let Some(entry) = &entry {
        assert_eq!(entry.encode(), bytes, "the entry has another encoding");
    }
    entry.is_some()
}

/// A value of the cache of tags.
pub fn tag_row(bytes: &[u8]) -> bool {
    let chunk = tags::decode(bytes);
    if let Some(chunk) = &chunk {
        assert_eq!(tags::encode(chunk), bytes, "the row has another encoding");
    }
    chunk.is_some()
}

/// A page of a file that an older version had: never a row whose checksum is wrong.
pub fn old_page(bytes: &[u8]) -> bool {
    let mut rows = 0;
    leaf(bytes, &mut |key, value| {
        rows += u32::from(tag_row_of_old(key, value).is_some());
        true
    });
    rows > 0
}

/// The note of how often the store was opened: as it is, and with its checksum put right behind it.
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
