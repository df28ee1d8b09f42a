//! The count of opens beside the store's own: when the two disagree, the store is not the one that
//! this node last wrote to, and the node takes a new incarnation.

use std::io;
use std::path::Path;

use stash_server::store::Store;

use super::disk;
use super::error::HomeError;

const LEN: usize = 16 + 8;
const SUM: usize = 8;

/// A store and how often it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opens {
    pub(crate) store: [u8; 16],
    pub(crate) count: u64,
}

impl Opens {
    fn path(directory: &Path) -> std::path::PathBuf {
        directory.join("opens")
    }

    /// True if there is a note, damaged or not.
    pub(super) fn exists(directory: &Path) -> io::Result<bool> {
        Opens::path(directory).try_exists()
    }

    /// Notes an open by this process. If the store is not the one that the node left, its opens, to be
    /// noted once the node has begun a new incarnation in it: until then every start notices.
    pub(super) fn note(directory: &Path, store: &Store) -> Result<Option<Opens>, HomeError> {
        let io = |source| HomeError::Io { path: directory.to_owned(), source };
        let now = Opens { store: store.store_id(), count: store.opens() };
        let follows = now.follows(Opens::read(directory).map_err(io)?);
        let noted = if follows { now } else { now.in_doubt() };
        noted.write(directory).map_err(io)?;
        Ok((!follows).then_some(now))
    }

    /// Reads the last note; `None` if there is none, or it is damaged.
    pub(super) fn read(directory: &Path) -> io::Result<Option<Opens>> {
        let bytes = disk::read(&Opens::path(directory))?;
        Ok(bytes.and_then(|bytes| Opens::decode(&bytes)))
    }

    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        disk::write(&Opens::path(directory), &self.encode())
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.store.to_vec();
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes.extend_from_slice(&blake3::hash(&bytes).as_bytes()[..SUM]);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Opens> {
        let (body, sum) = bytes.split_at_checked(LEN)?;
        if blake3::hash(body).as_bytes()[..SUM] != *sum {
            return None;
        }
        let (store, count) = body.split_first_chunk::<16>()?;
        Some(Opens { store: *store, count: u64::from_le_bytes(count.try_into().ok()?) })
    }

    /// True if an open that makes the count `self` follows the one that was noted.
    pub(super) fn follows(&self, noted: Option<Opens>) -> bool {
        noted.is_some_and(|noted| {
            noted.store == self.store && noted.count.checked_add(1) == Some(self.count)
        })
    }

    /// The note while the store is not the one that the node left, and the node has not begun a
    /// new incarnation: no open follows it. The old note will not do, since opens that are only
    /// counted come to the number after it some day; and the new one would let a start that fails
    /// before the incarnation is durable be the last one that notices.
    pub(super) fn in_doubt(self) -> Opens {
        Opens { count: u64::MAX, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restored_or_rebuilt_store_disagrees_with_the_note() {
        let now = Opens { store: [1; 16], count: 8 };
        assert!(now.follows(Some(Opens { count: 7, ..now })));
        assert!(!now.follows(Some(Opens { count: 9, ..now })), "an older store came back");
        assert!(!now.follows(Some(Opens { store: [2; 16], count: 7 })), "another store");
        assert!(!now.follows(None), "the note is lost");
        assert!(!now.follows(Some(now.in_doubt())));
        let last = Opens { count: u64::MAX, ..now };
        assert!(!last.follows(Some(now.in_doubt())));
    }

    /// Fault case 78.
    #[test]
    fn a_damaged_note_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let opens = Opens { store: [1; 16], count: 7 };
        opens.write(dir.path()).unwrap();
        assert_eq!(Opens::read(dir.path()).unwrap(), Some(opens));
        let clean = opens.encode();
        for bit in 0..clean.len() * 8 {
            let mut flipped = clean.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Opens::decode(&flipped), None);
        }
    }
}
