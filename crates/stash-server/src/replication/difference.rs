//! Finding out in which records two members differ, without naming those that both hold.
//!
//! Record hashes spread evenly, so they fall into 256 parts by their first byte and into 65,536 by
//! the first two. Parts are compared by the sums of what they hold, from the whole to the small; of
//! the smallest that differ, the hashes themselves are told. A million records against a million
//! that differ in ten cost about 27 KiB; in a hundred thousand, about 18 MB. Pure: what is held
//! comes through [`Hashes`].

use std::collections::BTreeSet;

use stash_crypto::RecordHash;

/// Bytes of a sum on the wire. Cheating with it is of no use: a forged sum only keeps records from
/// the member that forged it.
pub(crate) const SUM: usize = 8;

/// Parts that one question goes into: their sums fill half of a message.
pub(crate) const PARTS: usize = 64;

/// Smallest parts whose hashes one question asks for.
pub(crate) const SMALL: usize = 4_096;

/// Bytes of hashes in one answer, counts left out. A part that has more is told up to here: who
/// makes so many records that begin alike has them compared in part.
const ANSWER: usize = 192 << 10;

/// Most differing parts of which whole hashes are told, which saves a question; of more, half of
/// each hash is told, which saves bytes.
const FEW: usize = 256;

/// Bytes of half a hash: enough that no two records share it unless somebody made them so.
pub(crate) const HALF: usize = 16;

/// Record hashes that a member holds, by prefix, in order.
pub(crate) trait Hashes {
    type Error;

    /// Calls `visit` with every hash that begins with `prefix`, in order.
    fn under(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8; 32])) -> Result<(), Self::Error>;
}

impl Hashes for stash_store::Store {
    type Error = stash_store::ReadError;

    fn under(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8; 32])) -> Result<(), Self::Error> {
        self.record_hashes_under(prefix, visit)
    }
}

/// The prefixes of a question for sums.
pub(crate) fn prefixes(packed: &[u8], length: u8) -> Option<Vec<Vec<u8>>> {
    match length {
        0 => packed.is_empty().then(|| vec![Vec::new()]),
        1 => (packed.len() <= PARTS).then(|| packed.iter().map(|byte| vec![*byte]).collect()),
        _ => None,
    }
}

/// The parts of a question for hashes.
pub(crate) fn parts(packed: &[u8], size: u8) -> Option<Vec<[u8; 2]>> {
    let (parts, rest) = packed.as_chunks::<2>();
    let good = rest.is_empty() && (1..=SMALL).contains(&parts.len());
    (good && matches!(usize::from(size), HALF | 32)).then(|| parts.to_vec())
}

/// The halves of hashes in a question for the whole ones.
pub(crate) fn halves(packed: &[u8]) -> Option<Vec<[u8; HALF]>> {
    let (halves, rest) = packed.as_chunks::<HALF>();
    (rest.is_empty() && halves.len() <= SMALL).then(|| halves.to_vec())
}

/// The sums of the 256 parts of each prefix, 8 bytes each, side by side.
pub(crate) fn sums<H: Hashes>(hashes: &H, prefixes: &[Vec<u8>]) -> Result<Vec<u8>, H::Error> {
    let mut bytes = Vec::with_capacity(prefixes.len() * 256 * SUM);
    for prefix in prefixes {
        let mut parts = vec![(0u128, 0u64); 256];
        hashes.under(prefix, &mut |hash| {
            let (sum, count) = &mut parts[usize::from(hash[prefix.len()])];
            let half = hash.first_chunk::<16>().expect("half of 32");
            *sum = sum.wrapping_add(u128::from_le_bytes(*half));
            *count += 1;
        })?;
        for (sum, count) in parts {
            let mixed = blake3::hash(&[&sum.to_le_bytes()[..], &count.to_le_bytes()].concat());
            bytes.extend_from_slice(&mixed.as_bytes()[..SUM]);
        }
    }
    Ok(bytes)
}

/// The parts whose sums differ, one byte longer than their prefixes.
pub(crate) fn differing(prefixes: &[Vec<u8>], mine: &[u8], theirs: &[u8]) -> Vec<Vec<u8>> {
    let pairs = mine.chunks(SUM).zip(theirs.chunks(SUM)).enumerate();
    let differ = pairs.filter(|(_, (mine, theirs))| mine != theirs);
    let part = |(at, _): (usize, _)| {
        let next = u8::try_from(at % 256).expect("a remainder of 256 is a byte");
        prefixes.get(at / 256).map(|prefix| [&prefix[..], &[next]].concat())
    };
    differ.filter_map(part).collect()
}

/// Bytes of each hash that are told, given how many parts differ.
pub(crate) fn told(parts: usize) -> usize {
    if parts <= FEW { 32 } else { HALF }
}

/// The hashes, or the first `size` bytes of each, in the first of these parts, as many as fit: for
/// each part a count (u16, little-endian), then the hashes in order. Returns also the number of
/// these parts.
pub(crate) fn list<H: Hashes>(
    hashes: &H,
    parts: &[[u8; 2]],
    size: usize,
) -> Result<(Vec<u8>, usize), H::Error> {
    let (mut bytes, mut done) = (Vec::new(), 0);
    for part in parts {
        let begin = bytes.len();
        bytes.extend_from_slice(&[0; 2]);
        let mut count = 0u16;
        hashes.under(part, &mut |hash| {
            if usize::from(count) < ANSWER / size {
                count += 1;
                bytes.extend_from_slice(&hash[..size]);
            }
        })?;
        bytes[begin..begin + 2].copy_from_slice(&count.to_le_bytes());
        if bytes.len() > ANSWER && done > 0 {
            bytes.truncate(begin);
            break;
        }
        done += 1;
    }
    Ok((bytes, done))
}

/// Records in some parts that one of two members has and the other has not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Held here and not there.
    pub(crate) here: Vec<RecordHash>,
    /// Held there and not here: the first bytes of each hash, as many as were told.
    pub(crate) there: Vec<Vec<u8>>,
}

/// Compares what is held here in these parts with what a member told of them. `None` if that is not
/// what [`list`] makes.
pub(crate) fn difference<H: Hashes>(
    hashes: &H,
    parts: &[[u8; 2]],
    size: usize,
    told: &[u8],
) -> Result<Option<Difference>, H::Error> {
    let (mut rest, mut found) = (told, Difference::default());
    for part in parts {
        let Some((count, more)) = rest.split_first_chunk::<2>() else {
            return Ok(None);
        };
        let count = usize::from(u16::from_le_bytes(*count));
        let Some((list, more)) = more.split_at_checked(count * size) else {
            return Ok(None);
        };
        rest = more;
        let mut theirs: BTreeSet<&[u8]> = list.chunks(size).collect();
        if theirs.iter().any(|hash| !hash.starts_with(part)) {
            return Ok(None);
        }
        // Of a part that was told up to the limit, nothing is known beyond.
        let end = theirs.last().copied().filter(|_| count >= ANSWER / size).map(<[u8]>::to_vec);
        hashes.under(part, &mut |hash| {
            let told = end.as_ref().is_none_or(|end| hash[..size] <= end[..]);
            if !theirs.remove(&hash[..size]) && told {
                found.here.push(RecordHash::from_bytes(*hash));
            }
        })?;
        found.there.extend(theirs.into_iter().map(<[u8]>::to_vec));
    }
    Ok(rest.is_empty().then_some(found))
}

#[cfg(test)]
mod tests;
