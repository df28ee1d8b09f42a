//! The position of scrubbing, and the file that remembers it.

use std::io;

use crate::disk::OpenMode;
use crate::files::Files;
use crate::index::TreeCursor;
use crate::{Address, Finding};

const MAGIC: &[u8; 16] = b"stash-store scr\n";
const VERSION: u32 = 1;
/// Findings of a pass that are kept by name; the others are counted. A disk that is dying has as
/// many as it has blocks.
pub(super) const KEPT: usize = 100;
/// Bytes of the file at most: two passes' findings of at most 1,059 bytes each, and the rest.
const MAX_FILE: u64 = 256 * 1024;

/// The next part to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Cursor {
    #[default]
    Format,
    /// Between two batches of this segment, or, if `damaged`, in the middle of one whose mark
    /// cannot be judged. Offset 0 is the header.
    Log {
        segment: u64,
        offset: u64,
        damaged: bool,
    },
    Chunks {
        after: Option<Address>,
    },
    /// Begins anew when the store is opened again: by then the index has other files.
    Index(TreeCursor),
    End,
}

impl Cursor {
    /// The start of the log.
    pub(super) const LOG: Cursor = Cursor::Log { segment: 0, offset: 0, damaged: false };
}

/// A pass over everything that is stored, and what the one before it found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pass {
    pub(super) cursor: Cursor,
    /// Passes that came to their end.
    pub(super) passes: u64,
    pub(super) done_bytes: u64,
    /// Findings of this pass, and of the last.
    pub(super) found: [u64; 2],
    pub(super) findings: [Vec<Finding>; 2],
}

impl Pass {
    pub(super) fn note(&mut self, finding: &Finding) {
        self.found[0] += 1;
        if self.findings[0].len() < KEPT {
            self.findings[0].push(finding.clone());
        }
    }

    /// The pass ends where it is; the next begins.
    pub(super) fn give_up(&mut self) {
        let passes = self.passes;
        self.end();
        self.passes = passes;
    }

    /// The pass has come to its end; the next begins.
    pub(super) fn end(&mut self) {
        let [found, _] = self.found;
        let [findings, _] = std::mem::take(&mut self.findings);
        *self = Pass {
            passes: self.passes + 1,
            found: [0, found],
            findings: [Vec::new(), findings],
            ..Pass::default()
        };
    }

    /// Reads SCRUB; the start of the first pass if there is none, or it cannot be used.
    pub(super) fn load(files: &Files, store_id: &[u8; 16]) -> Pass {
        let bytes = read(files).ok().flatten();
        bytes.and_then(|bytes| Pass::decode(&bytes, store_id)).unwrap_or_default()
    }

    /// The fault of SCRUB on disk, if it has one.
    pub(super) fn inspect(files: &Files, store_id: &[u8; 16]) -> Option<String> {
        match read(files) {
            Ok(None) => None,
            Ok(Some(bytes)) if Pass::decode(&bytes, store_id).is_some() => None,
            Ok(Some(_)) => Some("its checksum does not match, by rot or by a power cut".to_owned()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Replaces SCRUB as a whole. It is not synced: to lose it only begins a pass anew.
    pub(super) fn save(&self, files: &Files, store_id: &[u8; 16]) -> io::Result<()> {
        let (tmp, _) = files.write_tmp(&self.encode(store_id)).map_err(|error| error.source)?;
        files.or_remove(&tmp, files.disk.rename(&tmp, &files.dir.join("SCRUB")))
    }

    pub(crate) fn encode(&self, store_id: &[u8; 16]) -> Vec<u8> {
        let (part, segment, offset, flag, after) = match &self.cursor {
            Cursor::Format => (0, 0, 0, false, None),
            Cursor::Log { segment, offset, damaged } => (1, *segment, *offset, *damaged, None),
            Cursor::Chunks { after } => (2, 0, 0, after.is_some(), *after),
            Cursor::Index(_) => (3, 0, 0, false, None),
            Cursor::End => (4, 0, 0, false, None),
        };
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[part, u8::from(flag), 0, 0]);
        out.extend_from_slice(store_id);
        let [found, found_last] = self.found;
        for word in [segment, offset, self.passes, self.done_bytes, found, found_last] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&after.map_or([0; 32], |address| *address.as_bytes()));
        for findings in &self.findings {
            let count = u32::try_from(findings.len()).expect("at most KEPT are kept");
            out.extend_from_slice(&count.to_le_bytes());
            for finding in findings {
                finding.encode(&mut out);
            }
        }
        let checksum = blake3::hash(&out);
        out.extend_from_slice(checksum.as_bytes());
        out
    }

    /// `None` if the bytes are not exactly what this version writes for this store.
    pub(crate) fn decode(file: &[u8], store_id: &[u8; 16]) -> Option<Pass> {
        let (bytes, checksum) = file.split_last_chunk::<32>()?;
        if blake3::hash(bytes).as_bytes() != checksum {
            return None;
        }
        let bytes = bytes.strip_prefix(MAGIC)?.strip_prefix(&VERSION.to_le_bytes())?;
        let ([part, flag, 0, 0], bytes) = bytes.split_first_chunk::<4>()? else {
            return None;
        };
        let bytes = bytes.strip_prefix(store_id)?;
        let (words, bytes) = bytes.split_first_chunk::<48>()?;
        let (words, _) = words.as_chunks::<8>();
        let word = |at: usize| u64::from_le_bytes(words[at]);
        let (after, mut bytes) = bytes.split_first_chunk::<32>()?;
        let cursor = match (part, flag) {
            (0, 0) => Cursor::Format,
            (1, 0 | 1) => Cursor::Log { segment: word(0), offset: word(1), damaged: *flag == 1 },
            (2, 0) => Cursor::Chunks { after: None },
            (2, 1) => Cursor::Chunks { after: Some(Address::from_bytes(*after)) },
            (3, 0) => Cursor::Index(TreeCursor::default()),
            (4, 0) => Cursor::End,
            _ => return None,
        };
        let mut findings = [Vec::new(), Vec::new()];
        for list in &mut findings {
            let (count, rest) = bytes.split_first_chunk::<4>()?;
            bytes = rest;
            for _ in 0..u32::from_le_bytes(*count) {
                let (finding, rest) = Finding::decode(bytes)?;
                list.push(finding);
                bytes = rest;
            }
        }
        let (passes, done_bytes, found) = (word(2), word(3), [word(4), word(5)]);
        let pass = Pass { cursor, passes, done_bytes, found, findings };
        // Fields that this cursor does not use are zero.
        (pass.encode(store_id) == file).then_some(pass)
    }
}

fn read(files: &Files) -> io::Result<Option<Vec<u8>>> {
    let file = match files.disk.open(&files.dir.join("SCRUB"), OpenMode::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let len = file.len()?.min(MAX_FILE);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    file.read_at(0, &mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
impl Pass {
    /// A pass for every cursor.
    pub(crate) fn samples() -> Vec<Pass> {
        let address = Address::of(b"a");
        let finding = Finding::Chunk { address, what: "it is too short".to_owned() };
        let cursors = [
            Cursor::Format,
            Cursor::LOG,
            Cursor::Log { segment: 3, offset: 256, damaged: true },
            Cursor::Chunks { after: None },
            Cursor::Chunks { after: Some(address) },
            Cursor::Index(TreeCursor::default()),
            Cursor::End,
        ];
        let pass = |cursor| Pass {
            cursor,
            passes: 1,
            done_bytes: 2,
            found: [3, 4],
            findings: [vec![finding.clone()], vec![finding.clone(); 2]],
        };
        cursors.map(pass).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pass_survives_a_round_trip_and_is_nobody_elses() {
        for pass in Pass::samples() {
            let bytes = pass.encode(&[1; 16]);
            assert_eq!(Pass::decode(&bytes, &[1; 16]), Some(pass));
            assert_eq!(Pass::decode(&bytes, &[2; 16]), None);
        }
    }

    #[test]
    fn no_flipped_bit_passes_for_progress() {
        // Fault case 78.
        for pass in Pass::samples() {
            let good = pass.encode(&[1; 16]);
            for bit in 0..good.len() * 8 {
                let mut bytes = good.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Pass::decode(&bytes, &[1; 16]), None, "bit {bit}");
            }
            assert_eq!(Pass::decode(&good[1..], &[1; 16]), None);
        }
    }

    #[test]
    fn the_end_of_a_pass_keeps_its_findings_and_begins_the_next() {
        let mut pass = Pass::default();
        for n in 0..KEPT as u64 + 7 {
            pass.note(&Finding::Log { segment: n, from: 0, to: 0, what: String::new() });
        }
        pass.end();
        assert_eq!((pass.passes, pass.found), (1, [0, KEPT as u64 + 7]));
        assert_eq!((pass.findings[0].len(), pass.findings[1].len()), (0, KEPT));
        assert_eq!(pass.cursor, Cursor::Format);
    }
}
