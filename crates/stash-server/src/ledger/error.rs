//! Errors of the ledger, by operation.

use stash_crypto::member::{EntryError, MemberError};
use stash_crypto::record::{MAX_SEEN, SignError};
use stash_crypto::{Address, NameId, NodeId, Role};
use stash_store::{CommitError, ReadError};

/// Looking into the store failed. Our disk's fault; nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A record in the store does not decode.
    #[error("record at sequence {sequence} does not decode: {reason}")]
    Damaged {
        /// Its sequence number in this store.
        sequence: u64,
        /// The fault in it.
        reason: String,
    },
}

/// Converts between the address types of the crates below.
pub(crate) fn at(address: &Address) -> stash_store::Address {
    stash_store::Address::from_bytes(*address.as_bytes())
}

impl LedgerError {
    /// True if a record is damaged here, and nothing else is wrong.
    #[must_use]
    pub fn is_damaged_record(&self) -> bool {
        matches!(self, LedgerError::Read(ReadError::RecordDamaged { .. }))
    }

    /// True if the only fault is that the directory of the chunk files is away.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(
            self,
            LedgerError::Read(ReadError::Away(_)) | LedgerError::Commit(CommitError::Away(_))
        )
    }

    /// True if there was no room for it.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, LedgerError::Commit(error) if error.is_full())
    }
}

/// The roster in the store cannot be used, or a change to it cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum RosterError {
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// An entry of the member log is malformed: its sender is at fault.
    #[error("member log entry {index} is malformed: {source}")]
    Malformed {
        /// Its index in the log.
        index: u64,
        /// The fault in it.
        source: EntryError,
    },
    /// An entry does not extend the log; a fork is an alarm.
    #[error("member log entry {index}: {source}")]
    Entry {
        /// Position in the log.
        index: u64,
        /// The fault in it.
        source: MemberError,
    },
}

/// Writing failed; no record of the batch was kept, no number was used.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The store could not be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The record could not be made. The caller's fault, or [`SignError`] says whose.
    #[error("the record cannot be made: {0}")]
    Draft(#[from] SignError),
    /// More writers have written this name than one record can name.
    #[error(transparent)]
    TooManyWriters(#[from] NameFull),
    /// This node may not write any more: its role was changed.
    #[error("this node is a {0}, and only owners write")]
    Role(Role),
    /// A chunk of the record is not in the store any more: it was evicted or damaged meanwhile.
    #[error("a chunk of the new record is no longer here; put the file again")]
    ChunkGone,
}

/// A name has more writers in its history than a record can name. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the name {} has more than {MAX_SEEN} writers in its history; {count} of them are incarnations of \
     node {}, which {}",
    .name.short(),
    .node.short(),
    if *.removed {
        "was removed: purge the name, which forgets all of that, and write it again"
    } else {
        "is a member: if it is not to be trusted remove it, then purge the name and write it again"
    }
)]
pub struct NameFull {
    /// The name.
    pub name: NameId,
    /// The node with most of the writers.
    pub node: NodeId,
    /// Number of its writers.
    pub count: usize,
    /// True if the member log has removed it.
    pub removed: bool,
}
