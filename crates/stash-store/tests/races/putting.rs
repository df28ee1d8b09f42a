//! Puts beside collections.

use stash_store::{Batch, Store};

use crate::explore::explore;
use crate::world::{Thing, collect, naming, requiring, unless_missing};

fn things() -> Vec<Thing> {
    vec![Thing::large(1), Thing::small(2)]
}

fn all_readable(store: &Store, things: &[Thing]) {
    for thing in things {
        assert!(thing.is_readable(store), "{} is gone", thing.address);
    }
}

/// A put that takes a lease first, and sends only what is not here.
fn put_leased(store: &Store, n: u64, things: &[Thing]) {
    let lease = store.lease();
    let addresses: Vec<_> = things.iter().map(|thing| thing.address).collect();
    let here = lease.add(&addresses).unwrap();
    for (thing, here) in things.iter().zip(here) {
        if !here {
            thing.stage(store);
        }
    }
    store.commit(Batch::new().record(naming(n, things))).unwrap();
    all_readable(store, things);
}

/// A put that believes what it is told, and has the commit look again.
fn put_required(store: &Store, n: u64, things: &[Thing]) -> bool {
    let addresses: Vec<_> = things.iter().map(|thing| thing.address).collect();
    let here = store.has(&addresses).unwrap();
    for (thing, here) in things.iter().zip(here) {
        if !here {
            thing.stage(store);
        }
    }
    let done = unless_missing(store.commit(requiring(n, things)));
    if done {
        all_readable(store, things);
    }
    done
}

#[test]
fn what_a_lease_found_here_is_here_when_a_record_names_it() {
    // Fault case 105.
    explore(|world| {
        let things = things();
        world.put(&things);
        let collector = world.spawn(|store| {
            collect(&store);
            collect(&store);
        });
        let putter = world.spawn(|store| put_leased(&store, 1, &self::things()));
        putter.join().unwrap();
        collector.join().unwrap();
        collect(&world.store);
        all_readable(&world.store, &things);
    });
}

#[test]
fn without_a_lease_a_commit_names_what_is_missing_or_keeps_it() {
    // Fault case 105.
    explore(|world| {
        let things = things();
        world.put(&things);
        let collector = world.spawn(|store| {
            collect(&store);
            collect(&store);
        });
        let putter = world.spawn(|store| put_required(&store, 1, &self::things()));
        let done = putter.join().unwrap();
        collector.join().unwrap();
        collect(&world.store);
        for thing in &things {
            assert_eq!(thing.is_readable(&world.store), done);
        }
        assert_eq!(world.store.record(&naming(1, &things).hash).unwrap().is_some(), done);
    });
}

#[test]
fn a_dead_blob_staged_again_beside_a_collection_is_here_after_the_commit() {
    // Fault case 105.
    explore(|world| {
        let things = things();
        world.put(&things);
        let collector = world.spawn(|store| {
            collect(&store);
        });
        let putters: Vec<_> = [1, 2]
            .into_iter()
            .map(|n| {
                world.spawn(move |store| {
                    let things = self::things();
                    loop {
                        things.iter().for_each(|thing| thing.stage(&store));
                        if unless_missing(store.commit(requiring(n, &things))) {
                            break;
                        }
                    }
                    all_readable(&store, &things);
                })
            })
            .collect();
        putters.into_iter().for_each(|putter| putter.join().unwrap());
        collector.join().unwrap();
        collect(&world.store);
        all_readable(&world.store, &things);
    });
}

#[test]
fn a_blob_leased_and_staged_is_never_missing_at_the_commit() {
    // Fault case 105.
    explore(|world| {
        world.put(&things());
        let collector = world.spawn(|store| {
            collect(&store);
        });
        let putter = world.spawn(|store| {
            let things = things();
            let lease = store.lease();
            lease.add(&[things[0].address, things[1].address]).unwrap();
            things.iter().for_each(|thing| thing.stage(&store));
            store.commit(requiring(1, &things)).unwrap();
            all_readable(&store, &things);
        });
        putter.join().unwrap();
        collector.join().unwrap();
        all_readable(&world.store, &things());
    });
}

#[test]
fn a_record_dropped_beside_a_put_of_the_same_blobs_takes_nothing_from_it() {
    // Fault case 105.
    explore(|world| {
        let things = things();
        world.put(&things);
        let old = naming(1, &things);
        world.store.commit(Batch::new().record(old.clone())).unwrap();
        let dropper = world.spawn(move |store| {
            store.commit(Batch::new().drop_record(old.hash)).unwrap();
            collect(&store);
        });
        let leased = world.spawn(|store| put_leased(&store, 2, &self::things()));
        let required = world.spawn(|store| put_required(&store, 3, &self::things()));
        dropper.join().unwrap();
        leased.join().unwrap();
        required.join().unwrap();
        collect(&world.store);
        all_readable(&world.store, &things);
    });
}

#[test]
fn a_manifest_said_again_while_it_dies_keeps_what_it_names() {
    // Fault case 105.
    explore(|world| {
        let children: Vec<Thing> = (1..6).map(Thing::small).chain([Thing::large(6)]).collect();
        let manifest = Thing::large(7);
        let refs: Vec<_> = children.iter().map(Thing::reference).collect();
        let all: Vec<Thing> = children.iter().chain([&manifest]).cloned().collect();
        world.put(&all);
        world.store.commit(Batch::new().manifest(manifest.address, refs.clone())).unwrap();
        let collectors: Vec<_> = (0..2)
            .map(|_| {
                world.spawn(|store| {
                    collect(&store);
                })
            })
            .collect();
        let (said, named) = (refs, all.clone());
        let putter = world.spawn(move |store| {
            let lease = store.lease();
            let addresses: Vec<_> = named.iter().map(|thing| thing.address).collect();
            let here = lease.add(&addresses).unwrap();
            for (thing, here) in named.iter().zip(here) {
                if !here {
                    thing.stage(&store);
                }
            }
            let manifest = named.last().unwrap();
            let batch = Batch::new().manifest(manifest.address, said);
            let record = naming(1, std::slice::from_ref(manifest));
            store.commit(batch.record(record)).unwrap();
            drop(lease);
            all_readable(&store, &named);
        });
        putter.join().unwrap();
        collectors.into_iter().for_each(|collector| collector.join().unwrap());
        collect(&world.store);
        all_readable(&world.store, &all);
        let record = naming(1, std::slice::from_ref(&manifest)).hash;
        for child in &children {
            assert_eq!(world.store.referrers(&child.address).unwrap(), [record]);
        }
    });
}
