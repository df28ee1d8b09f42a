//! The targets of fuzzers over the whole store, without a fuzzer.

use stash_fuzz::{Corpus, seed};

use crate::common::{Random, directory, operations};

/// Steps of the user, each with its decisions.
fn steps(seed: u64, count: usize) -> Vec<u8> {
    let mut random = Random(seed);
    (0..count).flat_map(|_| [vec![0], random.bytes(operations::STEP)].concat()).collect()
}

// Fault cases 44, 74, 75, 76, 79, 88.
#[test]
fn a_store_and_its_model_agree_through_any_row_of_operations() {
    let row = |parts: &[&[u8]]| parts.concat();
    let (some, more) = (steps(1, 12), steps(2, 12));
    let seeds = [
        seed("steps", row(&[&some, &[16], &more, &[17], &some])),
        seed("index-lost", row(&[&some, &[24], &more])),
        seed("restarts", row(&[&some, &[18], &more, &[18], &some])),
        seed("refused-power", row(&[&some, &[19, 9], &more, &[19, 30], &some])),
        seed("refused-full", row(&[&some, &[22, 0, 8], &more, &[23], &some])),
        seed("refused-errors", row(&[&some, &[20, 3, 1], &more, &[17], &[21, 5, 2], &some])),
    ];
    Corpus::open(env!("CARGO_MANIFEST_DIR"), "operations", operations::run, &seeds).run(300);
}

// Fault cases 51, 78.
#[test]
fn no_change_of_its_files_makes_a_store_panic_or_give_a_wrong_byte() {
    let change = |file: u8, other: u8, at: u32, kind: u8, rest: &[u8]| {
        [&[file, other][..], &at.to_le_bytes(), &[kind], rest].concat()
    };
    let open = |open: u8, changes: &[Vec<u8>]| [&[open], &changes.concat()[..]].concat();
    let seeds = [
        seed("nothing", [0]),
        seed("flips", open(1, &[change(2, 0, 0, 0, &[9, 1, 0, 0]), change(5, 0, 0, 0, &[7; 4])])),
        seed("cut", open(0, &[change(3, 0, 300, 2, &[]), change(4, 0, 0, 2, &[])])),
        seed("removed", open(0, &[change(6, 0, 0, 4, &[]), change(2, 0, 0, 4, &[])])),
        seed("exchanged", open(0, &[change(3, 4, 0, 6, &[]), change(5, 6, 0, 10, &[])])),
        seed("copied", open(0, &[change(3, 4, 280, 7, &[0, 1, 0, 0, 0, 1])])),
        seed("zeros", open(1, &[change(1, 0, 300, 8, &[0, 1])])),
        seed("unexpected", open(0, &[change(3, 0, 0, 9, &[0x82, 1]), change(1, 0, 0, 9, &[1, 7])])),
        seed("another-key", open(0, &[change(0, 0, 0, 11, &[64, 1])])),
    ];
    Corpus::open(env!("CARGO_MANIFEST_DIR"), "directory", directory::run, &seeds).run(300);
}
