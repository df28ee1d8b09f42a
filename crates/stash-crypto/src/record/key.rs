//! The name of a file, and what peers see of it.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::ids::NameId;

/// Longest key in bytes: a path of usual file systems fits, and a record stays small.
pub const MAX_KEY: usize = 1024;

/// Why a text is no key. The caller's input is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Nothing at all.
    #[error("a key is not empty")]
    Empty,
    /// Longer than [`MAX_KEY`].
    #[error("a key has at most {MAX_KEY} bytes, this one has {len}")]
    TooLong {
        /// Bytes given.
        len: usize,
    },
    /// Two slashes in a row, or one at either end.
    #[error("empty path segment at byte {at}")]
    EmptySegment {
        /// The position at which the segment would begin.
        at: usize,
    },
    /// A segment is `.` or `..`.
    #[error("path segment '.' or '..' at byte {at}")]
    DotSegment {
        /// The position at which the segment begins.
        at: usize,
    },
    /// A NUL byte.
    #[error("NUL at byte {at}")]
    Nul {
        /// Its position.
        at: usize,
    },
}

/// The name under which a file is stored: 1 to 1,024 bytes of UTF-8, separated by `/`, with no
/// empty, `.` or `..` segment and no NUL. It is not normalised: two spellings are two keys.
///
/// `Debug` shows only the length, so that names do not reach logs by accident.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// Checks the rules.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if text.len() > MAX_KEY {
            return Err(KeyError::TooLong { len: text.len() });
        }
        if let Some(at) = text.bytes().position(|byte| byte == 0) {
            return Err(KeyError::Nul { at });
        }
        let mut at = 0;
        for segment in text.split('/') {
            match segment {
                "" => return Err(KeyError::EmptySegment { at }),
                "." | ".." => return Err(KeyError::DotSegment { at }),
                _ => at += segment.len() + 1,
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::new(text)
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} bytes)", self.0.len())
    }
}

/// K_name: turns keys into name ids.
pub struct NameKey(Zeroizing<[u8; 32]>);

impl NameKey {
    pub(crate) fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// The name of this key as peers see it.
    pub fn name_id(&self, key: &Key) -> NameId {
        NameId::from_bytes(*blake3::keyed_hash(&self.0, key.0.as_bytes()).as_bytes())
    }
}

impl fmt::Debug for NameKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NameKey(redacted)")
    }
}
