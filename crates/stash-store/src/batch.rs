//! The changes of one commit, as a whole or not at all.

mod limits;
mod reclaim;

use std::collections::BTreeSet;

use crate::Address;
pub use crate::blob::Ref;
use crate::entry::Place;
use crate::room::Allowance;
use crate::sync::Arc;
pub(crate) use reclaim::{Freed, MoveItem, Reclaim};

/// A record, opaque to the store but for the fields it indexes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordEntry {
    /// Its identity. A hash already stored makes the entry a no-op.
    pub hash: [u8; 32],
    /// The name that the record is about; see [`crate::Store::records_of`].
    pub name: [u8; 32],
    /// Its writer.
    pub writer: [u8; 40],
    /// The writer's own count.
    pub n: u64,
    /// The blobs that the record names directly, at most [`MAX_RECORD_REFS`].
    pub refs: Vec<Ref>,
    /// The record itself, at most [`MAX_RECORD_BYTES`].
    pub bytes: Arc<[u8]>,
}

/// Bytes of a row's key at most: keys are compared whole in the index.
pub const MAX_ROW_KEY: usize = 256;
/// Bytes of a row's value at most: a row lies in the index whole.
pub const MAX_ROW_VALUE: usize = 64 * 1024;
/// Bytes of a record at most.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;
/// Blobs that one record may name.
pub const MAX_RECORD_REFS: usize = 1024;
/// Blobs that one manifest may name: what fits 1 MiB at 36 bytes each.
pub const MAX_MANIFEST_REFS: usize = 29_127;
/// Bytes of log that one batch may take, all its entries together: a batch lies in one segment.
pub const MAX_BATCH_BYTES: u64 = 16 * 1024 * 1024;

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Record(RecordEntry),
    Row {
        key: Vec<u8>,
        value: Option<Vec<u8>>,
    },
    Require(Address),
    /// Changes nothing; the batch waits for the blob, if it is on its way in.
    Await(Address),
    NoneLostSince(u64),
    Evict {
        addresses: Vec<Address>,
        /// The records that may name them; `None`: any.
        known: Option<Arc<BTreeSet<[u8; 32]>>>,
    },
    Manifest {
        address: Address,
        refs: Vec<Ref>,
    },
    Drop([u8; 32]),
    /// Only the store itself adds it, for a blob that it found damaged as of this place.
    Quarantine {
        address: Address,
        place: Place,
    },
    /// Only the store itself adds it, to get room back.
    Reclaim(Reclaim),
}

/// Changes that become durable and visible together. Steps apply in the order they were added.
#[derive(Debug, Clone, Default)]
#[must_use = "a batch changes nothing until it is committed"]
pub struct Batch {
    pub(crate) steps: Vec<Step>,
    even_if_full: bool,
    allowance: Allowance,
}

impl Batch {
    /// An empty batch. Committing it makes everything staged before durable: it is a flush.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// True if nothing was added.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Marks a batch that gives room back in the end, such as the record of a removal: its records
    /// and manifests may use the reserve and go beyond the quota, see [`crate::Quota`], and if even
    /// so the disk is full, it is written where the ballast was. Batches without records and
    /// manifests are never refused for quota or reserve; those that only drop, evict
    /// and remove rows may use the ballast, too.
    pub fn even_if_full(mut self) -> Batch {
        self.even_if_full = true;
        self
    }

    /// Lets the records and manifests of this batch use the allowance that there is for records when
    /// quota or reserve are used up.
    pub fn with_allowance(mut self, allowance: Allowance) -> Batch {
        self.allowance = allowance;
        self
    }

    /// A batch that the store itself adds.
    pub(crate) fn of_store(step: Step) -> Batch {
        Batch { steps: vec![step], ..Batch::default() }
    }

    pub(crate) fn allowance(&self) -> Allowance {
        self.allowance
    }

    /// True if quota and reserve are for this batch, too.
    pub(crate) fn takes_room(&self) -> bool {
        let takes = |step: &Step| matches!(step, Step::Record(_) | Step::Manifest { .. });
        !self.even_if_full && self.steps.iter().any(takes)
    }

    /// True if this batch is worth the ballast.
    pub(crate) fn is_worth_ballast(&self) -> bool {
        let gives_back = |step: &Step| match step {
            Step::Record(_) | Step::Manifest { .. } => false,
            Step::Row { value, .. } => value.is_none(),
            Step::Require(_) | Step::Await(_) | Step::NoneLostSince(_) => true,
            Step::Evict { .. } | Step::Drop(_) => true,
            Step::Quarantine { .. } => true,
            Step::Reclaim(work) => work.gives_back(),
        };
        self.even_if_full || (!self.is_empty() && self.steps.iter().all(gives_back))
    }

    /// The blobs that this batch counts on, or says something about.
    pub(crate) fn names(&self) -> impl Iterator<Item = Address> {
        self.steps.iter().flat_map(|step| {
            let (own, refs): (Option<Address>, &[Ref]) = match step {
                Step::Require(address) | Step::Await(address) => (Some(*address), &[]),
                Step::Record(record) => (None, &record.refs),
                Step::Manifest { address, refs } => (Some(*address), refs),
                _ => (None, &[]),
            };
            own.into_iter().chain(refs.iter().map(|r| r.address))
        })
    }

    /// The blobs that must not be on their way in any more when this batch is written: those that it names,
    /// and those that it gives up.
    pub(crate) fn awaits(&self) -> impl Iterator<Item = Address> {
        let given_up = self.steps.iter().flat_map(|step| match step {
            Step::Evict { addresses, .. } => &addresses[..],
            _ => &[],
        });
        self.names().chain(given_up.copied())
    }

    /// Waits for a blob that is on its way in.
    pub(crate) fn awaiting(mut self, address: Address) -> Batch {
        self.steps.push(Step::Await(address));
        self
    }

    /// Adds a record. The blobs it names need not be here: see [`Batch::require`].
    pub fn record(mut self, entry: RecordEntry) -> Batch {
        self.steps.push(Step::Record(entry));
        self
    }

    /// Sets or removes a row: durable small state of the layer above. The key has 1 to
    /// [`MAX_ROW_KEY`] bytes, the value at most [`MAX_ROW_VALUE`].
    pub fn row(mut self, key: &[u8], value: Option<&[u8]>) -> Batch {
        self.steps.push(Step::Row { key: key.to_vec(), value: value.map(<[u8]>::to_vec) });
        self
    }

    /// Refuses the whole batch with [`crate::CommitError::MissingChunk`] unless this blob is here
    /// and durable at the moment of the commit.
    pub fn require(mut self, address: Address) -> Batch {
        self.steps.push(Step::Require(address));
        self
    }

    /// Refuses the whole batch with [`crate::CommitError::Lost`] if any blob was evicted, collected or
    /// found damaged since [`crate::Store::losses`] said so many. With blobs that earlier batches
    /// have required since then, one batch can rely on more of them than it could require itself.
    pub fn none_lost_since(mut self, losses: u64) -> Batch {
        self.steps.push(Step::NoneLostSince(losses));
        self
    }

    /// Drops the bytes of these blobs; their references stay. A blob that is not here is no error.
    pub fn evict(mut self, addresses: Vec<Address>) -> Batch {
        self.steps.push(Step::Evict { addresses, known: None });
        self
    }

    /// As [`Batch::evict`], but the whole batch is refused with [`crate::CommitError::Named`] if at
    /// the moment of the commit a record that is not among `known` names one of them, directly or
    /// through manifests. Records of this very batch are not looked at.
    pub fn evict_known(mut self, addresses: Vec<Address>, known: Arc<BTreeSet<[u8; 32]>>) -> Batch {
        self.steps.push(Step::Evict { addresses, known: Some(known) });
        self
    }

    /// Drops a record: it is no longer held, and no longer names its blobs. One that is not here is
    /// no error.
    pub fn drop_record(mut self, hash: [u8; 32]) -> Batch {
        self.steps.push(Step::Drop(hash));
        self
    }

    /// Says which blobs a manifest blob names: as long as a record names the manifest, they are
    /// kept, and [`crate::Store::referrers`] finds the records behind it. At most
    /// [`MAX_MANIFEST_REFS`]. Saying it again changes nothing, unless the manifest was collected.
    pub fn manifest(mut self, address: Address, refs: Vec<Ref>) -> Batch {
        self.steps.push(Step::Manifest { address, refs });
        self
    }
}

/// The outcome of a commit that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The sequence number of the first entry that this batch wrote to the log.
    pub first_sequence: u64,
    /// The sequence number of its commit mark; everything of the batch lies in between.
    pub last_sequence: u64,
    /// Records that were not stored before.
    pub new_records: u64,
    /// Blobs that this batch evicted.
    pub evicted: u64,
    pub(crate) freed: Freed,
}
