//! Where a file lies: SHA-1 of its key, split into nested directories.

use std::path::PathBuf;

use sha1::{Digest, Sha1};

use crate::hex;

/// A layout of directories for 40-digit SHA-1 names: `levels` directories of `digits` digits each.
///
/// The default, one level of 2, gives 256 directories, which are soon all there: nothing has to be made for a
/// new file, and one directory synced. Stores from before have 2 by 2. 5 by 8 is the layout of the
/// project's seed: all 40 digits become directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nest {
    digits: u8,
    levels: u8,
}

/// The two numbers do not describe a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a layout of {levels} levels of {digits} digits does not fit the 40 digits of a SHA-1")]
pub struct NestError {
    /// Digits a level, as given.
    pub digits: u8,
    /// Levels, as given.
    pub levels: u8,
}

impl Nest {
    /// The layout of the project's seed: 8 levels of 5 digits.
    pub const SEED: Nest = Nest { digits: 5, levels: 8 };

    /// `digits` from 1 to 40 a level, `levels` from 0 to 40, at most 40 digits together.
    pub fn new(digits: u8, levels: u8) -> Result<Nest, NestError> {
        let total = u32::from(digits) * u32::from(levels);
        if digits == 0 || total > 40 {
            return Err(NestError { digits, levels });
        }
        Ok(Nest { digits, levels })
    }

    /// Digits a level.
    pub const fn digits(self) -> u8 {
        self.digits
    }

    /// Levels of directories.
    pub const fn levels(self) -> u8 {
        self.levels
    }
}

impl Default for Nest {
    fn default() -> Nest {
        Nest { digits: 2, levels: 1 }
    }
}

/// The relative path of a file: its directories, then the full 40 digits as its name.
///
/// ```
/// use stash_store::{Nest, nest};
/// let path = nest(&[0xab; 20], Nest::default());
/// assert_eq!(path.to_str().unwrap(), format!("ab/{}", "ab".repeat(20)));
/// ```
pub fn nest(sha1: &[u8; 20], layout: Nest) -> PathBuf {
    let name = hex::encode(sha1);
    let mut path = PathBuf::new();
    for level in 0..usize::from(layout.levels) {
        let start = level * usize::from(layout.digits);
        path.push(&name[start..start + usize::from(layout.digits)]);
    }
    path.push(name);
    path
}

/// SHA-1 only spreads files over directories here; nothing trusts it.
pub(crate) fn sha1_of(key: &[u8]) -> [u8; 20] {
    Sha1::digest(key).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seed's rule, written as the seed wrote it (`CASPathTransform`): hash the key, take the
    /// hex text in blocks of five, join the blocks with '/', and use the whole text as file name.
    fn seeds_rule(key: &str) -> String {
        let hash = hex::encode(&sha1_of(key.as_bytes()));
        let block_size = 5;
        let mut blocks = Vec::new();
        for i in 0..hash.len() / block_size {
            blocks.push(&hash[i * block_size..(i + 1) * block_size]);
        }
        format!("{}/{hash}", blocks.join("/"))
    }

    #[test]
    fn the_seed_layout_follows_the_seeds_rule() {
        for key in ["", "momsbestpicture", "a/b/c", "picture_19.png"] {
            let path = nest(&sha1_of(key.as_bytes()), Nest::SEED);
            assert_eq!(path.to_str().unwrap(), seeds_rule(key), "key {key:?}");
        }
    }

    #[test]
    fn a_known_key_lands_where_the_seeds_own_test_says() {
        let path = nest(&sha1_of(b"momsbestpicture"), Nest::SEED);
        assert_eq!(
            path.to_str().unwrap(),
            "68044/29f74/181a6/3c50c/3d81d/733a1/2f14a/353ff/\
             6804429f74181a63c50c3d81d733a12f14a353ff"
        );
    }

    #[test]
    fn layouts_that_do_not_fit_are_refused() {
        assert!(Nest::new(5, 8).is_ok());
        assert!(Nest::new(40, 1).is_ok());
        assert!(Nest::new(2, 0).is_ok());
        assert_eq!(Nest::new(5, 9), Err(NestError { digits: 5, levels: 9 }));
        assert_eq!(Nest::new(0, 2), Err(NestError { digits: 0, levels: 2 }));
    }
}
