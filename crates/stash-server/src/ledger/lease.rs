//! Keeping chunks from being collected between the moment in which they are found, or come, and the
//! commit of the record that names them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use stash_crypto::{Address, ChunkRef, Record};
use stash_store::{Lease, LeaseError, ReadError, Store};

use crate::ledger::error::at;
use crate::ledger::manifest::read_manifest;
use crate::lock::lock;

/// Chunks of one lease of the store. A lease ends as a whole, so that one chunk that is never
/// committed keeps so many at most.
const EACH: usize = 4_096;

/// Leases of one session at once: 4,194,304 chunks, 16 TiB in chunks of 4 MiB, about 200 bytes
/// of memory each. Beyond, the oldest ends: the grace of a collection still covers its chunks.
const MOST: usize = 1_024;

/// The leases of one owner's session. Cheap to share.
#[derive(Clone, Debug)]
pub(crate) struct Leases(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    /// Chunks that are leased, each with the number of the lease it is in, and how often it was
    /// added.
    chunks: HashMap<Address, (u64, u32)>,
    leases: BTreeMap<u64, Part>,
    /// The number of the lease that takes what is added.
    last: u64,
}

#[derive(Debug)]
struct Part {
    lease: Lease,
    added: usize,
    /// Chunks that are not released.
    open: usize,
}

impl Leases {
    pub(crate) fn new() -> Leases {
        Leases(Arc::default())
    }

    /// Leases chunks, then asks which of them are here. Blocking.
    pub(crate) fn add(&self, store: &Store, chunks: &[Address]) -> Result<Vec<bool>, ReadError> {
        let mut here = Vec::with_capacity(chunks.len());
        for part in chunks.chunks(EACH) {
            here.extend(lock(&self.0).add(store, part)?);
        }
        Ok(here)
    }

    /// Releases what records name that are committed: they keep it from now on. Blocking.
    pub(crate) fn release(&self, store: &Store, records: &[Record]) {
        for record in records {
            let manifest = &record.clear().manifest;
            self.release_chunks(manifest.refs());
            if let stash_crypto::Manifest::Indirect { chunks, .. } = manifest {
                for chunk in chunks {
                    // Chunks of a manifest chunk that cannot be read stay leased until the end.
                    if let Ok(Some(refs)) = read_manifest(store, &chunk.address) {
                        self.release_chunks(&refs);
                    }
                }
            }
        }
    }

    fn release_chunks(&self, chunks: &[ChunkRef]) {
        let mut held = lock(&self.0);
        for chunk in chunks {
            held.release(&chunk.address);
        }
    }
}

impl Held {
    fn add(&mut self, store: &Store, chunks: &[Address]) -> Result<Vec<bool>, ReadError> {
        if self.leases.get(&self.last).is_some_and(|part| part.added + chunks.len() > EACH) {
            self.end_if_over(self.last);
            self.last += 1;
        }
        let number = self.last;
        let fresh = || Part { lease: store.lease(), added: 0, open: 0 };
        let part = self.leases.entry(number).or_insert_with(fresh);
        let addresses: Vec<_> = chunks.iter().map(at).collect();
        let here = match part.lease.add(&addresses) {
            Ok(here) => here,
            Err(LeaseError::Read(error)) => return Err(error),
            Err(_) => unreachable!("a lease of the store takes more than {EACH} chunks"),
        };
        part.added += chunks.len();
        for chunk in chunks {
            // One that is leased already stays in the lease that it is in.
            let (_, count) = self.chunks.entry(*chunk).or_insert((number, 0));
            part.open += usize::from(*count == 0);
            *count += 1;
        }
        if self.leases.len() > MOST
            && let Some((oldest, _)) = self.leases.pop_first()
        {
            self.chunks.retain(|_, (number, _)| *number != oldest);
        }
        Ok(here)
    }

    fn release(&mut self, chunk: &Address) {
        let Some((number, count)) = self.chunks.get_mut(chunk) else {
            return;
        };
        let number = *number;
        *count -= 1;
        if *count > 0 {
            return;
        }
        self.chunks.remove(chunk);
        if let Some(part) = self.leases.get_mut(&number) {
            part.open -= 1;
        }
        if number != self.last {
            self.end_if_over(number);
        }
    }

    fn end_if_over(&mut self, number: u64) {
        if self.leases.get(&number).is_some_and(|part| part.open == 0) {
            self.leases.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::path::Path;
    use std::time::Duration;

    use stash_store::{Blob, CollectOptions, Committer, MemDisk, Options};

    fn store() -> Store {
        let options = Options {
            committer: Committer::Inline,
            disk: Arc::new(MemDisk::new(1)),
            ..Options::default()
        };
        Store::create(Path::new("/store"), &options).unwrap()
    }

    fn collect(store: &Store) -> u64 {
        let options = CollectOptions { grace: Duration::ZERO, ..CollectOptions::default() };
        store.collect(options).unwrap().chunks
    }

    fn chunk(store: &Store, leases: &Leases, n: u32) -> ChunkRef {
        let bytes = n.to_le_bytes().to_vec();
        let address = Address::of(&bytes);
        leases.add(store, &[address]).unwrap();
        store.stage(Blob::assume(at(&address), bytes)).unwrap();
        ChunkRef { address, sealed_len: 4 }
    }

    // Fault case 105.
    #[test]
    fn leased_chunks_are_not_collected_until_all_that_need_them_are_committed() {
        let store = store();
        let leases = Leases::new();
        let twice = chunk(&store, &leases, 1);
        chunk(&store, &leases, 1);
        store.flush().unwrap();
        assert_eq!(leases.add(&store, &[twice.address]).unwrap(), [true]);
        for _ in 0..3 {
            // Another lease, so that this one ends with its last chunk.
            lock(&leases.0).last += 1;
            assert_eq!(collect(&store), 0);
            leases.release_chunks(&[twice]);
        }
        assert_eq!(collect(&store), 1);
    }

    #[test]
    fn a_session_that_ends_gives_up_its_leases() {
        let store = store();
        let leases = Leases::new();
        chunk(&store, &leases, 1);
        store.flush().unwrap();
        drop(leases);
        assert_eq!(collect(&store), 1);
    }

    #[test]
    fn a_long_session_holds_on_to_what_is_not_committed_and_to_nothing_else() {
        let store = store();
        let leases = Leases::new();
        let kept = chunk(&store, &leases, 0);
        for n in 1..3 * u32::try_from(EACH).unwrap() {
            let chunk = chunk(&store, &leases, n);
            leases.release_chunks(&[chunk]);
        }
        store.flush().unwrap();
        let held = lock(&leases.0);
        assert_eq!((held.chunks.len(), held.leases.len()), (1, 2));
        drop(held);
        assert_eq!(collect(&store), EACH as u64, "all but those of the first lease and the last");
        assert_eq!(leases.add(&store, &[kept.address]).unwrap(), [true]);
    }

    #[test]
    fn the_oldest_leases_end_when_a_session_has_too_many() {
        let store = store();
        let leases = Leases::new();
        let page = |page: u64| -> Vec<Address> {
            (0..EACH as u64).map(|n| Address::of(&(page * EACH as u64 + n).to_le_bytes())).collect()
        };
        for n in 0..MOST as u64 + 1 {
            leases.add(&store, &page(n)).unwrap();
        }
        let held = lock(&leases.0);
        assert_eq!((held.leases.len(), held.leases.first_key_value().unwrap().0), (MOST, &1));
        assert_eq!(held.chunks.len(), MOST * EACH);
    }
}
