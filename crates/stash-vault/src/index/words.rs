//! The words of a map in HEAD: what it was made from, bytes in and out.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | version: 5 of names, 4 of tags; of tags 3 is read as well, and ends before the mark |
//! | 1 | 16 | store id |
//! | 17 | 32 | stash id |
//! | 49 | 8 | count of the records that were ever set aside |
//! | 57 | 8 | cursor |
//! | 65 | 8 | rows |
//! | 73 | 8 | mark: sequence, 0 if there is none |
//! | 81 | 32 | mark: hash; zeros if there is none |

use stash_crypto::{RecordHash, StashId};

use super::fault::IndexFault;

/// Version of the words of the index of names, and of its rows. An index of version 4 or before may have
/// set records aside whose flags it did not know: it is not read.
pub(crate) const NAMES: u8 = 5;
/// Version of the words of the cache of tags, and of its rows.
pub(crate) const TAGS: u8 = 4;
/// The version of tags before, without a mark. Version 2 and before were databases.
const UNMARKED: u8 = 3;
/// Bytes of a binding: store, stash, and how many records were set aside.
const BINDING: usize = 16 + 32 + 8;
/// Bytes of cursor and rows.
const NUMBERS: usize = 8 + 8;
/// Bytes of a mark.
const MARK: usize = 8 + 32;

/// The store and stash that an index was made from: with any other, it is worthless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) store: [u8; 16],
    pub(crate) stash: StashId,
    /// Count of the records that were ever set aside in that store: they left without a trace in its order.
    pub(crate) aside: u64,
}

impl Binding {
    fn bytes(&self) -> [u8; BINDING] {
        let mut bytes = [0; BINDING];
        bytes[..16].copy_from_slice(&self.store);
        bytes[16..48].copy_from_slice(self.stash.as_bytes());
        bytes[48..].copy_from_slice(&self.aside.to_le_bytes());
        bytes
    }

    /// The key of the tags on the files: a file of another store is damage.
    pub(super) fn key(&self, context: &str) -> [u8; 32] {
        blake3::derive_key(context, &[&self.store[..], self.stash.as_bytes()].concat())
    }
}

/// A record in the order of records of a store. A store that was restored from a copy has another one
/// under that number, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) sequence: u64,
    pub(crate) hash: RecordHash,
}

/// State of a map, as of its last change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct At {
    /// The last sequence number of the record log that it contains.
    pub(crate) cursor: u64,
    /// Count of its rows of the kind that its user counts.
    pub(crate) rows: u64,
    /// The last record that it was made from, not after the cursor: records that are damaged are passed over.
    pub(crate) mark: Option<Mark>,
}

/// The words of a map in this state.
pub(super) fn encode(version: u8, binding: &Binding, at: &At) -> Vec<u8> {
    let mut words = vec![version];
    words.extend_from_slice(&binding.bytes());
    words.extend_from_slice(&at.cursor.to_le_bytes());
    words.extend_from_slice(&at.rows.to_le_bytes());
    match &at.mark {
        Some(mark) => {
            words.extend_from_slice(&mark.sequence.to_le_bytes());
            words.extend_from_slice(mark.hash.as_bytes());
        }
        None => words.extend_from_slice(&[0; MARK]),
    }
    words
}

/// The state that the words say, if they are of this version, and bound to this store and stash.
pub(super) fn decode(version: u8, words: &[u8], binding: &Binding) -> Result<At, IndexFault> {
    let (found, rest) = words.split_first().ok_or_else(|| malformed("no version"))?;
    let (bound, rest) = rest.split_first_chunk().ok_or_else(|| malformed("too short"))?;
    if *bound != binding.bytes() {
        return Err(IndexFault::damaged("it belongs to another store"));
    }
    let (numbers, mark): (&[u8; NUMBERS], _) =
        rest.split_first_chunk().ok_or_else(|| malformed("too short"))?;
    let (cursor, rows) = (u64_at(numbers, 0), u64_at(numbers, 8));
    let mark = match *found {
        UNMARKED if mark.is_empty() && version == TAGS => None,
        found if found == version => {
            let mark: &[u8; MARK] = mark.try_into().map_err(|_| malformed("no mark"))?;
            decode_mark(mark, cursor)?
        }
        _ => return Err(malformed("another version")),
    };
    Ok(At { cursor, rows, mark })
}

fn decode_mark(bytes: &[u8; MARK], cursor: u64) -> Result<Option<Mark>, IndexFault> {
    if *bytes == [0; MARK] {
        return Ok(None);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(&bytes[8..]);
    match u64_at(bytes, 0) {
        sequence if (1..=cursor).contains(&sequence) => {
            Ok(Some(Mark { sequence, hash: RecordHash::from_bytes(hash) }))
        }
        _ => Err(malformed("a mark that is not before the cursor")),
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

fn malformed(what: &str) -> IndexFault {
    IndexFault::Damaged(format!("its head has {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding() -> Binding {
        Binding { store: [1; 16], stash: StashId::from_bytes([2; 32]), aside: 3 }
    }

    fn marked() -> At {
        let mark = Mark { sequence: 4, hash: RecordHash::from_bytes([5; 32]) };
        At { cursor: 6, rows: 7, mark: Some(mark) }
    }

    /// The fields of the table above, as they lie on disks.
    fn frozen(version: u8) -> Vec<u8> {
        let numbers = [3_u64, 6, 7].map(u64::to_le_bytes).concat();
        [&[version][..], &[1; 16], &[2; 32], &numbers].concat()
    }

    #[test]
    fn words_are_as_they_lie_on_disks() {
        let mark = [&4_u64.to_le_bytes()[..], &[5; 32]].concat();
        let words = [frozen(4), mark].concat();
        assert_eq!(words.len(), 113);
        assert_eq!(encode(TAGS, &binding(), &marked()), words);
        assert_eq!(decode(TAGS, &words, &binding()).unwrap(), marked());
        let plain = At { mark: None, ..marked() };
        let words = [frozen(4), vec![0; 40]].concat();
        assert_eq!(encode(TAGS, &binding(), &plain), words);
        assert_eq!(decode(TAGS, &words, &binding()).unwrap(), plain);
    }

    #[test]
    fn words_of_the_version_before_have_no_mark() {
        let words = frozen(3);
        assert_eq!(words.len(), 73);
        assert_eq!(decode(TAGS, &words, &binding()).unwrap(), At { mark: None, ..marked() });
    }

    /// Decision 0050: an index of names that an older program made has set aside what it did not know.
    #[test]
    fn an_index_of_names_of_the_version_before_is_not_read() {
        let words = encode(NAMES, &binding(), &marked());
        assert_eq!(words[0], 5);
        assert_eq!(decode(NAMES, &words, &binding()).unwrap(), marked());
        let before = encode(TAGS, &binding(), &marked());
        assert_eq!(before[1..], words[1..]);
        assert!(decode(NAMES, &before, &binding()).is_err());
        assert!(decode(NAMES, &frozen(3), &binding()).is_err());
        assert!(decode(TAGS, &words, &binding()).is_err());
    }

    #[test]
    fn words_have_one_encoding_and_one_store() {
        let words = encode(TAGS, &binding(), &marked());
        for len in 0..words.len() {
            assert!(decode(TAGS, &words[..len], &binding()).is_err(), "{len} bytes");
        }
        assert!(decode(TAGS, &[&words[..], &[0]].concat(), &binding()).is_err());
        for (at, byte) in [(0, 3), (0, 5), (73, 0), (73, 7)] {
            let mut other = words.clone();
            other[at] = byte;
            assert!(decode(TAGS, &other, &binding()).is_err(), "{byte} at {at}");
        }
        assert!(decode(TAGS, &words, &Binding { store: [0; 16], ..binding() }).is_err());
        assert!(decode(TAGS, &words, &Binding { aside: 4, ..binding() }).is_err());
    }
}
