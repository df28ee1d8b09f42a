//! The files that older versions had: `names.redb` and `tags.redb`, databases of the crate redb.
//!
//! Names are made anew from the records. Tags are taken over, without that crate: every row of `tags.redb`
//! carries a checksum over its table, key and value, so it is enough to look at all pages of the file and
//! to believe the rows that prove themselves. A row of a page that is in use no more is as good: the chunk
//! of a T never changes. So it does not matter whether the file was closed, or what is damaged in it.
//!
//! Of the form of the file (redb's `docs/design.md`) that needs: pages of 4,096 bytes; a leaf begins with
//! a byte 1, has the number of its rows as a u16 at 2, then for each row the end of its key and then for each
//! row the end of its value (u32, from the start of the page), then the keys and then the values. Integers are
//! little-endian.

use std::io::ErrorKind;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use stash_crypto::chunk::ChunkTag;
use stash_crypto::{Address, ChunkRef};
use stash_runs::disk::{DiskFile, IoError, OpenMode};

use super::map::Root;
use super::words::Binding;

/// The old index of names.
pub(crate) const NAMES: &str = "names.redb";
/// The old cache of tags.
pub(crate) const TAGS: &str = "tags.redb";

/// Bytes of a page of a database.
const PAGE: usize = 4096;
/// Bytes that are read at once, and given up at once if they cannot be read.
const PART: usize = 64 * PAGE;
/// Parts that cannot be read before the rest is given up as well: a sick disk takes seconds for each.
const MOST_BAD: usize = 16;
/// The first byte of a page of rows.
const LEAF: u8 = 1;
/// The key of the row that names store and stash.
const BINDING: &[u8] = b"store";
/// The number of the table of tags in checksums.
const TABLE: u8 = 4;
/// Bytes of a checksum.
const CHECK: usize = 8;

/// Removes a file of an older version, if it is there, durably.
pub(crate) fn remove_old(root: &Root, name: &str) -> Result<(), IoError> {
    let path = root.path.join(name);
    match root.disk.remove(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        removed => removed.map_err(|e| IoError::new("remove", &path, e))?,
    }
    let synced = root.disk.sync_dir(&root.path);
    synced.map_err(|e| IoError::new("sync directory", &root.path, e))
}

/// An old cache of tags, open for reading. Parts that the disk does not read are passed over.
pub(crate) struct OldTags {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// Bytes that are looked at.
    len: u64,
}

impl OldTags {
    /// Opens the file, to look at so many bytes of it at `most`; `None` if there is none.
    pub(crate) fn open(root: &Root, most: u64) -> Result<Option<OldTags>, IoError> {
        let path = root.path.join(TAGS);
        let file = match root.disk.open(&path, OpenMode::Read) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|e| IoError::new("open", &path, e))?,
        };
        let len = file.len().map_err(|e| IoError::new("measure", &path, e))?.min(most);
        Ok(Some(OldTags { path, file, len }))
    }

    /// True if the file says that it is of this store and stash, and nothing else.
    pub(crate) fn is_of(&self, binding: &Binding) -> bool {
        let bound = [&binding.store[..], binding.stash.as_bytes()].concat();
        let (mut same, mut others) = (0, 0);
        self.rows(&mut |key, value| {
            if key == BINDING {
                *if value == bound { &mut same } else { &mut others } += 1;
            }
            others == 0
        });
        same > 0 && others == 0
    }

    /// Calls `take` with every row whose checksum is right, until it says false. The same row may come
    /// several times.
    pub(crate) fn read(&self, take: &mut dyn FnMut(ChunkTag, ChunkRef) -> bool) {
        self.rows(&mut |key, value| {
            tag_row(key, value).is_none_or(|(tag, chunk)| take(tag, chunk))
        });
    }

    fn rows(&self, take: &mut Take<'_>) {
        let (mut buffer, mut bad) = (vec![0; PART], 0);
        for at in (0..self.len).step_by(PART) {
            let left = usize::try_from(self.len - at).unwrap_or(PART);
            let part = &mut buffer[..left.min(PART)];
            if let Err(error) = self.file.read_at(at, part) {
                tracing::warn!(path = %self.path.display(), at, %error, "a part is not taken over");
                bad += 1;
                if bad == MOST_BAD {
                    return;
                }
                continue;
            }
            // A page that the file ends in is none.
            if !part.chunks_exact(PAGE).all(|page| leaf(page, take)) {
                return;
            }
        }
    }
}

/// Takes key and value of a row, until it says false.
type Take<'a> = dyn FnMut(&[u8], &[u8]) -> bool + 'a;

fn u32_at(page: &[u8], at: usize) -> Option<usize> {
    let bytes = page.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
}

/// The rows of a page as far as it is one of rows: whatever it is, those that it has are within it. False
/// if `take` said so.
pub(crate) fn leaf(page: &[u8], take: &mut Take<'_>) -> bool {
    let &[LEAF, _, low, high, ..] = page else { return true };
    let rows = usize::from(u16::from_le_bytes([low, high]));
    let (key_ends, value_ends) = (4, 4 + 4 * rows);
    let keys = value_ends + 4 * rows;
    let end = |ends: usize, row: usize| u32_at(page, ends + 4 * row);
    let Some(values) = rows.checked_sub(1).and_then(|last| end(key_ends, last)) else {
        return true;
    };
    let bytes = |ends: usize, first: usize, row: usize| {
        let start = row.checked_sub(1).map_or(Some(first), |before| end(ends, before))?;
        let range: Range<usize> = start..end(ends, row)?;
        page.get(range)
    };
    (0..rows).all(|row| match (bytes(key_ends, keys, row), bytes(value_ends, values, row)) {
        (Some(key), Some(value)) => take(key, value),
        _ => true,
    })
}

/// A tag and its chunk, if the checksum is right that stands at the end of the value.
pub(crate) fn tag_row(key: &[u8], value: &[u8]) -> Option<(ChunkTag, ChunkRef)> {
    let tag: [u8; 32] = key.try_into().ok()?;
    let (body, stored) = value.split_last_chunk::<CHECK>()?;
    let (address, len) = body.split_first_chunk::<32>()?;
    let sealed_len = u32::from_le_bytes(len.try_into().ok()?);
    let chunk = ChunkRef { address: Address::from_bytes(*address), sealed_len };
    (check(&tag, body) == *stored).then_some((ChunkTag::from_bytes(tag), chunk))
}

/// The checksum of a row of the table of tags.
pub(crate) fn check(key: &[u8; 32], body: &[u8]) -> [u8; CHECK] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[TABLE]);
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(body);
    let mut check = [0; CHECK];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..CHECK]);
    check
}
