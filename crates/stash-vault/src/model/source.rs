//! Which key a path of the local disk gets. Pure: paths in, keys out.

use std::ffi::OsStr;
use std::path::Path;

use stash_crypto::Key;
use stash_crypto::record::KeyError;
use thiserror::Error;

/// Why a path of the local disk has no key. The caller can rename it or pass `--as`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NamingError {
    /// The name is not UTF-8; keys are.
    #[error("the name is not UTF-8")]
    NotUtf8,
    /// The path has no last component: it is the root of the file system.
    #[error("this directory has no name of its own")]
    NoName,
    /// The path is too long, or otherwise no key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The key of a root: its base name in canonical form.
pub(crate) fn root_key(canonical: &Path) -> Result<Key, NamingError> {
    let name = canonical.file_name().ok_or(NamingError::NoName)?;
    Ok(Key::new(utf8(name)?)?)
}

/// The key of a directory entry below the key of its directory.
pub(crate) fn child_key(parent: &Key, name: &OsStr) -> Result<Key, NamingError> {
    Ok(Key::new(&format!("{parent}/{}", utf8(name)?))?)
}

fn utf8(name: &OsStr) -> Result<&str, NamingError> {
    name.to_str().ok_or(NamingError::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn a_tree_is_named_after_its_directory() {
        let root = root_key(Path::new("/home/me/Photos")).unwrap();
        assert_eq!(root.as_str(), "Photos");
        let year = child_key(&root, OsStr::new("2024")).unwrap();
        assert_eq!(child_key(&year, OsStr::new("a.jpg")).unwrap().as_str(), "Photos/2024/a.jpg");
    }

    /// Fault case 83: names that no key can have are told apart from keys that are too long.
    #[test]
    fn names_without_a_key_say_why() {
        let root = Key::new("r").unwrap();
        let bytes = OsStr::from_bytes(b"caf\xe9");
        assert_eq!(child_key(&root, bytes), Err(NamingError::NotUtf8));
        assert_eq!(root_key(Path::new("/")), Err(NamingError::NoName));
        let long = "x".repeat(1023);
        let refused = child_key(&root, OsStr::new(&long));
        assert_eq!(refused, Err(NamingError::Key(KeyError::TooLong { len: 1025 })));
    }
}
