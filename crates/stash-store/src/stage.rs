//! Blobs on their way in: handed over, not yet announced.
//!
//! A blob that was taken can still be lost: the disk is full, or fails, before it is announced.
//! That is told to whoever counts on the blob: to the next batch that names it (requires it, or
//! has a record or manifest that refers to it), and to the next flush, which is an empty batch.
//! Batches of others go on. Once told, or staged again, it is forgotten: from then on the blob is
//! one that is not here.

mod awaited;
mod lost;
mod place;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use tracing::debug_span;

use crate::address::Mark;
use crate::budget::{Budget, Claim};
use crate::disk::DiskFile;
use crate::entry::Place;
use crate::files::Files;
use crate::index::ChunkRow;
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, lock, wait};
use crate::{Address, Batch, Blob, IoError};
use lost::Lost;
use place::settle;

/// Files that one round of the flusher makes durable together.
const ROUND: usize = 16;
/// The progress of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A caller is still writing it.
    Writing,
    /// Taken: the next commit makes it durable.
    Queued,
}

/// A large blob in `tmp/`, unsynced.
#[derive(Debug)]
struct StagedFile {
    address: Address,
    len: u32,
    tmp: PathBuf,
    file: Arc<dyn DiskFile>,
}

#[derive(Debug, Default)]
struct State {
    pending: HashMap<Address, Phase>,
    /// Being evicted or collected: their files go before the index says so.
    evicting: HashSet<Address>,
    /// Not to be collected, and how often that was asked for.
    leased: HashMap<Mark, u32>,
    /// Found damaged, which the index does not say yet: the blobs that it says lie there, and not
    /// those that have taken their place since.
    damaged: HashMap<Address, Place>,
    files: Vec<StagedFile>,
    small: Vec<Blob>,
    /// Durable files that the log does not announce yet.
    ready: Vec<(Address, u32)>,
    outstanding: u64,
    /// Blobs among `files`, and among those that the flusher is at.
    unflushed: HashSet<Address>,
    /// Files taken, and files that the flusher is done with, since the store was opened.
    taken: u64,
    flushed: u64,
    /// A batch waits for a file.
    awaited: bool,
    lost: Lost,
    closing: bool,
}

impl State {
    fn is_damaged(&self, address: &Address, row: &ChunkRow) -> bool {
        self.damaged.get(address) == Some(&row.place())
    }
}

/// Facts about a blob that the index does not have yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaving {
    pub(crate) evicting: bool,
    /// Where the copy lies that was found damaged.
    damaged: Option<Place>,
}

impl Leaving {
    pub(crate) fn is_damaged(&self, row: &ChunkRow) -> bool {
        self.damaged == Some(row.place())
    }
}

/// Blobs for the committer to announce.
#[derive(Debug, Default)]
pub(crate) struct Staging {
    pub(crate) small: Vec<Blob>,
    pub(crate) ready: Vec<(Address, u32)>,
}

impl Staging {
    pub(crate) fn is_empty(&self) -> bool {
        self.small.is_empty() && self.ready.is_empty()
    }
}

/// The answer to a caller who would write a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Go,
    Present,
    /// More is outstanding than may be, and nobody else will change that.
    NoRoom,
    Refused,
}

/// The blobs on their way in.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    state: Mutex<State>,
    changed: Condvar,
}

impl Stage {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        wait(&self.changed, state)
    }

    /// Wakes everybody who waits, to look again.
    pub(crate) fn notify(&self) {
        let _state = self.lock();
        self.changed.notify_all();
    }

    /// Lets one caller write a blob. `row` asks the index and is called under the lock: what
    /// leaves `pending` is in the index already. With `wait`, waits for room.
    pub(crate) fn admit<E>(
        &self,
        address: Address,
        len: u64,
        limit: u64,
        wait: bool,
        refused: impl Fn() -> bool,
        row: impl Fn() -> Result<Option<ChunkRow>, E>,
    ) -> Result<Admission, E> {
        let mut state = self.lock();
        loop {
            if refused() {
                return Ok(Admission::Refused);
            }
            let phase = state.pending.get(&address);
            if phase == Some(&Phase::Queued) {
                return Ok(Admission::Present);
            }
            if phase.is_none() && !state.evicting.contains(&address) {
                let here = |row: &ChunkRow| row.is_here() && !state.is_damaged(&address, row);
                if row()?.as_ref().is_some_and(here) {
                    return Ok(Admission::Present);
                }
                if state.outstanding == 0 || state.outstanding + len <= limit {
                    state.pending.insert(address, Phase::Writing);
                    state.outstanding += len;
                    return Ok(Admission::Go);
                }
                if !wait {
                    return Ok(Admission::NoRoom);
                }
            }
            state = self.wait(state);
        }
    }

    /// Takes back an admission.
    pub(crate) fn withdraw(&self, address: &Address, len: u64) {
        let mut state = self.lock();
        state.pending.remove(address);
        state.outstanding = state.outstanding.saturating_sub(len);
        self.changed.notify_all();
    }

    pub(crate) fn take_file(
        &self,
        address: Address,
        len: u32,
        tmp: PathBuf,
        file: Arc<dyn DiskFile>,
    ) {
        let mut state = self.lock();
        state.pending.insert(address, Phase::Queued);
        state.lost.forget(&address);
        state.files.push(StagedFile { address, len, tmp, file });
        state.unflushed.insert(address);
        state.taken += 1;
        self.changed.notify_all();
    }

    /// True if so much waits in memory that it should be written soon.
    pub(crate) fn take_small(&self, blob: Blob, limit: u64) -> bool {
        let mut state = self.lock();
        state.pending.insert(blob.address(), Phase::Queued);
        state.lost.forget(&blob.address());
        state.small.push(blob);
        self.changed.notify_all();
        state.outstanding > limit / 2
    }

    /// Waits for files to make durable. `false` when the store is closing and none are left.
    pub(crate) fn wait_for_files(&self) -> bool {
        let mut state = self.lock();
        while state.files.is_empty() {
            if state.closing {
                return false;
            }
            state = self.wait(state);
        }
        true
    }

    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_all();
    }

    pub(crate) fn has_files(&self) -> bool {
        !self.lock().files.is_empty()
    }

    pub(crate) fn outstanding(&self) -> u64 {
        self.lock().outstanding
    }

    /// Makes some files durable: they are synced and renamed, and their directories synced, each once. An error
    /// is a sync that failed; after one, files are `refused`, and only removed.
    pub(crate) fn flush_files(
        &self,
        files: &Files,
        budget: &Budget,
        refused: bool,
    ) -> Result<(), IoError> {
        let round: Vec<StagedFile> = {
            let mut state = self.lock();
            let n = state.files.len().min(ROUND);
            state.files.drain(..n).collect()
        };
        let (open, moves): (Vec<_>, Vec<_>) = round
            .iter()
            .map(|s| {
                let to = files.chunk(&s.address);
                ((s.tmp.clone(), Arc::clone(&s.file)), (s.tmp.clone(), to))
            })
            .unzip();
        let _sync = debug_span!(target: "chunk", "sync", files = round.len()).entered();
        let settled = if refused { Ok(None) } else { settle(files, &open, &moves).map(Some) };
        let mut state = self.lock();
        state.flushed += round.len() as u64;
        for (i, staged) in round.iter().enumerate() {
            state.unflushed.remove(&staged.address);
            state.outstanding = state.outstanding.saturating_sub(u64::from(staged.len));
            match &settled {
                Ok(Some(outcomes)) if outcomes[i].is_ok() => {
                    state.ready.push((staged.address, staged.len));
                }
                outcomes => {
                    if let Ok(Some(outcomes)) = outcomes
                        && let Err(error) = &outcomes[i]
                    {
                        state.lost.add(staged.address, error);
                    }
                    budget.release(budget.claim_of_file(u64::from(staged.len)));
                    state.pending.remove(&staged.address);
                    // Left behind at worst until the next open.
                    let _ = files.disk.remove(&staged.tmp);
                }
            }
        }
        self.changed.notify_all();
        settled.map(drop)
    }

    /// Why a blob was lost that this batch counts on, if one was. Told once.
    pub(crate) fn tell_lost(&self, batch: &Batch) -> Option<IoError> {
        self.lock().lost.tell(batch)
    }

    /// These are in the index now.
    pub(crate) fn announced(&self, files: &[Address], small: &[(Address, u64)]) {
        let mut state = self.lock();
        for address in files.iter().chain(small.iter().map(|(address, _)| address)) {
            state.pending.remove(address);
            state.damaged.remove(address);
        }
        for (_, len) in small {
            state.outstanding = state.outstanding.saturating_sub(*len);
        }
        self.changed.notify_all();
    }

    /// These will not be announced in this run. With the error that they are `lost` by, the log
    /// certainly does not announce them, and their files go, so that a full disk has the room
    /// again; without, all that is known is that the store takes no more writes.
    pub(crate) fn dropped(
        &self,
        files: &Files,
        budget: &Budget,
        staging: Staging,
        lost: Option<&IoError>,
    ) {
        let mut state = self.lock();
        for (address, len) in &staging.ready {
            state.pending.remove(address);
            budget.release(budget.claim_of_file(u64::from(*len)));
            if let Some(error) = lost {
                state.lost.add(*address, error);
                // An unannounced file is invisible; if it stays, the same blob overwrites it.
                let _ = files.disk.remove(&files.chunk(address));
            }
        }
        for blob in &staging.small {
            state.pending.remove(&blob.address());
            let len = blob.bytes().len() as u64;
            state.outstanding = state.outstanding.saturating_sub(len);
            budget.wrote(Claim::of_small(len));
            budget.release(Claim::of_small(len));
            if let Some(error) = lost {
                state.lost.add(blob.address(), error);
            }
        }
        self.changed.notify_all();
    }

    /// Keeps these from being staged until [`Stage::evicted`]. Gives back those whose files may
    /// be removed: not one that is on its way in again, unless it is `announced` by the same group
    /// and evicted after that.
    pub(crate) fn evicting(&self, addresses: &[Address], announced: &[Address]) -> Vec<Address> {
        let mut state = self.lock();
        let is_free = |a: &&Address| !state.pending.contains_key(a) || announced.contains(a);
        let free: Vec<Address> = addresses.iter().filter(is_free).copied().collect();
        state.evicting.extend(free.iter().copied());
        free
    }

    /// True for a blob that is staged and not announced.
    pub(crate) fn is_coming(&self, address: &Address) -> bool {
        self.lock().pending.contains_key(address)
    }

    /// Begins to collect a blob: from now on it is not here, and cannot be staged until
    /// [`Stage::evicted`]. False, and nothing is done, if it is leased or on its way in.
    pub(crate) fn collecting(&self, address: &Address) -> bool {
        let mut state = self.lock();
        if state.leased.contains_key(&address.mark()) || state.pending.contains_key(address) {
            return false;
        }
        state.evicting.insert(*address)
    }

    /// Holds a blob that is at rest, to remove its file or to take it back: it is not here, and cannot be
    /// staged, until [`Stage::evicted`]. `wanted` asks the index, under the lock: what leaves `pending` is
    /// there already; it is told how to know what was found damaged. False, and nothing is done, if it is
    /// not wanted, or on its way in or out.
    pub(crate) fn hold<E>(
        &self,
        address: &Address,
        wanted: impl FnOnce(&dyn Fn(&ChunkRow) -> bool) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let mut state = self.lock();
        let moves = state.pending.contains_key(address) || state.evicting.contains(address);
        if moves || !wanted(&|row| state.is_damaged(address, row))? {
            return Ok(false);
        }
        Ok(state.evicting.insert(*address))
    }

    /// Keeps a blob from being collected, from now on.
    pub(crate) fn lease(&self, addresses: &[Address]) {
        let mut state = self.lock();
        for address in addresses {
            *state.leased.entry(address.mark()).or_insert(0) += 1;
        }
    }

    /// Takes back as many leases.
    pub(crate) fn end_lease(&self, marks: &[Mark]) {
        let mut state = self.lock();
        for mark in marks {
            if let Some(count) = state.leased.get_mut(mark) {
                *count -= 1;
                if *count == 0 {
                    state.leased.remove(mark);
                }
            }
        }
        // A burst of leases leaves no memory taken.
        let leased = state.leased.len();
        if leased < state.leased.capacity() / 4 {
            state.leased.shrink_to(2 * leased);
        }
    }

    pub(crate) fn is_leased(&self, address: &Address) -> bool {
        let state = self.lock();
        state.leased.contains_key(&address.mark()) || state.pending.contains_key(address)
    }

    pub(crate) fn evicted(&self, addresses: &[Address]) {
        let mut state = self.lock();
        for address in addresses {
            state.evicting.remove(address);
        }
        self.changed.notify_all();
    }

    /// Which of these blobs are on their way out, or damaged, though the index may still have them.
    pub(crate) fn leaving(&self, addresses: &[Address]) -> Vec<Leaving> {
        let state = self.lock();
        let one = |address: &Address| Leaving {
            evicting: state.evicting.contains(address),
            damaged: state.damaged.get(address).copied(),
        };
        addresses.iter().map(one).collect()
    }

    pub(crate) fn is_evicting(&self, address: &Address) -> bool {
        self.lock().evicting.contains(address)
    }

    /// True if the blob that the index has in this row is known to be damaged.
    pub(crate) fn is_damaged(&self, address: &Address, row: &ChunkRow) -> bool {
        self.lock().is_damaged(address, row)
    }

    /// Marks a blob as damaged that was found so as of `place`, and moves its file away, unless a
    /// new copy is on its way. `is_there` asks the index, under the lock, whether the blob is still
    /// that one. `false` if there is nothing to do.
    pub(crate) fn condemn(
        &self,
        address: &Address,
        place: Place,
        is_there: impl FnOnce() -> bool,
        set_aside: impl FnOnce(),
    ) -> bool {
        let mut state = self.lock();
        if state.pending.contains_key(address)
            || state.evicting.contains(address)
            || state.damaged.get(address) == Some(&place)
            || !is_there()
        {
            return false;
        }
        state.damaged.insert(*address, place);
        set_aside();
        true
    }

    /// Blobs that are known to be damaged and of which the index may not say so yet.
    pub(crate) fn condemned(&self) -> Vec<Address> {
        self.lock().damaged.keys().copied().collect()
    }

    /// The index says it now.
    pub(crate) fn absolve(&self, blobs: &[(Address, Place)]) {
        let mut state = self.lock();
        for (address, place) in blobs {
            if state.damaged.get(address) == Some(place) {
                state.damaged.remove(address);
            }
        }
    }
}
