//! A block: entries in the order of their keys, each without what its key shares with the last.

use std::ops::Range;

use crate::codec::{Malformed, length, put_number};

/// Makes blocks.
///
/// An entry is: how many bytes its key shares with the one before, how many it has beside them,
/// the length of its value and one, or zero if the key is removed; then those bytes and the value.
#[derive(Default)]
pub(crate) struct Packer {
    body: Vec<u8>,
    last: Vec<u8>,
}

/// The number of bytes that two keys have in common at their start.
pub(crate) fn shared(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl Packer {
    /// Appends an entry. Its key is after all before it.
    pub(crate) fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        let shared = if self.body.is_empty() { 0 } else { shared(&self.last, key) };
        put_number(&mut self.body, shared as u64);
        put_number(&mut self.body, (key.len() - shared) as u64);
        put_number(&mut self.body, value.map_or(0, |value| value.len() as u64 + 1));
        self.body.extend_from_slice(&key[shared..]);
        self.body.extend_from_slice(value.unwrap_or_default());
        self.last.truncate(shared);
        self.last.extend_from_slice(&key[shared..]);
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// The last key pushed, of this block or the one before.
    pub(crate) fn last(&self) -> &[u8] {
        &self.last
    }

    /// Begins a new block.
    pub(crate) fn clear(&mut self) {
        self.body.clear();
    }
}

/// Reads a block from its start. The block is an argument: who reads one often owns it as well.
#[derive(Default)]
pub(crate) struct Walk {
    at: usize,
    key: Vec<u8>,
    value: Range<usize>,
    live: bool,
}

impl Walk {
    /// Goes to the next entry, the first one at first. False at the end.
    pub(crate) fn step(&mut self, body: &[u8]) -> Result<bool, Malformed> {
        if self.at == body.len() {
            return Ok(false);
        }
        let first = self.at == 0;
        let mut at = self.at;
        let shared = length(body, &mut at)?;
        let unshared = length(body, &mut at)?;
        let value = length(body, &mut at)?;
        let key_end = at.checked_add(unshared).ok_or(Malformed)?;
        let end = key_end.checked_add(value.saturating_sub(1)).ok_or(Malformed)?;
        let rest = body.get(at..key_end).ok_or(Malformed)?;
        // Keys ascend, and share as much as they can.
        let ascends = self.key.get(shared) < rest.first() && shared <= self.key.len();
        if end > body.len() || (first && shared > 0) || (!first && !ascends) {
            return Err(Malformed);
        }
        self.key.truncate(shared);
        self.key.extend_from_slice(rest);
        (self.at, self.value, self.live) = (end, key_end..end, value > 0);
        Ok(true)
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// `None` for a key that is removed.
    pub(crate) fn value<'a>(&self, body: &'a [u8]) -> Option<&'a [u8]> {
        if self.live { body.get(self.value.clone()) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs = Vec<(Vec<u8>, Option<Vec<u8>>)>;

    fn read(body: &[u8]) -> Result<Pairs, Malformed> {
        let (mut walk, mut pairs) = (Walk::default(), Vec::new());
        while walk.step(body)? {
            pairs.push((walk.key().to_vec(), walk.value(body).map(<[u8]>::to_vec)));
        }
        Ok(pairs)
    }

    fn pack(pairs: &Pairs) -> Vec<u8> {
        let mut packer = Packer::default();
        for (key, value) in pairs {
            packer.push(key, value.as_deref());
        }
        packer.body().to_vec()
    }

    fn pairs() -> Pairs {
        vec![
            (b"".to_vec(), Some(b"nothing before".to_vec())),
            (b"a".to_vec(), None),
            (b"a\0".to_vec(), Some(b"".to_vec())),
            (b"abc".to_vec(), Some(vec![7; 300])),
            (b"abd".to_vec(), Some(b"x".to_vec())),
            ([&b"abd"[..], &[9; 200]].concat(), None),
            (b"b".to_vec(), Some(vec![0; 70_000])),
        ]
    }

    #[test]
    fn a_block_survives_a_round_trip() {
        assert_eq!(read(&pack(&pairs())), Ok(pairs()));
        assert_eq!(read(&[]), Ok(vec![]));
    }

    #[test]
    fn a_second_block_begins_with_a_whole_key() {
        let mut packer = Packer::default();
        packer.push(b"abc", None);
        packer.clear();
        assert_eq!(packer.last(), b"abc");
        packer.push(b"abd", None);
        assert_eq!(read(packer.body()), Ok(vec![(b"abd".to_vec(), None)]));
    }

    #[test]
    fn a_block_cut_short_is_malformed_or_ends_at_an_entry() {
        let (pairs, body) = (pairs(), pack(&pairs()));
        for end in 0..body.len().min(1000) {
            if let Ok(read) = read(&body[..end]) {
                assert_eq!(read, pairs[..read.len()], "cut at {end}");
            }
        }
    }

    #[test]
    fn keys_that_do_not_ascend_or_share_too_little_are_malformed() {
        for body in [
            &[0, 1, 0, b'b', 0, 1, 0, b'a'][..],
            &[0, 1, 0, b'b', 0, 1, 0, b'b'],
            &[0, 1, 0, b'b', 1, 0, 0],
            &[0, 1, 0, b'b', 2, 1, 0, b'b'],
            &[0, 1, 0, b'b', 0, 2, 0, b'b', b'c'],
            &[1, 1, 0, b'b'],
        ] {
            assert_eq!(read(body), Err(Malformed), "{body:?}");
        }
    }
}
