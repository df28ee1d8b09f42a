//! Power cuts.

use super::*;
use stash_disk::Fault;

/// Runs until the power goes at operation `at`: false once `at` is beyond the end.
fn cut(seed: u64, disk_seed: u64, at: u64) -> bool {
    let context = format!("seed {seed}, disk {disk_seed}, cut at {at}");
    let disk = MemDisk::new(disk_seed.wrapping_add(at));
    let directory = place(&disk);
    disk.inject(at, Fault::PowerCut);
    let mut history = BTreeMap::from([(0, Map::new())]);
    let mut bounds = (0, 0);
    if let Ok(mut pair) = Pair::open(directory, seed) {
        for _ in 0..200 {
            if pair.step().is_err() {
                break;
            }
        }
        if disk.is_powered() {
            return false;
        }
        bounds = (pair.durable, pair.waiting.unwrap_or(pair.durable));
        history = pair.frozen;
    }
    disk.restart();
    let open = Pair::open(place(&disk), seed ^ at);
    let mut pair = open.unwrap_or_else(|e| panic!("{context}: {e}"));
    let found = number(pair.tree.head());
    assert!(found == bounds.0 || found == bounds.1, "{context}: head {found} of {bounds:?}");
    (pair.map, pair.durable, pair.frozen) = (history[&found].clone(), found, history);
    pair.check(&context);
    let mut cursor = TreeCursor::default();
    while let Some((next, _)) = pair.tree.verify(cursor, 1 << 16).unwrap() {
        cursor = next;
    }
    let known = disk.files().len() as u64;
    assert!(known <= pair.tree.stats().runs + 1, "{context}: {known} files are left");
    for _ in 0..20 {
        pair.step().unwrap_or_else(|e| panic!("{context}, later: {e}"));
    }
    pair.check(&context);
    true
}

#[test]
fn after_a_power_cut_at_any_operation_the_tree_is_as_its_head_says() {
    // Fault cases 74, 75, 88.
    let seed = seed(11);
    for disk in 0..4 {
        let mut at = 1;
        while cut(seed + disk % 2, disk * 1000, at) {
            at += 1;
        }
        assert!(at > 60, "only {at} operations");
    }
}

#[test]
fn a_power_cut_while_wiping_leaves_the_old_tree_or_none() {
    let seed = seed(13);
    for (at, disk) in (1..16).flat_map(|at| (0..8).map(move |disk| (at, disk))) {
        let context = format!("seed {seed}, disk {disk}, cut at {at}");
        let disk = MemDisk::new(seed + disk);
        let mut pair = Pair::open(place(&disk), seed).unwrap();
        for _ in 0..4 {
            pair.publish();
            pair.freeze();
            pair.checkpoint().unwrap();
        }
        disk.inject(at, Fault::PowerCut);
        let wiped = Tree::wipe(&pair.directory).is_ok();
        disk.restart();
        pair.directory = place(&disk);
        pair.reopen().unwrap_or_else(|e| panic!("{context}: {e}"));
        assert!(!wiped || pair.durable == 0, "{context}");
        pair.check(&context);
    }
}

#[test]
fn a_second_cut_while_opening_loses_nothing_either() {
    let seed = seed(12);
    for at in 1..12 {
        let disk = MemDisk::new(seed + at);
        let mut pair = Pair::open(place(&disk), seed).unwrap();
        for _ in 0..5 {
            pair.publish();
            pair.freeze();
            pair.checkpoint().unwrap();
        }
        // Between the run and HEAD, so that the next open has a file to remove.
        pair.publish();
        pair.freeze();
        disk.inject(4, Fault::PowerCut);
        pair.checkpoint().unwrap_err();
        disk.restart();
        let directory = place(&disk);
        disk.inject(at, Fault::PowerCut);
        let _ = Tree::open(&directory, KEY, LIMITS);
        disk.restart();
        pair.directory = place(&disk);
        pair.reopen().unwrap();
        assert!(pair.durable >= 5);
        pair.check(&format!("seed {seed}, cut at {at}"));
    }
}
