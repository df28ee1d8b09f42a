//! The store as it should be, in plain maps, and a random user of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use stash_store::{
    Address, Batch, Blob, ChunkState, CollectOptions, CommitError, Lease, RecordTotals, Ref, Store,
};

use super::choices::Choices;
use super::{Random, read, record};

/// The contents of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    pub rows: BTreeMap<Vec<u8>, Vec<u8>>,
    pub records: BTreeMap<[u8; 32], Vec<u8>>,
    pub chunks: BTreeMap<Address, Vec<u8>>,
    /// The references that the store does not show: which blobs a record names, and which a manifest does.
    pub named: BTreeMap<[u8; 32], Vec<Address>>,
    pub manifests: BTreeMap<Address, Vec<Address>>,
}

impl Model {
    /// Every blob that a collection must leave alone.
    pub fn needed(&self, leased: &BTreeSet<Address>) -> BTreeSet<Address> {
        let mut needed = leased.clone();
        let mut todo: Vec<Address> = self.named.values().flatten().copied().collect();
        todo.extend(&needed);
        while let Some(next) = todo.pop() {
            needed.insert(next);
            let children = self.manifests.get(&next).into_iter().flatten();
            todo.extend(children.filter(|child| !needed.contains(child)));
        }
        needed
    }

    /// The records that name a blob, directly or through manifests.
    fn referrers(&self, address: &Address) -> BTreeSet<[u8; 32]> {
        let (mut seen, mut todo) = (BTreeSet::from([*address]), vec![*address]);
        while let Some(next) = todo.pop() {
            let by = self.manifests.iter().filter(|(_, children)| children.contains(&next));
            todo.extend(by.map(|(manifest, _)| *manifest).filter(|one| seen.insert(*one)));
        }
        let named = self.named.iter().filter(|(_, refs)| refs.iter().any(|r| seen.contains(r)));
        named.map(|(hash, _)| *hash).collect()
    }

    /// The records that lack a blob: one that they name, or one that a manifest does which they name.
    fn lacking(&self) -> BTreeSet<[u8; 32]> {
        let here = |address: &Address| self.chunks.contains_key(address);
        let whole = |address: &Address| {
            here(address) && self.manifests.get(address).into_iter().flatten().all(here)
        };
        let lacking = self.named.iter().filter(|(_, refs)| !refs.iter().all(whole));
        lacking.map(|(hash, _)| *hash).collect()
    }

    /// A collection may have taken everything that nothing needs.
    fn collect(&mut self, leased: &BTreeSet<Address>) {
        let needed = self.needed(leased);
        self.chunks.retain(|address, _| needed.contains(address));
        self.manifests.retain(|address, _| needed.contains(address));
    }
}

/// A user that does random things and remembers what was acknowledged.
pub struct User {
    random: Box<dyn Choices>,
    /// Acknowledged.
    pub sure: Model,
    /// The contents that may be there as well, if the step under way was cut short.
    pub maybe: Model,
    /// Blobs that were staged, which a later commit makes visible.
    staged: BTreeMap<Address, Vec<u8>>,
    /// All blobs ever seen.
    pub known: BTreeMap<Address, Vec<u8>>,
    /// The references of each manifest: a blob's bytes say them, so that they are the same every time.
    said: BTreeMap<Address, Vec<Address>>,
    lease: Option<(Lease, BTreeSet<Address>)>,
    /// False once a collection was cut short: then more may be here than the model says.
    exact: bool,
    n: u64,
}

impl User {
    pub fn new(seed: u64) -> User {
        User::by(Box::new(Random(seed)))
    }

    /// A user whose decisions somebody else takes.
    pub fn by(random: Box<dyn Choices>) -> User {
        User {
            random,
            sure: Model::default(),
            maybe: Model::default(),
            staged: BTreeMap::new(),
            known: BTreeMap::new(),
            said: BTreeMap::new(),
            lease: None,
            exact: true,
            n: 0,
        }
    }

    fn pick(&mut self) -> Option<Address> {
        let n = self.known.len() as u64;
        if n == 0 {
            return None;
        }
        let i = usize::try_from(self.random.below(n)).unwrap();
        self.known.keys().nth(i).copied()
    }

    fn blob(&mut self) -> Vec<u8> {
        // Either side of the inline helper's `small` of 1,024 bytes; sometimes one seen before.
        let len =
            [0, 1, 300, 1023, 1024, 1500, 4000][usize::try_from(self.random.below(7)).unwrap()];
        let kind = self.random.below(4);
        Random(kind).bytes(len)
    }

    /// Lets go of everything that keeps the store open.
    pub fn rest(&mut self) {
        self.lease = None;
    }

    /// Takes a random step. An error leaves `sure` as it was, and `maybe` as it might be.
    pub fn step(&mut self, store: &Store) -> Result<(), String> {
        match self.random.below(16) {
            0 | 1 => return self.collect(store),
            2 => {
                self.lease = None;
                let lease = store.lease();
                let wanted: BTreeSet<Address> = (0..2).filter_map(|_| self.pick()).collect();
                let addresses: Vec<Address> = wanted.iter().copied().collect();
                lease.add(&addresses).map_err(|e| e.to_string())?;
                self.lease = Some((lease, wanted));
            }
            _ => {}
        }
        let blobs = self.random.below(4);
        let mut batch = Batch::new();
        let mut next = self.sure.clone();
        for _ in 0..blobs {
            let bytes = self.blob();
            let blob = Blob::hash(bytes.clone());
            let address = blob.address();
            self.known.insert(address, bytes.clone());
            self.staged.insert(address, bytes);
            store.stage(blob).map_err(|e| e.to_string())?;
            batch = batch.require(address);
        }
        next.chunks.append(&mut self.staged.clone());
        let steps = self.random.below(4);
        for _ in 0..steps {
            batch = self.change(batch, &mut next);
        }
        self.maybe = next.clone();
        match store.commit(batch) {
            Ok(_) => {
                self.staged.clear();
                self.sure = next;
                Ok(())
            }
            // A condition that failed: the model does not follow those; nothing was changed.
            Err(CommitError::MissingChunk { .. } | CommitError::Named { .. }) => {
                self.maybe = self.sure.clone();
                Ok(())
            }
            Err(error) => {
                self.staged.clear();
                Err(error.to_string())
            }
        }
    }

    /// Collects everything that nothing needs, in steps.
    fn collect(&mut self, store: &Store) -> Result<(), String> {
        let options = CollectOptions {
            grace: Duration::ZERO,
            dead_percent: [1, 30, 50][usize::try_from(self.random.below(3)).unwrap()],
            strays: self.random.below(3) == 0,
        };
        // What is staged counts as on its way, and stays.
        store.flush().map_err(|e| e.to_string())?;
        self.sure.chunks.append(&mut self.staged);
        let leased = self.lease.as_ref().map(|(_, leased)| leased.clone()).unwrap_or_default();
        self.sure.collect(&leased);
        self.maybe = self.sure.clone();
        let collected = store.collect(options);
        self.exact &= collected.is_ok();
        collected.map_err(|e| e.to_string())?;
        let kept = self.sure.needed(&leased);
        for address in self.known.keys().filter(|a| self.exact && !kept.contains(a)) {
            let state = store.chunk_state(address).map_err(|e| e.to_string())?;
            assert_eq!(state, ChunkState::Absent, "{address} stays");
        }
        Ok(())
    }

    fn change(&mut self, batch: Batch, next: &mut Model) -> Batch {
        self.n += 1;
        let key = vec![u8::try_from(self.random.below(6)).unwrap()];
        match self.random.below(9) {
            0 => {
                let len = usize::try_from(self.random.below(600)).unwrap();
                let value = self.random.bytes(len);
                next.rows.insert(key.clone(), value.clone());
                batch.row(&key, Some(&value))
            }
            1 => {
                next.rows.remove(&key);
                batch.row(&key, None)
            }
            2 | 3 => {
                let bytes = self.random.bytes(200);
                let refs: Vec<_> = self.pick().map(|address| (address, 1)).into_iter().collect();
                let entry = record(self.n, &refs, &bytes);
                next.records.insert(entry.hash, bytes);
                next.named.insert(entry.hash, refs.iter().map(|(address, _)| *address).collect());
                batch.record(entry)
            }
            6 | 7 => {
                let count = next.records.len() as u64;
                if count == 0 {
                    return batch;
                }
                let i = usize::try_from(self.random.below(count)).unwrap();
                let hash = *next.records.keys().nth(i).unwrap();
                next.records.remove(&hash);
                next.named.remove(&hash);
                batch.drop_record(hash)
            }
            8 => {
                let Some(manifest) = self.pick() else {
                    return batch;
                };
                if next.manifests.contains_key(&manifest) {
                    return batch;
                }
                // Only what comes later: or else two could name each other.
                let children: Vec<Address> =
                    self.known.keys().copied().filter(|child| *child > manifest).take(3).collect();
                let children = self.said.entry(manifest).or_insert(children).clone();
                let refs = children.iter().map(|c| Ref { address: *c, sealed_len: 1 }).collect();
                next.manifests.insert(manifest, children);
                // Which manifests were said cannot be seen; the row that is set with each can.
                let (key, value) = (b"manifest", self.n.to_le_bytes());
                next.rows.insert(key.to_vec(), value.to_vec());
                batch.manifest(manifest, refs).row(key, Some(&value))
            }
            4 => {
                let Some(address) = self.pick() else {
                    return batch;
                };
                let known = next.referrers(&address);
                next.chunks.remove(&address);
                batch.evict_known(vec![address], Arc::new(known))
            }
            _ => {
                let Some(address) = self.pick() else {
                    return batch;
                };
                next.chunks.remove(&address);
                batch.evict(vec![address])
            }
        }
    }

    /// Everything that the store shows of what this user ever did.
    pub fn observe(&self, store: &Store) -> Model {
        let mut seen =
            Model { rows: store.rows(b"").unwrap().into_iter().collect(), ..Model::default() };
        for r in store.records_after(0, u64::MAX).unwrap() {
            assert_eq!(store.record(&r.hash).unwrap().unwrap(), r);
            seen.records.insert(r.hash, r.bytes.to_vec());
        }
        assert_eq!(store.record_totals(), totals(seen.records.keys()));
        for address in self.known.keys() {
            if let Some(bytes) = read(store, address) {
                seen.chunks.insert(*address, bytes);
            }
        }
        seen
    }

    /// The store shows what was acknowledged, or that and all of the step under way. Blobs that
    /// were staged may be visible in either case.
    pub fn check(&mut self, store: &Store, context: &str) {
        self.lease = None;
        let mut seen = self.observe(store);
        for (address, bytes) in &seen.chunks {
            assert_eq!(self.known.get(address), Some(bytes), "{context}: wrong bytes");
        }
        let fits = |model: &Model| {
            seen.rows == model.rows
                && seen.records == model.records
                && model.chunks.keys().all(|address| seen.chunks.contains_key(address))
        };
        let explained = [&self.sure, &self.maybe].into_iter().find(|model| fits(model)).cloned();
        assert!(
            explained.is_some(),
            "{context}: seen {}, sure {}, maybe {}",
            summary(&seen),
            summary(&self.sure),
            summary(&self.maybe)
        );
        let explained = explained.unwrap();
        (seen.named, seen.manifests) = (explained.named, explained.manifests);
        check_lacking(store, &seen, context);
        self.sure = seen.clone();
        self.maybe = seen;
        self.staged.clear();
    }
}

/// The store knows which records lack something, once it has settled.
fn check_lacking(store: &Store, seen: &Model, context: &str) {
    let hashes: Vec<[u8; 32]> = seen.named.keys().copied().collect();
    let Some(said) = store.are_lacking(&hashes).unwrap() else {
        // The disk failed meanwhile.
        assert!(!store.wholeness().settled, "{context}: nobody knows why it is not known");
        return;
    };
    let said: BTreeSet<_> = hashes.iter().zip(said).filter(|(_, lacks)| *lacks).collect();
    let said: BTreeSet<[u8; 32]> = said.into_iter().map(|(hash, _)| *hash).collect();
    let lacking = seen.lacking();
    assert_eq!(said, lacking, "{context}: records that lack something");
    assert_eq!(store.wholeness().lacking, totals(lacking.iter()), "{context}: their sum");
    let listed = store.lacking_after(None, usize::MAX).unwrap();
    assert!(listed.iter().eq(lacking.iter()), "{context}: the list of them");
}

fn summary(model: &Model) -> String {
    format!(
        "{} rows, {} records, chunks {:?}",
        model.rows.len(),
        model.records.len(),
        model.chunks.keys().collect::<Vec<_>>()
    )
}

/// The totals of records with these hashes, the plain way: one byte after the other.
fn totals<'a>(hashes: impl Iterator<Item = &'a [u8; 32]>) -> RecordTotals {
    let mut totals = RecordTotals::default();
    for hash in hashes {
        totals.count += 1;
        let mut carry = 0;
        for (byte, more) in totals.sum.iter_mut().zip(hash) {
            let sum = u16::from(*byte) + u16::from(*more) + carry;
            (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
        }
    }
    totals
}
