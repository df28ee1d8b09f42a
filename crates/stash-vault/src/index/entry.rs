//! A value of the index of names: bytes in, entry out.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | format, 2 (1 had a checksum at the end) |
//! | 1 | 1 | flags: 1 modified, 2 mode, 4 inline, 8 link, 16 directory |
//! | 2 | 32 | name id |
//! | 34 | 32 | hash of the head |
//! | 66 | 8 | size |
//! | 74 | 8 | chunks |
//! | 82 | 4 | chunk size |
//! | 86 | 4 | siblings |
//! | 90 | 12 | modified: seconds (i64), nanoseconds (u32); zeros if absent |
//! | 102 | 4 | mode; zeros if absent |

use std::ops::Range;

use stash_crypto::record::FileType;
use stash_crypto::{NameId, RecordHash};

use crate::model::version::Version;

const FORMAT: u8 = 2;
const FLAG_MODIFIED: u8 = 1;
const FLAG_MODE: u8 = 2;
const FLAG_INLINE: u8 = 4;
const FLAG_LINK: u8 = 8;
const FLAG_DIRECTORY: u8 = 16;
const FLAGS: u8 = FLAG_MODIFIED | FLAG_MODE | FLAG_INLINE | FLAG_LINK | FLAG_DIRECTORY;
const BODY: usize = 106;

/// The facts that the index has of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) name: NameId,
    pub(crate) head: RecordHash,
    pub(crate) size: u64,
    pub(crate) chunks: u64,
    pub(crate) chunk_size: u32,
    pub(crate) siblings: u32,
    pub(crate) modified: Option<(i64, u32)>,
    pub(crate) mode: Option<u32>,
    pub(crate) inline: bool,
    pub(crate) file_type: FileType,
}

impl IndexEntry {
    pub(crate) fn of(head: &Version) -> IndexEntry {
        let clear = head.record.clear();
        IndexEntry {
            name: clear.name,
            head: head.record.hash(),
            size: head.meta.size,
            chunks: clear.manifest.file_chunks(),
            chunk_size: head.meta.chunk_size,
            siblings: u32::try_from(head.siblings()).unwrap_or(u32::MAX),
            modified: head.meta.modified,
            mode: head.meta.mode,
            inline: head.meta.inline.is_some(),
            file_type: head.meta.file_type,
        }
    }

    /// The value to store.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BODY);
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        out.push(FORMAT);
        out.push(
            flag(self.modified.is_some(), FLAG_MODIFIED)
                | flag(self.mode.is_some(), FLAG_MODE)
                | flag(self.inline, FLAG_INLINE)
                | flag(self.file_type == FileType::Link, FLAG_LINK)
                | flag(self.file_type == FileType::Directory, FLAG_DIRECTORY),
        );
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(self.head.as_bytes());
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&self.chunks.to_le_bytes());
        out.extend_from_slice(&self.chunk_size.to_le_bytes());
        out.extend_from_slice(&self.siblings.to_le_bytes());
        let (seconds, nanos) = self.modified.unwrap_or_default();
        out.extend_from_slice(&seconds.to_le_bytes());
        out.extend_from_slice(&nanos.to_le_bytes());
        out.extend_from_slice(&self.mode.unwrap_or_default().to_le_bytes());
        out
    }

    /// True of the value of a directory, which is no file to count.
    pub(crate) fn is_directory(value: &[u8]) -> bool {
        value.get(1).is_some_and(|flags| flags & FLAG_DIRECTORY != 0)
    }

    /// The entry of a value, `None` if it is none that this version writes.
    pub(crate) fn decode(value: &[u8]) -> Option<IndexEntry> {
        let body: &[u8; BODY] = value.try_into().ok()?;
        if body[0] != FORMAT {
            return None;
        }
        let has = |bit: u8| body[1] & bit != 0;
        let absent = |bit: u8, at: Range<usize>| !has(bit) && body[at].iter().any(|b| *b != 0);
        if body[1] & !FLAGS != 0 || absent(FLAG_MODIFIED, 90..102) || absent(FLAG_MODE, 102..106) {
            return None;
        }
        let file_type = match (has(FLAG_LINK), has(FLAG_DIRECTORY)) {
            (false, false) => FileType::Regular,
            (true, false) => FileType::Link,
            (false, true) => FileType::Directory,
            (true, true) => return None,
        };
        let modified = (i64::from_le_bytes(field(body, 90)), u32::from_le_bytes(field(body, 98)));
        Some(IndexEntry {
            name: NameId::from_bytes(field(body, 2)),
            head: RecordHash::from_bytes(field(body, 34)),
            size: u64::from_le_bytes(field(body, 66)),
            chunks: u64::from_le_bytes(field(body, 74)),
            chunk_size: u32::from_le_bytes(field(body, 82)),
            siblings: u32::from_le_bytes(field(body, 86)),
            modified: has(FLAG_MODIFIED).then_some(modified),
            mode: has(FLAG_MODE).then_some(u32::from_le_bytes(field(body, 102))),
            inline: has(FLAG_INLINE),
            file_type,
        })
    }
}

fn field<const N: usize>(body: &[u8; BODY], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&body[at..at + N]);
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> IndexEntry {
        IndexEntry {
            name: NameId::from_bytes([1; 32]),
            head: RecordHash::from_bytes([2; 32]),
            size: 1 << 40,
            chunks: 1 << 18,
            chunk_size: 4 << 20,
            siblings: 1,
            modified: Some((-7, 999_999_999)),
            mode: Some(0o644),
            inline: false,
            file_type: FileType::Regular,
        }
    }

    #[test]
    fn an_entry_comes_back_as_it_was_stored() {
        let mut entry = entry();
        assert_eq!(IndexEntry::decode(&entry.encode()), Some(entry.clone()));
        entry.modified = None;
        entry.mode = None;
        entry.inline = true;
        assert_eq!(IndexEntry::decode(&entry.encode()), Some(entry));
    }

    #[test]
    fn an_entry_has_one_encoding() {
        // Found by the target `index_entry`: a flag that is not known, and fields that their
        // flags deny.
        let plain = IndexEntry { modified: None, mode: None, ..entry() };
        for at in [1, 90, 105] {
            let mut value = plain.encode();
            value[at] |= 32;
            assert_eq!(IndexEntry::decode(&value), None, "byte {at}");
        }
        let value = plain.encode();
        for len in 0..value.len() {
            assert_eq!(IndexEntry::decode(&value[..len]), None, "{len} bytes");
        }
    }
}
