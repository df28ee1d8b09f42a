//! HEAD: the runs that make up the tree, and the owner's words about them.

use crate::codec::{Keys, Malformed, length, number, put_number};
use crate::directory::Directory;
use crate::error::{TreeError, new_file_failed, read_failed, sync_failed, write_failed};
use stash_disk::{IoError, OpenMode};

const MAGIC: &[u8; 8] = b"stashidx";
const VERSION: u64 = 1;
/// Bytes of a HEAD at most: twenty for each run, of which there are twenty or a hundred, and
/// what the owner keeps there.
const LONGEST: u64 = 8 * 1024 * 1024;
/// Stands for HEAD in its tag; runs have other numbers.
const FILE: u64 = 0;

/// The content of the HEAD file.
///
/// It is [`MAGIC`]; as numbers of variable length the version, the next id, how many runs there
/// are, for each its id and length, and the length of the words; the words; and a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// The number that the next run gets.
    pub(crate) next_id: u64,
    /// Id and length of each run, newest first.
    pub(crate) runs: Vec<(u64, u64)>,
    /// The bytes that the last checkpoint carried.
    pub(crate) words: Vec<u8>,
}

impl Head {
    fn encode(&self, keys: &Keys) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for n in [VERSION, self.next_id, self.runs.len() as u64] {
            put_number(&mut out, n);
        }
        for (id, len) in &self.runs {
            put_number(&mut out, *id);
            put_number(&mut out, *len);
        }
        put_number(&mut out, self.words.len() as u64);
        out.extend_from_slice(&self.words);
        let tag = keys.tag(FILE, 0, &out);
        out.extend_from_slice(&tag);
        out
    }

    fn decode(bytes: &[u8]) -> Result<Head, Malformed> {
        let bytes = bytes.strip_prefix(MAGIC).ok_or(Malformed)?;
        let mut at = 0;
        if number(bytes, &mut at)? != VERSION {
            return Err(Malformed);
        }
        let next_id = number(bytes, &mut at)?;
        let mut runs = Vec::new();
        for _ in 0..number(bytes, &mut at)? {
            runs.push((number(bytes, &mut at)?, number(bytes, &mut at)?));
        }
        let words = length(bytes, &mut at)?;
        let words = bytes.get(at..).filter(|rest| rest.len() == words).ok_or(Malformed)?;
        Ok(Head { next_id, runs, words: words.to_vec() })
    }

    /// Reads HEAD: its content and its length; `None` if there is none.
    pub(crate) fn read(
        directory: &Directory,
        keys: &Keys,
    ) -> Result<Option<(Head, u64)>, TreeError> {
        let path = directory.head();
        let damaged = |what| TreeError::Damaged(format!("{} {what}", path.display()));
        let file = match directory.disk.open(&path, OpenMode::Read) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(read_failed("open", &path))?,
        };
        let len = file.len().map_err(read_failed("measure", &path))?;
        if len > LONGEST {
            return Err(damaged("is longer than it can be"));
        }
        let mut stored = vec![0; usize::try_from(len).unwrap_or(0)];
        file.read_at(0, &mut stored).map_err(read_failed("read", &path))?;
        let bytes =
            keys.untag(FILE, 0, &stored).ok_or_else(|| damaged("does not match its tag"))?;
        let head = Head::decode(bytes).map_err(|_| damaged("is not what this version writes"))?;
        Ok(Some((head, len)))
    }

    /// Replaces HEAD, durably. Until that is done the old one stays.
    pub(crate) fn write(&self, directory: &Directory, keys: &Keys) -> Result<(), TreeError> {
        let path = directory.head();
        let (tmp, file) = directory.begin_head(&self.encode(keys))?;
        if let Err(error) = file.sync() {
            // Left behind at worst until the next open.
            let _ = directory.disk.remove(&tmp);
            return Err(new_file_failed("sync", &tmp)(error));
        }
        if let Err(error) = directory.disk.rename(&tmp, &path) {
            // Left behind at worst until the next open.
            let _ = directory.disk.remove(&tmp);
            return Err(write_failed("rename", &path)(error));
        }
        let dir = &directory.path;
        directory.disk.sync_dir(dir).map_err(sync_failed("sync directory", dir))
    }

    /// Removes HEAD, durably: from then on the tree is empty.
    pub(crate) fn remove(directory: &Directory) -> Result<(), IoError> {
        let path = directory.head();
        match directory.disk.remove(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(IoError::new("remove", &path, e));
            }
            _ => {}
        }
        let synced = directory.disk.sync_dir(&directory.path);
        synced.map_err(|e| IoError::new("sync directory", &directory.path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_survives_a_round_trip_and_nothing_but_it_is_one() {
        let keys = Keys::new(&[1; 32]);
        let runs = vec![(1 << 40, 4096), (2, 3)];
        let head = Head { next_id: u64::MAX, runs, words: b"words".to_vec() };
        let stored = head.encode(&keys);
        let bytes = keys.untag(FILE, 0, &stored).unwrap();
        assert_eq!(Head::decode(bytes), Ok(head));
        for end in 0..bytes.len() {
            assert_eq!(Head::decode(&bytes[..end]), Err(Malformed), "cut at {end}");
        }
        assert_eq!(Head::decode(&[bytes, &[0]].concat()), Err(Malformed), "a byte too many");
        let mut newer = bytes.to_vec();
        newer[MAGIC.len()] = 2;
        assert_eq!(Head::decode(&newer), Err(Malformed), "another version");
    }
}
