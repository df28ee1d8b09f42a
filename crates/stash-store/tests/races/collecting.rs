//! Collections beside one another, beside evictions, and beside the index that is written down.

use std::sync::Arc;

use stash_store::{Batch, ChunkState, CollectOptions, CommitError, Store};

use crate::common::Random;
use crate::explore::explore;
use crate::world::{Thing, World, collect, everything, naming, requiring, unless_missing};

/// Blobs and records, half of which are then dropped. What stays.
fn half_dead(world: &World) -> Vec<Thing> {
    let mut live = Vec::new();
    for n in 1..=8 {
        let things = vec![Thing::large(n), Thing::small(100 + n)];
        world.put(&things);
        let record = naming(n, &things);
        let filler = Random(n).bytes(300);
        let batch = Batch::new().record(record.clone()).row(b"filler", Some(&filler));
        world.store.commit(batch).unwrap();
        if n % 2 == 0 {
            world.store.commit(Batch::new().drop_record(record.hash)).unwrap();
        } else {
            live.extend(things);
        }
    }
    live
}

fn all_readable(store: &Store, things: &[Thing]) {
    for thing in things {
        assert!(thing.is_readable(store), "{} is gone", thing.address);
    }
}

#[test]
fn two_collections_at_once_do_the_work_of_one() {
    // Fault case 105.
    explore(|world| {
        let live = half_dead(&world);
        let bytes = world.store.stats().bytes;
        let collectors: Vec<_> = (0..2).map(|_| world.spawn(|store| collect(&store))).collect();
        let done: Vec<_> =
            collectors.into_iter().map(|collector| collector.join().unwrap()).collect();
        let sum =
            |of: fn(&stash_store::collect::Collected) -> u64| done.iter().map(of).sum::<u64>();
        assert_eq!((sum(|done| done.chunks), sum(|done| done.file_bytes)), (8, 4 * 200));
        assert_eq!(world.store.stats().bytes, bytes - 4 * 240);
        all_readable(&world.store, &live);
        collect(&world.store);
        assert_eq!(world.bytes_in("log"), world.store.stats().log_bytes);
        assert_eq!(world.bytes_in("chunks"), 4 * 200);
    });
}

#[test]
fn a_collection_beside_commits_and_checkpoints_loses_nothing_in_a_power_cut() {
    // Fault cases 105 and 109.
    explore(|world| {
        let mut live = half_dead(&world);
        let collector = world.spawn(|store| {
            collect(&store);
        });
        let writer = world.spawn(|store| {
            for n in 20..24 {
                let thing = Thing::small(n);
                let lease = store.lease();
                lease.add(&[thing.address]).unwrap();
                thing.stage(&store);
                let row = Random(n).bytes(700);
                let record = naming(n, std::slice::from_ref(&thing));
                store.commit(Batch::new().record(record).row(b"row", Some(&row))).unwrap();
            }
        });
        writer.join().unwrap();
        collector.join().unwrap();
        live.extend((20..24).map(Thing::small));
        all_readable(&world.store, &live);
        // What a collection said is gone is gone from the disk once there is nothing else to do.
        collect(&world.store);
        assert_eq!(world.bytes_in("log"), world.store.stats().log_bytes);
        let world = world.restart();
        assert_eq!(world.store.row(b"row").unwrap(), Some(Random(23).bytes(700)));
        assert_eq!(world.store.stats().records, 8);
        all_readable(&world.store, &live);
        assert_eq!(world.bytes_in("chunks"), 4 * 200);
    });
}

#[test]
fn an_eviction_beside_a_record_beside_a_collection_never_takes_what_is_named() {
    // Fault cases 105 and 106.
    explore(|world| {
        let thing = Thing::large(1);
        world.put(std::slice::from_ref(&thing));
        let collector = world.spawn(|store| {
            collect(&store);
        });
        let evictor = world.spawn(|store| {
            let address = Thing::large(1).address;
            match store.commit(Batch::new().evict_known(vec![address], Arc::default())) {
                Ok(_) | Err(CommitError::Named { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        });
        let putter = world.spawn(|store| {
            let thing = Thing::large(1);
            let record = naming(1, std::slice::from_ref(&thing));
            let named = unless_missing(
                store.commit(Batch::new().require(thing.address).record(record.clone())),
            );
            if named {
                assert!(thing.is_readable(&store), "named and gone");
            }
            named
        });
        let named = putter.join().unwrap();
        evictor.join().unwrap();
        collector.join().unwrap();
        collect(&world.store);
        assert_eq!(thing.is_readable(&world.store), named);
        let record = naming(1, std::slice::from_ref(&thing));
        world.store.commit(Batch::new().drop_record(record.hash)).unwrap();
        collect(&world.store);
        assert_eq!(world.store.chunk_state(&thing.address).unwrap(), ChunkState::Absent);
        assert_eq!(world.bytes_in("chunks"), 0);
    });
}

#[test]
fn a_blob_evicted_collected_and_staged_again_is_whole_or_not_there() {
    // Fault cases 105 and 109.
    explore(|world| {
        let thing = Thing::large(1);
        world.put(std::slice::from_ref(&thing));
        let collector = world.spawn(|store| {
            collect(&store);
        });
        let evictor = world.spawn(|store| {
            let address = Thing::large(1).address;
            store.commit(Batch::new().evict(vec![address])).unwrap();
        });
        let putter = world.spawn(|store| {
            let thing = Thing::large(1);
            let lease = store.lease();
            lease.add(&[thing.address]).unwrap();
            thing.stage(&store);
            store.flush().unwrap();
        });
        collector.join().unwrap();
        evictor.join().unwrap();
        putter.join().unwrap();
        let readable = thing.is_readable(&world.store);
        assert_eq!(world.store.has(&[thing.address]).unwrap(), [readable]);
        assert_eq!(world.bytes_in("chunks"), if readable { 200 } else { 0 });
        assert_eq!(world.store.stats().quarantined, 0);
    });
}

#[test]
fn a_blob_that_is_put_while_strays_are_sought_is_here_from_then_on() {
    // Fault cases 105 and 106.
    explore(|world| {
        let evict_all = |store: &Store, things: &[Thing]| {
            let addresses = things.iter().map(|thing| thing.address).collect();
            store.commit(Batch::new().evict(addresses)).unwrap();
        };
        let things: Vec<Thing> = (1..=6).map(Thing::large).collect();
        world.put(&things);
        // Leaves their directories, which are those that are looked through.
        evict_all(&world.store, &things);
        let collector = world.spawn(|store| {
            let options = CollectOptions { strays: true, ..everything() };
            assert_eq!(store.collect(options).unwrap().strays, 0);
        });
        let reader = world.spawn(|store| {
            for n in 1..=6 {
                Thing::large(n).is_readable(&store);
            }
        });
        let putter = world.spawn(move |store| {
            things.iter().for_each(|thing| thing.stage(&store));
            let addresses: Vec<_> = things.iter().map(|thing| thing.address).collect();
            if unless_missing(store.commit(requiring(1, &things))) {
                for _ in 0..6 {
                    assert_eq!(store.has(&addresses).unwrap(), [true; 6]);
                }
                all_readable(&store, &things);
            }
            evict_all(&store, &things);
        });
        reader.join().unwrap();
        putter.join().unwrap();
        collector.join().unwrap();
        assert_eq!(world.store.stats().quarantined, 0);
        assert_eq!(world.bytes_in("quarantine"), 0);
    });
}
