//! Above a quota.

use stash_store::room::{Allowance, Shortage};
use stash_store::{
    Address, Batch, Blob, CommitError, Committer, MemDisk, Options, Quota, Room, StageError, Store,
};

use crate::common::{Random, dir, put, read, record};
use crate::{ANNOUNCED, evict, hard, is_settled, names, options};

#[test]
fn a_hard_quota_refuses_exactly_above_it() {
    let disk = MemDisk::new(1);
    let store = Store::create(dir(), &options(&disk)).unwrap();
    for (len, cost) in [(5000, 5000 + ANNOUNCED), (500, 32 + 32 + 500 + 4 + 72)] {
        let used = store.stats().used_bytes;
        let bytes = Random(len).bytes(usize::try_from(len).unwrap());
        let limit = used + cost - 1;
        store.set_quota(hard(limit));
        let error = store.stage(Blob::hash(bytes.clone())).unwrap_err();
        let StageError::NoRoom(Shortage::Quota { used: said, limit: allowed }) = error else {
            panic!("{error}")
        };
        assert_eq!((said, allowed), (used, limit));
        assert!(error.is_full() && error.to_string().contains("raise the quota"), "{error}");
        assert_eq!((store.stats().used_bytes, names(&disk, "tmp/")), (used, 0));
        assert!(matches!(store.stats().room, Room::Refusing(Shortage::Quota { .. })));
        store.set_quota(hard(used + cost));
        put(&store, &bytes);
        assert_eq!(store.stats().used_bytes, used + cost);
        // What is here takes no room.
        put(&store, &bytes);
    }
    is_settled(&store);
}

#[test]
fn above_the_quota_records_and_manifests_are_refused_and_other_batches_are_not() {
    let disk = MemDisk::new(1);
    let store = Store::create(dir(), &options(&disk)).unwrap();
    let (held, other) = (put(&store, b"held"), put(&store, b"other"));
    store.set_quota(hard(store.stats().used_bytes));
    for batch in [
        Batch::new().record(record(1, &[], b"r")),
        Batch::new().manifest(held, Vec::new()).row(b"k", Some(b"v")),
    ] {
        let error = store.commit(batch).unwrap_err();
        assert!(
            matches!(error, CommitError::NoRoom(Shortage::Quota { .. })) && error.is_full(),
            "{error}"
        );
    }
    assert_eq!(store.row(b"k").unwrap(), None);
    store.commit(Batch::new().row(b"k", Some(b"v"))).unwrap();
    store.commit(evict(held)).unwrap();
    store.commit(Batch::new().record(record(2, &[], b"tombstone")).even_if_full()).unwrap();
    store.flush().unwrap();
    assert_eq!(read(&store, &other), Some(b"other".to_vec()));
    is_settled(&store);
}

#[test]
fn the_soft_quota_is_said_and_refuses_nothing() {
    let disk = MemDisk::new(1);
    let store = Store::create(dir(), &options(&disk)).unwrap();
    assert_eq!(store.stats().room, Room::Enough);
    let soft = store.stats().used_bytes + 1000;
    store.set_quota(Quota { soft: Some(soft), ..Quota::default() });
    put(&store, &Random(1).bytes(500));
    assert_eq!(store.stats().room, Room::Enough);
    put(&store, &Random(2).bytes(5000));
    let stats = store.stats();
    assert_eq!(stats.room, Room::AboveSoft { used: stats.used_bytes, soft });
    assert!(stats.room.to_string().contains("run a collection"), "{}", stats.room);
    assert_eq!(stats.quota.soft, Some(soft));
}

#[test]
fn what_many_threads_put_stays_within_the_hard_quota() {
    let disk = MemDisk::new(1);
    let limit = 400_000;
    let options = Options { quota: hard(limit), committer: Committer::Thread, ..options(&disk) };
    let store = Store::create(dir(), &options).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let store = &store;
            scope.spawn(move || {
                let mut random = Random(thread);
                for n in 0..100 {
                    let len = usize::try_from(random.below(3000)).unwrap();
                    let staged = store.stage(Blob::hash(random.bytes(len)));
                    assert!(staged.as_ref().map_or_else(StageError::is_full, |_| true));
                    let entry = record(thread * 1000 + n, &[], &random.bytes(100));
                    let committed = store.commit(Batch::new().record(entry));
                    assert!(committed.as_ref().map_or_else(CommitError::is_full, |_| true));
                    assert!(store.stats().used_bytes <= limit);
                }
            });
        }
    });
    store.flush().unwrap();
    is_settled(&store);
    let used = store.stats().used_bytes;
    assert!(used > limit - 5000 && used <= limit, "{used}");
}

#[test]
fn records_have_an_allowance_beyond_the_quota_and_half_of_it_is_for_endings() {
    let disk = MemDisk::new(1);
    let store = Store::create(dir(), &options(&disk)).unwrap();
    for n in 0..24 {
        put(&store, &Random(n).bytes(60_000));
    }
    // A sixteenth of it is the allowance.
    let limit = store.stats().used_bytes;
    store.set_quota(hard(limit));
    let commit = |n: u64, allowance| {
        let entry = record(n, &[], &Random(n).bytes(200));
        store.commit(Batch::new().record(entry).with_allowance(allowance))
    };
    assert!(commit(1, Allowance::None).unwrap_err().is_full());
    let mut n = 1;
    for (allowance, part) in [(Allowance::Records, 32), (Allowance::Endings, 16)] {
        assert!(store.has_room(400, allowance));
        while commit(n, allowance).is_ok() {
            n += 1;
        }
        let beyond = store.stats().used_bytes - limit;
        assert!(beyond <= limit / part && beyond > limit / part - 800, "{beyond} of {limit}");
        assert!(!store.has_room(400, allowance) && !store.has_room(400, Allowance::None));
    }
    // What gives room back is taken all the same, and within the quota the allowance is whole again.
    for n in 1..n {
        let gone = record(n, &[], &Random(n).bytes(200)).hash;
        store.commit(Batch::new().drop_record(gone).even_if_full()).unwrap();
    }
    store.set_quota(hard(2 * limit));
    commit(n, Allowance::None).unwrap();
    store.set_quota(hard(store.stats().used_bytes));
    commit(n + 1, Allowance::Records).unwrap();
    is_settled(&store);
}

#[test]
fn a_batch_of_which_nothing_is_written_uses_none_of_the_allowance() {
    let disk = MemDisk::new(1);
    let store = Store::create(dir(), &options(&disk)).unwrap();
    put(&store, &Random(1).bytes(1000));
    store.commit(Batch::new().record(record(1, &[], &Random(1).bytes(200)))).unwrap();
    let used = store.stats().used_bytes;
    // A byte above: within it, the allowance would be whole again after each commit.
    store.set_quota(hard(used - 1));
    // More of either than the whole allowance, which is 64 KiB.
    for n in 2..400 {
        let batch = |n| Batch::new().record(record(n, &[], &Random(n).bytes(200)));
        let known = batch(1).with_allowance(Allowance::Records);
        assert_eq!(store.commit(known).unwrap().new_records, 0);
        let refused = batch(n).require(Address::of(b"nowhere"));
        let error = store.commit(refused.with_allowance(Allowance::Endings)).unwrap_err();
        assert!(matches!(error, CommitError::MissingChunk { .. }), "after {n}: {error}");
    }
    assert_eq!(store.stats().used_bytes, used);
    let entry = record(400, &[], &Random(400).bytes(200));
    store.commit(Batch::new().record(entry).with_allowance(Allowance::Records)).unwrap();
    is_settled(&store);
}

#[test]
fn a_quota_of_almost_nothing_leaves_room_to_learn_of_endings() {
    let disk = MemDisk::new(1);
    let store = Store::create(dir(), &options(&disk)).unwrap();
    put(&store, &Random(1).bytes(1000));
    let limit = store.stats().used_bytes;
    store.set_quota(hard(limit));
    let mut n = 1;
    for (allowance, most) in [(Allowance::Records, 32 << 10), (Allowance::Endings, 64 << 10)] {
        while let entry = record(n, &[], &Random(n).bytes(200))
            && store.commit(Batch::new().record(entry).with_allowance(allowance)).is_ok()
        {
            n += 1;
        }
        let beyond = store.stats().used_bytes - limit;
        assert!(beyond <= most && beyond > most - 800, "{beyond} of {limit}");
    }
}

#[test]
fn room_that_is_kept_for_a_blob_is_nobody_elses_and_is_given_back() {
    let disk = MemDisk::new(1);
    let store = Store::create(dir(), &options(&disk)).unwrap();
    let bytes = [5000, 500].map(|len| Random(len).bytes(usize::try_from(len).unwrap()));
    for bytes in &bytes {
        let len = bytes.len() as u64;
        store.set_quota(hard(store.stats().used_bytes + len + 300));
        let kept = store.reserve(len).unwrap();
        assert!(store.reserve(len).unwrap_err().is_full());
        assert!(store.stage(Blob::hash(Random(9).bytes(bytes.len()))).unwrap_err().is_full());
        kept.stage(Blob::hash(bytes.clone())).unwrap();
        store.flush().unwrap();
        assert!(store.reserve(len).unwrap_err().is_full());
        store.set_quota(hard(store.stats().used_bytes + len + 300));
        drop(store.reserve(len).unwrap());
        drop(store.reserve(len).unwrap());
        is_settled(&store);
    }
}

#[test]
fn who_was_refused_hears_when_there_is_more_room() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    let disk = MemDisk::new(1);
    let store = Store::create(dir(), &options(&disk)).unwrap();
    let address = put(&store, &Random(1).bytes(5000));
    let heard = Arc::new(AtomicU64::new(0));
    let hook = Arc::clone(&heard);
    store.on_room(move || {
        hook.fetch_add(1, Ordering::Relaxed);
    });
    store.commit(evict(address)).unwrap();
    assert_eq!(heard.load(Ordering::Relaxed), 0, "nobody was refused");
    let address = put(&store, &Random(1).bytes(5000));
    store.set_quota(hard(store.stats().used_bytes));
    assert_eq!(heard.swap(0, Ordering::Relaxed), 1, "another quota");
    assert!(store.reserve(4000).is_err());
    store.commit(evict(address)).unwrap();
    assert!(heard.load(Ordering::Relaxed) > 0);
    drop(store.reserve(4000).unwrap());
}
