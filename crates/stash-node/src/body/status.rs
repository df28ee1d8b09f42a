//! The state of a node.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{Damaged, RepairState, Ticket};

/// `GET /v1/status`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) node_id: String,
    pub(crate) stash_id: String,
    pub(crate) role: String,
    pub(crate) name: Option<String>,
    pub(crate) listen: Vec<SocketAddr>,
    /// What the founder last confirmed of the members; null if it never did.
    #[serde(default)]
    pub(crate) confirmed: Option<Confirmed>,
    /// What the recovery text on paper is worth; null but on the founding node.
    #[serde(default)]
    pub(crate) recovery_text: Option<RecoveryTextState>,
    /// Whether it is no member, and reads in the name of the root.
    #[serde(default)]
    pub(crate) visits: bool,
    pub(crate) synchronised: bool,
    pub(crate) members: u64,
    pub(crate) connected: u64,
    pub(crate) records: u64,
    /// Null where names are unknown: on a keeper.
    pub(crate) files: Option<u64>,
    pub(crate) chunks: u64,
    pub(crate) bytes: u64,
    pub(crate) missing_copies: u64,
    pub(crate) incomplete: u64,
    /// Records of others that found no room here.
    #[serde(default)]
    pub(crate) refused: u64,
    /// Members that are full, one sentence each.
    #[serde(default)]
    pub(crate) full: Vec<String>,
    pub(crate) read_only: Option<String>,
    /// The directory of the chunk files and what was found in its place, while it is away.
    pub(crate) away: Option<String>,
    pub(crate) alarms: Vec<String>,
    pub(crate) quarantined: u64,
    /// Tickets of this node that are open, or were used or expired in the last 30 days.
    #[serde(default)]
    pub(crate) tickets: Vec<Ticket>,
    pub(crate) traffic: Traffic,
    pub(crate) store: Room,
    pub(crate) gc: GcState,
    pub(crate) scrub: ScrubState,
    pub(crate) repair: RepairState,
    /// What is damaged and not healed, the first ten.
    pub(crate) damaged: Vec<Damaged>,
    /// What the node does by itself, by name.
    #[serde(default)]
    pub(crate) tasks: Vec<Task>,
    pub(crate) version: String,
}

/// A background task of the node.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    /// As `docs/operating.md` lists them.
    pub(crate) name: String,
    /// The id of the member that it is about; null of a task that there is once.
    pub(crate) member: Option<String>,
    /// `running` or `waiting`.
    pub(crate) state: String,
    /// When it last began to work, RFC 3339, UTC; null if it has not yet.
    pub(crate) last_run: Option<String>,
    /// When it works next, if nothing calls for it before; null if it waits for a call alone.
    pub(crate) next_run: Option<String>,
}

/// What the founder last confirmed of the members.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Confirmed {
    /// RFC 3339, UTC, by the founder's clock, and never later than this node's.
    pub(crate) at: String,
    /// How long ago by this node's clock.
    pub(crate) days: u64,
    /// Changes among members that are known to exist and are not here.
    pub(crate) missing: u64,
}

/// What the recovery text is worth that was printed last.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RecoveryTextState {
    /// Whether one was printed, as far as this node knows.
    pub(crate) printed: bool,
    /// Members that it names beside this node.
    pub(crate) named: u64,
    /// How many of these can still be reached where it says.
    pub(crate) found: u64,
}

/// What went between this node and others, and how much may.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Traffic {
    /// Bytes since the node started.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Limits in bytes a second; null where there is none.
    pub(crate) up: Option<u64>,
    pub(crate) down: Option<u64>,
    pub(crate) background_down: Option<u64>,
}

/// How much room the store takes, and may take.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Room {
    pub(crate) used: u64,
    pub(crate) soft: Option<u64>,
    pub(crate) hard: Option<u64>,
    /// Null where the store chooses by the size of the disk.
    pub(crate) reserve: Option<u64>,
    /// Null as long as nobody has asked the disk.
    pub(crate) disk_free: Option<u64>,
    /// `enough`, `above_soft` or `refusing`.
    pub(crate) state: String,
    /// A sentence that says what to do, unless there is enough.
    pub(crate) why: Option<String>,
}

/// Collecting garbage.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct GcState {
    pub(crate) running: bool,
    /// RFC 3339, UTC; null before the first one.
    pub(crate) last: Option<String>,
    /// Bytes that the last one gave back.
    pub(crate) freed: u64,
    /// Bytes and chunks that one would give back now.
    pub(crate) collectable: u64,
    pub(crate) chunks: u64,
    /// Bytes and chunks whose grace is not over.
    pub(crate) waiting: u64,
    pub(crate) waiting_chunks: u64,
}

/// Scrubbing.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct ScrubState {
    /// Passes that have ended.
    pub(crate) passes: u64,
    /// RFC 3339, UTC; null before the end of the first one.
    pub(crate) last: Option<String>,
    pub(crate) done_bytes: u64,
    pub(crate) total_bytes: u64,
    /// Of the pass under way and the one before.
    pub(crate) findings: u64,
    pub(crate) last_findings: u64,
    /// Chunks and records found damaged and healed since the start, and what is not healed.
    pub(crate) found: u64,
    pub(crate) healed: u64,
    pub(crate) unhealed: u64,
}
