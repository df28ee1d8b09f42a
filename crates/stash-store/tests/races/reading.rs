//! Reads beside collections, compactions and repairs.

use stash_store::{Batch, ChunkState, Store};

use crate::common::{Random, dir};
use crate::explore::explore;
use crate::world::{Thing, World, collect, naming, requiring, unless_missing};

/// Live blobs in the log, between entries that are dead.
fn scattered(world: &World) -> Vec<Thing> {
    let live: Vec<Thing> = (1..=3).map(Thing::small).collect();
    for (n, thing) in (1..).zip(&live) {
        world.put(std::slice::from_ref(thing));
        world.store.commit(Batch::new().record(naming(n, std::slice::from_ref(thing)))).unwrap();
        fill(&world.store, n);
    }
    live
}

/// More than half a segment of the log, dead once it is said again.
fn fill(store: &Store, n: u64) {
    store.commit(Batch::new().row(b"filler", Some(&Random(n).bytes(2500)))).unwrap();
}

#[test]
fn what_is_live_can_be_read_while_it_is_written_again_elsewhere() {
    // Fault cases 106 and 109.
    explore(|world| {
        let live = scattered(&world);
        let collector = world.spawn(|store| {
            for n in 10..13 {
                collect(&store);
                fill(&store, n);
                fill(&store, n + 10);
            }
            collect(&store);
        });
        let reader = world.spawn(move |store| {
            for _ in 0..3 {
                for (n, thing) in (1..).zip(&live) {
                    assert!(thing.is_readable(&store), "{} is gone", thing.address);
                    let record = naming(n, std::slice::from_ref(thing));
                    let found = store.record(&record.hash).unwrap().unwrap();
                    assert_eq!(found.bytes, record.bytes);
                    assert_eq!(store.records_of(&record.name).unwrap(), [found]);
                }
                assert_eq!(store.records_after(0, 10).unwrap().len(), live.len());
            }
        });
        reader.join().unwrap();
        collector.join().unwrap();
        assert_eq!(world.store.stats().quarantined, 0);
        assert_eq!(world.bytes_in("quarantine"), 0);
    });
}

#[test]
fn a_record_dropped_while_it_is_read_is_whole_or_not_there() {
    // Fault case 109.
    explore(|world| {
        scattered(&world);
        let hash = naming(1, &[Thing::small(1)]).hash;
        let dropper = world.spawn(move |store| {
            store.commit(Batch::new().drop_record(hash)).unwrap();
            fill(&store, 10);
            collect(&store);
        });
        let reader = world.spawn(move |store| {
            for _ in 0..4 {
                let record = naming(1, &[Thing::small(1)]);
                let found = store.record(&record.hash).unwrap();
                assert!(found.is_none_or(|found| found.bytes == record.bytes));
                assert!(store.records_of(&record.name).unwrap().len() <= 1);
                assert!(store.records_after(0, 10).unwrap().len() >= 2);
            }
        });
        reader.join().unwrap();
        dropper.join().unwrap();
        assert_eq!(world.store.record(&hash).unwrap(), None);
    });
}

#[test]
fn a_blob_that_comes_and_goes_is_read_whole_or_not_at_all() {
    // Fault cases 106 and 109.
    explore(|world| {
        let things = [Thing::large(1), Thing::small(2)];
        world.put(&things);
        let collector = world.spawn(|store| {
            for n in 0..2 {
                collect(&store);
                for thing in [Thing::large(1), Thing::small(2)] {
                    thing.stage(&store);
                }
                fill(&store, n);
                fill(&store, n + 10);
            }
            collect(&store);
        });
        let reader = world.spawn(|store| {
            for _ in 0..3 {
                for thing in [Thing::large(1), Thing::small(2)] {
                    thing.is_readable(&store);
                }
            }
        });
        reader.join().unwrap();
        collector.join().unwrap();
        assert_eq!(world.store.stats().quarantined, 0);
        assert_eq!(world.bytes_in("quarantine"), 0);
    });
}

/// A blob whose file rots as soon as it is there.
fn rotten(world: &World) -> Thing {
    let thing = Thing::large(1);
    world.put(std::slice::from_ref(&thing));
    let below = dir().join("chunks");
    let files = world.disk.files();
    let (path, _) = files.iter().find(|(path, _)| path.starts_with(&below)).unwrap();
    world.disk.flip_bit(path, 3).unwrap();
    thing
}

/// Reads a blob that may be damaged: never other bytes.
fn read_rotten(store: &Store) {
    let (thing, mut out) = (Thing::large(1), Vec::new());
    match store.read_into(&thing.address, &mut out) {
        Ok(here) => assert!(!here || out == thing.bytes),
        Err(stash_store::ReadError::Damaged { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_good_copy_is_not_condemned_for_the_damaged_one_before_it() {
    // Fault case 109.
    explore(|world| {
        let thing = rotten(&world);
        let readers: Vec<_> = (0..2).map(|_| world.spawn(|store| read_rotten(&store))).collect();
        let mender = world.spawn(|store| {
            let thing = Thing::large(1);
            // Until somebody has found the damage, the blob passes for being here.
            thing.stage(&store);
            store.flush().unwrap();
            thing.stage(&store);
            store.flush().unwrap();
        });
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        mender.join().unwrap();
        // Whoever found the damage has said so by now: the next copy is a good one, and stays.
        thing.stage(&world.store);
        world.store.commit(Batch::new().require(thing.address)).unwrap();
        assert!(thing.is_readable(&world.store));
        world.store.flush().unwrap();
        assert!(thing.is_readable(&world.store));
        assert_eq!(world.store.has(&[thing.address]).unwrap(), [true]);
        let aside = dir().join("quarantine");
        // The damaged copy goes again once a good one is there. Nothing else was ever set aside.
        let files = world.disk.files();
        let aside: Vec<_> = files.iter().filter(|(path, _)| path.starts_with(&aside)).collect();
        assert!(aside.len() <= 1, "{aside:?}");
    });
}

#[test]
fn who_found_a_blob_damaged_is_told_the_same_until_it_is_put_again() {
    // Fault case 21: who heals it asks before it fetches a copy.
    explore(|world| {
        let thing = rotten(&world);
        let address = thing.address;
        let readers: Vec<_> = (0..2)
            .map(|_| {
                world.spawn(move |store| {
                    read_rotten(&store);
                    for _ in 0..3 {
                        assert_eq!(store.chunk_state(&address).unwrap(), ChunkState::Quarantined);
                        assert_eq!(store.has(&[address]).unwrap(), [false]);
                    }
                })
            })
            .collect();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

#[test]
fn a_damaged_blob_put_again_beside_a_collection_is_here_after_the_commit() {
    // Fault cases 105 and 106.
    explore(|world| {
        let thing = rotten(&world);
        let reader = world.spawn(|store| read_rotten(&store));
        let collector = world.spawn(|store| {
            collect(&store);
        });
        let putter = world.spawn(|store| {
            let thing = Thing::large(1);
            // The first copy was found damaged, or collected.
            while store.has(&[thing.address]).unwrap() == [true] {
                read_rotten(&store);
            }
            loop {
                thing.stage(&store);
                if unless_missing(store.commit(requiring(1, std::slice::from_ref(&thing)))) {
                    break;
                }
            }
            assert!(thing.is_readable(&store));
        });
        reader.join().unwrap();
        collector.join().unwrap();
        putter.join().unwrap();
        collect(&world.store);
        assert!(thing.is_readable(&world.store));
    });
}

#[test]
fn a_scrub_beside_commits_collections_and_evictions_finds_no_damage() {
    // Fault case 109.
    explore(|world| {
        let live = scattered(&world);
        let scrubber = world.spawn(|store| {
            let mut scrubber = store.scrubber();
            while let Some(done) = scrubber.step(1).unwrap() {
                assert_eq!(done.findings, []);
            }
        });
        let collector = world.spawn(|store| {
            fill(&store, 10);
            collect(&store);
        });
        let writer = world.spawn(|store| {
            let thing = Thing::large(20);
            thing.stage(&store);
            store.commit(Batch::new().require(thing.address)).unwrap_or_else(|error| {
                // Nothing keeps it from a collection.
                assert!(matches!(error, stash_store::CommitError::MissingChunk { .. }));
                store.commit(Batch::new()).unwrap()
            });
            store.commit(Batch::new().evict(vec![thing.address])).unwrap();
        });
        scrubber.join().unwrap();
        collector.join().unwrap();
        writer.join().unwrap();
        assert!(live.iter().all(|thing| thing.is_readable(&world.store)));
        assert_eq!(world.bytes_in("quarantine"), 0);
    });
}
