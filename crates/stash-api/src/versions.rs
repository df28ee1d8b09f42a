//! Versions of a key, and new ones made from them: history, undelete and resolve.

use serde::{Deserialize, Serialize};

use crate::files::{Here, Missing};
use crate::operation::Operation;
use crate::route::{Get, key_path, query_value};

/// `GET /v1/history/{key}`.
#[derive(Debug, Serialize, Deserialize)]
pub struct History {
    /// The key.
    pub key: String,
    /// The head, its siblings, then what they cover, each version before those that it covers itself.
    pub versions: Vec<Version>,
    /// Records of this key that were set aside, the first hundred: they count for nothing.
    pub alarms: Vec<SetAside>,
    /// The end of this page: pass it as `after` for the next one. Null on the last page.
    pub next: Option<String>,
}

impl History {
    /// The versions of a key: `limit` of them, 1,000 at most, behind the version `after`.
    #[must_use]
    pub fn route(key: &str, after: Option<&str>, limit: u64) -> Get<Self> {
        Get::page(&key_path("/v1/history", key), '?', after, limit)
    }
}

/// A version of a file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Version {
    /// The hash of its record: 64 digits.
    pub version: String,
    /// `put` or `removed`.
    pub kind: String,
    /// Time at which it was written; null of a version of an older program.
    pub written: Option<String>,
    /// Bytes of its content.
    pub size: u64,
    /// Time at which the file was changed before it was stored; null if it is not known.
    pub modified: Option<String>,
    /// The permission bits of Unix; null if they are not known.
    pub mode: Option<u32>,
    /// Chunks of its content; 0 if it stands in the record.
    pub chunks: u64,
    /// The id of the node that wrote it.
    pub writer: String,
    /// The display name of that node; null if it is not known.
    pub writer_name: Option<String>,
    /// The part of it that is on the node.
    pub here: Here,
    /// `head`, `sibling` (concurrent to the head) or `covered`.
    pub place: String,
}

/// A record that was set aside.
#[derive(Debug, Serialize, Deserialize)]
pub struct SetAside {
    /// Its hash.
    pub version: String,
    /// A sentence.
    pub why: String,
}

/// A choice of names that are listed by their versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those with concurrent versions.
    Conflicts,
    /// Those that are removed and can be brought back.
    Deleted,
    /// All.
    Versions,
}

impl Which {
    /// The word in the query.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Conflicts => "conflicts",
            Self::Deleted => "deleted",
            Self::Versions => "versions",
        }
    }
}

/// `GET /v1/ls` with `conflicts`, `deleted` or `versions`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Names {
    /// In the order of their keys' bytes.
    pub entries: Vec<Name>,
    /// The end of this page: pass it as `after` for the next one. Null on the last page.
    pub next: Option<String>,
}

impl Names {
    /// Names below `prefix`, or that one name: `limit` of them, 100 at most, behind the key `after`.
    #[must_use]
    pub fn route(which: Which, prefix: &str, after: Option<&str>, limit: u64) -> Get<Self> {
        let (which, prefix) = (which.word(), query_value(prefix));
        Get::page(&format!("/v1/ls?{which}=true&prefix={prefix}"), '&', after, limit)
    }
}

/// A name and some of its versions.
#[derive(Debug, Serialize, Deserialize)]
pub struct Name {
    /// The key.
    pub key: String,
    /// The first hundred.
    pub versions: Vec<Version>,
    /// Number of versions beyond these.
    pub more: u64,
}

/// `POST /v1/undelete`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UndeleteRequest {
    /// A file, or with `recursive` a tree. Not empty.
    pub key: String,
    /// Every file below the key as well. Left out: false.
    #[serde(default)]
    pub recursive: bool,
    /// The members to wait for.
    #[serde(default)]
    pub wait: Option<String>,
}

impl Operation for UndeleteRequest {
    const ROUTE: &'static str = "/v1/undelete";
    type Done = UndeleteDone;
}

/// The end of an undelete.
#[derive(Debug, Serialize, Deserialize)]
pub struct UndeleteDone {
    /// Files brought back.
    pub restored: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files whose bytes were not to be had: they stay removed.
    pub unavailable: u64,
    /// The first hundred of them.
    pub skipped: Vec<Unavailable>,
    /// As in [`PutRoot`](crate::files::PutRoot).
    pub copies: u64,
    /// As in [`PutRoot`](crate::files::PutRoot).
    pub wanted: u64,
    /// As in [`PutRoot`](crate::files::PutRoot).
    pub short: bool,
    /// As in [`PutRoot`](crate::files::PutRoot).
    pub missing: Vec<Missing>,
}

/// A removed file that was not brought back.
#[derive(Debug, Serialize, Deserialize)]
pub struct Unavailable {
    /// Its key.
    pub key: String,
    /// A sentence.
    pub why: String,
}

/// `POST /v1/resolve`: one of `take` and `file`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolveRequest {
    /// The key of one file.
    pub key: String,
    /// The version whose content becomes the head: its first 12 to 64 digits.
    #[serde(default)]
    pub take: Option<String>,
    /// An absolute path that the node reads itself: its content becomes the head.
    #[serde(default)]
    pub file: Option<String>,
    /// The members to wait for.
    #[serde(default)]
    pub wait: Option<String>,
}

impl Operation for ResolveRequest {
    const ROUTE: &'static str = "/v1/resolve";
    type Done = ResolveDone;
}

/// The end of a resolve.
#[derive(Debug, Serialize, Deserialize)]
pub struct ResolveDone {
    /// The key.
    pub key: String,
    /// The version that is the head now.
    pub version: String,
    /// Concurrent versions that it took the place of; 0 if there was nothing to do.
    pub covered: u64,
    /// As in [`PutRoot`](crate::files::PutRoot).
    pub copies: u64,
    /// As in [`PutRoot`](crate::files::PutRoot).
    pub wanted: u64,
    /// As in [`PutRoot`](crate::files::PutRoot).
    pub short: bool,
    /// As in [`PutRoot`](crate::files::PutRoot).
    pub missing: Vec<Missing>,
}
