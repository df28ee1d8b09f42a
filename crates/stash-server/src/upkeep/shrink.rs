//! Dropping bytes at a node that keeps less than everything, once it has more than it keeps.
//!
//! Nothing is dropped but as an evict does it: other members that keep everything prove each chunk, and the records that
//! name it. What was used least recently goes first, as a clock tells it: a hand goes around the records in the order in
//! which they came, passes over what was used since it was there last, and drops the rest. Manifests stay.

use std::sync::Arc;
use std::time::Duration;

use stash_crypto::{Address, Manifest, RecordHash};
use stash_store::Store;
use tokio::time::sleep;

use crate::ledger::{self, LedgerError, at};
use crate::transfer::cache::Floor;
use crate::transfer::counting::Counting;
use crate::transfer::evict;
use crate::transfer::evict::outcome::EvictStop;
use crate::upkeep::Upkeep;

/// Time between two looks whether there is too much, if nobody says so.
const LOOK: Duration = Duration::from_secs(60);

/// Pauses while nothing can be dropped: twice as long each time, unless somebody says that it may be otherwise.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));

/// Time between two times that room is made, at least: each may look at every record.
const REST: Duration = Duration::from_secs(1);

/// One part in so many of what is kept is made free at once, when half of that is left.
const PART: u64 = 16;

/// Records that are looked at together.
const RECORDS: u64 = 64;

/// Chunks that are evicted together.
const CHUNKS: usize = 256;

/// Turns that are made at once: what is used again and again is left for a while.
const TURNS: u32 = 3;

/// Files that are tried in a row, of which none can go, before it is taken that none can.
const IN_VAIN: u32 = 32;

/// Drops what is too much until the engine stops.
pub(crate) async fn run(upkeep: Arc<Upkeep>) {
    if !upkeep.core.keeps.is_cache() {
        return;
    }
    let task = upkeep.core.tasks.list("shrink");
    let (mut hand, mut pause) = (0, PAUSES.0);
    loop {
        task.begins();
        let cache = &upkeep.transfer.cache;
        if is_over(&upkeep) {
            let outcome = shrink(&upkeep, &mut hand).await;
            note(&upkeep, outcome.unwrap_or_else(|error| Outcome::Stuck(error.to_string())));
        }
        let is_stuck = cache.made.borrow().stuck.is_some();
        let next = if is_stuck { pause } else { LOOK };
        pause = if is_stuck { (pause * 2).min(PAUSES.1) } else { PAUSES.0 };
        task.ends(Some(next));
        tokio::select! {
            biased;
            () = upkeep.core.tasks.stopped() => return,
            () = sleep(REST) => {}
        }
        tokio::select! {
            biased;
            () = upkeep.core.tasks.stopped() => return,
            () = cache.wake.notified() => {}
            () = sleep(next) => {}
        }
    }
}

/// True if there is about as much here as is kept, or more, and not only what could not go when it was looked at last.
fn is_over(upkeep: &Upkeep) -> bool {
    let (store, keep) = (upkeep.core.disk.store(), upkeep.core.keeps.own());
    let (bytes, sequence) = (store.blob_bytes(), store.last_sequence());
    let floor = upkeep.transfer.cache.made.borrow().floor;
    let is_left = floor.is_some_and(|floor| bytes <= floor.bytes && sequence == floor.sequence);
    bytes > keep - keep / (2 * PART) && !is_left
}

fn note(upkeep: &Upkeep, outcome: Outcome) {
    let (floor, stuck) = match outcome {
        Outcome::Enough | Outcome::Later => (None, None),
        Outcome::Rest(floor) => (Some(floor), None),
        Outcome::Stuck(why) => (None, Some(why)),
    };
    upkeep.transfer.cache.made.send_modify(|made| {
        if let (None, Some(why)) = (&made.stuck, &stuck) {
            tracing::warn!(%why, "there is more here than is kept, and it cannot be dropped");
        }
        (made.floor, made.stuck) = (floor, stuck);
    });
}

/// Other members that have to prove what is dropped; `None` if no other member keeps everything.
fn provers(upkeep: &Upkeep) -> Option<u64> {
    let others = Counting::now(&upkeep.transfer);
    let others = others.expected().filter(|node| *node != upkeep.core.me).count() as u64;
    let copies = upkeep.house.options.repair_copies;
    (others > 0).then(|| copies.min(others).max(1))
}

/// A turn of the hand of the clock.
#[derive(Clone, Copy, Debug)]
struct Turn {
    start: u64,
    has_wrapped: bool,
}

impl Turn {
    /// One around all records.
    fn from(hand: u64) -> Turn {
        Turn { start: hand, has_wrapped: false }
    }

    /// One to the last record.
    fn to_the_end() -> Turn {
        Turn { start: u64::MAX, has_wrapped: true }
    }

    /// There are no further records. True if the turn is over, or else it goes on from the first.
    fn ends(&mut self) -> bool {
        std::mem::replace(&mut self.has_wrapped, true)
    }

    /// The hand has come so far. True if the turn is over.
    fn is_over(&self, hand: u64) -> bool {
        self.has_wrapped && hand >= self.start
    }
}

/// Outcome of making room.
enum Outcome {
    /// There is less than is kept.
    Enough,
    /// Some of it is in use, or was just now: there is more to do a little later.
    Later,
    /// Nothing more can go, by its nature.
    Rest(Floor),
    /// Others do not have what should go.
    Stuck(String),
}

/// What happened in one turn.
#[derive(Default)]
struct Happened {
    /// Something was dropped.
    drops: bool,
    /// Something was passed over that was used, or is in use.
    spared: bool,
    /// Files in a row of which nothing could go, and why not.
    in_vain: u32,
    why: Option<String>,
}

/// Drops until there is a little less than is kept.
async fn shrink(upkeep: &Arc<Upkeep>, hand: &mut u64) -> Result<Outcome, LedgerError> {
    let (store, keep) = (upkeep.core.disk.store(), upkeep.core.keeps.own());
    let Some(copies) = provers(upkeep) else {
        return Ok(Outcome::Stuck("no other member keeps everything".to_owned()));
    };
    let floor = upkeep.transfer.cache.made.borrow().floor;
    let mut turn = match floor.filter(|floor| store.blob_bytes() <= floor.bytes) {
        // Only what later records name may go now.
        Some(floor) => {
            *hand = floor.sequence;
            Turn::to_the_end()
        }
        None => Turn::from(*hand),
    };
    for _ in 0..TURNS {
        let sequence = store.last_sequence();
        let mut happened = Happened::default();
        while !is_over_in(upkeep, &mut turn, hand, copies, &mut happened).await? {}
        if store.blob_bytes() <= goal(keep) {
            return Ok(Outcome::Enough);
        }
        if upkeep.core.tasks.is_stopping() {
            return Ok(Outcome::Later);
        }
        if let Some(why) = happened.why.filter(|_| !happened.drops) {
            return Ok(Outcome::Stuck(why));
        }
        if !happened.drops && !happened.spared {
            return Ok(Outcome::Rest(Floor { bytes: store.blob_bytes(), sequence }));
        }
        turn = Turn::from(*hand);
    }
    Ok(Outcome::Later)
}

fn goal(keep: u64) -> u64 {
    keep - keep / PART
}

/// Moves the hand over some records. True if the turn is over, or there is no reason to go on.
async fn is_over_in(
    upkeep: &Arc<Upkeep>,
    turn: &mut Turn,
    hand: &mut u64,
    copies: u64,
    happened: &mut Happened,
) -> Result<bool, LedgerError> {
    let (disk, after) = (&upkeep.core.disk, *hand);
    let goal = goal(upkeep.core.keeps.own());
    let page = disk.run(move |store| store.record_hashes_after(after, RECORDS)).await?;
    if page.is_empty() {
        *hand = 0;
        return Ok(turn.ends() || turn.is_over(0));
    }
    for (sequence, hash) in page {
        *hand = sequence;
        let victims = victims(upkeep, hash).await?;
        happened.spared |= victims.has_used;
        for chunks in victims.chunks.chunks(CHUNKS) {
            let evicted = evict::evict(&upkeep.transfer, chunks.to_vec(), copies).await;
            let done = match &evicted {
                Ok(done) => done.chunks,
                Err(error) => error.done.chunks,
            };
            if done > 0 {
                (happened.drops, happened.in_vain) = (true, 0);
            }
            match evicted.map_err(|error| error.why) {
                Ok(_) => continue,
                // It is being put, or evicted by somebody.
                Err(EvictStop::Busy | EvictStop::Named { .. }) => happened.spared = true,
                Err(why) => {
                    happened.why = Some(why.to_string());
                    happened.in_vain += 1;
                }
            }
            break;
        }
        let is_enough = disk.store().blob_bytes() <= goal;
        if is_enough || happened.in_vain >= IN_VAIN || upkeep.core.tasks.is_stopping() {
            return Ok(true);
        }
    }
    Ok(turn.is_over(*hand))
}

/// Chunks of a record that may go.
#[derive(Default)]
struct Victims {
    chunks: Vec<Address>,
    /// Others of its chunks were used since they were looked at last, or a record is about to name them.
    has_used: bool,
}

async fn victims(upkeep: &Arc<Upkeep>, hash: [u8; 32]) -> Result<Victims, LedgerError> {
    let shared = Arc::clone(upkeep);
    let look = move |store: &Store| {
        let Some(record) = ledger::whole(store, &RecordHash::from_bytes(hash))? else {
            return Ok(Victims::default());
        };
        let mut refs = Vec::new();
        match &record.clear().manifest {
            Manifest::Indirect { chunks, .. } => {
                for manifest in chunks {
                    refs.extend(
                        ledger::read_manifest(store, &manifest.address)?.unwrap_or_default(),
                    );
                }
            }
            manifest => refs.extend(manifest.refs()),
        }
        let addresses: Vec<_> = refs.iter().map(|chunk| at(&chunk.address)).collect();
        let mut victims = Victims::default();
        let here = store.has(&addresses)?;
        for ((chunk, address), _) in refs.iter().zip(&addresses).zip(here).filter(|(_, here)| *here)
        {
            match shared.transfer.cache.was_used(&chunk.address) || store.is_leased(address) {
                true => victims.has_used = true,
                false => victims.chunks.push(chunk.address),
            }
        }
        Ok(victims)
    };
    upkeep.core.disk.run(look).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_ends_where_it_began_or_where_that_is_no_more() {
        let mut turn = Turn::from(5);
        assert!(!turn.is_over(9), "the rest comes first");
        assert!(!turn.ends());
        assert!(!turn.is_over(4));
        assert!(turn.is_over(5));
        assert!(turn.ends(), "the record at which it began is gone");
        let mut from_the_start = Turn::from(0);
        assert!(!from_the_start.ends() && from_the_start.is_over(0));
        let mut to_the_end = Turn::to_the_end();
        assert!(!to_the_end.is_over(1 << 60));
        assert!(to_the_end.ends());
    }
}
