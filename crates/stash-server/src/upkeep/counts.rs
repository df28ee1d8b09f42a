//! Counts of copies.

use std::collections::BTreeMap;

use stash_crypto::NodeId;

/// Copies of all records, as a pass found them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    /// Records looked at.
    pub records: u64,
    /// Records with no copy that counts, with one, with two, and with three or more; the one here
    /// counts.
    pub copies: [u64; 4],
    /// Records of which some member that should have a copy has none.
    pub below: u64,
    /// Records that lack chunks here, which are wanted.
    pub incomplete: u64,
    /// Records whose bytes were given up here, and are brought back.
    pub brought_back: u64,
    /// Records whose bytes were given up here, and will be brought back after the grace.
    pub waiting: u64,
    /// Counts of each other member, by its word or as it is believed.
    pub members: BTreeMap<NodeId, MemberCopies>,
}

/// Copies of the looked-at records that one member has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberCopies {
    /// True if it said so when it was asked; else it is believed to have what it had.
    pub asked: bool,
    /// True if its copies count. They do not if it is away for too long, or in doubt.
    pub counts: bool,
    /// Records that it has with every chunk.
    pub whole: u64,
    /// Records of which it lacks chunks.
    pub incomplete: u64,
    /// Records that it does not hold.
    pub absent: u64,
    /// Records whose bytes it has given up.
    pub given_up: u64,
    /// Records of which it is not known whether it has them: it did not say so in time, or has not been compared since they
    /// came here. They are not counted as copies.
    pub unknown: u64,
}

/// Manner of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// In the background, with rests.
    Quiet,
    /// At once, without rests and without waiting for any grace.
    Now,
    /// As `Now`, but nothing is changed.
    Dry,
}
