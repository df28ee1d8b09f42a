//! Ids by which people name a version.

use std::fmt;
use std::str::FromStr;

use stash_crypto::RecordHash;
use thiserror::Error;

/// Fewest digits that name a version; what tables show of it.
const SHORTEST: usize = 12;
/// Digits of a whole hash.
const WHOLE: usize = 64;

/// A version of a file: the hash of its record, or at least its first twelve hexadecimal digits, which
/// are enough where they are unambiguous among the versions of that file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VersionId {
    digits: [u8; WHOLE],
    len: usize,
}

/// The text names no version. The caller is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a version is named by 12 to 64 hexadecimal digits")]
pub struct VersionIdError;

impl VersionId {
    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.digits[..self.len]).unwrap_or_default()
    }

    /// True if this may be the version of that record.
    #[must_use]
    pub fn matches(&self, record: &RecordHash) -> bool {
        record.to_string().as_bytes().starts_with(&self.digits[..self.len])
    }

    /// The form for tables and messages.
    #[must_use]
    pub fn short(record: &RecordHash) -> String {
        let mut text = record.to_string();
        text.truncate(SHORTEST);
        text
    }
}

impl FromStr for VersionId {
    type Err = VersionIdError;

    fn from_str(text: &str) -> Result<VersionId, VersionIdError> {
        let fits = (SHORTEST..=WHOLE).contains(&text.len());
        if !fits || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(VersionIdError);
        }
        let mut digits = [0; WHOLE];
        digits[..text.len()].copy_from_slice(text.to_ascii_lowercase().as_bytes());
        Ok(VersionId { digits, len: text.len() })
    }
}

impl From<RecordHash> for VersionId {
    fn from(record: RecordHash) -> VersionId {
        let mut digits = [0; WHOLE];
        digits.copy_from_slice(record.to_string().as_bytes());
        VersionId { digits, len: WHOLE }
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VersionId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_named_by_its_hash_or_the_first_twelve_digits_of_it() {
        let hash = RecordHash::from_bytes([0xab; 32]);
        let whole = VersionId::from(hash);
        assert_eq!(whole.to_string(), "ab".repeat(32));
        for text in ["abababababab", "ABABABABABABA", &"ab".repeat(32)] {
            assert!(text.parse::<VersionId>().unwrap().matches(&hash), "{text}");
        }
        assert!(!"abababababac".parse::<VersionId>().unwrap().matches(&hash));
        assert_eq!(VersionId::short(&hash), "abababababab");
        for text in ["", "ababababababz", "abababababa", &"ab".repeat(33), "ababababab\u{e9}b"] {
            assert_eq!(text.parse::<VersionId>(), Err(VersionIdError), "{text}");
        }
    }
}
