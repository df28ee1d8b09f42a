//! Damage that scrubbing or checking found.

use std::fmt;

use crate::Address;

/// Bytes of a sentence that are kept when a finding is written down.
const MAX_TEXT: usize = 1024;

/// Findings of one kind that a report lists; the others are counted.
pub const LISTED: usize = 100;

/// A count, and the first [`LISTED`] of what was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// All of them.
    pub total: u64,
    /// The first.
    pub first: Vec<T>,
}

impl<T> Default for Listed<T> {
    fn default() -> Listed<T> {
        Listed { total: 0, first: Vec::new() }
    }
}

impl<T> Listed<T> {
    pub(crate) fn add(&mut self, item: T) {
        self.total += 1;
        if self.first.len() < LISTED {
            self.first.push(item);
        }
    }
}

/// Damage, with what it concerns. [`fmt::Display`] says it in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// FORMAT is not what it should be. Scrubbing writes it anew.
    Format {
        /// The fault.
        what: String,
    },
    /// SCRUB, which says how far scrubbing has come, cannot be used. Scrubbing begins anew.
    Progress {
        /// The fault.
        what: String,
    },
    /// A part of the log. What goes by it is named by findings of its own; the rest of the segment
    /// is used, and compaction moves it elsewhere.
    Log {
        /// The segment.
        segment: u64,
        /// The first damaged byte.
        from: u64,
        /// The first byte behind; 0 if it is not known, as the file is missing.
        to: u64,
        /// The fault.
        what: String,
    },
    /// A record cannot be read. Committing it again heals it.
    Record {
        /// The record.
        hash: [u8; 32],
        /// The fault.
        what: String,
    },
    /// A blob cannot be read, or is not what its address names. Staging it again heals it.
    Chunk {
        /// The blob.
        address: Address,
        /// The fault.
        what: String,
    },
    /// The index is damaged. It is made anew from the log.
    Index {
        /// The fault.
        what: String,
    },
    /// The file that marks the directory of the files of blobs is damaged. Scrubbing writes it anew.
    Marker {
        /// The fault.
        what: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Format { what } => write!(f, "the file FORMAT is damaged: {what}"),
            Finding::Progress { what } => write!(f, "the file SCRUB is damaged: {what}"),
            Finding::Log { segment, to: 0, what, .. } => {
                write!(f, "segment {segment} of the log is damaged: {what}")
            }
            Finding::Log { segment, from, to, what } => {
                write!(
                    f,
                    "segment {segment} of the log is damaged from offset {from} to {to}: {what}"
                )
            }
            Finding::Record { hash, what } => {
                write!(f, "record {} is damaged: {what}", crate::hex::encode(hash))
            }
            Finding::Chunk { address, what } => write!(f, "chunk {address} is damaged: {what}"),
            Finding::Index { what } => write!(f, "the index is damaged: {what}"),
            Finding::Marker { what } => write!(f, "the marker in chunks/ is damaged: {what}"),
        }
    }
}

impl Finding {
    fn what(&self) -> &str {
        match self {
            Finding::Format { what }
            | Finding::Progress { what }
            | Finding::Log { what, .. }
            | Finding::Record { what, .. }
            | Finding::Chunk { what, .. }
            | Finding::Index { what }
            | Finding::Marker { what } => what,
        }
    }

    /// Appends kind, what it concerns, and the sentence, cut to [`MAX_TEXT`].
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self {
            Finding::Format { .. } => 1,
            Finding::Progress { .. } => 2,
            Finding::Log { .. } => 3,
            Finding::Record { .. } => 4,
            Finding::Chunk { .. } => 5,
            Finding::Index { .. } => 6,
            Finding::Marker { .. } => 7,
        });
        match self {
            Finding::Log { segment, from, to, .. } => {
                for word in [segment, from, to] {
                    out.extend_from_slice(&word.to_le_bytes());
                }
            }
            Finding::Record { hash, .. } => out.extend_from_slice(hash),
            Finding::Chunk { address, .. } => out.extend_from_slice(address.as_bytes()),
            _ => {}
        }
        let text = self.what();
        let text = &text.as_bytes()[..text.floor_char_boundary(MAX_TEXT)];
        let len = u16::try_from(text.len()).expect("the text was just cut");
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(text);
    }

    /// The finding that `bytes` begin with, and what follows.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Finding, &[u8])> {
        let (kind, bytes) = bytes.split_first()?;
        let fixed = match kind {
            3 => 24,
            4 | 5 => 32,
            1 | 2 | 6 | 7 => 0,
            _ => return None,
        };
        let (fixed, bytes) = bytes.split_at_checked(fixed)?;
        let (len, bytes) = bytes.split_first_chunk::<2>()?;
        let (text, rest) = bytes.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
        let what = String::from_utf8(text.to_vec()).ok().filter(|text| text.len() <= MAX_TEXT)?;
        let finding = match kind {
            1 => Finding::Format { what },
            2 => Finding::Progress { what },
            3 => {
                let word = |at: usize| fixed[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
                Finding::Log { segment: word(0), from: word(8), to: word(16), what }
            }
            4 => Finding::Record { hash: fixed.try_into().ok()?, what },
            5 => {
                let address = Address::from_bytes(fixed.try_into().ok()?);
                Finding::Chunk { address, what }
            }
            6 => Finding::Index { what },
            _ => Finding::Marker { what },
        };
        Some((finding, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_is_a_sentence_and_survives_a_round_trip() {
        let what = || "it is too short".to_owned();
        let address = Address::of(b"a");
        let findings = [
            Finding::Format { what: what() },
            Finding::Progress { what: what() },
            Finding::Log { segment: 3, from: 256, to: 300, what: what() },
            Finding::Log { segment: 3, from: 0, to: 0, what: what() },
            Finding::Record { hash: [7; 32], what: what() },
            Finding::Chunk { address, what: what() },
            Finding::Index { what: what() },
            Finding::Marker { what: what() },
        ];
        for finding in findings {
            let mut bytes = Vec::new();
            finding.encode(&mut bytes);
            for len in 0..bytes.len() {
                assert_eq!(Finding::decode(&bytes[..len]), None, "{finding} cut to {len}");
            }
            bytes.push(1);
            assert_eq!(Finding::decode(&bytes), Some((finding.clone(), &[1][..])));
            assert!(
                finding.to_string().contains("damaged: it is")
                    || matches!(finding, Finding::Log { .. })
            );
        }
    }

    #[test]
    fn a_long_sentence_is_cut_between_letters() {
        let finding = Finding::Index { what: "ü".repeat(600) };
        let mut bytes = Vec::new();
        finding.encode(&mut bytes);
        let Some((Finding::Index { what }, [])) = Finding::decode(&bytes) else {
            panic!("it does not decode");
        };
        assert_eq!(what, "ü".repeat(512));
    }
}
