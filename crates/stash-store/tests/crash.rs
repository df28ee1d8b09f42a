//! Power cuts at every operation of the disk.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use crate::common::model::User;
use crate::common::{Random, dir, inline, seed};
use stash_store::disk::Fault;
use stash_store::{MemDisk, Store};

const STEPS: u32 = 16;

/// Runs a workload that loses power at operation `at`. `false` once `at` is beyond its end.
fn cut_once(seed: u64, at: u64) -> bool {
    let context = format!("seed {seed}, power cut at operation {at}");
    let disk = MemDisk::new(seed.wrapping_mul(1_000_003).wrapping_add(at));
    disk.set_direct(seed.is_multiple_of(2));
    let options = inline(&disk);
    let store = Store::create(dir(), &options).unwrap();
    disk.inject(at, Fault::PowerCut);
    let mut user = User::new(seed);
    let mut cut = false;
    for _ in 0..STEPS {
        if user.step(&store).is_err() {
            cut = true;
            break;
        }
    }
    user.rest();
    drop(store);
    cut |= !disk.is_powered();
    disk.restart();
    // A second cut, while the first is being recovered from.
    let again = Random(at).below(12) + 1;
    disk.inject(again, Fault::PowerCut);
    drop(Store::open(dir(), &options));
    disk.restart();
    let store = Store::open(dir(), &options).unwrap_or_else(|e| panic!("{context}: {e}"));
    assert_eq!(store.open_report().damage, [""; 0], "{context}");
    user.check(&store, &context);
    drop(store);
    let store = Store::open(dir(), &options).unwrap();
    user.check(&store, &format!("{context}, opened again"));
    for _ in 0..4 {
        user.step(&store).unwrap_or_else(|e| panic!("{context}: {e}"));
    }
    user.check(&store, &format!("{context}, used again"));
    cut
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_every_operation() {
    // Fault cases 74, 75, 88.
    let first = seed(1);
    let mut points = 0;
    for seed in first..first + 8 {
        let mut at = 1;
        while cut_once(seed, at) {
            at += 1;
        }
        points += at - 1;
    }
    println!("{points} power cuts");
    assert!(points >= 1000, "only {points} operations were cut");
}

#[test]
fn a_creation_that_is_cut_short_leaves_no_store_or_a_whole_one() {
    let mut at = 1;
    loop {
        let disk = MemDisk::new(at);
        let options = inline(&disk);
        disk.inject(at, Fault::PowerCut);
        let done = Store::create(dir(), &options).is_ok() && disk.is_powered();
        disk.restart();
        let store = Store::open(dir(), &options).or_else(|_| Store::create(dir(), &options));
        assert_eq!(store.unwrap().stats().records, 0, "cut at operation {at}");
        if done {
            assert!(at > 10);
            return;
        }
        at += 1;
    }
}

#[test]
fn a_store_and_its_model_agree_through_random_steps_and_crashes() {
    let first = seed(100);
    for seed in first..first + 12 {
        let mut random = Random(seed);
        let disk = MemDisk::new(seed);
        disk.set_direct(seed.is_multiple_of(2));
        let options = inline(&disk);
        let mut store = Some(Store::create(dir(), &options).unwrap());
        let mut user = User::new(seed);
        for step in 0..60 {
            let context = format!("seed {seed}, step {step}");
            let open = store.as_ref().unwrap();
            if random.below(10) == 0 {
                disk.inject(random.below(40) + 1, Fault::PowerCut);
            }
            if user.step(open).is_ok() && random.below(8) != 0 {
                continue;
            }
            user.rest();
            drop(store.take());
            if random.below(2) == 0 || !disk.is_powered() {
                disk.restart();
            }
            disk.heal();
            if random.below(5) == 0 {
                let _ = stash_store::Disk::remove(&disk, &dir().join("index/head"));
            }
            let open = Store::open(dir(), &options).unwrap_or_else(|e| panic!("{context}: {e}"));
            user.check(&open, &context);
            store = Some(open);
        }
    }
}
