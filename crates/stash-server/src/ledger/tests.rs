use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stash_crypto::chunk::{CHUNK_OVERHEAD, manifest_chunks};
use stash_crypto::{
    Address, ChunkRef, Clear, Dot, Incarnation, Manifest, NameId, NodeKeys, Record, RecordDraft,
    RecordHash, RecordKind, StashId, Vector, Writer,
};
use stash_store::{Batch, Blob, Committer, MemDisk, Options, Store};

use crate::ledger::admit::admit;
use crate::ledger::alarms::{MAX_ALARMS, one_more};
use crate::ledger::error::at;
use crate::ledger::manifest::{Chunks, announce};
use crate::ledger::name_locks::NameLocks;
use crate::ledger::rows;
use crate::message::{RecordResult, pack};

fn store() -> Store {
    let options = Options {
        committer: Committer::Inline,
        disk: Arc::new(MemDisk::new(1)),
        ..Options::default()
    };
    Store::create(std::path::Path::new("/store"), &options).unwrap()
}

fn chunk(n: u32) -> Vec<u8> {
    let mut bytes = n.to_le_bytes().to_vec();
    bytes.resize(CHUNK_OVERHEAD + 8, 7);
    bytes
}

fn stage(store: &Store, bytes: Vec<u8>) -> ChunkRef {
    let sealed_len = u32::try_from(bytes.len()).unwrap();
    let address = Address::of(&bytes);
    store.stage(Blob::assume(at(&address), bytes)).unwrap();
    ChunkRef { address, sealed_len }
}

/// A file of so many chunks: its record, and its chunks. They are staged with its manifest chunks.
fn large(store: &Store, count: u32) -> (Record, Vec<ChunkRef>) {
    let refs: Vec<ChunkRef> = (0..count).map(|n| stage(store, chunk(n))).collect();
    let manifests = manifest_chunks(&refs).into_iter().map(|(_, bytes)| stage(store, bytes));
    let manifest = Manifest::Indirect { chunks: manifests.collect(), total: u64::from(count) };
    (record(manifest), refs)
}

fn record(manifest: Manifest) -> Record {
    let keys = NodeKeys::generate(&mut rand::rng());
    let incarnation = Incarnation::from_bytes([1; 8]);
    let clear = Clear {
        stash: StashId::from_bytes([2; 32]),
        kind: RecordKind::Put,
        name: NameId::from_bytes([3; 32]),
        dot: Dot { writer: Writer { node: keys.node_id(), incarnation }, n: 1 },
        previous: RecordHash::from_bytes([0; 32]),
        height: 1,
        epoch: 0,
        seen: Vector::new(),
        manifest,
    };
    let root = stash_crypto::RootSecret::from_bytes([4; 32]);
    let meta = meta(clear.manifest.file_chunks() << 20);
    let draft = RecordDraft { clear, meta: Some(meta) };
    draft.sign(keys.signer(), &root.read_root().meta_keys()).unwrap()
}

fn meta(size: u64) -> stash_crypto::Meta {
    let key = stash_crypto::Key::new("large").unwrap();
    stash_crypto::Meta { chunk_size: 1 << 20, ..stash_crypto::Meta::new(key, size) }
}

fn admit_one(store: &Store, record: &Record) -> RecordResult {
    let record = std::slice::from_ref(record);
    admit(&NameLocks::default(), store, record, Chunks::Required).unwrap().remove(0)
}

fn name_it(store: &Store, chunk: &ChunkRef, record: &Record) -> bool {
    store.referrers(&at(&chunk.address)).unwrap() == [*record.hash().as_bytes()]
}

#[test]
fn a_record_keeps_what_its_manifest_chunks_name() {
    let store = store();
    // One manifest chunk that is full, and one of two references.
    let count = u32::try_from(stash_crypto::chunk::MANIFEST_ENTRIES_MAX).unwrap() + 2;
    let (record, refs) = large(&store, count);
    assert_eq!(admit_one(&store, &record), RecordResult::Stored {});
    let manifests = record.clear().manifest.refs();
    assert_eq!(manifests.len(), 2);
    for chunk in manifests.iter().chain(refs.iter().step_by(1_000)).chain(refs.last()) {
        assert!(name_it(&store, chunk, &record));
    }
}

#[test]
fn a_record_is_not_stored_while_a_chunk_that_a_manifest_chunk_names_is_missing() {
    let store = store();
    let (record, refs) = large(&store, 100);
    store.flush().unwrap();
    let gone = refs[40].address;
    store.commit(Batch::new().evict(vec![at(&gone)])).unwrap();
    assert_eq!(admit_one(&store, &record), RecordResult::Need { chunks: pack(&[gone]) });
    stage(&store, chunk(40));
    assert_eq!(admit_one(&store, &record), RecordResult::Stored {});
    // A record that is here already is stored only as long as all of its chunks are.
    store.commit(Batch::new().evict(vec![at(&gone)])).unwrap();
    assert_eq!(admit_one(&store, &record), RecordResult::Need { chunks: pack(&[gone]) });
}

// The record came alone, and the manifest chunk later, by a read that kept it.
#[test]
fn a_manifest_chunk_that_comes_after_its_record_is_told_to_the_store() {
    let store = store();
    let (record, refs) = large(&store, 100);
    store.flush().unwrap();
    let manifest = record.clear().manifest.refs()[0].address;
    store.commit(Batch::new().evict(vec![at(&manifest)])).unwrap();
    let record_alone = std::slice::from_ref(&record);
    admit(&NameLocks::default(), &store, record_alone, Chunks::Later).unwrap();
    assert!(!name_it(&store, &refs[0], &record));
    stage(&store, manifest_chunks(&refs).remove(0).1);
    store.flush().unwrap();
    announce(&store, &manifest, Chunks::Later).unwrap();
    assert!(name_it(&store, &refs[0], &record));
}

// Fault case 105: other chunks leave all the time, and the record is stored all the same.
#[test]
fn a_large_record_is_stored_while_other_chunks_come_and_go() {
    let options = Options { disk: Arc::new(MemDisk::new(1)), ..Options::default() };
    let store = Store::create(std::path::Path::new("/store"), &options).unwrap();
    let (record, refs) = large(&store, 1_000);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let other = stage(&store, b"comes and goes".to_vec());
                store.flush().unwrap();
                store.commit(Batch::new().evict(vec![at(&other.address)])).unwrap();
            }
        });
        while store.losses() == 0 {
            std::thread::yield_now();
        }
        let stored = admit_one(&store, &record);
        done.store(true, Ordering::Relaxed);
        assert_eq!(stored, RecordResult::Stored {});
    });
    assert!(name_it(&store, &refs[999], &record));
}

#[test]
fn alarms_of_a_kind_are_bounded_and_the_last_says_that_there_are_more() {
    let store = store();
    let more = |n: u32| {
        let about = n.to_be_bytes();
        let batch = one_more(&store, Batch::new(), b"kind/", &about, &format!("alarm {n}"));
        store.commit(batch.unwrap()).unwrap();
    };
    (0..200).for_each(more);
    // What is known is told anew, and takes no place.
    more(3);
    let noted = store.rows(&[rows::ALARM, b"kind/"].concat()).unwrap();
    assert_eq!(noted.len(), MAX_ALARMS + 1);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let told: Vec<String> = noted.iter().map(|(_, bytes)| text(bytes)).collect();
    assert!(told[..MAX_ALARMS].iter().all(|one| one.starts_with("alarm ")), "{told:?}");
    assert!(told[MAX_ALARMS].ends_with("shown: alarm 199"), "{told:?}");
}
