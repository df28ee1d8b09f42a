//! Records that are here without all of their chunks, and bringing the chunks.
//!
//! What is wanted stands in the store, so that a restart goes on where it was. Chunks come once
//! their records are here, those first that the fewest connected members have.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use stash_crypto::{Address, NodeId, Record, RecordHash};
use stash_p2p::Peer;
use stash_store::{Batch, ReadError, Store};
use tokio::time::sleep;

use crate::core::{Core, ask};
use crate::fetch::{self, Fetch, Purpose};
use crate::ledger::{self, LedgerError, Named, at};
use crate::message::{self, Reply, Request};

/// Store rows of records that lack chunks here, by record hash; the value is empty.
const ROWS: &[u8] = b"want/";

/// Records looked at together: one question to each member tells who has what.
const BATCH: usize = 256;

/// Records whose chunks are brought at once. Their buffers are bounded besides.
const AT_ONCE: usize = 16;

/// When to try again what no connected member had, if nobody came or told anything new.
const RETRY: Duration = Duration::from_secs(60);

/// Wanted records that a status counts.
const COUNTED: usize = 10_000;

/// The row of a record.
pub(crate) fn row(hash: &RecordHash) -> Vec<u8> {
    [ROWS, hash.as_bytes()].concat()
}

/// How many records lack chunks here; at most 10,000 are counted.
pub(crate) fn count(store: &Store) -> Result<u64, ReadError> {
    Ok(store.rows_after(ROWS, &[], COUNTED)?.len() as u64)
}

/// Brings what is wanted until the engine stops.
pub(crate) async fn run(core: Arc<Core>) {
    loop {
        let left = match pass(&core).await {
            Ok(left) => left,
            Err(error) => {
                tracing::warn!(%error, "what is wanted could not be read");
                true
            }
        };
        let again = async { if left { sleep(RETRY).await } else { std::future::pending().await } };
        tokio::select! {
            () = core.stop.cancelled() => return,
            () = core.wanted.notified() => {}
            () = again => {}
        }
    }
}

/// Looks at every wanted record once. Whether some are left.
pub(crate) async fn pass(core: &Arc<Core>) -> Result<bool, LedgerError> {
    let (mut after, mut left, mut came) = (Vec::new(), false, false);
    while !core.stop.is_cancelled() {
        let from = after.clone();
        let page = core.disk.run(move |store| store.rows_after(ROWS, &from, BATCH)).await?;
        let Some((last, _)) = page.last() else { break };
        after.clone_from(last);
        let hash = |key: &[u8]| Some(RecordHash::from_bytes(key[ROWS.len()..].try_into().ok()?));
        let hashes = page.iter().filter_map(|(key, _)| hash(key)).collect();
        let done = batch(core, hashes).await?;
        left |= done < page.len();
        came |= done > 0;
    }
    if came {
        // Others may have been waiting for what is whole here now.
        core.applied();
    }
    Ok(left)
}

/// A record that lacks chunks.
struct Wanted {
    record: Record,
    /// One that is not here.
    lacking: Address,
    /// Connected members that have it.
    holders: usize,
}

/// Brings what is wanted of these records. How many of them are done with.
async fn batch(core: &Arc<Core>, hashes: Vec<RecordHash>) -> Result<usize, LedgerError> {
    let look = move |store: &Store| {
        let (mut wanted, mut done) = (Vec::new(), Vec::new());
        for hash in hashes {
            match lacking(store, &hash)? {
                Some((record, lacking)) => wanted.push(Wanted { record, lacking, holders: 0 }),
                None => done.push(hash),
            }
        }
        Ok::<_, LedgerError>((wanted, done))
    };
    let (mut wanted, mut done) = core.disk.run(look).await?;
    for (node, peer) in core.connected() {
        ask_holder(&node, &peer, &mut wanted).await;
    }
    wanted.retain(|wanted| wanted.holders > 0);
    wanted.sort_by_key(|wanted| wanted.holders);
    let bring = |wanted: Wanted| async move {
        let hash = wanted.record.hash();
        complete(core, &wanted.record).await.map(|()| hash)
    };
    let mut brought = stream::iter(wanted.into_iter().map(bring)).buffer_unordered(AT_ONCE);
    while let Some(result) = brought.next().await {
        match result {
            Ok(hash) => done.push(hash),
            Err(reason) => tracing::debug!(reason, "a wanted record still lacks chunks"),
        }
    }
    let count = done.len();
    if count > 0 {
        let strike = move |store: &Store| {
            let strike = |batch: Batch, hash: &RecordHash| batch.row(&row(hash), None);
            store.commit(done.iter().fold(Batch::new(), strike).even_if_full())
        };
        core.disk.run(strike).await?;
    }
    Ok(count)
}

/// The record and a chunk of it that is not here, if it is still wanted.
fn lacking(store: &Store, hash: &RecordHash) -> Result<Option<(Record, Address)>, LedgerError> {
    let stored = match store.record(hash.as_bytes()) {
        Ok(Some(stored)) => stored,
        // Forgotten; or damaged: its good copy is wanted again when it comes.
        Ok(None) | Err(ReadError::RecordDamaged { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let record = ledger::decode(stored.sequence, &stored.bytes)?;
    if ledger::is_given_up(store, &record)? {
        return Ok(None);
    }
    let named = Named::of(store, &record.clear().manifest)?;
    Ok(named.missing.first().map(|address| (record, *address)))
}

/// Counts a member among the holders of what it has.
async fn ask_holder(node: &NodeId, peer: &Peer, wanted: &mut [Wanted]) {
    let chunks = message::pack(wanted.iter().map(|wanted| &wanted.lacking));
    let here = match ask(peer, &Request::Have { chunks }).await {
        Ok(Reply::Have { chunks }) => message::flags(&chunks, wanted.len()).ok(),
        Ok(_) => None,
        Err(error) => {
            tracing::debug!(peer = %node.short(), %error, "a member does not say what it has");
            None
        }
    };
    for (wanted, here) in wanted.iter_mut().zip(here.unwrap_or_default()) {
        wanted.holders += usize::from(here);
    }
}

/// Brings every chunk of a record, through its manifest chunks.
async fn complete(core: &Arc<Core>, record: &Record) -> Result<(), String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let refs = fetch::manifest(core, &record.clear().manifest, Purpose::CatchUp).await;
    let refs = refs.map_err(|error| words(&error))?;
    let addresses: Vec<_> = refs.iter().map(|chunk| at(&chunk.address)).collect();
    let has = move |store: &Store| store.has(&addresses);
    let here = core.disk.run(has.clone()).await.map_err(|error| words(&error))?;
    let absent = refs.iter().zip(here).filter(|(_, here)| !here).map(|(chunk, _)| *chunk);
    let mut fetch = Fetch::open(core, absent.collect(), Purpose::CatchUp);
    while let Some(chunk) = fetch.next().await {
        chunk.map_err(|error| words(&error))?;
    }
    let here = core.disk.run(has).await.map_err(|error| words(&error))?;
    match here.iter().all(|here| *here) {
        true => Ok(()),
        false => Err("the store did not keep all of its chunks".to_owned()),
    }
}
