//! What the fuzzer runs, without a fuzzer.

use stash_fuzz::{Corpus, seed};

use crate::common::power;

#[test]
fn a_power_cut_leaves_nothing_that_nobody_has_written() {
    let write = |file: u8, at: u16, byte: u8, len: u8| {
        let [low, high] = at.to_le_bytes();
        vec![0, file, low, high, byte, len]
    };
    let row = |steps: &[Vec<u8>]| [vec![1; 8], steps.concat()].concat();
    let (sync, cut, all, none) = (vec![2, 0], vec![3, 0], vec![3, 200], vec![3, 100]);
    let first = write(0, 0, 1, 255);
    let seeds = [
        ("empty", vec![]),
        ("synced", row(&[first.clone(), sync.clone(), none.clone()])),
        ("torn", row(&[first.clone(), sync, write(0, 700, 2, 200), cut.clone(), cut.clone()])),
        ("several", row(&[first, write(1, 9, 3, 9), write(2, 4000, 4, 9), all, cut, none])),
    ]
    .map(|(name, bytes): (_, Vec<u8>)| seed(name, bytes));
    Corpus::open(env!("CARGO_MANIFEST_DIR"), "power_cuts", power::run, &seeds).run(2_000);
}
