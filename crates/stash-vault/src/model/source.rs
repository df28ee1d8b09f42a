//! Which key a path of the local disk gets. Pure: paths in, keys out.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use stash_crypto::Key;
use stash_crypto::record::KeyError;
use thiserror::Error;

/// Longest segment of a key that a file system takes as a name, in bytes: `NAME_MAX` of Linux.
pub(crate) const SEGMENT_MAX: usize = 255;

/// Why a path of the local disk has no key. The caller can rename it or pass `--as`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NamingError {
    /// The path has no last component: it is the root of the file system.
    #[error("this directory has no name of its own")]
    NoName,
    /// A part of the key is no name of a file anywhere: whoever gets the tree could not write it.
    #[error("a part of its key has {len} bytes; file systems take {SEGMENT_MAX}")]
    LongSegment {
        /// Bytes of that part, in the form that it has in the key.
        len: usize,
    },
    /// The path is too long, or otherwise no key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The key of a path, and what the key does not say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) key: Key,
    /// The bytes of the last segments, from the first on whose bytes are not those in the key.
    pub(crate) raw: Option<Vec<u8>>,
}

impl Named {
    /// What the caller calls it.
    pub(crate) fn given(key: Key) -> Result<Named, NamingError> {
        match key.as_str().split('/').map(str::len).find(|len| *len > SEGMENT_MAX) {
            Some(len) => Err(NamingError::LongSegment { len }),
            None => Ok(Named { key, raw: None }),
        }
    }

    /// A root by its own name.
    pub(crate) fn root(name: &OsStr) -> Result<Named, NamingError> {
        let segment = escaped(name.as_bytes());
        let raw = (segment.as_bytes() != name.as_bytes()).then(|| name.as_bytes().to_vec());
        Ok(Named { raw, ..Named::given(Key::new(&segment)?)? })
    }

    /// An entry of a directory of this name.
    pub(crate) fn child(&self, name: &OsStr) -> Result<Named, NamingError> {
        let segment = escaped(name.as_bytes());
        if segment.len() > SEGMENT_MAX {
            return Err(NamingError::LongSegment { len: segment.len() });
        }
        let raw = match &self.raw {
            Some(raw) => Some([raw, &b"/"[..], name.as_bytes()].concat()),
            None if segment.as_bytes() == name.as_bytes() => None,
            None => Some(name.as_bytes().to_vec()),
        };
        Ok(Named { key: Key::new(&format!("{}/{segment}", self.key))?, raw })
    }
}

/// A name as a segment of a key. A name in UTF-8 stays as it is, unless it looks like one that does not:
/// bytes that are not UTF-8 are written as `\xE9`, and so are backslashes that stand before an `x` and two
/// such digits. So no two names share a segment.
pub(crate) fn escaped(name: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(name)
        && !(0..name.len()).any(|at| is_escape(&name[at..]))
    {
        return text.to_owned();
    }
    let mut segment = String::with_capacity(name.len() + 3);
    for chunk in name.utf8_chunks() {
        let valid = chunk.valid();
        for (at, letter) in valid.char_indices() {
            // What looks like an escape may reach beyond the valid part: digits are valid.
            match is_escape(&valid.as_bytes()[at..]) {
                true => segment.push_str("\\x5C"),
                false => segment.push(letter),
            }
        }
        for byte in chunk.invalid() {
            segment.push_str(&format!("\\x{byte:02X}"));
        }
    }
    segment
}

/// True of bytes that begin with a backslash, an `x` and two digits as [`escaped`] writes them.
fn is_escape(bytes: &[u8]) -> bool {
    let digit = |byte: &u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(byte);
    matches!(bytes, [b'\\', b'x', high, low, ..] if digit(high) && digit(low))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn name(bytes: &[u8]) -> &OsStr {
        OsStr::from_bytes(bytes)
    }

    #[test]
    fn a_tree_is_named_after_its_directory() {
        let root = Named::root(name(b"Photos")).unwrap();
        assert_eq!((root.key.as_str(), &root.raw), ("Photos", &None));
        let photo = root.child(name(b"2024")).unwrap().child(name(b"a.jpg")).unwrap();
        assert_eq!((photo.key.as_str(), photo.raw), ("Photos/2024/a.jpg", None));
    }

    /// Fault case 83: names that no key can have are told apart from keys that are too long.
    #[test]
    fn names_without_a_key_say_why() {
        let mut deep = Named::root(name(b"r")).unwrap();
        for _ in 0..4 {
            deep = deep.child(name(&[b'x'; 200])).unwrap();
        }
        let refused = deep.child(name(&[b'x'; 255]));
        assert_eq!(refused, Err(NamingError::Key(KeyError::TooLong { len: 1 + 4 * 201 + 256 })));
        let refused = deep.child(name(&[0xff; 64]));
        assert_eq!(refused, Err(NamingError::LongSegment { len: 256 }));
        let long = Key::new(&format!("a/{}", "n".repeat(256))).unwrap();
        assert_eq!(Named::given(long), Err(NamingError::LongSegment { len: 256 }));
        assert!(Named::given(Key::new(&"n".repeat(255)).unwrap()).is_ok());
    }

    #[test]
    fn names_that_are_not_utf8_have_keys_that_can_be_typed() {
        let odd = Named::root(name(b"t")).unwrap().child(name(b"caf\xe9")).unwrap();
        assert_eq!(odd.key.as_str(), "t/caf\\xE9");
        assert_eq!(odd.raw.as_deref(), Some(&b"caf\xe9"[..]));
        let below = odd.child(name(b"x")).unwrap();
        assert_eq!(below.key.as_str(), "t/caf\\xE9/x");
        assert_eq!(below.raw.as_deref(), Some(&b"caf\xe9/x"[..]));
    }

    #[test]
    fn no_two_names_share_a_segment() {
        let pieces: [&[u8]; 8] =
            [b"\\", b"x", b"4", b"E", b"\xe9", b"\xff", b"\\x5C", "é".as_bytes()];
        let mut seen: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for number in 0..8_usize.pow(5) {
            let parts = (0..5).map(|at| pieces[number / 8_usize.pow(at) % 8]);
            let name = parts.collect::<Vec<_>>().concat();
            let segment = escaped(&name);
            let other = seen.entry(segment.clone()).or_insert_with(|| name.clone());
            assert_eq!(*other, name, "{segment}");
        }
        for plain in ["a\\b", "\\x", "\\xe9", "x41", "ä"] {
            assert_eq!(escaped(plain.as_bytes()), plain);
        }
        assert_eq!(escaped(b"\\x41"), "\\x5Cx41");
    }
}
