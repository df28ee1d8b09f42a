//! Helpers that the tests share.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests; each test file uses a part of them"
)]

pub mod choices;
pub mod directory;
pub mod fixture;
pub mod model;
pub mod operations;
pub mod sick;
pub mod stock;
pub mod stress;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stash_store::{
    Address, Batch, Blob, Committer, Disk, MemDisk, Nest, OpenError, Options, RealDisk,
    RecordEntry, Ref, Store,
};

/// SplitMix64: small, and the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

/// The seed of a random test: from the environment to replay, or else the given one.
pub fn seed(default: u64) -> u64 {
    let seed = std::env::var("STASH_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(default);
    println!("replay with STASH_SEED={seed}");
    seed
}

/// Options with which every operation happens on this thread, in the same order every time.
pub fn inline(disk: &MemDisk) -> Options {
    Options {
        disk: Arc::new(disk.clone()),
        committer: Committer::Inline,
        small: 1024,
        direct: 0,
        segment_bytes: 16 * 1024,
        checkpoint_bytes: 8 * 1024,
        cache_bytes: 64 * 1024,
        memory_bytes: 12 * 1024,
        ballast_bytes: 2 * 1024,
        seed: Some([7; 32]),
        ..Options::default()
    }
}

pub fn dir() -> &'static Path {
    Path::new("/store")
}

/// A disk, a place on it, and what has to live as long.
pub struct Place {
    pub options: Options,
    pub dir: PathBuf,
    _temp: Option<tempfile::TempDir>,
}

impl Place {
    pub fn open(&self) -> Result<Store, OpenError> {
        Store::open(&self.dir, &self.options)
    }

    pub fn create(&self) -> Store {
        Store::create(&self.dir, &self.options).unwrap()
    }
}

/// Every disk and committer that the suite runs on.
pub fn places() -> Vec<(&'static str, Place)> {
    let mut places = Vec::new();
    for (name, committer) in [("thread", Committer::Thread), ("inline", Committer::Inline)] {
        let temp = tempfile::tempdir().unwrap();
        let options = |disk: Arc<dyn Disk>| Options {
            disk,
            committer,
            small: 1024,
            segment_bytes: 64 * 1024,
            checkpoint_bytes: 32 * 1024,
            ballast_bytes: 16 * 1024,
            ..Options::default()
        };
        let real = Place {
            options: options(Arc::new(RealDisk::new())),
            dir: temp.path().join("store"),
            _temp: Some(temp),
        };
        let mem = Place {
            options: options(Arc::new(MemDisk::new(1))),
            dir: dir().to_owned(),
            _temp: None,
        };
        places.push((if name == "thread" { "real, thread" } else { "real, inline" }, real));
        places.push((if name == "thread" { "memory, thread" } else { "memory, inline" }, mem));
    }
    let seed_layout = Options {
        layout: Nest::SEED,
        disk: Arc::new(MemDisk::new(2)),
        small: 1024,
        ballast_bytes: 16 * 1024,
        ..Options::default()
    };
    places.push(("seed layout", Place { options: seed_layout, dir: dir().into(), _temp: None }));
    places
}

pub fn record(n: u64, refs: &[(Address, u32)], bytes: &[u8]) -> RecordEntry {
    RecordEntry {
        hash: *blake3_of(bytes, n),
        name: [u8::try_from(n % 5).unwrap(); 32],
        writer: [u8::try_from(n % 3).unwrap(); 40],
        n,
        refs: refs
            .iter()
            .map(|(address, len)| Ref { address: *address, sealed_len: *len })
            .collect(),
        bytes: bytes.into(),
    }
}

fn blake3_of(bytes: &[u8], n: u64) -> Box<[u8; 32]> {
    let mut all = bytes.to_vec();
    all.extend_from_slice(&n.to_le_bytes());
    Box::new(*Address::of(&all).as_bytes())
}

pub fn put(store: &Store, bytes: &[u8]) -> Address {
    let blob = Blob::hash(bytes.to_vec());
    let address = blob.address();
    store.stage(blob).unwrap();
    store.commit(Batch::new().require(address)).unwrap();
    address
}

pub fn read(store: &Store, address: &Address) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    store.read_into(address, &mut out).unwrap().then_some(out)
}

/// Every file below a directory of the real disk.
pub fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// Makes a directory and those above it.
pub fn make_dirs(disk: &MemDisk, path: &Path) {
    if path != Path::new("/") {
        make_dirs(disk, path.parent().unwrap());
        // It may be there already.
        drop(disk.create_dir(path));
    }
}

/// Where the file of a blob lies, in the layout that stores have by default.
pub fn chunk_path(address: &Address) -> PathBuf {
    dir().join("chunks").join(nested(address.as_bytes()))
}

/// Where a segment of the log lies, in the same layout.
pub fn segment_path(id: u64) -> PathBuf {
    dir().join("log").join(nested(&id.to_le_bytes()))
}

fn nested(key: &[u8]) -> PathBuf {
    use sha1::{Digest, Sha1};
    stash_store::nest(&Sha1::digest(key).into(), Nest::default())
}
