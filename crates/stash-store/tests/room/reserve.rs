//! Below the reserve that a store leaves of its disk.

use stash_store::room::{Resource, Shortage};
use stash_store::{Batch, Blob, MemDisk, Options, Room, StageError, Store};

use crate::common::{Random, dir, put, read, record};
use crate::{RESERVE, evict, free, inodes, is_settled, names, options, put_until_refused, reserve};

/// Checks what a store that refuses puts still does, and that it takes puts again by itself.
fn refuses_puts_only(disk: &MemDisk, len: usize, what: Resource, more: impl FnOnce()) {
    let store = Store::open(dir(), &options(disk)).unwrap();
    store.set_quota(reserve(RESERVE, 20));
    let (kept, error) = put_until_refused(&store, len);
    let StageError::NoRoom(Shortage::Reserve { what: lacking, .. }) = error else {
        panic!("{error}")
    };
    assert!(lacking == what && kept.len() > 3 && error.is_full(), "{error}, {}", kept.len());
    assert!(error.to_string().contains("free some space"), "{error}");
    let stats = store.stats();
    assert!(matches!(stats.room, Room::Refusing(Shortage::Reserve { .. })), "{:?}", stats.room);
    let space = stats.disk.unwrap();
    assert!(space.free >= RESERVE && space.free_inodes.is_none_or(|n| n >= 20), "{space:?}");
    assert_eq!((stats.read_only, names(disk, "tmp/")), (None, 0));
    store.commit(Batch::new().row(b"k", Some(b"v"))).unwrap();
    store.commit(Batch::new().record(record(9, &[], b"gone")).even_if_full()).unwrap();
    for (address, bytes) in &kept {
        assert_eq!(read(&store, address).as_ref(), Some(bytes));
    }
    // Room that deletions give is taken again, and so is room that comes from elsewhere.
    for (address, _) in &kept[..3] {
        assert_eq!(store.commit(evict(*address)).unwrap().evicted, 1);
    }
    if len >= 1024 {
        assert_eq!(put(&store, &kept[0].1), kept[0].0);
    }
    more();
    let stats = store.stats();
    assert_eq!(stats.room, Room::Enough);
    for (address, bytes) in &kept {
        put(&store, bytes);
        assert_eq!(read(&store, address).as_ref(), Some(bytes));
    }
    is_settled(&store);
}

#[test]
fn below_the_reserve_of_bytes_only_puts_are_refused_until_there_is_room_again() {
    // Fault case 44.
    for len in [500, 3000] {
        let disk = MemDisk::new(1);
        drop(Store::create(dir(), &options(&disk)).unwrap());
        disk.set_capacity(Some(disk.used() + RESERVE + 30_000));
        refuses_puts_only(&disk, len, Resource::Bytes, || disk.set_capacity(None));
    }
}

#[test]
fn below_the_reserve_of_inodes_only_puts_are_refused_until_there_is_room_again() {
    // Fault case 45.
    let disk = MemDisk::new(1);
    drop(Store::create(dir(), &options(&disk)).unwrap());
    disk.set_inodes(Some(inodes(&disk) + 20 + 40));
    refuses_puts_only(&disk, 2000, Resource::Inodes, || disk.set_inodes(None));
}

#[test]
fn the_default_reserve_is_a_part_of_a_small_disk() {
    let disk = MemDisk::new(1);
    disk.set_capacity(Some(1_000_000));
    let store = Store::create(dir(), &options(&disk)).unwrap();
    let (_, error) = put_until_refused(&store, 5000);
    assert!(
        matches!(error, StageError::NoRoom(Shortage::Reserve { reserve: 20_000, .. })),
        "{error}"
    );
    assert!((20_000..30_000).contains(&free(&disk)), "{}", free(&disk));
}

#[test]
fn what_waits_in_memory_does_not_get_below_the_reserve() {
    // Fault case 44.
    let disk = MemDisk::new(1);
    let options = Options { ballast_bytes: 0, ..options(&disk) };
    let store = Store::create(dir(), &options).unwrap();
    store.set_quota(reserve(RESERVE, 0));
    disk.set_capacity(Some(disk.used() + RESERVE + 30_000));
    let staged = (0..1000).take_while(|i| {
        let staged = store.stage(Blob::hash(Random(*i).bytes(500)));
        staged.as_ref().map_or_else(|error| !error.is_full(), |_| true)
    });
    assert!((20..60).contains(&staged.count()));
    store.flush().unwrap();
    assert!((RESERVE..RESERVE + 10_000).contains(&free(&disk)), "{}", free(&disk));
    is_settled(&store);
}
