//! Copies, counted and made good.

use serde::{Deserialize, Serialize};

use crate::operation::Operation;

/// The state of the repair.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct RepairState {
    /// True while copies are counted or made good.
    pub running: bool,
    /// Time of the last count of copies; null before the first one.
    pub last: Option<String>,
    /// Numbers of records that had no copy that counts, one, two, and three or more then; null until this
    /// process has counted.
    pub copies: Option<[u64; 4]>,
    /// Records of which some member that should have a copy had none; null until this process has
    /// counted.
    pub below: Option<u64>,
}

/// `POST /v1/repair`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepairRequest {
    /// True to count only. Left out: false.
    #[serde(default)]
    pub dry_run: bool,
}

impl Operation for RepairRequest {
    const ROUTE: &'static str = "/v1/repair";
    type Done = RepairDone;
}

/// The end of a repair, or what one would do.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct RepairDone {
    /// True if nothing was changed.
    pub dry_run: bool,
    /// Records looked at: all that are held.
    pub records: u64,
    /// Numbers of records that had no copy that counts, one, two, and three or more before.
    pub copies: [u64; 4],
    /// Records of which some member that should have a copy had none.
    pub below: u64,
    /// Records that lacked chunks here.
    pub incomplete: u64,
    /// Records whose bytes were given up here, and of which others have too few copies.
    pub brought_back: u64,
    /// Records of these two that are whole here now.
    pub completed: u64,
    /// Records of these two that are not: no connected member gave what they lack.
    pub left: u64,
    /// Each other member.
    pub members: Vec<RepairMember>,
}

/// Another member, and the records that it has.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct RepairMember {
    /// Its id.
    pub node_id: String,
    /// Its display name; null if it has none, and on a keeper.
    pub name: Option<String>,
    /// False: it is away, and is taken to have what it was known to have; or it did not answer.
    pub asked: bool,
    /// False: it is away for too long, or in doubt, and no copy.
    pub counts: bool,
    /// Records that it has with all their chunks.
    pub whole: u64,
    /// Records that it has, and that lack chunks there.
    pub incomplete: u64,
    /// Records that it does not have.
    pub absent: u64,
    /// Records whose bytes it has given up.
    pub given_up: u64,
    /// Records of which it is not known whether it has them.
    #[serde(default)]
    pub unknown: u64,
}
