//! The JSON bodies of the local API. With `--json` the command line prints the same.

mod peers;
mod repair;
mod status;
mod tickets;
mod upkeep;
mod versions;

use serde::{Deserialize, Serialize};

use crate::error::Problem;
pub(crate) use peers::{Peer, PeerChanged, PeerRemove, PeerRole, PeerRoom, Peers, RemovedPeer};
pub(crate) use repair::{RepairDone, RepairMember, RepairRequest, RepairState};
pub(crate) use status::{
    Confirmed, GcState, RecoveryTextState, Room, ScrubState, Status, Task, Traffic,
};
pub(crate) use tickets::{Ticket, TicketRevoke, TicketRevoked, Tickets};
pub(crate) use upkeep::{
    CheckDone, CheckRequest, Damaged, GcDone, GcRequest, Rebuilt, ScrubDone, ScrubRequest,
};
pub(crate) use versions::{
    History, Name, Names, ResolveDone, ResolveRequest, SetAside, Unavailable, UndeleteDone,
    UndeleteRequest, Version,
};

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
    /// How many days ago the founder confirmed the members last; null if it never did.
    #[serde(default)]
    pub(crate) confirmed_days: Option<u64>,
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
    /// Why it went no further, if it stopped after it had dropped something.
    pub(crate) stopped: Option<Problem>,
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
    /// Whether to sign although no other member was met since the start.
    #[serde(default)]
    pub(crate) alone: bool,
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
