//! Runs a fuzz target without a fuzzer: its committed inputs, and seeded mutations of them.
//!
//! The crates include this file in their tests; it is part of none, and depends on nothing.
#![allow(clippy::unwrap_used, clippy::print_stderr, dead_code, reason = "it is part of tests")]

use std::fs;
use std::path::PathBuf;

/// What fuzzers run: says whether the bytes were accepted, and panics when a promise is broken.
pub(crate) type Target = fn(&[u8]) -> bool;

/// Names of seeds that are not accepted begin so.
const REFUSED: &str = "refused-";

/// Bytes of a mutated input at most, unless the one that it is made from is longer.
const LONGEST: usize = 4096;

/// Values at the edges of the fields that lengths and counts stand in.
const EDGES: [u64; 12] =
    [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000, 0x7fff_ffff, 0xffff_ffff, 1 << 63, u64::MAX];

/// The committed inputs of a target.
pub(crate) struct Corpus {
    target: &'static str,
    run: Target,
    inputs: Vec<(String, Vec<u8>)>,
}

impl Corpus {
    /// Reads `fuzz/corpus/<target>`, which holds at least `seeds`, each under its name. They are
    /// accepted, or else their names say that they are refused: a target that stops at the first
    /// byte of everything is noticed.
    ///
    /// `STASH_WRITE_CORPUS=1` writes those that differ: for new targets and changed formats.
    pub(crate) fn open(target: &'static str, run: Target, seeds: &[(String, Vec<u8>)]) -> Corpus {
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        for (name, bytes) in seeds {
            let path = directory.join(name);
            if std::env::var_os("STASH_WRITE_CORPUS").is_some() {
                fs::create_dir_all(&directory).unwrap();
                fs::write(&path, bytes).unwrap();
            }
            let same = fs::read(&path).is_ok_and(|committed| committed == *bytes);
            assert!(same, "{} is not what the code encodes", path.display());
            assert_eq!(run(bytes), !name.starts_with(REFUSED), "{target}/{name}");
        }
        let files = fs::read_dir(&directory).unwrap_or_else(|e| panic!("{target}: {e}"));
        let mut inputs: Vec<_> = files
            .map(|file| file.unwrap())
            .map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap()))
            .collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "{target} has no inputs");
        Corpus { target, run, inputs }
    }

    /// Runs every committed input, then `mutations` others.
    pub(crate) fn run(&self, mutations: u32) {
        for (name, bytes) in &self.inputs {
            let _told = Told { target: self.target, which: name.clone(), input: bytes };
            (self.run)(bytes);
        }
        let seed = seed();
        let mut random = Random(seed);
        for number in 0..mutations {
            let bytes = self.mutation(&mut random);
            let which = format!("mutation {number} of STASH_SEED={seed}");
            let _told = Told { target: self.target, which, input: &bytes };
            (self.run)(&bytes);
        }
    }

    fn mutation(&self, random: &mut Random) -> Vec<u8> {
        let mut bytes = random.pick(&self.inputs).1.clone();
        let longest = LONGEST.max(bytes.len());
        for _ in 0..1 << random.below(4) {
            let other = &random.pick(&self.inputs).1;
            mutate(&mut bytes, other, random);
        }
        bytes.truncate(longest);
        bytes
    }
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

/// The seed of this run: from the environment to replay, or else always the same.
fn seed() -> u64 {
    let seed = std::env::var("STASH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    eprintln!("replay with STASH_SEED={seed}");
    seed
}

/// Says which input it was if a run panics.
struct Told<'a> {
    target: &'static str,
    which: String,
    input: &'a [u8],
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let hex: String = self.input.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!("target {}, {}: {hex}", self.target, self.which);
        }
    }
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
