//! Parts of every file of the tree: numbers of variable length, and tags.

/// Bytes at the start of a key by which filters know it: enough for a byte that names a table, and a hash.
pub const PREFIX: usize = 33;

/// Bytes of a tag. A flipped bit passes once in 2^64; nobody is kept out by it.
pub(crate) const TAG: usize = 8;
/// Bytes that are hashed beside those that a tag is for: file, place, and length.
pub(crate) const BOUND: usize = 3 * 8;
/// Bytes of a chunk of BLAKE3.
const CHUNK: usize = 1024;

/// Bytes that no file of this version has. A tag was right, so a program is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Appends a number, seven bits a byte, lowest first.
pub(crate) fn put_number(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n.to_le_bytes()[0] | 0x80);
        n >>= 7;
    }
    out.push(n.to_le_bytes()[0]);
}

/// Takes a number from `at` on. There is one encoding for each.
pub(crate) fn number(bytes: &[u8], at: &mut usize) -> Result<u64, Malformed> {
    let mut n = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at).ok_or(Malformed)?;
        *at += 1;
        let part = u64::from(byte & 0x7f);
        if part << shift >> shift != part || (byte == 0 && shift > 0) {
            return Err(Malformed);
        }
        n |= part << shift;
        if byte < 0x80 {
            return Ok(n);
        }
    }
    Err(Malformed)
}

/// Takes a number that counts bytes in memory.
pub(crate) fn length(bytes: &[u8], at: &mut usize) -> Result<usize, Malformed> {
    usize::try_from(number(bytes, at)?).map_err(|_| Malformed)
}

/// The keys of one tree.
#[derive(Clone, Copy)]
pub(crate) struct Keys {
    tag: [u8; 32],
    filter: [u64; 2],
}

const TAG_CONTEXT: &str = "stash-store 2026-11 index tree tag key";
const FILTER_CONTEXT: &str = "stash-store 2026-11 index tree filter key";

/// An odd number without pattern (of the golden ratio): a product with it mixes all bits.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

fn fold(a: u64, b: u64) -> u64 {
    let product = (u128::from(a) * u128::from(b)).to_le_bytes();
    let (low, high) = product.split_at(8);
    word(low) ^ word(high)
}

/// Up to eight bytes as a number, little-endian.
pub(crate) fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

impl Keys {
    pub(crate) fn new(key: &[u8; 32]) -> Keys {
        let filter = blake3::derive_key(FILTER_CONTEXT, key);
        Keys {
            tag: blake3::derive_key(TAG_CONTEXT, key),
            filter: [word(&filter[..8]), word(&filter[8..16])],
        }
    }

    /// The tag of bytes at one place of one file. What is hashed is the bytes, zeros, file, place
    /// and length, in whole chunks of BLAKE3: it takes four whole ones at once, and others one by
    /// one, which takes nearly three times as long for a block.
    pub(crate) fn tag(&self, file: u64, at: u64, bytes: &[u8]) -> [u8; TAG] {
        let whole = (bytes.len() + BOUND).next_multiple_of(CHUNK);
        let mut message = Vec::with_capacity(whole);
        message.extend_from_slice(bytes);
        message.resize(whole - BOUND, 0);
        for word in [file, at, bytes.len() as u64] {
            message.extend_from_slice(&word.to_le_bytes());
        }
        let hash = blake3::keyed_hash(&self.tag, &message);
        let mut tag = [0; TAG];
        tag.copy_from_slice(&hash.as_bytes()[..TAG]);
        tag
    }

    /// The bytes before the tag at the end of `stored`, if the tag is right.
    pub(crate) fn untag<'a>(&self, file: u64, at: u64, stored: &'a [u8]) -> Option<&'a [u8]> {
        let (bytes, tag) = stored.split_at_checked(stored.len().checked_sub(TAG)?)?;
        (self.tag(file, at, bytes) == tag).then_some(bytes)
    }

    /// The hash by which a filter knows a key: of its first [`PREFIX`] bytes.
    pub(crate) fn filter_hash(&self, key: &[u8]) -> u64 {
        let key = &key[..key.len().min(PREFIX)];
        let words = key.chunks(8).map(word);
        let sum = words.fold(self.filter[0] ^ key.len() as u64, |sum, word| fold(sum ^ word, MIX));
        fold(sum ^ self.filter[1], MIX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_a_round_trip_and_have_one_encoding() {
        for n in [0, 1, 127, 128, 300, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX]
        {
            let mut bytes = Vec::new();
            put_number(&mut bytes, n);
            let mut at = 0;
            assert_eq!(number(&bytes, &mut at), Ok(n));
            assert_eq!(at, bytes.len());
            for end in 0..bytes.len() {
                assert_eq!(number(&bytes[..end], &mut 0), Err(Malformed), "{n} cut at {end}");
            }
        }
        assert_eq!(number(&[0x80, 0], &mut 0), Err(Malformed), "a longer zero");
        assert_eq!(number(&[0xff; 9].map(|b| b), &mut 0), Err(Malformed));
        let mut over = [0xff; 10];
        over[9] = 2;
        assert_eq!(number(&over, &mut 0), Err(Malformed), "more than 64 bits");
    }

    #[test]
    fn a_tag_holds_for_its_file_its_place_and_its_bytes_alone() {
        let (keys, others) = (Keys::new(&[1; 32]), Keys::new(&[2; 32]));
        let mut stored = b"bytes".to_vec();
        stored.extend_from_slice(&keys.tag(3, 4, b"bytes"));
        assert_eq!(keys.untag(3, 4, &stored), Some(&b"bytes"[..]));
        assert_eq!(keys.untag(4, 4, &stored), None);
        assert_eq!(keys.untag(3, 5, &stored), None);
        assert_eq!(others.untag(3, 4, &stored), None);
        assert_eq!(keys.untag(3, 4, &stored[1..]), None);
        assert_ne!(keys.tag(3, 4, b"bytes"), keys.tag(3, 4, b"bytes\0"), "zeros count");
        assert_eq!(keys.untag(3, 4, &stored[..7]), None);
    }

    #[test]
    fn the_filter_hash_is_of_the_first_33_bytes() {
        let keys = Keys::new(&[1; 32]);
        let long = [7; 80];
        assert_eq!(keys.filter_hash(&long), keys.filter_hash(&long[..PREFIX]));
        assert_ne!(keys.filter_hash(&long), keys.filter_hash(&long[..PREFIX - 1]));
        assert_ne!(keys.filter_hash(&[0; 8]), keys.filter_hash(&[0; 9]));
    }
}
