//! Copies, counted and made good.

use serde::{Deserialize, Serialize};

/// How the repair stands.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct RepairState {
    pub(crate) running: bool,
    /// When the copies were last counted: RFC 3339, UTC.
    pub(crate) last: Option<String>,
    /// How many records had no copy, one, two, and three or more then; null until this process has
    /// counted.
    pub(crate) copies: Option<[u64; 4]>,
    /// Records of which some member that should have a copy had none.
    pub(crate) below: Option<u64>,
}

/// `POST /v1/repair`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RepairRequest {
    #[serde(default)]
    pub(crate) dry_run: bool,
}

/// The end of a repair, or what one would do.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct RepairDone {
    pub(crate) dry_run: bool,
    pub(crate) records: u64,
    /// How many records had no copy, one, two, and three or more before.
    pub(crate) copies: [u64; 4],
    /// Records of which some member that should have a copy had none.
    pub(crate) below: u64,
    /// Records that lacked chunks here.
    pub(crate) incomplete: u64,
    /// Records whose bytes were given up here, and of which others have too few copies.
    pub(crate) brought_back: u64,
    /// How many of these are whole here now.
    pub(crate) completed: u64,
    /// How many are not: no connected member gave what they lack.
    pub(crate) left: u64,
    pub(crate) members: Vec<RepairMember>,
}

/// What another member has.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct RepairMember {
    pub(crate) node_id: String,
    pub(crate) name: Option<String>,
    /// False: it is away, and is taken to have what it had.
    pub(crate) asked: bool,
    /// False: it is away for too long, or in doubt, and no copy.
    pub(crate) counts: bool,
    pub(crate) whole: u64,
    pub(crate) incomplete: u64,
    pub(crate) absent: u64,
    pub(crate) given_up: u64,
}
