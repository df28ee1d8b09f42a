//! Keeping chunks from being collected between the moment in which they are found, or come, and the
//! commit of the record that names them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use stash_crypto::{Address, ChunkRef, Record};
use stash_store::{Lease, LeaseError, ReadError, Store};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::ledger::error::at;
use crate::ledger::manifest::read_manifest;
use crate::lock::lock;

/// Chunks of one lease of the store. A lease ends as a whole, so that one chunk that is never
/// committed keeps so many at most.
const EACH: usize = 1_024;

/// Leases of one session of this node's own at once, besides its first: a million chunks, about 100 bytes of
/// memory each. Beyond, the oldest ends: the grace of a collection still covers its chunks.
const OWN: usize = 1_024;

/// Places for leases that all put streams of one member share: 131,072 chunks.
pub(crate) const MEMBER: usize = 128;

/// The leases of one owner's session. Cheap to share.
#[derive(Clone, Debug)]
pub(crate) struct Leases(Arc<Mutex<Held>>);

#[derive(Debug)]
struct Held {
    /// Chunks that are leased, each with the number of the lease it is in, and how often it was
    /// added.
    chunks: HashMap<Mark, (u32, u32)>,
    leases: BTreeMap<u32, Part>,
    /// The number of the lease that takes what is added.
    last: u32,
    /// A place for each lease but one.
    places: Arc<Semaphore>,
}

/// The first eight bytes of an address. Two chunks with the same are leased and released together: the
/// store does the same.
pub(crate) type Mark = u64;

pub(crate) fn mark(address: &Address) -> Mark {
    let [first, ..] = address.as_bytes().as_chunks().0 else { unreachable!("32 bytes") };
    Mark::from_le_bytes(*first)
}

#[derive(Debug)]
struct Part {
    lease: Lease,
    added: usize,
    /// Chunks that are not released.
    open: usize,
    /// The first lease of a session needs none.
    place: Option<OwnedSemaphorePermit>,
}

impl Leases {
    /// Leases of a session of this node itself.
    pub(crate) fn own() -> Leases {
        Leases::new(Arc::new(Semaphore::new(OWN)))
    }

    /// Leases of a session that takes one of these places for each, but for its first.
    pub(crate) fn new(places: Arc<Semaphore>) -> Leases {
        let (chunks, leases) = (HashMap::new(), BTreeMap::new());
        Leases(Arc::new(Mutex::new(Held { chunks, leases, last: 0, places })))
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
        let number = self.lease_for(store, chunks.len());
        let addresses: Vec<_> = chunks.iter().map(at).collect();
        let part = self.leases.get_mut(&number).expect("it was found or made");
        let here = match part.lease.add(&addresses) {
            Ok(here) => here,
            Err(LeaseError::Read(error)) => return Err(error),
            Err(_) => unreachable!("a lease of the store takes more than {EACH} chunks"),
        };
        part.added += chunks.len();
        for chunk in chunks {
            // One that is leased already stays in the lease that it is in.
            let (_, count) = self.chunks.entry(mark(chunk)).or_insert((number, 0));
            part.open += usize::from(*count == 0);
            *count += 1;
        }
        Ok(here)
    }

    /// The number of a lease that takes so many chunks more. The oldest one ends if it takes a new one
    /// for which there is no place.
    fn lease_for(&mut self, store: &Store, more: usize) -> u32 {
        match self.leases.get(&self.last) {
            Some(part) if part.added + more <= EACH => return self.last,
            Some(_) => self.end_if_over(self.last),
            None => {}
        }
        self.last += 1;
        let mut place = None;
        if !self.leases.is_empty() {
            place = Arc::clone(&self.places).try_acquire_owned().ok();
            if place.is_none()
                && let Some((oldest, part)) = self.leases.pop_first()
            {
                self.chunks.retain(|_, (number, _)| *number != oldest);
                place = part.place;
            }
        }
        let part = Part { lease: store.lease(), added: 0, open: 0, place };
        self.leases.insert(self.last, part);
        self.last
    }

    fn release(&mut self, chunk: &Address) {
        let Some((number, count)) = self.chunks.get_mut(&mark(chunk)) else {
            return;
        };
        let number = *number;
        *count -= 1;
        if *count > 0 {
            return;
        }
        self.chunks.remove(&mark(chunk));
        if let Some(part) = self.leases.get_mut(&number) {
            part.open -= 1;
        }
        if number != self.last {
            self.end_if_over(number);
        }
    }

    fn end_if_over(&mut self, number: u32) {
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
        let leases = Leases::own();
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
        let leases = Leases::own();
        chunk(&store, &leases, 1);
        store.flush().unwrap();
        drop(leases);
        assert_eq!(collect(&store), 1);
    }

    #[test]
    fn a_long_session_holds_on_to_what_is_not_committed_and_to_nothing_else() {
        let store = store();
        let leases = Leases::own();
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

    fn page(page: usize) -> Vec<Address> {
        (0..EACH).map(|n| Address::of(&(page * EACH + n).to_le_bytes())).collect()
    }

    #[test]
    fn the_oldest_leases_end_when_a_session_has_too_many() {
        let store = store();
        let leases = Leases::own();
        for n in 0..OWN + 2 {
            leases.add(&store, &page(n)).unwrap();
        }
        let held = lock(&leases.0);
        assert_eq!(held.leases.len(), OWN + 1);
        assert_eq!(held.chunks.len(), (OWN + 1) * EACH);
        assert!(!held.chunks.contains_key(&mark(&page(0)[0])), "the first one ended");
    }

    // W10.
    #[test]
    fn sessions_that_share_places_have_no_more_leases_together_than_one_alone() {
        let store = store();
        let places = Arc::new(Semaphore::new(8));
        let mut sessions: Vec<_> = (0..4).map(|_| Leases::new(Arc::clone(&places))).collect();
        for n in 0..8 {
            for (session, leases) in sessions.iter().enumerate() {
                leases.add(&store, &page(session * 8 + n)).unwrap();
            }
        }
        let held = |leases: &Leases| lock(&leases.0).leases.len();
        assert_eq!(sessions.iter().map(held).sum::<usize>(), 8 + 4);
        let before = held(&sessions[0]);
        sessions[0].add(&store, &page(100)).unwrap();
        assert_eq!(held(&sessions[0]), before, "there is no place");
        // What one gives up, another may have.
        sessions.truncate(1);
        sessions[0].add(&store, &page(101)).unwrap();
        assert_eq!(held(&sessions[0]), before + 1);
    }
}
