//! Where a power cut falls: all of it follows from the seed and the number of the cut.

use std::fmt::{self, Display, Formatter};

use rand::RngExt;

use crate::powercut::arguments::{FileSystem, Journal};
use crate::tree;

/// In so many cuts of one chain, what the cut left is opened by the next run, which may be cut as well, in place of a
/// check.
const UNCHECKED: u32 = 3;

/// A kind of system call that changes a disk, or may, and how often a run makes it at least: in one thread, and in the
/// busiest thread of several.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) name: &'static str,
    /// Says in the trace which of the calls of this name are meant: the first such one from the ordinal on.
    pub(super) only: Option<&'static str>,
    alone: u32,
    threads: u32,
}

/// As counted over runs of the store's example. The store never calls `fallocate`.
pub(super) const CALLS: &[Call] = &[
    Call { name: "openat2", only: None, alone: 340, threads: 160 },
    Call { name: "openat2", only: Some("O_CREAT"), alone: 300, threads: 140 },
    Call { name: "pwrite64", only: None, alone: 170, threads: 45 },
    Call { name: "pwritev", only: None, alone: 11, threads: 11 },
    Call { name: HINT, only: None, alone: 11, threads: 9 },
    Call { name: "fdatasync", only: None, alone: 160, threads: 46 },
    Call { name: "fsync", only: None, alone: 64, threads: 13 },
    Call { name: "renameat", only: None, alone: 16, threads: 5 },
    Call { name: "unlinkat", only: None, alone: 12, threads: 6 },
    Call { name: "mkdirat", only: None, alone: 35, threads: 11 },
    Call { name: "ftruncate", only: None, alone: 11, threads: 11 },
];

/// The call that begins write-back.
pub(super) const HINT: &str = "fadvise64";

/// The side of a call on which the cut falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Edge {
    /// The process is killed as it enters the call, which does not happen.
    Before,
    /// The process is stopped as it leaves the call; its other threads may be inside of theirs.
    After,
}

/// A power cut, to be.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) number: u32,
    /// Of the user's; even: one thread.
    pub(super) seed: u64,
    pub(super) call: &'static Call,
    /// The first call is 1; every thread counts its own.
    pub(super) ordinal: u32,
    pub(super) edge: Edge,
    /// True if the kernel hears `fadvise64`, which is a hint only. Where it does, what the store wrote is on its way to
    /// the disk before it is synced, and a sync that is missing may do no harm.
    pub(super) hints: bool,
    /// True if the store is checked before it is used, and cut, again.
    pub(super) check: bool,
}

impl Display for Call {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        self.only.map_or(Ok(()), |only| write!(f, " {only}"))
    }
}

impl Cut {
    pub(super) fn plan(seed: u64, fs: FileSystem, journal: Journal, number: u32) -> Self {
        // Spread over all 64 bits first, so that neighbouring seeds share no cut; each series has cuts of its own.
        let lane = 8 * fs as u64 + journal as u64;
        let spread = tree::rng(seed).random::<u64>() ^ lane << 32;
        let mut rng = tree::rng(spread ^ u64::from(number));
        let seed = u64::from(rng.random::<u32>());
        let calls: Vec<&Call> = CALLS.iter().filter(|call| made(fs, call)).collect();
        let call = calls[rng.random_range(0..calls.len())];
        let most = if seed.is_multiple_of(2) { call.alone } else { call.threads };
        // A quarter of them fall early: into the making of the store, or the recovery from the cut before.
        let most = if rng.random_ratio(1, 4) { most.div_ceil(10) } else { most };
        let ordinal = rng.random_range(1..=most);
        // Only a call that was made can be looked at.
        let after = rng.random() || call.only.is_some();
        let edge = if after { Edge::After } else { Edge::Before };
        let hints = rng.random() || call.name == HINT;
        let check = number.is_multiple_of(chain(fs)) || !rng.random_ratio(1, UNCHECKED);
        Self { number, seed, call, ordinal, edge, hints, check }
    }

    pub(super) fn place(&self) -> String {
        let edge = if self.edge == Edge::Before { "before" } else { "after" };
        let threads = if self.seed.is_multiple_of(2) { "one thread" } else { "threads" };
        let hints = if self.hints { "hints heard" } else { "hints ignored" };
        let Self { number, call, ordinal, .. } = self;
        format!("cut {number}, {edge} {call} {ordinal} ({threads}, {hints})")
    }
}

/// Cuts that one image suffers, one after the other, before it is made anew.
pub(super) fn chain(fs: FileSystem) -> u32 {
    match fs {
        FileSystem::Ext4 | FileSystem::Xfs => 8,
        // A repair gives back no more than what was synced: what it does to anything else is not of interest here.
        FileSystem::Bare => 1,
    }
}

/// The first cut on the image that this cut is on.
pub(super) fn chain_of(fs: FileSystem, number: u32) -> u32 {
    (number - 1) / chain(fs) * chain(fs) + 1
}

/// True if nothing may be removed from the store. Without a journal, what a removed file had can belong to two files
/// after a repair: no sync prevents that.
pub(super) fn only_adds(fs: FileSystem) -> bool {
    fs == FileSystem::Bare
}

fn made(fs: FileSystem, call: &Call) -> bool {
    !(only_adds(fs) && call.name == "unlinkat")
}

/// Mount options for the image of this cut: what differs is when the file system writes what.
pub(super) fn mount_options(fs: FileSystem, number: u32) -> &'static str {
    let all: &[&str] = match fs {
        FileSystem::Ext4 => &[
            "data=ordered",
            // Sizes may reach the disk before the contents do.
            "data=writeback,nodelalloc",
            "data=ordered,nodelalloc",
            "data=writeback",
        ],
        FileSystem::Xfs => &["defaults"],
        FileSystem::Bare => &["delalloc", "nodelalloc"],
    };
    all[((number - 1) / chain(fs)) as usize % all.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn plan(seed: u64, number: u32) -> Cut {
        Cut::plan(seed, FileSystem::Ext4, Journal::Dropped, number)
    }

    #[test]
    fn two_hundred_cuts_cover_every_kind_of_call_on_both_edges() {
        let cuts: Vec<Cut> = (1..=200).map(|number| plan(7, number)).collect();
        let seen: BTreeSet<_> = cuts.iter().map(|cut| (cut.call.to_string(), cut.edge)).collect();
        assert_eq!(seen.len(), 2 * CALLS.len() - 1, "{seen:?}");
    }

    #[test]
    fn a_cut_follows_from_seed_series_and_number() {
        assert_eq!(plan(3, 9).place(), plan(3, 9).place());
        assert_ne!(plan(3, 9).place(), plan(4, 9).place());
        let other = Cut::plan(3, FileSystem::Xfs, Journal::Dropped, 9);
        assert_ne!(plan(3, 9).place(), other.place());
    }

    #[test]
    fn a_chain_begins_with_a_new_image_and_ends_with_a_check() {
        let begins = |fs| (1..=20).filter(|number| chain_of(fs, *number) == *number).count();
        assert_eq!((begins(FileSystem::Ext4), begins(FileSystem::Bare)), (3, 20));
        assert!(plan(1, 8).check && plan(1, 16).check);
        assert_eq!((chain_of(FileSystem::Xfs, 8), chain_of(FileSystem::Xfs, 9)), (1, 9));
    }

    #[test]
    fn where_nothing_is_removed_no_removal_is_waited_for() {
        let bare = |number| Cut::plan(1, FileSystem::Bare, Journal::Dropped, number);
        assert!((1..=200).all(|number| bare(number).call.name != "unlinkat"));
    }
}
