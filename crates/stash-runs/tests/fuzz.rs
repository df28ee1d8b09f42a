//! The targets of the fuzzer, without a fuzzer.

use stash_fuzz::{Corpus, seed};

use crate::common::operations;

/// A change: key `name` of a table, removed if `len` is 0.
fn publish(changes: &[[u8; 4]]) -> Vec<u8> {
    let more = u8::try_from(changes.len() - 1).unwrap();
    [vec![0, more], changes.concat()].concat()
}

#[test]
fn a_tree_is_what_its_head_says_whatever_the_order_of_operations_cuts_and_rot() {
    let row = |steps: &[Vec<u8>]| [vec![1; 8], steps.concat()].concat();
    let (freeze, checkpoint, merge) = (vec![5], vec![7], vec![10]);
    let (reopen, cut, check, flip) = (vec![12], |at| vec![13, at], vec![14], vec![15, 0, 9]);
    let some = publish(&[[0, 1, 1, 1], [1, 20, 255, 2], [2, 33, 9, 3]]);
    let fewer = publish(&[[1, 20, 0, 0], [0, 2, 0, 0]]);
    let written = [some.clone(), freeze.clone(), checkpoint.clone()].concat();
    let seeds = [
        ("empty", vec![]),
        ("written", row(&[written.clone(), check.clone(), reopen.clone()])),
        ("cut", row(&[written.clone(), some.clone(), freeze.clone(), cut(3), checkpoint.clone()])),
        ("merged", row(&[vec![written.clone(); 6].concat(), fewer.clone(), merge.clone(), check])),
        ("cut-merge", row(&[vec![written.clone(); 6].concat(), fewer, cut(5), merge])),
        ("refused-rot", row(&[written, flip, reopen])),
    ]
    .map(|(name, bytes): (_, Vec<u8>)| seed(name, bytes));
    Corpus::open(env!("CARGO_MANIFEST_DIR"), "sorted_runs", operations::run, &seeds).run(10_000);
}
