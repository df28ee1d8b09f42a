//! The chunks of a version that nothing else on this node uses.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use stash_crypto::chunk::CHUNK_OVERHEAD;
use stash_crypto::record::leaves;
use stash_crypto::{
    Address, ChunkRef, Clear, Dot, Incarnation, Manifest, Meta, NameId, NodeKeys, Record,
    RecordDraft, RecordHash, RecordKind, RootSecret, StashId, Writer,
};
use stash_store::{Batch, Blob, Committer, MemDisk, Options, Store};

use crate::ledger::error::at;
use crate::ledger::evicted::{GivenUp, give_up, given_up, is_given_up, unused};
use crate::ledger::forgets_tests::{admit_now, name, vector};
use crate::ledger::name_locks::NameLocks;
use crate::ledger::read::{records_of, whole};

fn store(disk: &MemDisk) -> Store {
    let options = Options {
        committer: Committer::Inline,
        disk: Arc::new(disk.clone()),
        ..Options::default()
    };
    Store::create(Path::new("/store"), &options).unwrap()
}

fn chunk(store: &Store, n: u64) -> ChunkRef {
    let bytes = n.to_le_bytes().repeat(16);
    // As long as a file of that many bytes says; nobody reads it here.
    let (address, sealed_len) =
        (Address::of(&bytes), u32::try_from((1 << 20) + CHUNK_OVERHEAD).unwrap());
    store.stage(Blob::assume(at(&address), bytes)).unwrap();
    ChunkRef { address, sealed_len }
}

/// A version of a name over some others, with these chunks.
fn version(keys: &NodeKeys, name: NameId, n: u64, over: &[&Record], chunks: &[ChunkRef]) -> Record {
    let incarnation = Incarnation::from_bytes([1; 8]);
    let clear = Clear {
        stash: StashId::from_bytes([2; 32]),
        kind: RecordKind::Put,
        name,
        dot: Dot { writer: Writer { node: keys.node_id(), incarnation }, n },
        previous: RecordHash::from_bytes([u8::from(n > 1); 32]),
        height: n,
        epoch: 0,
        seen: vector(over),
        manifest: Manifest::Direct(chunks.to_vec()),
    };
    let key = stash_crypto::Key::new("k").unwrap();
    let size = clear.manifest.file_chunks() << 20;
    let inline = (size == 0).then(Vec::new);
    let meta = Meta { chunk_size: 1 << 20, inline, ..Meta::new(key, size) };
    let root = RootSecret::from_bytes([4; 32]).read_root();
    RecordDraft { clear, meta: Some(meta) }.sign(keys.signer(), &root.meta_keys()).unwrap()
}

fn of(record: &Record) -> GivenUp {
    GivenUp { version: record.hash(), copies: None }
}

/// The rule, asked of each chunk by itself.
fn is_used(store: &Store, chunk: &Address) -> bool {
    let uses = |hash: &[u8; 32]| {
        let record = whole(store, &RecordHash::from_bytes(*hash)).unwrap().unwrap();
        let held = records_of(store, &record.clear().name).unwrap();
        let is_leaf = leaves(&held).iter().any(|leaf| leaf.hash() == record.hash());
        is_leaf && !is_given_up(store, &record).unwrap()
    };
    store.referrers(&at(chunk)).unwrap().iter().any(uses)
}

#[test]
fn what_is_unused_is_what_no_current_version_with_local_bytes_names() {
    let seed = std::env::var("STASH_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| rand::rng().next_u64());
    let mut rng = StdRng::seed_from_u64(seed);
    let keys = NodeKeys::from_seed([7; 32]);
    let mut met = BTreeSet::new();
    for _ in 0..20 {
        let store = store(&MemDisk::new(1));
        let chunks: Vec<ChunkRef> = (0..100).map(|n| chunk(&store, n)).collect();
        let mut all: Vec<Record> = Vec::new();
        for n in 1..=rng.random_range(1..20) {
            let name = name(rng.random_range(0..4));
            let some: Vec<ChunkRef> =
                chunks.iter().filter(|_| rng.random_bool(0.2)).take(64).copied().collect();
            let over: Vec<&Record> =
                all.iter().filter(|one| one.clear().name == name && rng.random_bool(0.7)).collect();
            let record = version(&keys, name, n, &over, &some);
            admit_now(&NameLocks::default(), &store, std::slice::from_ref(&record));
            all.push(record);
        }
        for record in all.iter().filter(|_| rng.random_bool(0.3)) {
            give_up(&store, &record.clear().name, Some(of(record))).unwrap();
        }
        let addresses: Vec<Address> = chunks.iter().map(|chunk| chunk.address).collect();
        let free: BTreeSet<Address> = unused(&store, &addresses).unwrap().into_iter().collect();
        for address in &addresses {
            let used = is_used(&store, address);
            assert_eq!(!free.contains(address), used, "STASH_SEED={seed}");
            met.insert(used);
        }
    }
    assert_eq!(met.len(), 2, "both happen");
}

#[test]
fn each_version_of_a_file_is_read_once_however_many_chunks_it_has() {
    const VERSIONS: u64 = 100;
    let disk = MemDisk::new(1);
    let store = store(&disk);
    let keys = NodeKeys::from_seed([7; 32]);
    let chunks: Vec<ChunkRef> = (0..64).map(|n| chunk(&store, n)).collect();
    let mut last: Option<Record> = None;
    for n in 1..=VERSIONS {
        let over: Vec<&Record> = last.iter().collect();
        let record = version(&keys, name(1), n, &over, &chunks);
        admit_now(&NameLocks::default(), &store, std::slice::from_ref(&record));
        last = Some(record);
    }
    give_up(&store, &name(1), last.as_ref().map(of)).unwrap();
    let addresses: Vec<Address> = chunks.iter().map(|chunk| chunk.address).collect();
    let before = disk.reads();
    assert_eq!(unused(&store, &addresses).unwrap().len(), addresses.len());
    let reads = disk.reads() - before;
    // Once by its hash, once among the records of its name; beside them, blocks of the index.
    assert!(reads < 4 * VERSIONS, "{reads} reads for {VERSIONS} versions");
}

#[test]
fn a_row_of_either_version_says_what_is_given_up() {
    let store = store(&MemDisk::new(1));
    let record = version(&NodeKeys::from_seed([7; 32]), name(1), 1, &[], &[]);
    admit_now(&NameLocks::default(), &store, std::slice::from_ref(&record));
    let (key, hash) = ([&b"evicted/"[..], &[1; 32]].concat(), record.hash());
    let said = |value: &[u8]| {
        store.commit(Batch::new().row(&key, Some(value))).unwrap();
        let found = given_up(&store, &hash).unwrap().map(|(_, given_up)| given_up.copies);
        assert_eq!(found.is_some(), is_given_up(&store, &record).unwrap());
        found
    };
    let bytes = hash.as_bytes();
    assert_eq!(said(bytes), Some(None), "before it was noted how many");
    assert_eq!(said(&[&bytes[..], &[1]].concat()), Some(Some(1)));
    assert_eq!(said(&[&bytes[..], &[1, 1]].concat()), None);
    assert_eq!(said(&[9; 33]), None, "another version");
    give_up(&store, &name(1), Some(GivenUp { version: hash, copies: Some(2) })).unwrap();
    assert_eq!(store.row(&key).unwrap(), Some([&bytes[..], &[2]].concat()));
}
