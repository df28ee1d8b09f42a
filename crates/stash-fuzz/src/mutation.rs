//! Seeded changes of an input.

/// Bytes of a mutated input at most, unless the one that it is made from is longer.
const LONGEST: usize = 4096;

/// Values at the edges of the fields that lengths and counts stand in.
const EDGES: [u64; 12] =
    [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000, 0x7fff_ffff, 0xffff_ffff, 1 << 63, u64::MAX];

/// One of the inputs, changed in up to eight places. `inputs` is not empty.
pub(crate) fn of(inputs: &[&[u8]], random: &mut Random) -> Vec<u8> {
    let mut bytes = random.pick(inputs).to_vec();
    let longest = LONGEST.max(bytes.len());
    for _ in 0..1 << random.below(4) {
        let other = *random.pick(inputs);
        mutate(&mut bytes, other, random);
    }
    bytes.truncate(longest);
    bytes
}

fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    let scale = random.below(10);
    let len = random.below(1 << scale).min(bytes.len() - at);
    match random.below(8) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        1 if at < bytes.len() => bytes[at] = random.byte(),
        2 => {
            let edge = random.pick(&EDGES).to_le_bytes();
            let width = (1 << random.below(4)).min(bytes.len() - at);
            bytes[at..at + width].copy_from_slice(&edge[..width]);
        }
        3 => drop(bytes.drain(at..at + len)),
        4 => {
            let more: Vec<u8> = (0..len.max(1)).map(|_| random.byte()).collect();
            bytes.splice(at..at, more);
        }
        5 if bytes.len() < LONGEST => {
            let again = bytes[at..at + len].to_vec();
            bytes.splice(at..at, again);
        }
        6 => {
            let from = random.below(other.len() + 1);
            let part = &other[from..other.len().min(from + random.below(256))];
            bytes.splice(at..at + len, part.iter().copied());
        }
        _ => bytes.truncate(at),
    }
}

/// SplitMix64: small, and the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).expect("it is below a usize")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_gives_the_same_mutations_and_another_one_others() {
        let some = |seed| {
            let mut random = Random(seed);
            (0..200).map(|_| of(&[&b"abcdef"[..], b""], &mut random)).collect::<Vec<_>>()
        };
        assert_eq!(some(1), some(1));
        assert_ne!(some(1), some(2));
        assert!(some(1).into_iter().collect::<BTreeSet<_>>().len() > 100);
    }

    #[test]
    fn no_mutation_is_longer_than_the_limit_or_its_input() {
        let long = vec![7; LONGEST + 9];
        let mut random = Random(1);
        for _ in 0..2_000 {
            assert!(of(&[&long], &mut random).len() <= long.len());
            assert!(of(&[&long[..LONGEST - 9]], &mut random).len() <= LONGEST);
        }
    }
}
