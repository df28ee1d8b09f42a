//! Disks that fill and fail.

use std::io::ErrorKind;

use super::*;
use stash_disk::Fault;

/// Runs with an error at operation `at`: false once `at` is beyond the end.
fn fail(seed: u64, kind: ErrorKind, times: u64, at: u64) -> bool {
    let context = format!("seed {seed}, {kind} at {at}");
    let disk = MemDisk::new(at);
    let mut pair = Pair::open(place(&disk), seed).unwrap();
    disk.inject(at, Fault::Error { kind, times });
    let (mut failed, mut synced) = (0, true);
    for _ in 0..120 {
        let (before, durable) = (disk.files(), pair.durable);
        let Err(error) = pair.step() else {
            continue;
        };
        failed += 1;
        match error {
            TreeError::Full(_) => assert_eq!(kind, ErrorKind::StorageFull, "{context}"),
            TreeError::Io(_) => assert_ne!(kind, ErrorKind::StorageFull, "{context}"),
            // Opening failed, and the tree that was open is as it was.
            TreeError::Sync(error) if error.path == Path::new("/s") => {}
            TreeError::Sync(_) => synced = false,
            TreeError::Damaged(what) => panic!("{context}: {what}"),
        }
        if synced && times == 1 && pair.durable == durable {
            assert_eq!(disk.files(), before, "{context}: a partial file is left");
        } else if synced && times == 1 {
            // A merge failed after what came meanwhile was written.
            let known = pair.tree.stats().runs + 1;
            assert_eq!(disk.files().len() as u64, known, "{context}: a partial file is left");
        }
        pair.check(&format!("{context}, in the same run"));
        if !synced {
            break;
        }
    }
    disk.heal();
    if synced {
        pair.checkpoint().unwrap_or_else(|e| panic!("{context}, healed: {e}"));
        pair.freeze();
        pair.checkpoint().unwrap();
    } else {
        assert!(matches!(pair.tree.checkpoint(), Err(TreeError::Sync(_))), "{context}");
        assert!(matches!(pair.tree.merge(&|| Ok(())), Err(TreeError::Sync(_))), "{context}");
    }
    let bounds = (pair.durable, pair.waiting.unwrap_or(pair.durable));
    disk.restart();
    pair.directory = place(&disk);
    pair.reopen().unwrap_or_else(|e| panic!("{context}, restarted: {e}"));
    assert!(pair.durable == bounds.0 || pair.durable == bounds.1, "{context}");
    pair.check(&format!("{context}, restarted"));
    failed > 0
}

#[test]
fn a_disk_that_is_full_or_fails_at_any_operation_loses_nothing() {
    // Fault cases 44, 76, 79.
    let seed = seed(31);
    for (kind, times) in
        [(ErrorKind::StorageFull, 1), (ErrorKind::StorageFull, 4), (ErrorKind::Other, 1)]
    {
        let mut at = 1;
        // An unlink that fails is no error: the file is removed by the next open.
        let mut silent = 0;
        while silent < 40 {
            silent = if fail(seed, kind, times, at) { 0 } else { silent + 1 };
            at += 1;
        }
        assert!(at > 90, "only {at} operations");
    }
}

#[test]
fn a_tree_on_a_full_disk_answers_from_memory_and_goes_on_when_there_is_room() {
    // Fault case 44.
    let disk = MemDisk::new(0);
    let mut pair = Pair::open(place(&disk), seed(32)).unwrap();
    for _ in 0..5 {
        pair.publish();
        pair.freeze();
        pair.checkpoint().unwrap();
    }
    disk.set_capacity(Some(disk.used()));
    pair.publish();
    pair.freeze();
    for _ in 0..3 {
        let files = disk.files();
        assert!(matches!(pair.tree.checkpoint(), Err(TreeError::Full(_))));
        assert_eq!(disk.files(), files);
        pair.publish();
        pair.freeze();
        pair.check("full");
    }
    disk.set_capacity(None);
    pair.checkpoint().unwrap();
    assert!(pair.tree.merge(&|| Ok(())).unwrap());
    pair.freeze();
    pair.checkpoint().unwrap();
    pair.check("with room");
    pair.reopen().unwrap();
    pair.check("reopened");
}
