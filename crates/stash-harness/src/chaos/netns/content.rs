//! Contents of puts: they say which put they came from, and every byte follows from that.

use anyhow::{Context, Result, ensure};
use rand::Rng;

use crate::tree;

/// Sizes, taken in turn: most lie inside a record, some are a chunk, and one is two chunks.
const SIZES: [usize; 16] =
    [64, 900, 64, 4096, 64, 30_000, 64, 4097, 64, 900, 64, 70_000, 64, 300_000, 64, 1_300_000];

/// Bytes of the number at the front.
const NUMBER: usize = 8;

/// The contents of one run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Contents {
    pub(super) seed: u64,
}

impl Contents {
    /// The content of the put of this number; no two are alike.
    pub(super) fn of(self, number: u64) -> Vec<u8> {
        let turn = usize::try_from(number % SIZES.len() as u64).unwrap_or_default();
        let mut bytes = vec![0; SIZES[turn]];
        let (front, rest) = bytes.split_at_mut(NUMBER);
        front.copy_from_slice(&number.to_be_bytes());
        tree::rng(self.seed ^ number).fill_bytes(rest);
        bytes
    }

    /// Which put this came from; fails unless every byte is that of the put.
    pub(super) fn number(self, bytes: &[u8]) -> Result<u64> {
        let front = bytes.first_chunk::<NUMBER>().context("too short for a content")?;
        let number = u64::from_be_bytes(*front);
        ensure!(
            bytes == self.of(number),
            "{} bytes that begin as put {number} does are not its content",
            bytes.len()
        );
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_says_where_it_came_from_and_no_byte_of_it_may_change() {
        let contents = Contents { seed: 5 };
        for number in 0..SIZES.len() as u64 {
            let mut bytes = contents.of(number);
            assert_eq!(contents.number(&bytes).unwrap(), number);
            *bytes.last_mut().unwrap() ^= 1;
            assert!(contents.number(&bytes).is_err(), "put {number}");
            bytes.pop();
            assert!(contents.number(&bytes).is_err(), "put {number}");
        }
        assert!(contents.number(&[1; 7]).is_err());
    }
}
