//! Many threads that put, drop, ask, read, name and evict the same few blobs, beside collections
//! without a grace; each knows which blobs its own records keep.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stash_store::{Address, Batch, Blob, CollectOptions, CommitError, Options, Ref, Store};

use super::{Random, record};

/// Blobs that all threads share. Few, so that they meet.
const BLOBS: u64 = 192;
/// Blobs beside those that are evicted, and named for a moment.
const HELD: u64 = 16;
/// Manifests, each of which names some of the blobs.
const MANIFESTS: u64 = 12;
/// Records that a thread has at most, so that about half of the blobs are dead at any time.
const RECORDS: usize = 8;

/// The counts of a run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub operations: u64,
    pub puts: u64,
    /// Puts without a lease that were told that a blob had gone in the meantime.
    pub refused: u64,
    pub drops: u64,
    pub reads: u64,
    pub asks: u64,
    /// Records that stood for a moment on what others evict.
    pub named: u64,
    pub evicted: u64,
    pub collections: u64,
    pub collected: u64,
    pub segments: u64,
    /// Blobs that were needed and not here, or not to be read. Must be 0.
    pub lost: u64,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.operations += other.operations;
        self.puts += other.puts;
        self.refused += other.refused;
        self.drops += other.drops;
        self.reads += other.reads;
        self.asks += other.asks;
        self.named += other.named;
        self.evicted += other.evicted;
        self.collections += other.collections;
        self.collected += other.collected;
        self.segments += other.segments;
        self.lost += other.lost;
    }
}

/// The length of a run, and its threads.
#[derive(Debug, Clone, Copy)]
pub struct Stress {
    pub seed: u64,
    pub threads: u64,
    pub operations: u64,
}

/// Options under which everything moves: segments of the log, files of the index, small blobs and
/// large ones.
pub fn lively(options: Options) -> Options {
    Options {
        small: 1024,
        segment_bytes: 256 * 1024,
        checkpoint_bytes: 128 * 1024,
        memory_bytes: 128 * 1024,
        cache_bytes: 256 * 1024,
        ..options
    }
}

fn bytes_of(n: u64) -> Vec<u8> {
    // Either side of `small`.
    let len = [100, 700, 1023, 1024, 3000][usize::try_from(n % 5).unwrap()];
    Random(n).bytes(len)
}

/// The blobs, with their addresses: shared ones, held ones, manifests.
struct Things {
    blobs: Vec<Address>,
    held: Vec<Address>,
    manifests: Vec<Address>,
    bytes: BTreeMap<Address, Vec<u8>>,
}

impl Things {
    fn new() -> Things {
        let mut bytes = BTreeMap::new();
        let mut make = |from: u64, count: u64| -> Vec<Address> {
            let numbers = from..from + count;
            numbers
                .map(|n| {
                    let content = bytes_of(n);
                    let address = Address::of(&content);
                    bytes.insert(address, content);
                    address
                })
                .collect()
        };
        let (blobs, held) = (make(0, BLOBS), make(1000, HELD));
        let manifests = make(2000, MANIFESTS);
        Things { blobs, held, manifests, bytes }
    }

    /// The references of the manifest of this number: always the same.
    fn children(&self, manifest: usize) -> Vec<Address> {
        let mut random = Random(3000 + manifest as u64);
        let mut children = BTreeSet::new();
        for _ in 0..6 {
            children.insert(self.blobs[pick(&mut random, self.blobs.len())]);
        }
        children.into_iter().collect()
    }

    fn stage(&self, store: &Store, address: &Address) {
        store.stage(Blob::hash(self.bytes[address].clone())).unwrap();
    }

    fn reference(&self, address: &Address) -> Ref {
        let sealed_len = u32::try_from(self.bytes[address].len()).unwrap();
        Ref { address: *address, sealed_len }
    }
}

fn pick(random: &mut Random, count: usize) -> usize {
    usize::try_from(random.below(count as u64)).unwrap()
}

/// A thread that uses the store.
struct User<'a> {
    store: &'a Store,
    things: &'a Things,
    random: Random,
    thread: u64,
    n: u64,
    /// Own records, and which blobs each keeps.
    records: Vec<([u8; 32], Vec<Address>)>,
    tally: Tally,
}

impl User<'_> {
    fn step(&mut self) {
        self.tally.operations += 1;
        match self.random.below(100) {
            0..35 if self.records.len() < RECORDS => self.put(),
            0..65 if !self.records.is_empty() => self.drop_one(),
            65..75 => self.ask(),
            75..95 => self.read_one(),
            95.. => self.name_or_evict(),
            _ => self.put(),
        }
    }

    /// The blobs that the next record names, and everything that it keeps.
    fn choose(&mut self) -> (Batch, Vec<Address>, Vec<Address>) {
        let things = self.things;
        if self.random.below(4) == 0 {
            let n = pick(&mut self.random, things.manifests.len());
            let (manifest, children) = (things.manifests[n], things.children(n));
            let refs = children.iter().map(|child| things.reference(child)).collect();
            let batch = Batch::new().manifest(manifest, refs);
            let kept = children.into_iter().chain([manifest]).collect();
            return (batch, vec![manifest], kept);
        }
        let count = 1 + self.random.below(3);
        let named: BTreeSet<Address> =
            (0..count).map(|_| things.blobs[pick(&mut self.random, things.blobs.len())]).collect();
        let named: Vec<Address> = named.into_iter().collect();
        (Batch::new(), named.clone(), named)
    }

    fn put(&mut self) {
        let (batch, named, kept) = self.choose();
        self.n += 1;
        let refs: Vec<(Address, u32)> = named
            .iter()
            .map(|address| (*address, self.things.reference(address).sealed_len))
            .collect();
        let number = self.thread << 32 | self.n;
        let entry = record(number, &refs, &number.to_le_bytes());
        let hash = entry.hash;
        let batch = batch.record(entry);
        let lease = (self.random.below(2) == 0).then(|| self.store.lease());
        let here = match &lease {
            Some(lease) => lease.add(&kept).unwrap(),
            None => self.store.has(&kept).unwrap(),
        };
        for (address, here) in kept.iter().zip(here) {
            if !here {
                self.things.stage(self.store, address);
            }
        }
        let batch = match &lease {
            Some(_) => batch,
            None => kept.iter().fold(batch, |batch, address| batch.require(*address)),
        };
        match self.store.commit(batch) {
            Ok(_) => {
                self.tally.puts += 1;
                self.records.push((hash, kept));
            }
            Err(CommitError::MissingChunk { .. }) if lease.is_none() => self.tally.refused += 1,
            Err(error) => panic!("{error}"),
        }
    }

    fn drop_one(&mut self) {
        let n = pick(&mut self.random, self.records.len());
        let (hash, _) = self.records.swap_remove(n);
        self.store.commit(Batch::new().drop_record(hash)).unwrap();
        self.tally.drops += 1;
    }

    fn ask(&mut self) {
        let kept: Vec<Address> = self.records.iter().flat_map(|(_, kept)| kept.clone()).collect();
        let here = self.store.has(&kept).unwrap();
        self.tally.lost += here.iter().filter(|here| !**here).count() as u64;
        self.tally.asks += 1;
    }

    fn read_one(&mut self) {
        if self.records.is_empty() {
            return;
        }
        let n = pick(&mut self.random, self.records.len());
        let (hash, kept) = &self.records[n];
        assert!(self.store.record(hash).unwrap().is_some(), "a record is gone");
        let n = pick(&mut self.random, kept.len());
        self.tally.lost += u64::from(!is_readable(self.store, self.things, &kept[n]));
        self.tally.reads += 1;
    }

    fn name_or_evict(&mut self) {
        let address = self.things.held[pick(&mut self.random, self.things.held.len())];
        if self.random.below(3) == 0 {
            match self.store.commit(Batch::new().evict_known(vec![address], Arc::default())) {
                Ok(receipt) => self.tally.evicted += receipt.evicted,
                Err(CommitError::Named { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            return;
        }
        self.n += 1;
        let number = self.thread << 32 | self.n;
        let entry = record(number, &[(address, 1)], &number.to_le_bytes());
        let hash = entry.hash;
        self.things.stage(self.store, &address);
        match self.store.commit(Batch::new().require(address).record(entry)) {
            Ok(_) => {
                self.tally.named += 1;
                self.tally.lost += u64::from(!is_readable(self.store, self.things, &address));
                self.store.commit(Batch::new().drop_record(hash)).unwrap();
            }
            Err(CommitError::MissingChunk { .. }) => self.tally.refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
}

fn is_readable(store: &Store, things: &Things, address: &Address) -> bool {
    let mut out = Vec::new();
    match store.read_into(address, &mut out) {
        Ok(here) => here && out == things.bytes[address],
        Err(error) => panic!("{error}"),
    }
}

/// Collections, one after another, until the others are done.
fn collect(store: &Store, random: &mut Random, done: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    while !done.load(Ordering::Relaxed) {
        let options = CollectOptions {
            grace: Duration::ZERO,
            dead_percent: [1, 30, 50][pick(random, 3)],
            strays: random.below(20) == 0,
        };
        let collected = store.collect(options).unwrap();
        tally.collections += 1;
        tally.collected += collected.chunks;
        tally.segments += collected.segments;
        // Nothing unannounced is ever left on a disk whose power stays on.
        assert_eq!(collected.strays, 0, "a file that nothing announces");
    }
    tally
}

impl Stress {
    /// Runs on an open store. Also what all threads together still need, for [`check`].
    pub fn run(self, store: &Store) -> (Tally, BTreeSet<Address>) {
        let things = Things::new();
        let left = AtomicU64::new(self.operations);
        let done = AtomicBool::new(false);
        let (sum, needed) = (Mutex::new(Tally::default()), Mutex::new(BTreeSet::new()));
        std::thread::scope(|scope| {
            let users: Vec<_> = (0..self.threads)
                .map(|thread| {
                    let (things, left, sum, needed) = (&things, &left, &sum, &needed);
                    let random = Random(self.seed ^ (thread + 1).wrapping_mul(0x9e37_79b9));
                    let (records, tally) = (Vec::new(), Tally::default());
                    scope.spawn(move || {
                        let mut user = User { store, things, random, thread, n: 0, records, tally };
                        while take_one(left) {
                            user.step();
                        }
                        user.ask();
                        sum.lock().unwrap().add(&user.tally);
                        let kept = user.records.into_iter().flat_map(|(_, kept)| kept);
                        needed.lock().unwrap().extend(kept);
                    })
                })
                .collect();
            let collector = scope.spawn(|| collect(store, &mut Random(self.seed), &done));
            let ended: Vec<_> = users.into_iter().map(|user| user.join()).collect();
            done.store(true, Ordering::Relaxed);
            sum.lock().unwrap().add(&collector.join().unwrap());
            ended.into_iter().for_each(|ended| ended.unwrap());
        });
        (sum.into_inner().unwrap(), needed.into_inner().unwrap())
    }
}

fn take_one(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

/// The number of needed blobs that cannot be read; and after a collection, whether nothing
/// else is here.
pub fn check(store: &Store, needed: &BTreeSet<Address>) -> u64 {
    let things = Things::new();
    let lost = needed.iter().filter(|address| !is_readable(store, &things, address)).count();
    store.collect(CollectOptions { grace: Duration::ZERO, ..CollectOptions::default() }).unwrap();
    let stats = store.stats();
    assert_eq!((stats.chunks, stats.quarantined), (needed.len() as u64, 0), "{stats:?}");
    assert_eq!(stats.outstanding_bytes, 0);
    lost as u64
}
