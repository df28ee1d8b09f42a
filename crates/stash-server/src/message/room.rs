//! The room of a member, as it is told.

use serde::{Deserialize, Serialize};

/// Room of a member, by its own word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRoom {
    /// Bytes that its store takes.
    pub used: u64,
    /// Bytes that it may take in all.
    pub limit: u64,
    /// True if it refuses content.
    pub full: bool,
    /// Records that it lacks, or whose chunks it lacks; about 10,000 of each are counted.
    pub lacks: u64,
}
