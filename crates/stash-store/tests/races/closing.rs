//! Closing the store while something runs.

use shuttle::thread;
use stash_store::Store;

use crate::common::{Random, dir};
use crate::explore::explore;
use crate::world::{Thing, collect, everything, naming};

#[test]
fn a_store_let_go_while_a_collection_runs_closes_when_that_ends() {
    // Fault case 109.
    explore(|world| {
        let live = Thing::large(1);
        world.put(&[live.clone(), Thing::large(2), Thing::small(3)]);
        let record = naming(1, std::slice::from_ref(&live));
        let batch = stash_store::Batch::new().record(record);
        world.store.commit(batch.row(b"filler", Some(&Random(1).bytes(3000)))).unwrap();
        let store = Store::open(dir(), &world.options);
        assert!(matches!(store, Err(stash_store::OpenError::Locked { .. })));
        let mut collector = world.store.collector(everything());
        let (disk, options) = (world.disk.clone(), world.options.clone());
        let collecting = thread::spawn(move || while collector.step().unwrap().is_some() {});
        let writing = world.spawn(|store| {
            Thing::small(4).stage(&store);
            store.flush().unwrap();
        });
        drop(world);
        writing.join().unwrap();
        collecting.join().unwrap();
        let store = Store::open(dir(), &options).unwrap();
        assert_eq!(store.open_report().torn_bytes, 0);
        assert_eq!(store.open_report().damage, [""; 0]);
        assert!(live.is_readable(&store));
        collect(&store);
        let chunks = dir().join("chunks");
        let files = disk.files().into_iter().filter(|(path, _)| path.starts_with(&chunks)).count();
        assert_eq!(files, 2, "and the marker");
    });
}
