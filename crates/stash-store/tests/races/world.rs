//! A store on a disk in memory, made small enough that every part of it moves.

use std::sync::Arc;
use std::time::Duration;

use shuttle::thread::{self, JoinHandle};

use stash_store::collect::Collected;
use stash_store::disk::Survival;
use stash_store::{
    Address, Batch, Blob, CollectOptions, CommitError, Committer, MemDisk, Options, Ref, Store,
};

use crate::common::{Random, dir, read, record};

/// Bytes below which a blob lies in the log.
const SMALL: u32 = 64;

/// A store and its disk.
pub(crate) struct World {
    pub(crate) disk: MemDisk,
    pub(crate) options: Options,
    pub(crate) store: Store,
}

/// A blob, and where it will be.
#[derive(Debug, Clone)]
pub(crate) struct Thing {
    pub(crate) address: Address,
    pub(crate) bytes: Vec<u8>,
}

impl Thing {
    /// A blob that lies in a file of its own.
    pub(crate) fn large(n: u64) -> Thing {
        Thing::of(Random(n).bytes(200))
    }

    /// A blob that lies in the log.
    pub(crate) fn small(n: u64) -> Thing {
        Thing::of(Random(n).bytes(40))
    }

    fn of(bytes: Vec<u8>) -> Thing {
        Thing { address: Address::of(&bytes), bytes }
    }

    pub(crate) fn stage(&self, store: &Store) {
        store.stage(Blob::hash(self.bytes.clone())).unwrap();
    }

    /// True if it can be read. Never other bytes, never an error.
    pub(crate) fn is_readable(&self, store: &Store) -> bool {
        let found = read(store, &self.address);
        assert!(found.is_none() || found.as_ref() == Some(&self.bytes), "wrong bytes");
        found.is_some()
    }

    pub(crate) fn reference(&self) -> Ref {
        Ref { address: self.address, sealed_len: u32::try_from(self.bytes.len()).unwrap() }
    }
}

impl World {
    pub(crate) fn new(committer: Committer) -> World {
        let disk = MemDisk::new(1);
        let options = Options {
            disk: Arc::new(disk.clone()),
            committer,
            small: SMALL,
            segment_bytes: 4096,
            checkpoint_bytes: 2048,
            cache_bytes: 16 * 1024,
            memory_bytes: 4096,
            ballast_bytes: 1024,
            seed: Some([7; 32]),
            ..Options::default()
        };
        let store = Store::create(dir(), &options).unwrap();
        World { disk, options, store }
    }

    /// Puts blobs that nothing names.
    pub(crate) fn put(&self, things: &[Thing]) {
        things.iter().for_each(|thing| thing.stage(&self.store));
        self.store.flush().unwrap();
    }

    /// Another thread with the store.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        run: impl FnOnce(Store) -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let store = self.store.clone();
        thread::spawn(move || run(store))
    }

    /// Closes the store, has the power fail, and opens it again.
    pub(crate) fn restart(self) -> World {
        let World { disk, options, store } = self;
        drop(store);
        disk.restart_with(Survival::Nothing);
        let store = Store::open(dir(), &options).unwrap();
        World { disk, options, store }
    }

    /// Bytes of files in one of the directories of the store.
    pub(crate) fn bytes_in(&self, name: &str) -> u64 {
        let below = dir().join(name);
        let files = self.disk.files();
        let counts =
            |path: &std::path::Path| path.starts_with(&below) && !path.ends_with("store-id");
        files.iter().filter(|(path, _)| counts(path)).map(|(_, len)| len).sum()
    }
}

/// A record that names these, with its hash.
pub(crate) fn naming(n: u64, things: &[Thing]) -> stash_store::RecordEntry {
    let refs: Vec<(Address, u32)> =
        things.iter().map(|thing| (thing.address, thing.reference().sealed_len)).collect();
    record(n, &refs, format!("record {n}").as_bytes())
}

/// A collection of everything that can go.
pub(crate) fn collect(store: &Store) -> Collected {
    store.collect(everything()).unwrap()
}

pub(crate) fn everything() -> CollectOptions {
    CollectOptions { grace: Duration::ZERO, dead_percent: 1, strays: false }
}

/// A batch that requires these and names them with a record.
pub(crate) fn requiring(n: u64, things: &[Thing]) -> Batch {
    let batch = things.iter().fold(Batch::new(), |batch, thing| batch.require(thing.address));
    batch.record(naming(n, things))
}

/// Commits, unless a blob is missing.
pub(crate) fn unless_missing(result: Result<stash_store::batch::Receipt, CommitError>) -> bool {
    match result {
        Ok(_) => true,
        Err(CommitError::MissingChunk { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}
