//! A group: what is staged, then batches, each whole or not at all.

mod reclaim;

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::batch::{Freed, Receipt, Step};
use crate::budget::{Budget, Claim};
use crate::disk::OpenMode;
use crate::entry::{Op, Place, entry_len};
use crate::ground::Ground;
use crate::health::Health;
use crate::index::{ChunkRow, IndexError, Referrers, Tables};
use crate::log::{AppendError, Group, mark_len};
use crate::queue::Job;
use crate::stage::{Stage, Staging};
use crate::{Address, Blob, CommitError};

/// Why a group was given up.
pub(super) enum GroupError {
    Index(IndexError),
    Append(AppendError),
}

impl From<IndexError> for GroupError {
    fn from(error: IndexError) -> GroupError {
        GroupError::Index(error)
    }
}

impl From<AppendError> for GroupError {
    fn from(error: AppendError) -> GroupError {
        GroupError::Append(error)
    }
}

const FILE_LEN: u64 = 72;

fn small_len(blob: &Blob) -> u64 {
    entry_len(32 + blob.bytes().len() as u64)
}

/// Bytes of log that the first thing to write takes.
pub(super) fn first_len(staging: &Staging, batch: u64) -> u64 {
    let staged = if !staging.ready.is_empty() {
        FILE_LEN + mark_len()
    } else {
        staging.small.last().map_or(0, |blob| small_len(blob) + mark_len())
    };
    if staged > 0 { staged } else { batch }
}

/// True if a batch that went so is in the log.
fn wrote(result: &Result<Receipt, CommitError>) -> bool {
    result.as_ref().is_ok_and(|receipt| receipt.last_sequence >= receipt.first_sequence)
}

/// A group that is being built, with all that went into it.
pub(super) struct Built<'a> {
    ground: &'a Ground,
    stage: &'a Stage,
    health: &'a Health,
    group: Option<Group>,
    files: Vec<(Address, u32)>,
    small: Vec<Blob>,
    done: Vec<(Job, Result<Receipt, CommitError>)>,
    /// Of the batch under way.
    new_records: u64,
    freed: Freed,
    pub(super) quarantined: Vec<(Address, Place)>,
    /// Blobs that were quarantined, and have come again.
    pub(super) whole_again: Vec<Address>,
    /// Records whose stored bytes were damaged, and are replaced.
    pub(super) mended: BTreeSet<[u8; 32]>,
    /// Files that go once the group is durable.
    evicted_files: Vec<Address>,
    /// Blobs that cannot be staged, nor are here, until the group has been written.
    pub(super) leaving: Vec<Address>,
    /// Blobs collected that have a file: they cannot be staged until that is removed.
    pub(super) doomed: Vec<Address>,
    /// Segments that are no longer part of the log.
    pub(super) retired: Vec<u64>,
}

impl<'a> Built<'a> {
    pub(super) fn new(
        ground: &'a Ground,
        stage: &'a Stage,
        health: &'a Health,
        group: Group,
    ) -> Built<'a> {
        Built {
            ground,
            stage,
            health,
            group: Some(group),
            files: Vec::new(),
            small: Vec::new(),
            done: Vec::new(),
            new_records: 0,
            freed: Freed::default(),
            quarantined: Vec::new(),
            whole_again: Vec::new(),
            mended: BTreeSet::new(),
            evicted_files: Vec::new(),
            leaving: Vec::new(),
            doomed: Vec::new(),
            retired: Vec::new(),
        }
    }

    fn group(&mut self) -> &mut Group {
        self.group.as_mut().expect("the group is taken once, after it was filled")
    }

    pub(super) fn take_group(&mut self) -> Group {
        self.group.take().expect("the group is taken once, after it was filled")
    }

    /// Copies an entry that is in this group; false if it is not.
    pub(super) fn copy_of(&self, place: Place, out: &mut [u8]) -> bool {
        self.group.as_ref().is_some_and(|group| group.copy_of(place, out))
    }

    pub(super) fn batches(&self) -> u64 {
        self.done.len() as u64
    }

    /// The room that was granted to what is in the group: in the log, and in files of their own.
    pub(super) fn claims(&self, budget: &Budget) -> (Claim, Claim) {
        let small = self.small.iter().map(|blob| Claim::of_small(blob.bytes().len() as u64));
        let batches = self.done.iter().filter(|(_, result)| wrote(result));
        let batches = batches.map(|(job, _)| job.claim);
        let files = self.files.iter().map(|(_, len)| budget.claim_of_file(u64::from(*len)));
        (
            small.chain(batches).fold(Claim::default(), Claim::plus),
            files.fold(Claim::default(), Claim::plus),
        )
    }

    /// The room that was granted to batches of which nothing was written: they were refused, or said
    /// what is so already.
    pub(super) fn granted_in_vain(&self) -> Claim {
        let batches = self.done.iter().filter(|(_, result)| !wrote(result));
        batches.map(|(job, _)| job.claim).fold(Claim::default(), Claim::plus)
    }

    /// Files that the group announces.
    pub(super) fn announced(&self) -> Vec<Address> {
        self.files.iter().map(|(address, _)| *address).collect()
    }

    pub(super) fn small_announced(&self) -> Vec<(Address, u64)> {
        self.small.iter().map(|blob| (blob.address(), blob.bytes().len() as u64)).collect()
    }

    /// Takes what fits: announcements first, so that a batch finds its blobs here.
    pub(super) fn fill(
        &mut self,
        tables: &mut Tables<'_>,
        staging: &mut Staging,
        jobs: &mut Vec<Job>,
    ) -> Result<(), IndexError> {
        while !staging.ready.is_empty() && self.group().fits(FILE_LEN + mark_len()) {
            let Some((address, len)) = staging.ready.pop() else {
                break;
            };
            self.files.push((address, len));
            self.comes(tables, &address)?;
            self.write(tables, &Op::FileChunk { address, len }, &[])?;
        }
        while let Some(blob) = staging.small.pop() {
            if !self.group().fits(small_len(&blob) + mark_len()) {
                staging.small.push(blob);
                break;
            }
            let op = Op::SmallChunk { address: blob.address() };
            self.comes(tables, &blob.address())?;
            self.write(tables, &op, blob.bytes())?;
            self.small.push(blob);
        }
        if !self.group().is_empty() {
            self.mark(tables);
        }
        if !staging.ready.is_empty() || !staging.small.is_empty() {
            return Ok(());
        }
        while let Some(job) = jobs.pop() {
            if !self.group().fits(job.log_bytes) {
                jobs.push(job);
                break;
            }
            let result = self.batch(tables, &job)?;
            self.done.push((job, result));
        }
        Ok(())
    }

    /// Notes a blob that is here from now on, if it was quarantined.
    fn comes(&mut self, tables: &Tables<'_>, address: &Address) -> Result<(), IndexError> {
        if tables.state.quarantined > 0
            && matches!(tables.chunk(address)?, Some(ChunkRow::Quarantined { .. }))
        {
            self.whole_again.push(*address);
        }
        Ok(())
    }

    pub(super) fn write(
        &mut self,
        tables: &mut Tables<'_>,
        op: &Op,
        payload: &[u8],
    ) -> Result<(), IndexError> {
        let (sequence, place) = self.group().push(op, payload);
        tables.apply(op, sequence, place)
    }

    fn mark(&mut self, tables: &mut Tables<'_>) -> u64 {
        let (sequence, place) = self.group().mark();
        tables.dead(&place);
        sequence
    }

    /// Takes in a batch: it is checked first, then written and applied.
    fn batch(
        &mut self,
        tables: &mut Tables<'_>,
        job: &Job,
    ) -> Result<Result<Receipt, CommitError>, IndexError> {
        if let Some(refusal) = self.check(tables, &job.batch.steps)? {
            return Ok(Err(refusal));
        }
        let first_sequence = self.group().next_sequence();
        (self.new_records, self.freed) = (0, Freed::default());
        let mut evicted = 0;
        for step in &job.batch.steps {
            evicted += self.step(tables, step)?;
        }
        let wrote = self.group().next_sequence() > first_sequence;
        let last_sequence =
            if wrote { self.mark(tables) } else { first_sequence.saturating_sub(1) };
        let (new_records, freed) = (self.new_records, self.freed);
        Ok(Ok(Receipt { first_sequence, last_sequence, new_records, evicted, freed }))
    }

    /// Writes and applies a step. How many blobs it evicted.
    fn step(&mut self, tables: &mut Tables<'_>, step: &Step) -> Result<u64, IndexError> {
        match step {
            Step::Record(r) => {
                let refs = r.refs.clone();
                let (hash, name, writer, n) = (r.hash, r.name, r.writer, r.n);
                let op = Op::Record { hash, name, writer, n, refs };
                match tables.record(&r.hash)? {
                    None => {
                        self.write(tables, &op, &r.bytes)?;
                        self.new_records += 1;
                    }
                    // The bytes that were stored are damaged: these replace them.
                    Some(old) if !self.mended.contains(&hash) && self.health.is_broken(&hash) => {
                        let op = Op::Moved { sequence: old.sequence, op: Box::new(op) };
                        self.write(tables, &op, &r.bytes)?;
                        self.mended.insert(hash);
                    }
                    Some(_) => {}
                }
            }
            Step::Row { key, value } => {
                self.write(tables, &Op::Row { key: key.clone(), value: value.clone() }, &[])?;
            }
            Step::Require(_) | Step::Await(_) | Step::NoneLostSince(_) => {}
            Step::Manifest { address, refs } => {
                if tables.manifest(address)?.is_none_or(|row| row.dying.is_some()) {
                    let op = Op::Manifest { address: *address, refs: refs.clone() };
                    self.write(tables, &op, &[])?;
                }
            }
            Step::Drop(hash) => self.drop_record(tables, hash)?,
            Step::Reclaim(work) => self.reclaim(tables, work)?,
            Step::Evict { addresses, .. } => {
                self.health.lose();
                return self.evict(tables, addresses);
            }
            Step::Quarantine { address, place } => self.quarantine(tables, address, *place)?,
        }
        Ok(0)
    }

    /// A blob was found damaged as of `place`: another copy that came since stays.
    fn quarantine(
        &mut self,
        tables: &mut Tables<'_>,
        address: &Address,
        place: Place,
    ) -> Result<(), IndexError> {
        let damaged = match tables.chunk(address)?.filter(ChunkRow::is_here) {
            // Nothing can be said of it any more.
            Some(ChunkRow::File { .. }) if self.ground.files.chunks.look().is_err() => false,
            Some(row) if row.place() == place => true,
            // Compaction has written the announcement again, and its file has been set aside.
            Some(row @ ChunkRow::File { .. }) if row.place().moved => {
                let path = self.ground.files.chunk(address);
                let file = self.ground.files.disk.open(&path, OpenMode::Read);
                file.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
            }
            _ => false,
        };
        if damaged {
            self.write(tables, &Op::Quarantine { address: *address }, &[])?;
        }
        self.quarantined.push((*address, place));
        Ok(())
    }

    fn evict(&mut self, tables: &mut Tables<'_>, addresses: &[Address]) -> Result<u64, IndexError> {
        let mut evicted = 0;
        for address in addresses {
            match tables.chunk(address)? {
                Some(ChunkRow::File { .. }) => self.evicted_files.push(*address),
                Some(ChunkRow::Log { .. }) => {}
                _ => continue,
            }
            self.write(tables, &Op::Evict { address: *address }, &[])?;
            evicted += 1;
        }
        Ok(evicted)
    }

    /// Removes the files of blobs that were evicted: after the log says so durably, and before a
    /// reader or a stager can see the index say so.
    pub(super) fn remove_files(&mut self, emptied: &mut BTreeSet<PathBuf>) {
        let evicted = self.stage.evicting(&self.evicted_files, &self.announced());
        let files = &self.ground.files;
        emptied.extend(evicted.iter().filter_map(|address| files.remove_chunk(address)));
        self.leaving.extend(evicted);
    }

    pub(super) fn answer(self) {
        for (job, result) in self.done {
            job.answer(result);
        }
    }

    /// The group failed: everything goes back to where it came from, to be told so.
    pub(super) fn put_back(self, staging: &mut Staging, jobs: &mut Vec<Job>) {
        staging.ready.extend(self.files);
        staging.small.extend(self.small);
        jobs.extend(self.done.into_iter().rev().map(|(job, _)| job));
    }

    /// The refusal of a batch, if one of its conditions does not hold, its own earlier steps counted in.
    fn check(
        &self,
        tables: &Tables<'_>,
        steps: &[Step],
    ) -> Result<Option<CommitError>, IndexError> {
        if let Some(refusal) = self.away(tables, steps)? {
            return Ok(Some(refusal));
        }
        let mut gone: BTreeSet<Address> = BTreeSet::new();
        let mut referrers = Referrers::new(tables);
        for step in steps {
            match step {
                Step::Require(address) => {
                    let sound =
                        |row: ChunkRow| row.is_here() && !self.stage.is_damaged(address, &row);
                    if !tables.chunk(address)?.is_some_and(sound) || gone.contains(address) {
                        return Ok(Some(CommitError::MissingChunk { address: *address }));
                    }
                }
                Step::NoneLostSince(losses) if self.health.losses() != *losses => {
                    return Ok(Some(CommitError::Lost));
                }
                Step::Evict { addresses, known } => {
                    for address in addresses {
                        if let Some(known) = known
                            && let Some(record) = referrers.other_than(address, known)?
                        {
                            return Ok(Some(CommitError::Named { address: *address, record }));
                        }
                        gone.insert(*address);
                    }
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// The refusal of a batch that relies on files, or gives some up, while their directory is away.
    fn away(&self, tables: &Tables<'_>, steps: &[Step]) -> Result<Option<CommitError>, IndexError> {
        let is_file = |address: &Address| -> Result<bool, IndexError> {
            Ok(matches!(tables.chunk(address)?, Some(ChunkRow::File { .. })))
        };
        for step in steps {
            let relies = match step {
                Step::Require(address) => is_file(address)?,
                Step::NoneLostSince(_) => true,
                Step::Evict { addresses, .. } => {
                    addresses.iter().map(is_file).find(|is| !matches!(is, Ok(false))).transpose()?
                        == Some(true)
                }
                Step::Reclaim(work) => work.is_about_files(),
                _ => false,
            };
            if relies {
                return Ok(self.ground.files.chunks.look().err().map(CommitError::Away));
            }
        }
        Ok(None)
    }
}
