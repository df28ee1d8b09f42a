//! The node itself: its state, its recovery text, its end.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::repair::RepairState;
use crate::route::{Call, Get};
use crate::tickets::Ticket;
use crate::upkeep::Damaged;

/// `GET /v1/status`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// Whether every version has copies enough; null from a program that does not say.
    #[serde(default)]
    pub safety: Option<Safety>,
    /// The members, the node included, in the order of their admission.
    #[serde(default)]
    pub peers: Vec<PeerState>,
    /// What its user calls the stash, on this machine alone; null if nothing.
    #[serde(default)]
    pub label: Option<String>,
    /// The id of the node.
    pub node_id: String,
    /// The id of its stash.
    pub stash_id: String,
    /// Its role.
    pub role: String,
    /// Its display name; null if it has none, and on a keeper.
    pub name: Option<String>,
    /// Addresses on which it listens.
    pub listen: Vec<SocketAddr>,
    /// The founder's last word on the members; null if there is none.
    #[serde(default)]
    pub confirmed: Option<Confirmed>,
    /// The use of the recovery text that was printed last; null but on the founding node.
    #[serde(default)]
    pub recovery_text: Option<RecoveryTextState>,
    /// True if it is no member, and reads in the name of the root.
    #[serde(default)]
    pub visits: bool,
    /// True once one full exchange of records has ended.
    pub synchronised: bool,
    /// Members, the node included.
    pub members: u64,
    /// Those that are connected, the node included.
    pub connected: u64,
    /// Records held.
    pub records: u64,
    /// Files listed; null where names are unknown: on a keeper.
    pub files: Option<u64>,
    /// Chunks held.
    pub chunks: u64,
    /// Their sealed bytes.
    pub bytes: u64,
    /// What the node keeps of them, if less than all; else null.
    #[serde(default)]
    pub cache: Option<CacheState>,
    /// Records written here that some member is known not to hold; at most 10,000 are counted.
    pub missing_copies: u64,
    /// Records held here that lack chunks, which are on their way; at most 10,000 are counted.
    pub incomplete: u64,
    /// Records of others that found no room here; at most 65,536 are counted.
    #[serde(default)]
    pub refused: u64,
    /// Members that are full, one sentence each.
    #[serde(default)]
    pub full: Vec<String>,
    /// The reason why the store takes no writes; null if it does.
    pub read_only: Option<String>,
    /// The directory of the chunk files and what was found in its place, while it is away; else null.
    pub away: Option<String>,
    /// Sentences for people.
    pub alarms: Vec<String>,
    /// Chunks found damaged and not replaced.
    pub quarantined: u64,
    /// Tickets of this node. One goes with the first that is made later than 30 days after its time.
    #[serde(default)]
    pub tickets: Vec<Ticket>,
    /// Bytes between this node and others.
    pub traffic: Traffic,
    /// Discovery of members on the local network; null from a program that does not say.
    #[serde(default)]
    pub discovery: Option<Discovery>,
    /// The room that its store takes.
    pub store: Room,
    /// Collecting garbage.
    pub gc: GcState,
    /// Scrubbing.
    pub scrub: ScrubState,
    /// Counting copies.
    pub repair: RepairState,
    /// Damage that is not healed, the first ten.
    pub damaged: Vec<Damaged>,
    /// The background tasks of the node, by name.
    #[serde(default)]
    pub tasks: Vec<Task>,
    /// The version of the program.
    pub version: String,
}

impl Status {
    /// The state of the node.
    #[must_use]
    pub fn route() -> Get<Self> {
        Get::new("/v1/status")
    }

    /// True if something is damaged at the node, or somebody should look into an alarm.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.quarantined > 0
            || !self.damaged.is_empty()
            || !self.alarms.is_empty()
            || self.read_only.is_some()
            || self.away.is_some()
    }
}

/// Whether every version has copies enough on other members, by what these said of themselves.
#[derive(Debug, Serialize, Deserialize)]
pub struct Safety {
    /// `safe`, `on_its_way` (it is not safe, and copies came within ten minutes), `not_safe`, `alone` (no other member should have
    /// copies), or `removed`: the node is no member any more.
    pub verdict: String,
    /// The same with the reason, for people.
    pub sentence: String,
    /// On how many others every version should be whole.
    pub needed: u64,
    /// The others, and what they have.
    pub members: Vec<MemberSafety>,
}

/// What another member has.
#[derive(Debug, Serialize, Deserialize)]
pub struct MemberSafety {
    /// Its id.
    pub node_id: String,
    /// Its display name; null if it has none, and on a keeper.
    pub name: Option<String>,
    /// `all`, `some`, `unsettled` (it does not know at the moment), `old` (it said so more than a day ago), `unsaid`, `in_doubt`
    /// or `cache`.
    pub has: String,
    /// Records that are whole there, as it said last; null if it never did.
    pub whole: Option<u64>,
    /// Seconds since it said so.
    pub age: Option<u64>,
}

/// The bytes at a node that keeps less than all, and is no copy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CacheState {
    /// Bytes of chunks that it keeps.
    pub keep: u64,
    /// The reason why it has more than that; null if it has not, or drops what is too much.
    pub stuck: Option<String>,
}

/// A member at one look.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PeerState {
    /// Its id.
    pub node_id: String,
    /// Its display name; null if it has none, and on a keeper.
    pub name: Option<String>,
    /// Its role.
    pub role: String,
    /// True if it holds the root secret.
    pub founder: bool,
    /// True of the node that was asked.
    pub this: bool,
    /// True if there is a connection to it.
    pub connected: bool,
    /// Time at which the node last heard of it: they were connected, or what it signed came by way of another member.
    /// Null if it never did.
    pub last_seen: Option<String>,
    /// True if its word does not count as a copy.
    pub in_doubt: bool,
    /// True if it has been away for so long that it is no copy until it is back.
    pub lapsed: bool,
    /// Per cent of what the node holds that is whole there, as it signed; null if it never said so, or does not know.
    pub percent: Option<u64>,
    /// Seconds until all of it is, if more comes; null if none comes, or nobody knows how fast.
    pub seconds_to_go: Option<u64>,
    /// Bytes that it may still take, by its own word; null if it never said so, or nothing limits it.
    pub free: Option<u64>,
    /// True if it refuses what others put.
    pub full: bool,
    /// The version of its program, by its own word when they were connected last; null of older programs.
    pub version: Option<String>,
    /// Bytes of chunks that it keeps, as it signed: less than all, so that it is no copy. Null if it keeps everything.
    #[serde(default)]
    pub keep: Option<u64>,
}

/// Discovery of members on the local network.
#[derive(Debug, Serialize, Deserialize)]
pub struct Discovery {
    /// `on`, `off`, `loopback` (the node listens on its own machine alone, where nobody else could come) or `failing`.
    pub state: String,
    /// Links on which it speaks and listens: a network card with one family of addresses each.
    pub links: u64,
    /// Why it fails, for people; it is tried again. Null if it does not.
    pub why: Option<String>,
}

/// A background task of the node.
#[derive(Debug, Serialize, Deserialize)]
pub struct Task {
    /// As `docs/operating.md` lists them.
    pub name: String,
    /// The id of the member that it is about; null of a task that there is once.
    pub member: Option<String>,
    /// `running` or `waiting`.
    pub state: String,
    /// Time at which it last began to work; null if it has not yet.
    pub last_run: Option<String>,
    /// Time at which it works next, if nothing calls for it before; null if it waits for a call alone.
    pub next_run: Option<String>,
}

/// The founder's last word on the members.
#[derive(Debug, Serialize, Deserialize)]
pub struct Confirmed {
    /// Time of it by the founder's clock, and never later than this node's.
    pub at: String,
    /// Whole days since then by this node's clock.
    pub days: u64,
    /// Changes among members that are known to exist and are not here.
    pub missing: u64,
}

/// The use of the recovery text that was printed last.
#[derive(Debug, Serialize, Deserialize)]
pub struct RecoveryTextState {
    /// True if one was printed, as far as this node knows.
    pub printed: bool,
    /// Other members that it names.
    pub named: u64,
    /// Members among these that can still be reached at the addresses that it says.
    pub found: u64,
}

/// Bytes between this node and others, and their limits.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Bytes sent since the node started.
    pub sent: u64,
    /// Bytes received since the node started.
    pub received: u64,
    /// Bytes a second that may be sent; null without a limit.
    pub up: Option<u64>,
    /// Bytes a second that may be received; null without a limit.
    pub down: Option<u64>,
    /// Bytes a second that may be received in the background; null without a limit.
    pub background_down: Option<u64>,
}

/// The room that the store takes, and may take.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Room {
    /// Bytes of blob files, log and index.
    pub used: u64,
    /// Bytes of the soft quota; null if there is none.
    pub soft: Option<u64>,
    /// Bytes of the hard quota; null if there is none.
    pub hard: Option<u64>,
    /// Bytes that puts leave free of the disk; null where the store chooses by the size of the disk.
    pub reserve: Option<u64>,
    /// Bytes free on the disk; null until the node has asked the disk.
    pub disk_free: Option<u64>,
    /// `enough`, `above_soft` or `refusing`.
    pub state: String,
    /// A sentence that says what to do, unless there is enough.
    pub why: Option<String>,
}

/// Collecting garbage.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct GcState {
    /// True while one runs.
    pub running: bool,
    /// The end of the last one; null before the first one.
    pub last: Option<String>,
    /// Bytes that the last one gave back.
    pub freed: u64,
    /// Bytes that one would give back now.
    pub collectable: u64,
    /// Chunks that one would give back now.
    pub chunks: u64,
    /// Bytes whose grace is not over.
    pub waiting: u64,
    /// Chunks whose grace is not over.
    pub waiting_chunks: u64,
}

/// Scrubbing.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct ScrubState {
    /// Passes that have ended.
    pub passes: u64,
    /// The end of the last one; null before the end of the first one.
    pub last: Option<String>,
    /// Bytes that the pass under way has read.
    pub done_bytes: u64,
    /// Bytes that it has to read.
    pub total_bytes: u64,
    /// Findings of the pass under way.
    pub findings: u64,
    /// Findings of the pass before.
    pub last_findings: u64,
    /// Chunks and records found damaged since the node started.
    pub found: u64,
    /// Those of them that came back whole from other members.
    pub healed: u64,
    /// Those that did not.
    pub unhealed: u64,
}

/// `GET /v1/recovery`: on a node that holds the root secret.
#[derive(Serialize, Deserialize)]
pub struct Recovery {
    /// The recovery text, which is the way to everything in the stash.
    pub recovery: String,
}

impl Recovery {
    /// The recovery text. From then on the node takes it for the one that was printed last.
    #[must_use]
    pub fn route() -> Get<Self> {
        Get::new("/v1/recovery")
    }
}

/// `GET /v1/version`: answered at once, whatever the node does.
#[derive(Debug, Serialize, Deserialize)]
pub struct Version {
    /// The version of the program that serves.
    pub version: String,
    /// The id of its process.
    pub pid: u32,
}

impl Version {
    /// The version of the program that serves.
    #[must_use]
    pub fn route() -> Get<Self> {
        Get::new("/v1/version")
    }
}

/// `POST /v1/shutdown`.
#[derive(Debug, Serialize)]
pub struct Shutdown {}

impl Call for Shutdown {
    const ROUTE: &'static str = "/v1/shutdown";
    type Answer = Stopping;
}

/// The answer to `POST /v1/shutdown`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Stopping {
    /// True.
    pub stopping: bool,
}

/// `ready.json` in a data directory: it appears once the node serves, and goes when it stops. After a kill
/// it may be left: compare `pid`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The id of the process.
    pub pid: u32,
    /// The id of the node.
    pub node_id: String,
    /// Addresses on which it listens.
    pub listen: Vec<SocketAddr>,
    /// The path of its socket.
    pub socket: PathBuf,
}
