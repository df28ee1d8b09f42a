//! A store with everything in it that a store can have.

use std::collections::BTreeMap;

use stash_store::{Address, Batch, Blob, ReadError, RecordEntry, Ref, Store};

use super::{Random, read, record};

/// The contents of a store that was filled.
pub struct Stock {
    pub chunks: BTreeMap<Address, Vec<u8>>,
    pub records: BTreeMap<[u8; 32], Vec<u8>>,
    pub entries: BTreeMap<[u8; 32], RecordEntry>,
}

impl Stock {
    /// Large and small blobs, records, rows, manifests, holds, and an eviction, in several batches
    /// and segments.
    pub fn fill(store: &Store, seed: u64) -> Stock {
        let mut random = Random(seed);
        let mut stock =
            Stock { chunks: BTreeMap::new(), records: BTreeMap::new(), entries: BTreeMap::new() };
        for i in 0..24_u64 {
            let len = if i % 3 == 0 { 2000 + i * 50 } else { 300 + i };
            let bytes = random.bytes(usize::try_from(len).unwrap());
            let blob = Blob::hash(bytes.clone());
            let address = blob.address();
            store.stage(blob).unwrap();
            let entry = record(i, &[(address, u32::try_from(len).unwrap())], &random.bytes(300));
            stock.records.insert(entry.hash, entry.bytes.to_vec());
            stock.entries.insert(entry.hash, entry.clone());
            stock.chunks.insert(address, bytes);
            let refs = vec![Ref { address, sealed_len: 1 }];
            let key = [u8::try_from(i % 5).unwrap()];
            let batch = Batch::new().require(address).record(entry).row(&key, Some(&[7; 40]));
            store.commit(batch.manifest(Address::of(&key), refs)).unwrap();
        }
        let gone = Blob::hash(random.bytes(3000));
        let address = gone.address();
        store.stage(gone).unwrap();
        store.flush().unwrap();
        store.commit(Batch::new().evict(vec![address]).row(&[4], None)).unwrap();
        stock
    }

    /// Whatever is answered is right; what is not is an error that names the damage, or a blob
    /// that counts as not here.
    pub fn check(&self, store: &Store, context: &str) {
        for (address, bytes) in &self.chunks {
            let mut out = Vec::new();
            match store.read_into(address, &mut out) {
                Ok(true) => assert_eq!(&out, bytes, "{context}: wrong bytes"),
                Ok(false) | Err(ReadError::Damaged { .. }) => assert!(out.is_empty()),
                Err(error) => panic!("{context}: {error}"),
            }
        }
        for (hash, bytes) in &self.records {
            match store.record(hash) {
                Ok(Some(found)) => assert_eq!(&found.bytes[..], bytes, "{context}: wrong record"),
                Ok(None) | Err(ReadError::RecordDamaged { .. }) => {}
                Err(error) => panic!("{context}: {error}"),
            }
        }
    }

    /// Blobs that have files of their own.
    pub fn files(&self) -> u64 {
        self.chunks.values().filter(|bytes| bytes.len() >= 1024).count() as u64
    }

    /// Everything is here.
    pub fn check_whole(&self, store: &Store, context: &str) {
        for (address, bytes) in &self.chunks {
            assert!(read(store, address).as_ref() == Some(bytes), "{context}: {address}");
        }
        for (hash, bytes) in &self.records {
            let found = store.record(hash).unwrap().map(|found| found.bytes.to_vec());
            assert!(found.as_ref() == Some(bytes), "{context}: a record");
        }
        let rows = store.rows(b"").unwrap();
        assert_eq!(rows.len(), 4, "{context}");
        assert!(rows.iter().all(|(_, value)| value == &[7; 40]), "{context}");
    }
}
