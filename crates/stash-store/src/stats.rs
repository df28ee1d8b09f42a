//! Figures and reports of a store.

use std::sync::Arc;

use crate::disk::Space;
use crate::{Away, Quota, Room};

/// The state of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkState {
    /// Durable and readable.
    Here {
        /// Its length in bytes.
        len: u32,
    },
    /// It was here, and its bytes were dropped on purpose.
    Evicted,
    /// Never seen.
    Absent,
    /// It was here, and its bytes were found damaged. Staging it again heals it.
    Quarantined,
}

/// The outcome of [`crate::Store::stage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Staged {
    /// The blob was taken.
    New,
    /// The blob is here, or on its way, already.
    Present,
}

/// A record, with its place in the order of this store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Increases from record to record, with gaps; the cursor for
    /// [`crate::Store::records_after`]. Its meaning ends at this store.
    pub sequence: u64,
    /// The hash under which it was committed.
    pub hash: [u8; 32],
    /// The record's bytes.
    pub bytes: Arc<[u8]>,
}

/// A writer, with the number and hash of its last record.
pub type WriterEnd = ([u8; 40], u64, [u8; 32]);

/// All records of a store in two figures; see [`crate::Store::record_totals`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordTotals {
    /// The number of records.
    pub count: u64,
    /// The sum of their hashes as 256-bit little-endian numbers, modulo 2^256. It does not depend on
    /// the order in which they came.
    pub sum: [u8; 32],
}

/// The records of a store that lack blobs here; see [`crate::Store::wholeness`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wholeness {
    /// All records that are held; as of the same commit.
    pub held: RecordTotals,
    /// The records of which a blob that they name, directly or through a manifest, is not here. A record whose entry is
    /// damaged may be among them.
    pub lacking: RecordTotals,
    /// False while changes of blobs are being followed to the records that name them: then some records may be counted that
    /// are whole, and others not that lack something.
    pub settled: bool,
}

/// A position among the changes of which records are whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TurnedAt {
    /// Drawn anew when a store is opened, and when its index is made anew.
    pub run: u64,
    /// The number of changes since then.
    pub number: u64,
}

/// Changes of which records are whole; see [`crate::Store::turned_since`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turned {
    /// False if the position that was asked for means nothing any more: what changed since is not known.
    pub known: bool,
    /// In order: the record, and whether it was whole then.
    pub records: Vec<([u8; 32], bool)>,
    /// The position behind them; the newest one if that which was asked for is not known.
    pub position: TurnedAt,
}

/// A record whose entry in the log is damaged: what the index knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedRecord {
    /// The hash under which it was committed.
    pub hash: [u8; 32],
    /// Its writer.
    pub writer: [u8; 40],
    /// Its number among those of its writer.
    pub n: u64,
    /// The fault of its entry.
    pub what: String,
}

/// Figures of an open store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Records stored.
    pub records: u64,
    /// Blobs that are here.
    pub chunks: u64,
    /// Bytes of those blobs.
    pub bytes: u64,
    /// Blobs that were evicted and are not back.
    pub evicted: u64,
    /// Blobs found damaged and not replaced.
    pub quarantined: u64,
    /// Bytes of the log, all segments together.
    pub log_bytes: u64,
    /// Segments of the log.
    pub log_segments: u64,
    /// Damage in the log that was found when the index had to be made anew while the store was
    /// open: what was lost, one sentence each, at most 64. See [`OpenReport::damage`].
    pub damage: Vec<String>,
    /// Bytes of blobs that lie in files of their own.
    pub file_bytes: u64,
    /// Bytes of the index's files.
    pub index_bytes: u64,
    /// Bytes of the store: blob files, log, index, and what is on its way into them. The ballast
    /// and what lies in `quarantine/` are not counted.
    pub used_bytes: u64,
    /// Bytes that the store may have in all, as of now: its hard quota, or what it has and what the
    /// disk has left above the reserve, whichever is less.
    pub limit_bytes: u64,
    /// The room that the store may take.
    pub quota: Quota,
    /// Space that the disk has left, as of now; `None` if it does not say.
    pub disk: Option<Space>,
    /// The answer to whether there is room for more, as of now.
    pub room: Room,
    /// The directory of the files of blobs, if it was away when it was looked at last. Figures of
    /// blobs are as of when it was there.
    pub away: Option<Away>,
    /// Bytes for which a merge of the index waits: it begins when so much is free above the reserve.
    pub waits_to_merge: Option<u64>,
    /// Why the store takes no writes, if so.
    pub read_only: Option<String>,
    /// Bytes staged and not yet durable.
    pub outstanding_bytes: u64,
    /// Groups of batches that were written with one sync each, since the store was opened.
    pub groups: u64,
    /// Batches in those groups.
    pub batches: u64,
    /// The progress of scrubbing.
    pub scrub: ScrubProgress,
    /// Seconds that the store has been open in all its life, as far as it was told: see
    /// [`crate::Store::add_uptime`].
    pub uptime: u64,
}

/// The progress of scrubbing; see [`crate::scrub::Scrubber`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScrubProgress {
    /// Passes over everything that came to their end, in all the life of the store.
    pub passes: u64,
    /// Bytes that the pass under way has read.
    pub done_bytes: u64,
    /// Bytes that it has to read, about: there are more when much is stored meanwhile, and many
    /// small files count for more than their bytes.
    pub total_bytes: u64,
    /// Findings of the pass under way.
    pub findings: u64,
    /// Findings of the pass before it.
    pub last_findings: u64,
    /// Segments of the log that are damaged or missing, and wait for compaction.
    pub suspects: u64,
}

/// The findings of opening the store, and what it did about them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenReport {
    /// Why the index was rebuilt from the whole log, if it was.
    pub index_rebuilt: Option<String>,
    /// Log entries read again.
    pub replayed: u64,
    /// Bytes cut from the end of the log: a write that was never acknowledged.
    pub torn_bytes: u64,
    /// Damage in the acknowledged part of the log: one sentence each, with segment and offset.
    /// The damaged bytes were copied to `quarantine/`.
    pub damage: Vec<String>,
    /// Left-over files removed from `tmp/`.
    pub tmp_removed: u64,
}

impl OpenReport {
    /// True if the store was closed cleanly before, so that no file of a blob lies there which nothing
    /// announces.
    #[must_use]
    pub fn was_clean(&self) -> bool {
        let OpenReport { index_rebuilt, replayed, torn_bytes, damage, tmp_removed } = self;
        index_rebuilt.is_none()
            && damage.is_empty()
            && (*replayed, *torn_bytes, *tmp_removed) == (0, 0, 0)
    }
}
