//! The JSON bodies of the local API. With `--json` the command line prints the same.

mod peers;
mod repair;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::error::Problem;
pub(crate) use peers::{Peer, PeerChanged, PeerRemove, PeerRole, Peers, RemovedPeer};
pub(crate) use repair::{RepairDone, RepairMember, RepairRequest, RepairState};

/// `GET /v1/status`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) node_id: String,
    pub(crate) stash_id: String,
    pub(crate) role: String,
    pub(crate) name: Option<String>,
    pub(crate) listen: Vec<SocketAddr>,
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
    pub(crate) read_only: Option<String>,
    pub(crate) alarms: Vec<String>,
    pub(crate) quarantined: u64,
    pub(crate) traffic: Traffic,
    pub(crate) store: Room,
    pub(crate) gc: GcState,
    pub(crate) scrub: ScrubState,
    pub(crate) repair: RepairState,
    /// What is damaged and not healed, the first ten.
    pub(crate) damaged: Vec<Damaged>,
    pub(crate) version: String,
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

/// Something that is damaged and not healed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Damaged {
    /// `chunk` or `record`.
    pub(crate) kind: String,
    /// Its address or hash.
    pub(crate) id: String,
    pub(crate) why: String,
    /// Name ids of the files that need it, as every member may know them.
    pub(crate) names: Vec<String>,
    /// Their keys; null on a keeper.
    pub(crate) keys: Option<Vec<String>>,
}

/// `POST /v1/gc`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GcRequest {
    #[serde(default)]
    pub(crate) dry_run: bool,
    #[serde(default)]
    pub(crate) now: bool,
}

/// The end of a collection, or what one would do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct GcDone {
    pub(crate) dry_run: bool,
    pub(crate) chunks: u64,
    pub(crate) bytes: u64,
    /// What waits for the end of its grace.
    pub(crate) waiting_chunks: u64,
    pub(crate) waiting_bytes: u64,
    /// Files that nothing announced, which a power cut may leave: found when it is no dry run.
    pub(crate) strays: u64,
    pub(crate) stray_bytes: u64,
    /// Old versions that retention forgot before, and removed files among them that went whole.
    pub(crate) forgotten_versions: u64,
    pub(crate) forgotten_names: u64,
    /// Retention waits: so many seconds must the node run until its clock is believed.
    pub(crate) retention_waits_seconds: Option<u64>,
}

/// `POST /v1/scrub`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScrubRequest {}

/// The end of a pass.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ScrubDone {
    pub(crate) bytes: u64,
    pub(crate) found: u64,
    pub(crate) healed: u64,
    pub(crate) unhealed: u64,
    /// Sentences, the first hundred.
    pub(crate) findings: Vec<String>,
    /// The first hundred.
    pub(crate) damaged: Vec<Damaged>,
}

/// `POST /v1/check`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckRequest {
    #[serde(default)]
    pub(crate) read_data: bool,
}

/// The end of a check.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct CheckDone {
    /// Nothing is damaged, or all of it is healed.
    pub(crate) sound: bool,
    pub(crate) rows: u64,
    pub(crate) files: u64,
    pub(crate) bytes_read: u64,
    /// Everything that was found damaged.
    pub(crate) found: u64,
    pub(crate) healed: u64,
    pub(crate) unhealed: u64,
    /// Sentences, the first hundred of each kind.
    pub(crate) findings: Vec<String>,
    /// The first hundred.
    pub(crate) damaged: Vec<Damaged>,
    /// Chunks that records name and that are not here: evicted, or never fetched.
    pub(crate) missing: u64,
    pub(crate) strays: u64,
    pub(crate) stray_bytes: u64,
    /// What a rebuild could not save, and what it did; null unless one was asked for.
    pub(crate) rebuilt: Option<Rebuilt>,
}

/// What a rebuild did.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Rebuilt {
    /// Everything that was stored is there.
    pub(crate) whole: bool,
    pub(crate) entries: u64,
    /// Chunks whose files nothing announced, and that are here again.
    pub(crate) announced: u64,
    /// Sentences: what could not be saved, and what was restored.
    pub(crate) notes: Vec<String>,
}

/// `POST /v1/put`: absolute paths that the daemon reads itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutRequest {
    pub(crate) paths: Vec<String>,
    #[serde(rename = "as", default)]
    pub(crate) key: Option<String>,
    #[serde(default)]
    pub(crate) wait: Option<String>,
}

/// The end of a put.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct PutDone {
    pub(crate) roots: Vec<PutRoot>,
}

/// What became of one root.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PutRoot {
    pub(crate) key: String,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) new: u64,
    pub(crate) unchanged: u64,
    pub(crate) skipped: Vec<Skipped>,
    pub(crate) copies: u64,
    pub(crate) wanted: u64,
    pub(crate) short: bool,
    pub(crate) missing: Vec<Missing>,
}

/// A path that was not stored.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Skipped {
    pub(crate) path: String,
    pub(crate) why: String,
}

/// A member that does not have it yet.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Missing {
    pub(crate) node_id: String,
    pub(crate) why: String,
}

/// `POST /v1/get`: an absolute path that the daemon writes itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetRequest {
    pub(crate) key: String,
    pub(crate) output: String,
    #[serde(default)]
    pub(crate) overwrite: bool,
    #[serde(default = "yes")]
    pub(crate) keep: bool,
    /// 12 to 64 digits.
    #[serde(default)]
    pub(crate) version: Option<String>,
}

/// The end of a get.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct GetDone {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// The first hundred.
    pub(crate) outputs: Vec<String>,
    /// Files with concurrent versions beside the one that was written.
    pub(crate) conflicts: u64,
}

/// `GET /v1/history/{key}`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct History {
    pub(crate) key: String,
    pub(crate) versions: Vec<Version>,
    /// Records that were set aside, the first hundred.
    pub(crate) alarms: Vec<SetAside>,
    /// Where the next page starts: pass it as `after`.
    pub(crate) next: Option<String>,
}

/// One version of a file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Version {
    /// 64 digits.
    pub(crate) version: String,
    /// `put` or `removed`.
    pub(crate) kind: String,
    /// RFC 3339, UTC; null of a version of an older program.
    pub(crate) written: Option<String>,
    pub(crate) size: u64,
    /// RFC 3339, UTC.
    pub(crate) modified: Option<String>,
    pub(crate) mode: Option<u32>,
    pub(crate) chunks: u64,
    /// Node id.
    pub(crate) writer: String,
    pub(crate) writer_name: Option<String>,
    pub(crate) here: Here,
    /// `head`, `sibling` or `covered`.
    pub(crate) place: String,
}

/// A record that was set aside.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SetAside {
    pub(crate) version: String,
    pub(crate) why: String,
}

/// `GET /v1/ls` with `conflicts`, `deleted` or `versions`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Names {
    pub(crate) entries: Vec<Name>,
    /// Where the next page starts: pass it as `after`.
    pub(crate) next: Option<String>,
}

/// A name and some of its versions.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Name {
    pub(crate) key: String,
    /// The first hundred.
    pub(crate) versions: Vec<Version>,
    /// Versions beyond these.
    pub(crate) more: u64,
}

/// `POST /v1/undelete`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UndeleteRequest {
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) recursive: bool,
    #[serde(default)]
    pub(crate) wait: Option<String>,
}

/// The end of an undelete.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UndeleteDone {
    pub(crate) restored: u64,
    pub(crate) bytes: u64,
    /// Files whose bytes were not to be had.
    pub(crate) unavailable: u64,
    /// The first hundred of them.
    pub(crate) skipped: Vec<Unavailable>,
    pub(crate) copies: u64,
    pub(crate) wanted: u64,
    pub(crate) short: bool,
    pub(crate) missing: Vec<Missing>,
}

/// A removed file that was not brought back.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Unavailable {
    pub(crate) key: String,
    pub(crate) why: String,
}

/// `POST /v1/resolve`: one of `take` and `file`, an absolute path that the daemon reads itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResolveRequest {
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) take: Option<String>,
    #[serde(default)]
    pub(crate) file: Option<String>,
    #[serde(default)]
    pub(crate) wait: Option<String>,
}

/// The end of a resolve.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ResolveDone {
    pub(crate) key: String,
    /// The version that is the head now.
    pub(crate) version: String,
    /// Concurrent versions that it took the place of; 0 if there was nothing to do.
    pub(crate) covered: u64,
    pub(crate) copies: u64,
    pub(crate) wanted: u64,
    pub(crate) short: bool,
    pub(crate) missing: Vec<Missing>,
}

/// `GET /v1/ls`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Listing {
    pub(crate) entries: Vec<Entry>,
    /// Where the next page starts: pass it as `after`.
    pub(crate) next: Option<String>,
}

/// One stored file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) size: u64,
    /// RFC 3339, UTC.
    pub(crate) modified: Option<String>,
    pub(crate) mode: Option<u32>,
    pub(crate) chunks: u64,
    pub(crate) here: Here,
    pub(crate) conflicts: u64,
}

/// How much of a file is on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Here {
    Local,
    Partial,
    Evicted,
    Damaged,
}

impl Here {
    /// The word in tables and JSON.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Partial => "partial",
            Self::Evicted => "evicted",
            Self::Damaged => "damaged",
        }
    }
}

/// `GET /v1/where/{key}`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Where {
    pub(crate) key: String,
    pub(crate) chunks: u64,
    pub(crate) inline: bool,
    pub(crate) nodes: Vec<Holder>,
}

/// What one member holds of a file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub(crate) node_id: String,
    pub(crate) name: Option<String>,
    pub(crate) role: String,
    pub(crate) chunks: Option<u64>,
    /// `complete`, `partial`, `none` or `unreachable`.
    pub(crate) state: String,
}

/// `POST /v1/evict`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EvictRequest {
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) recursive: bool,
}

/// The end of an evict.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EvictDone {
    pub(crate) key: String,
    pub(crate) files: u64,
    pub(crate) chunks: u64,
    pub(crate) bytes: u64,
    pub(crate) proven_by: Vec<String>,
}

/// `POST /v1/rm`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RmRequest {
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) recursive: bool,
    /// With all versions, for good.
    #[serde(default)]
    pub(crate) purge: bool,
    #[serde(default)]
    pub(crate) wait: Option<String>,
}

/// The end of an rm.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RmDone {
    pub(crate) removed: u64,
    pub(crate) copies: u64,
    pub(crate) wanted: u64,
    pub(crate) short: bool,
    pub(crate) missing: Vec<Missing>,
}

/// `POST /v1/invite`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InviteRequest {
    pub(crate) role: String,
    pub(crate) expires_seconds: u64,
}

/// The answer to an invite.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct InviteDone {
    pub(crate) ticket: String,
    pub(crate) role: String,
    /// RFC 3339, UTC.
    pub(crate) expires: String,
}

/// `POST /v1/join`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JoinRequest {
    pub(crate) ticket: String,
    #[serde(default)]
    pub(crate) name: Option<String>,
}

/// The end of a join.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct JoinDone {
    pub(crate) stash_id: String,
    pub(crate) node_id: String,
    pub(crate) role: String,
}

/// `GET /v1/recovery`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Recovery {
    pub(crate) recovery: String,
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Null while unknown.
    pub(crate) total_bytes: Option<u64>,
}

/// One line of an NDJSON answer: any number of `progress`, then exactly one of the others.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Event<T> {
    Progress(Progress),
    Done(T),
    Error(Problem),
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_objects_of_one_field() {
        let progress = Progress { files: 1, bytes: 2, total_bytes: Some(3) };
        let line = serde_json::to_string(&Event::<GetDone>::Progress(progress)).unwrap();
        assert_eq!(line, r#"{"progress":{"files":1,"bytes":2,"total_bytes":3}}"#);
        let event = Event::Done(GetDone { files: 0, bytes: 0, outputs: Vec::new(), conflicts: 0 });
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(line, r#"{"done":{"files":0,"bytes":0,"outputs":[],"conflicts":0}}"#);
    }

    #[test]
    fn a_request_with_an_unknown_field_is_refused() {
        let put = r#"{"paths":["/a"],"wiat":"all"}"#;
        assert!(serde_json::from_str::<PutRequest>(put).is_err());
        let get: GetRequest = serde_json::from_str(r#"{"key":"a","output":"/b"}"#).unwrap();
        assert!(get.keep && !get.overwrite);
    }
}
