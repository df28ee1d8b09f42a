//! A page of an eviction: chunks that are looked up, proven and dropped together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stash_crypto::{Address, ChunkRef, NodeId, RecordHash};
use stash_store::{Batch, ChunkState, CommitError, Store};

use crate::ledger::{LedgerError, at};
use crate::transfer::Transfer;
use crate::transfer::counting::Counting;
use crate::transfer::evict::flag::Flag;
use crate::transfer::evict::outcome::{EvictStop, Evicted};
use crate::transfer::evict::question::{self, CHUNKS, Group, RECORDS};

/// Bytes in one page, at most: both ends read and hash them before the answer, which a disk that
/// reads 4 MiB a second brings within half of the 30 seconds that it may take.
const BYTES: u64 = 64 << 20;

/// Chunks that are proven and dropped together.
pub(crate) struct Page {
    groups: Vec<Group>,
}

impl Page {
    /// Looks up the first of some chunks whose flags are raised: as many as fit, and at least one.
    /// Returns their number as well.
    pub(super) async fn look(
        transfer: &Transfer,
        chunks: &[Address],
    ) -> Result<(Page, usize), LedgerError> {
        let some = chunks[..chunks.len().min(CHUNKS)].to_vec();
        transfer.core.disk.run(move |store| look(store, &some)).await
    }

    /// Has the chunks proven, and drops them.
    pub(super) async fn evict(
        self,
        transfer: &Arc<Transfer>,
        flag: &Flag,
        copies: u64,
    ) -> Result<Evicted, EvictStop> {
        let proven_by = self.proven(transfer, flag, copies).await?;
        let (mut batch, mut bytes) = (Batch::new(), 0);
        for group in &self.groups {
            bytes += group.chunks.iter().map(|chunk| u64::from(chunk.sealed_len)).sum::<u64>();
            let chunks = group.chunks.iter().map(|chunk| at(&chunk.address)).collect();
            batch = batch.evict_known(chunks, Arc::clone(&group.records));
        }
        if batch.is_empty() {
            return Ok(Evicted::default());
        }
        match transfer.core.disk.run(move |store| store.commit(batch)).await {
            Ok(receipt) => Ok(Evicted { chunks: receipt.evicted, bytes, proven_by }),
            Err(CommitError::Named { record, .. }) => {
                Err(EvictStop::Named { by: RecordHash::from_bytes(record) })
            }
            Err(error) => Err(LedgerError::from(error).into()),
        }
    }

    /// Asks members one after the other until so many have proven every chunk. Members whose copies do not count are
    /// not asked.
    async fn proven(
        &self,
        transfer: &Arc<Transfer>,
        flag: &Flag,
        copies: u64,
    ) -> Result<BTreeSet<NodeId>, EvictStop> {
        let counting = Counting::now(transfer);
        let (mut proven, mut proven_by) = (BTreeMap::new(), BTreeSet::new());
        let mut asked = Vec::new();
        for (node, peer) in transfer.core.connected() {
            let left = self.without(&proven, copies);
            if left.is_empty() {
                break;
            }
            if !counting.counts(&node) {
                let why = counting.uncounted().find(|(other, _)| *other == node);
                asked.extend(why.map(|(node, why)| (node, why.to_owned())));
                continue;
            }
            flag.asks(node);
            match question::ask(transfer, &node, &peer, &left).await {
                Ok(answer) => {
                    if !answer.proven.is_empty() {
                        proven_by.insert(node);
                    }
                    for chunk in answer.proven {
                        *proven.entry(chunk).or_default() += 1;
                    }
                    asked.push((node, answer.text));
                }
                Err(error) => asked.push((node, error.to_string())),
            }
        }
        match self.without(&proven, copies).is_empty() {
            true => Ok(proven_by),
            false => Err(EvictStop::NotProven { copies, asked }),
        }
    }

    /// The groups, without the chunks that so many members have proven.
    fn without(&self, proven: &BTreeMap<Address, u64>, copies: u64) -> Vec<Group> {
        let left = self.groups.iter().map(|group| {
            let enough = |chunk: &&ChunkRef| {
                proven.get(&chunk.address).is_some_and(|count| *count >= copies)
            };
            let left = group.chunks.iter().filter(|chunk| !enough(chunk));
            Group { records: Arc::clone(&group.records), chunks: left.copied().collect() }
        });
        left.filter(|group| !group.chunks.is_empty()).collect()
    }
}

fn look(store: &Store, chunks: &[Address]) -> Result<(Page, usize), LedgerError> {
    let addresses: Vec<_> = chunks.iter().map(at).collect();
    let mut groups: BTreeMap<BTreeSet<[u8; 32]>, Vec<ChunkRef>> = BTreeMap::new();
    let (mut bytes, mut records, mut taken) = (0, 0, 0);
    for (chunk, named_by) in chunks.iter().zip(store.referrers_of_all(&addresses)?) {
        let state = store.chunk_state(&at(chunk))?;
        if let ChunkState::Here { len } = state
            && !named_by.is_empty()
        {
            // What is told in one number takes no room.
            let fits = named_by.len() <= RECORDS && !groups.contains_key(&named_by);
            let more = if fits { named_by.len() } else { 0 };
            let is_full = bytes + u64::from(len) > BYTES || records + more > RECORDS;
            if is_full && bytes > 0 {
                break;
            }
            (bytes, records) = (bytes + u64::from(len), records + more);
            let reference = ChunkRef { address: *chunk, sealed_len: len };
            groups.entry(named_by).or_default().push(reference);
        }
        taken += 1;
    }
    let group = |(records, chunks)| Group { records: Arc::new(records), chunks };
    Ok((Page { groups: groups.into_iter().map(group).collect() }, taken))
}
