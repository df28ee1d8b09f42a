//! Answers of a tree.

use super::*;
use stash_disk::RealDisk;

fn like_the_map(directory: Directory, seed: u64, steps: u64) {
    let mut pair = Pair::open(directory, seed).unwrap();
    let mut most = 0;
    for step in 0..steps {
        pair.step().unwrap();
        most = most.max(pair.tree.stats().runs);
        if step % 5 == 0 {
            pair.check(&format!("seed {seed}, step {step}"));
        }
    }
    assert!(most >= 4, "no more than {most} runs");
    assert!(pair.durable > 10, "{} checkpoints", pair.durable);
}

#[test]
fn a_tree_answers_as_a_map_does() {
    let seed = seed(1);
    for n in 0..4 {
        like_the_map(place(&MemDisk::new(n)), seed + n, 400);
    }
}

#[test]
fn a_tree_on_a_real_disk_answers_as_a_map_does() {
    let dir = tempfile::tempdir().unwrap();
    let path = RealDisk.resolve(dir.path()).unwrap().join("index");
    like_the_map(Directory::new(Arc::new(RealDisk), path), seed(2), 300);
}

#[test]
fn changes_on_top_are_answered_and_not_kept() {
    let seed = seed(3);
    let mut pair = Pair::open(place(&MemDisk::new(0)), seed).unwrap();
    for _ in 0..60 {
        pair.step().unwrap();
        let before = pair.map.clone();
        let over = pair.changes();
        for _ in 0..30 {
            let key = pair.random.key();
            assert_eq!(pair.tree.get_over(&over, &key).unwrap().as_ref(), pair.map.get(&key));
            let mut got = Vec::new();
            let mut visit = |key: &[u8], _: &[u8]| {
                got.push(key.to_vec());
                true
            };
            pair.tree.scan_prefix_over(&over, &key, &mut visit).unwrap();
            let under = pair.map.keys().filter(|k| k.starts_with(&key));
            assert!(got.iter().eq(under), "seed {seed}");
        }
        let mut got = Map::new();
        let mut visit =
            |key: &[u8], value: &[u8]| got.insert(key.to_vec(), value.to_vec()).is_none();
        pair.tree.scan_over(&over, &[], &mut visit).unwrap();
        assert!(got == pair.map, "seed {seed}");
        pair.map = before;
        assert!(all(&pair.tree).unwrap() == pair.map, "seed {seed}");
    }
}

/// Publishes so many entries of a hash and 40 bytes, and checkpoints them.
fn flush(tree: &Tree, numbers: std::ops::Range<u64>) {
    let mut changes = Changes::default();
    for n in numbers.clone() {
        changes.insert(blake3::hash(&n.to_le_bytes()).as_bytes(), vec![n.to_le_bytes()[0]; 40]);
    }
    tree.publish(changes);
    assert!(tree.freeze(numbers.end.to_le_bytes().to_vec()));
    assert!(tree.checkpoint().unwrap());
}

#[test]
fn a_scan_under_a_prefix_goes_on_where_a_page_of_memory_ends_before_a_run() {
    let tree = Tree::open(&place(&MemDisk::new(0)), KEY, LIMITS).unwrap();
    let mut changes = Changes::default();
    changes.insert(&[2], vec![]);
    tree.publish(changes);
    assert!(tree.freeze(vec![]));
    tree.checkpoint().unwrap();
    let mut changes = Changes::default();
    (0..200).for_each(|n| changes.insert(&[1, n], vec![]));
    tree.publish(changes);
    let mut seen = 0;
    tree.scan_prefix(&[1], &mut |_, _| {
        seen += 1;
        true
    })
    .unwrap();
    assert_eq!(seen, 200);
}

#[test]
fn a_scan_may_change_the_tree_that_it_goes_through() {
    let directory = place(&MemDisk::new(0));
    let tree = Tree::open(&directory, KEY, LIMITS).unwrap();
    for n in 0..10 {
        flush(&tree, n * 1000..(n + 1) * 1000);
    }
    let (mut seen, mut last) = (0, Vec::new());
    tree.scan(&[], &mut |key, _| {
        assert!(*last < *key);
        (last, seen) = (key.to_vec(), seen + 1);
        if seen % 700 == 0 {
            let mut changes = Changes::default();
            changes.remove(key);
            // Before where the scan is: it must not be seen any more.
            changes.insert(&[], vec![]);
            tree.publish(changes);
            tree.freeze(b"during".to_vec());
            tree.checkpoint().unwrap();
            tree.merge(&|| Ok(())).unwrap();
        }
        true
    })
    .unwrap();
    assert_eq!(seen, 10_000);
    assert!(tree.stats().runs < 10, "merges happened");
    assert_eq!(all(&tree).unwrap().len(), 10_000 - 14 + 1);
}

#[test]
fn merges_drop_what_is_removed_and_keep_the_files_few() {
    let disk = MemDisk::new(0);
    let directory = place(&disk);
    let tree = Tree::open(&directory, KEY, LIMITS).unwrap();
    for n in 0..30 {
        flush(&tree, n * 100..(n + 1) * 100);
        while tree.merge(&|| Ok(())).unwrap() {}
        assert!(tree.stats().runs < 5);
    }
    assert_eq!(tree.stats().entries, 3000);
    let mut changes = Changes::default();
    all(&tree).unwrap().keys().for_each(|key| changes.remove(key));
    tree.publish(changes);
    for n in 0..6 {
        assert!(tree.freeze(vec![n]));
        tree.checkpoint().unwrap();
        let mut one = Changes::default();
        one.insert(&[n], vec![]);
        tree.publish(one);
        while tree.merge(&|| Ok(())).unwrap() {}
    }
    assert!(tree.stats().entries < 10, "{:?}", tree.stats());
    assert_eq!(disk.files().len() as u64, tree.stats().runs + 1, "the runs and HEAD");
}

#[test]
fn a_merge_above_an_older_run_keeps_what_is_removed_removed() {
    let directory = place(&MemDisk::new(0));
    let mut tree = Tree::open(&directory, KEY, LIMITS).unwrap();
    flush(&tree, 0..40_000);
    let older = tree.below().runs[0].path.clone();
    assert!(tree.below().runs[0].len > 1 << 20, "of a higher tier");
    let mut map = all(&tree).unwrap();
    for n in 0..5 {
        let mut changes = Changes::default();
        for key in map.keys().skip(n).step_by(1000).cloned().collect::<Vec<_>>() {
            changes.remove(&key);
            map.remove(&key);
        }
        tree.publish(changes);
        assert!(tree.freeze(vec![]));
        tree.checkpoint().unwrap();
    }
    for merged in [true, false] {
        assert_eq!(tree.merge(&|| Ok(())).unwrap(), merged);
        assert_eq!((tree.stats().runs, &tree.below().runs[1].path), (2, &older));
        assert!(all(&tree).unwrap() == map);
        tree = Tree::open(&directory, KEY, LIMITS).unwrap();
    }
}

#[test]
fn what_comes_while_runs_are_merged_stays() {
    // Fault case 109.
    let mut pair = Pair::open(place(&MemDisk::new(0)), seed(4)).unwrap();
    for _ in 0..5 {
        pair.publish();
        pair.freeze();
        pair.checkpoint().unwrap();
    }
    let more = Cell::new(Some([0; 3].map(|_| pair.changes())));
    let (tree, durable) = (&pair.tree, pair.durable + 1);
    let merged = tree.merge_unless(&|| {
        if let Some([first, second, third]) = more.take() {
            tree.publish(first);
            assert!(tree.freeze(durable.to_le_bytes().to_vec()));
            assert!(tree.checkpoint().unwrap());
            tree.publish(second);
            assert!(tree.freeze((durable + 1).to_le_bytes().to_vec()));
            tree.publish(third);
        }
        Ok(false)
    });
    assert!(merged.unwrap());
    assert_eq!((number(tree.head()), tree.stats().runs), (durable, 2));
    pair.check("after the merge");
    assert!(pair.tree.checkpoint().unwrap());
    assert!(pair.tree.freeze((durable + 2).to_le_bytes().to_vec()));
    assert!(pair.tree.checkpoint().unwrap());
    pair.tree = Tree::open(&pair.directory, KEY, LIMITS).unwrap();
    pair.check("reopened");
}

#[test]
fn merging_everything_away_leaves_no_run() {
    let disk = MemDisk::new(0);
    let directory = place(&disk);
    let tree = Tree::open(&directory, KEY, LIMITS).unwrap();
    flush(&tree, 0..10);
    for n in 0..4 {
        let mut changes = Changes::default();
        (0..10u64).for_each(|n| changes.remove(blake3::hash(&n.to_le_bytes()).as_bytes()));
        tree.publish(changes);
        assert!(tree.freeze(vec![n]));
        tree.checkpoint().unwrap();
    }
    assert!(tree.merge(&|| Ok(())).unwrap());
    assert_eq!((tree.stats().runs, disk.files().len()), (0, 1));
    drop(tree);
    let tree = Tree::open(&directory, KEY, LIMITS).unwrap();
    assert_eq!((tree.head(), all(&tree).unwrap().len()), (Some(vec![3]), 0));
}

#[test]
fn a_checkpoint_of_no_changes_carries_its_head() {
    let directory = place(&MemDisk::new(0));
    let tree = Tree::open(&directory, KEY, LIMITS).unwrap();
    assert_eq!(tree.head(), None);
    assert!(tree.freeze(b"head".to_vec()));
    assert!(tree.checkpoint().unwrap());
    assert_eq!(tree.head(), Some(b"head".to_vec()));
    drop(tree);
    let tree = Tree::open(&directory, KEY, LIMITS).unwrap();
    assert_eq!((tree.head(), tree.stats().runs), (Some(b"head".to_vec()), 0));
}

#[test]
fn a_merge_that_is_stopped_changes_nothing() {
    let disk = MemDisk::new(0);
    let tree = Tree::open(&place(&disk), KEY, LIMITS).unwrap();
    (0..6).for_each(|n| flush(&tree, n * 10..(n + 1) * 10));
    let (before, files) = (all(&tree).unwrap(), disk.files());
    tree.stop_merging();
    assert!(!tree.merge(&|| Ok(())).unwrap());
    assert!(all(&tree).unwrap() == before);
    assert_eq!(disk.files(), files);
}

#[test]
fn a_wiped_tree_is_empty_and_gives_its_files_new_numbers() {
    let disk = MemDisk::new(0);
    let directory = place(&disk);
    Tree::wipe(&directory).unwrap();
    let tree = Tree::open(&directory, KEY, LIMITS).unwrap();
    flush(&tree, 0..10);
    let first = disk.files();
    drop(tree);
    Tree::wipe(&directory).unwrap();
    assert_eq!(disk.files(), []);
    let tree = Tree::open(&directory, KEY, TreeLimits { salt: 7 << 42, ..LIMITS }).unwrap();
    assert_eq!((tree.head(), all(&tree).unwrap().len()), (None, 0));
    flush(&tree, 0..10);
    let second = disk.files();
    assert!(
        first
            .iter()
            .all(|(path, _)| path.ends_with("head") || !second.iter().any(|(p, _)| p == path))
    );
}

#[test]
fn files_that_are_not_ours_are_removed_and_directories_left() {
    let disk = MemDisk::new(0);
    let directory = place(&disk);
    let tree = Tree::open(&directory, KEY, LIMITS).unwrap();
    flush(&tree, 0..10);
    let before = disk.files();
    let high = format!("run-{:016x}", u64::from(u32::MAX) << 20);
    for name in [&high, "run-ffffffffffffffff", "run-x", "else"] {
        disk.open(&directory.path().join(name), stash_disk::OpenMode::Create).unwrap();
    }
    disk.create_dir(&directory.path().join("dir")).unwrap();
    drop(tree);
    let tree = Tree::open(&directory, KEY, LIMITS).unwrap();
    assert_eq!(disk.files(), before);
    flush(&tree, 10..20);
    let newest = disk.files().into_iter().map(|(path, _)| path).max().unwrap();
    assert!(newest > directory.path().join(&high), "{newest:?}");
    assert_eq!(all(&tree).unwrap().len(), 20);
}

#[test]
fn the_bytes_of_the_active_table_are_those_of_its_entries() {
    let mut changes = Changes::default();
    changes.insert(b"key", vec![0; 100]);
    let one = changes.bytes();
    assert!(one > 103 && one < 250);
    changes.insert(b"key", vec![0; 10]);
    assert_eq!(changes.bytes(), one - 90);
    changes.remove(b"key");
    assert_eq!(changes.bytes(), one - 100);
    let mut other = Changes::default();
    other.insert(b"key", vec![0; 100]);
    other.insert(b"yek", vec![0; 100]);
    changes.absorb(other);
    assert_eq!((changes.bytes(), changes.len()), (2 * one, 2));
}

#[test]
fn verifying_reads_every_byte_once_and_ends() {
    let disk = MemDisk::new(0);
    let tree = Tree::open(&place(&disk), KEY, LIMITS).unwrap();
    assert_eq!(tree.verify(TreeCursor::default(), 1).unwrap(), None, "an empty tree");
    (0..3).for_each(|n| flush(&tree, n * 20_000..(n + 1) * 20_000));
    for step in [1, 5000, 300_000, u64::MAX] {
        let (mut cursor, mut bytes) = (TreeCursor::default(), 0);
        while let Some((next, done)) = tree.verify(cursor, step).unwrap() {
            assert!(done <= step.saturating_add(70_000) && done > 0);
            (cursor, bytes) = (next, bytes + done);
        }
        assert_eq!(bytes, disk.used(), "in steps of {step}");
    }
}

#[test]
fn a_scan_does_not_read_what_was_removed_behind_its_prefix() {
    let disk = MemDisk::new(0);
    let tree = Tree::open(&place(&disk), KEY, TreeLimits { cache_bytes: 0, ..LIMITS }).unwrap();
    let many: Vec<_> = (0..20_000_u32).map(|n| format!("b/{n:05}")).collect();
    let write = |fill: &dyn Fn(&mut Changes)| {
        let mut changes = Changes::default();
        fill(&mut changes);
        tree.publish(changes);
        tree.freeze(Vec::new());
        tree.checkpoint().unwrap();
    };
    write(&|changes| {
        ["a/1", "a/2", "c"].into_iter().for_each(|key| changes.insert(key.as_bytes(), vec![1]));
        many.iter().for_each(|key| changes.insert(key.as_bytes(), vec![1]));
    });
    write(&|changes| many.iter().for_each(|key| changes.remove(key.as_bytes())));
    for (prefix, from, expected) in
        [("a/", "", 2), ("a/", "a/1x", 1), ("a/", "a/3", 0), ("a/", "b", 0), ("", "c", 1)]
    {
        let (mut found, before) = (0, disk.reads());
        tree.scan_within(prefix.as_bytes(), from.as_bytes(), &mut |_, _| {
            found += 1;
            true
        })
        .unwrap();
        let reads = disk.reads() - before;
        assert_eq!(found, expected, "{prefix} from {from}");
        assert!(reads < 10, "{reads} reads for {prefix} from {from}");
    }
}
