//! Counts of copies.

use std::collections::BTreeMap;

use stash_crypto::NodeId;

/// What was found of the copies of all records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    /// Records looked at.
    pub records: u64,
    /// How many of them have no copy at all that counts, one, two, and three or more; the one here
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
    /// What each other member said, or is taken to have.
    pub members: BTreeMap<NodeId, MemberCopies>,
}

/// What one member has of the records looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberCopies {
    /// Whether it was asked; else it is taken to have what it had.
    pub asked: bool,
    /// Whether what it has counts. One that is away for too long, or in doubt, does not.
    pub counts: bool,
    /// Records that it has with every chunk.
    pub whole: u64,
    /// Records of which it lacks chunks.
    pub incomplete: u64,
    /// Records that it does not hold.
    pub absent: u64,
    /// Records whose bytes it has given up.
    pub given_up: u64,
}

/// How a pass is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// In the background, with rests.
    Quiet,
    /// At once, without rests and without waiting for any grace.
    Now,
    /// As `Now`, but nothing is changed.
    Dry,
}
