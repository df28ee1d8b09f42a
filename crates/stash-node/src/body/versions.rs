//! Versions of a key, and what is written anew from one: history, undelete and resolve.

use serde::{Deserialize, Serialize};

use super::{Here, Missing};

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
