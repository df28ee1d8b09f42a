//! The room that the store may take of the disk, and whether there is some for more.

use std::fmt;

use crate::disk::Space;

/// Bytes of a disk that puts leave, unless [`Quota::reserve_bytes`] says otherwise: the store's
/// own upkeep needs them. Room for a log segment under way, for all changes of the index that may
/// wait in memory, and for a merge of an index of a million blobs.
const RESERVE_BYTES: u64 = 256 * 1024 * 1024;
/// Of a disk that is smaller than 12.8 GiB, the reserve is one part in so many: or else a small
/// disk would be all reserve.
const RESERVE_PART: u64 = 50;
/// Files and directories that puts leave: the store itself makes some twenty at a time, for a
/// segment and its directories and for files of the index; the rest is for other programs.
const RESERVE_INODES: u64 = 1024;
/// The same for a disk that has few: a sixteenth is still as many as the store itself makes, from
/// 320 in all.
const RESERVE_INODES_PART: u64 = 16;

/// The room that a store may take, and that it leaves of its disk. Refused beyond are blobs,
/// records and manifests; see [`crate::Batch::even_if_full`].
///
/// Bytes are those of [`crate::Stats::used_bytes`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Above so many bytes, [`crate::Stats::room`] says so. Nothing is refused.
    pub soft: Option<u64>,
    /// Nothing is taken that would bring the store above so many bytes. What it writes for itself,
    /// such as its index, still does.
    pub hard: Option<u64>,
    /// Free bytes of the disk that are left to others, and to the store's own upkeep. `None` is
    /// 256 MiB, or 2 % of a disk that is smaller than 12.8 GiB.
    pub reserve_bytes: Option<u64>,
    /// Free inodes (files and directories that can still be made) that are left. `None` is 1,024,
    /// or a sixteenth of all, whichever is less. Without meaning where inodes are not counted.
    pub reserve_inodes: Option<u64>,
}

/// Bytes that records may take beyond the hard quota, or out of the reserve, at most: those of some
/// hundred thousand, with what the index has of them.
const RECORDS_BYTES: u64 = 64 * 1024 * 1024;
/// Of a smaller quota, records may go beyond it by one part in so many.
const RECORDS_PART: u64 = 16;
/// So many bytes they may have of any quota: a part of a very small one would not hold a single forget.
const RECORDS_LEAST: u64 = 64 * 1024;
/// Of the reserve, of bytes and of inodes, records may take one part in so many: the rest stays for
/// collections and merges of the index.
const RECORDS_OF_RESERVE: u64 = 4;

/// Room that a batch with records or manifests may use when quota or reserve forbid blobs. A store that
/// takes no bytes any more can so still learn what there is, and what of it has ended.
///
/// The allowance is a sixteenth of the hard quota, at least 64 KiB and at most 64 MiB; and of the disk,
/// at most a quarter of the reserve. What records took of it beyond the quota is counted until the
/// store is within its quota again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Allowance {
    /// Nothing: the batch brings content, and counts as blobs do.
    #[default]
    None,
    /// Half of the allowance: what is said of content that lies elsewhere.
    Records,
    /// All of it: what says that something has ended.
    Endings,
}

impl Allowance {
    fn part_of(self, whole: u64) -> u64 {
        match self {
            Allowance::None => 0,
            Allowance::Records => whole / 2,
            Allowance::Endings => whole,
        }
    }

    /// Bytes beyond a hard quota.
    pub(crate) fn beyond(self, hard: u64) -> u64 {
        self.part_of((hard / RECORDS_PART).clamp(RECORDS_LEAST, RECORDS_BYTES))
    }

    /// Bytes and inodes that are left of a reserve.
    pub(crate) fn reserve(self, (bytes, inodes): (u64, u64)) -> (u64, u64) {
        let of_bytes = self.part_of(RECORDS_BYTES.min(bytes / RECORDS_OF_RESERVE));
        (bytes - of_bytes, inodes - self.part_of(inodes / RECORDS_OF_RESERVE))
    }
}

impl Quota {
    /// Bytes and inodes of this disk that puts leave.
    pub(crate) fn reserve(&self, space: &Space) -> (u64, u64) {
        let bytes = RESERVE_BYTES.min(space.total / RESERVE_PART);
        let all = space.total_inodes.unwrap_or(u64::MAX);
        let inodes = RESERVE_INODES.min(all / RESERVE_INODES_PART);
        (self.reserve_bytes.unwrap_or(bytes), self.reserve_inodes.unwrap_or(inodes))
    }

    /// True if the reserve of this disk is whole once so many bytes are written: for what others keep on
    /// the disk of the store, such as files that are merged.
    #[must_use]
    pub fn leaves_reserve(&self, space: &Space, bytes: u64) -> bool {
        let (kept, inodes) = self.reserve(space);
        space.free >= bytes.saturating_add(kept)
            && space.free_inodes.is_none_or(|free| free >= inodes)
    }
}

/// A thing that a disk can run out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Room for bytes.
    Bytes,
    /// Room for files and directories.
    Inodes,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Resource::Bytes => "bytes",
            Resource::Inodes => "inodes",
        })
    }
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Shortage {
    /// The hard quota would be exceeded.
    #[error(
        "the quota is used up: the store takes {used} bytes of {limit}; raise the quota, or \
         remove files and run a collection"
    )]
    Quota {
        /// Bytes of the store, with what is on its way.
        used: u64,
        /// Bytes that it may have.
        limit: u64,
    },
    /// The disk would be left with less than the reserve.
    #[error(
        "the disk is all but full: {free} {what} are free, of which {reserve} are kept in \
         reserve; free some space, or remove files and run a collection"
    )]
    Reserve {
        /// The amount that the disk has left.
        free: u64,
        /// The amount that is not for puts.
        reserve: u64,
        /// Of what.
        what: Resource,
    },
}

/// The answer to whether there is room for more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Room {
    /// There is.
    #[default]
    Enough,
    /// There is, and the soft quota is exceeded.
    AboveSoft {
        /// Bytes of the store, with what is on its way.
        used: u64,
        /// The soft quota in bytes.
        soft: u64,
    },
    /// The claim that was refused last, or else any at all, is refused now.
    Refusing(Shortage),
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Room::Enough => f.write_str("there is room"),
            Room::AboveSoft { used, soft } => write!(
                f,
                "the store takes {used} bytes, more than its soft quota of {soft}; remove files \
                 and run a collection before it is full"
            ),
            Room::Refusing(shortage) => write!(f, "puts are refused: {shortage}"),
        }
    }
}
