//! Showing a piece of a chunk to somebody who knows nothing of it but its address.
//!
//! An address is the root of a BLAKE3 tree over the sealed bytes, with leaves of 1,024 bytes (the paper's section 2.1). Bytes of
//! a leaf, with the chaining values of the subtrees beside its way to the root, verify against that root alone. The last leaf is shown as
//! well, which shows how many leaves there are: else whoever shows could choose among them by a false length.

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};
use stash_crypto::Address;

/// Bytes of a leaf. The last one may have fewer.
const LEAF: u64 = blake3::CHUNK_LEN as u64;

/// Shows the leaf that was drawn, and the last one.
pub(crate) fn show(sealed: &[u8], draw: u32) -> Vec<u8> {
    let len = u32::try_from(sealed.len()).expect("a chunk has 4 MiB at most");
    let mut shown = len.to_le_bytes().to_vec();
    let leaves = Leaves::drawn(len.into(), draw);
    show_subtree(sealed, 0, leaves, &mut shown);
    shown
}

/// True if this shows the leaf that was drawn of the bytes with this address.
pub(crate) fn is_shown(address: &Address, draw: u32, shown: &[u8]) -> bool {
    root(draw, shown).is_some_and(|root| root == blake3::Hash::from_bytes(*address.as_bytes()))
}

/// The leaves to show: where each begins.
#[derive(Clone, Copy)]
struct Leaves([u64; 2]);

impl Leaves {
    /// The leaf on which a draw falls, and the last one.
    fn drawn(len: u64, draw: u32) -> Leaves {
        let count = len.div_ceil(LEAF).max(1);
        Leaves([u64::from(draw) % count * LEAF, (count - 1) * LEAF])
    }

    fn some_in(self, offset: u64, len: u64) -> bool {
        self.0.iter().any(|leaf| (offset..offset + len.max(1)).contains(leaf))
    }
}

fn chaining_value(bytes: &[u8], offset: u64) -> ChainingValue {
    blake3::Hasher::new().set_input_offset(offset).update(bytes).finalize_non_root()
}

/// From the left to the right: leaves as they are, and the chaining values of subtrees without one.
fn show_subtree(bytes: &[u8], offset: u64, leaves: Leaves, shown: &mut Vec<u8>) {
    let len = bytes.len() as u64;
    if !leaves.some_in(offset, len) {
        shown.extend(chaining_value(bytes, offset));
    } else if len <= LEAF {
        shown.extend(bytes);
    } else {
        let middle = left_subtree_len(len);
        let (left, right) = bytes.split_at(usize::try_from(middle).expect("less than bytes.len()"));
        show_subtree(left, offset, leaves, shown);
        show_subtree(right, offset + middle, leaves, shown);
    }
}

/// The root that follows from what is shown; `None` if it is too short or too long.
fn root(draw: u32, shown: &[u8]) -> Option<blake3::Hash> {
    let (len, mut rest) = shown.split_first_chunk()?;
    let len = u64::from(u32::from_le_bytes(*len));
    let leaves = Leaves::drawn(len, draw);
    let root = if len <= LEAF {
        blake3::hash(take(&mut rest, len)?)
    } else {
        let (left, right) = children(len, 0, leaves, &mut rest)?;
        merge_subtrees_root(&left, &right, Mode::Hash)
    };
    rest.is_empty().then_some(root)
}

fn subtree(len: u64, offset: u64, leaves: Leaves, rest: &mut &[u8]) -> Option<ChainingValue> {
    if !leaves.some_in(offset, len) {
        return take(rest, 32)?.try_into().ok();
    }
    if len <= LEAF {
        return Some(chaining_value(take(rest, len)?, offset));
    }
    let (left, right) = children(len, offset, leaves, rest)?;
    Some(merge_subtrees_non_root(&left, &right, Mode::Hash))
}

fn children(
    len: u64,
    offset: u64,
    leaves: Leaves,
    rest: &mut &[u8],
) -> Option<(ChainingValue, ChainingValue)> {
    let middle = left_subtree_len(len);
    let left = subtree(middle, offset, leaves, rest)?;
    Some((left, subtree(len - middle, offset + middle, leaves, rest)?))
}

fn take<'a>(rest: &mut &'a [u8], len: u64) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    use rand::rngs::StdRng;
    use rand::{Rng, RngExt, SeedableRng};

    /// Nothing, one leaf and its edges, shapes of two to five leaves with a short last one, and what chunks have.
    const SIZES: [usize; 15] = [
        0,
        1,
        63,
        64,
        1_023,
        1_024,
        1_025,
        2_047,
        2_048,
        2_049,
        3_072,
        4_097,
        5_120,
        65_537,
        1 << 20,
    ];

    fn bytes(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().update(b"chunk").finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn every_leaf_of_every_size_verifies_against_the_address_alone() {
        for len in SIZES {
            let (sealed, count) = (bytes(len), len.div_ceil(1_024).max(1));
            let address = Address::of(&sealed);
            for leaf in 0..u32::try_from(count).unwrap() {
                let shown = show(&sealed, leaf);
                assert!(is_shown(&address, leaf, &shown), "leaf {leaf} of {len}");
                let begin = leaf as usize * 1_024;
                let piece = &sealed[begin..len.min(begin + 1_024)];
                assert!(
                    shown.windows(piece.len().max(1)).any(|window| window == piece) || len == 0
                );
                assert!(shown.len() <= 4 + 2 * 1_024 + 2 * 32 * 12, "{}", shown.len());
            }
            // A draw falls on one of them.
            let last = u32::MAX % u32::try_from(count).unwrap();
            assert_eq!(show(&sealed, u32::MAX), show(&sealed, last));
        }
    }

    #[test]
    fn no_flipped_bit_cut_or_more_bytes_verify() {
        for len in SIZES.into_iter().filter(|len| *len <= 5_120) {
            let sealed = bytes(len);
            let address = Address::of(&sealed);
            for leaf in 0..u32::try_from(len.div_ceil(1_024).max(1)).unwrap() {
                let shown = show(&sealed, leaf);
                for bit in 0..shown.len() * 8 {
                    let mut wrong = shown.clone();
                    wrong[bit / 8] ^= 1 << (bit % 8);
                    assert!(!is_shown(&address, leaf, &wrong), "bit {bit}, leaf {leaf} of {len}");
                }
                for cut in 0..shown.len() {
                    assert!(!is_shown(&address, leaf, &shown[..cut]), "{cut} bytes");
                }
                assert!(!is_shown(&address, leaf, &[&shown[..], &[0]].concat()));
                let other = Address::of(&[&sealed[..], &[0]].concat());
                assert!(!is_shown(&other, leaf, &shown));
            }
        }
    }

    // Computed by another program, from the BLAKE3 paper and `docs/protocol.md` B.9.
    #[test]
    fn what_is_shown_is_as_the_document_says() {
        let sealed: Vec<u8> = (0..5_000_u32).map(|at| (at % 251) as u8).collect();
        let address = "ee78d92070de3df1c57c37002abf0a6b1a6589acdeef4d8ffac7cf3d9e8f2836";
        assert_eq!(blake3::hash(&sealed).to_hex().as_str(), address);
        let shown = show(&sealed, 6);
        assert_eq!(shown.len(), 4 + 32 + 1_024 + 32 + 904, "leaves 1 and 4 of 5");
        assert_eq!(shown[36..1_060], sealed[1_024..2_048]);
        let frozen = "0cb04f5da4fd6c8d8633f323654bdd85e57d08e9cfc344cf660f165d9cfaad12";
        assert_eq!(blake3::hash(&shown).to_hex().as_str(), frozen);
    }

    #[test]
    fn random_leaves_of_large_chunks_verify_and_random_changes_do_not() {
        let seed = rand::rng().random();
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        for len in [1 << 20, (4 << 20) + 48] {
            let sealed = bytes(len);
            let address = Address::of(&sealed);
            for _ in 0..50 {
                let draw = rng.next_u32();
                let shown = show(&sealed, draw);
                assert!(is_shown(&address, draw, &shown));
                let mut wrong = shown.clone();
                let at = rng.random_range(0..wrong.len());
                wrong[at] ^= 1 << rng.random_range(0..8);
                assert!(!is_shown(&address, draw, &wrong), "byte {at}");
                assert!(!is_shown(&address, draw.wrapping_add(1), &shown), "another leaf");
            }
        }
    }

    /// A liar that kept the first half cannot choose a leaf of it by a false length.
    #[test]
    fn a_false_length_verifies_for_no_leaf() {
        let sealed = bytes(8_192);
        let address = Address::of(&sealed);
        let draw = 7;
        for len in (0..20_000_u32).filter(|len| *len != 8_192) {
            // The leaf on which the draw falls then, shown as truly as can be.
            let leaves = Leaves::drawn(len.into(), draw);
            let mut shown = len.to_le_bytes().to_vec();
            show_subtree(&sealed, 0, leaves, &mut shown);
            assert!(!is_shown(&address, draw, &shown), "{len}");
            let mut forged = len.to_le_bytes().to_vec();
            show_subtree(&sealed[..sealed.len().min(len as usize)], 0, leaves, &mut forged);
            assert!(!is_shown(&address, draw, &forged), "{len}");
        }
    }

    #[test]
    fn nothing_is_shown_by_a_length_that_the_bytes_do_not_have() {
        for len in [u32::MAX, 1 << 31, 4 << 20, 1_025] {
            assert!(root(5, &len.to_le_bytes()).is_none());
            assert!(root(5, &[&len.to_le_bytes()[..], &[0; 40]].concat()).is_none());
        }
        assert!(root(0, &[]).is_none() && root(0, &[0; 3]).is_none());
    }
}
