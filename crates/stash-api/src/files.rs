//! Files and trees by key: put, get, list, where, remove, evict.

use serde::{Deserialize, Serialize};

use crate::error::{Code, Problem};
use crate::operation::Operation;
use crate::route::{Get, key_path, query_value};

/// The header of `GET /v1/objects/{key}` that gives the number of versions concurrent with the one
/// that is read.
pub const CONFLICTS: &str = "stash-conflicts";

/// The path of `/v1/objects/{key}`, whose bodies are the bytes themselves.
#[must_use]
pub fn object_path(key: &str) -> String {
    key_path("/v1/objects", key)
}

/// `POST /v1/put`: absolute paths that the node reads itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutRequest {
    /// Files and directories. Each is one root.
    pub paths: Vec<String>,
    /// The key in place of the path's last part. It needs exactly one path.
    #[serde(rename = "as", default)]
    pub key: Option<String>,
    /// The members to wait for.
    #[serde(default)]
    pub wait: Option<String>,
}

impl Operation for PutRequest {
    const ROUTE: &'static str = "/v1/put";
    type Done = PutDone;
}

/// The end of a put, also of `PUT /v1/objects/{key}`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct PutDone {
    /// In the order of the request.
    pub roots: Vec<PutRoot>,
    /// Days since the founder confirmed the members last; null if it never did.
    #[serde(default)]
    pub confirmed_days: Option<u64>,
}

/// The outcome for one root.
#[derive(Debug, Serialize, Deserialize)]
pub struct PutRoot {
    /// The key of the file, or of the root of the tree.
    pub key: String,
    /// Files and links stored or found unchanged.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files for which a record was written.
    pub new: u64,
    /// Of these, files that took the place of another version.
    #[serde(default)]
    pub changed: u64,
    /// Nodes that had written such versions, this one aside.
    #[serde(default)]
    pub replaced: Vec<Replaced>,
    /// Files for which none was needed.
    pub unchanged: u64,
    /// Inputs that are missing.
    pub skipped: Vec<Skipped>,
    /// What else there is to say of inputs, although nothing is missing.
    #[serde(default)]
    pub notes: Vec<Skipped>,
    /// The fewest members that have any of the records, the node included.
    pub copies: u64,
    /// Members that should; 0 where nothing was stored.
    pub wanted: u64,
    /// True if `copies` fell below what `wait` asked for.
    pub short: bool,
    /// Members that do not have all of it.
    pub missing: Vec<Missing>,
}

/// Versions that were replaced, and which another node had written.
#[derive(Debug, Serialize, Deserialize)]
pub struct Replaced {
    /// The id of that node.
    pub node_id: String,
    /// Its display name; null if it has none.
    pub name: Option<String>,
    /// How many.
    pub files: u64,
}

/// A path that was not stored, or of which something is to be said.
#[derive(Debug, Serialize, Deserialize)]
pub struct Skipped {
    /// As the node names it.
    pub path: String,
    /// A sentence.
    pub why: String,
}

/// A member that does not have it yet.
#[derive(Debug, Serialize, Deserialize)]
pub struct Missing {
    /// Its id.
    pub node_id: String,
    /// A sentence.
    pub why: String,
}

/// `POST /v1/get`: an absolute path that the node writes itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetRequest {
    /// A file or a tree; everything if it is empty.
    #[serde(default)]
    pub key: Option<String>,
    /// In its place several of them, or patterns.
    #[serde(default)]
    pub keys: Vec<String>,
    /// The path at which the file or the root of the tree is written. With `keys`, the directory below which
    /// each is written under its last segment.
    pub output: String,
    /// True to replace files and links that are there and differ. Left out: false.
    #[serde(default)]
    pub overwrite: bool,
    /// True to compare the content of what is there and has the right size and time. Left out: false.
    #[serde(default)]
    pub verify: bool,
    /// True to write nothing, and only tell what would be. Left out: false.
    #[serde(default)]
    pub dry_run: bool,
    /// What is given back beside content, mode and time. Left out: nothing.
    #[serde(default)]
    pub restore: Restore,
    /// False to keep no copy of what is fetched. Left out: true, as long as there is room for it beside the
    /// output.
    #[serde(default = "yes")]
    pub keep: bool,
    /// Another version than the head: its first 12 to 64 digits.
    #[serde(default)]
    pub version: Option<String>,
    /// The umask of the client: permission bits that directories do not get which no record describes.
    /// That of the node counts as well.
    #[serde(default)]
    pub umask: Option<u32>,
}

/// What a get gives back beside content, mode and time. What is left out is false.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Restore {
    /// Owner and group, by number.
    pub owner: bool,
    /// ACLs.
    pub acl: bool,
    /// Extended attributes of users.
    pub xattr: bool,
    /// Set-user-id and set-group-id, and with `xattr` those attributes that only root gives.
    pub privileged: bool,
}

impl Operation for GetRequest {
    const ROUTE: &'static str = "/v1/get";
    type Done = GetDone;
}

/// The end of a get. One file that does not come back is an error; of a tree, what did is written.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct GetDone {
    /// Files and links written.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files and links that were there already, and were left alone.
    #[serde(default)]
    pub unchanged: u64,
    /// Their bytes.
    #[serde(default)]
    pub unchanged_bytes: u64,
    /// True if nothing was written: all other fields tell what would have been.
    #[serde(default)]
    pub dry_run: bool,
    /// True if a copy of what is fetched was to be kept, and was not: there is no room for it.
    #[serde(default)]
    pub not_kept: bool,
    /// Paths of the files that were written, the first hundred.
    pub outputs: Vec<String>,
    /// Files with versions concurrent with the one that was written.
    pub conflicts: u64,
    /// What some of them lack of what was asked for, the first hundred.
    pub lacking: Vec<Skipped>,
    /// How many more lack something.
    #[serde(default)]
    pub lacking_more: u64,
    /// Those of a tree that did not come back, a hundred of them.
    #[serde(default)]
    pub failed: Vec<Failed>,
    /// How many more did not.
    #[serde(default)]
    pub failed_more: u64,
    /// The class of all that did not come back; null if all did.
    #[serde(default)]
    pub code: Option<Code>,
}

/// A file, link or directory that did not come back.
#[derive(Debug, Serialize, Deserialize)]
pub struct Failed {
    /// Its key; of what was asked for and is not stored, the name.
    pub key: String,
    /// The class of the error.
    pub code: Code,
    /// A sentence.
    pub why: String,
}

/// `GET /v1/ls`, and `GET /v1/find`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Listing {
    /// In the order of their keys' bytes.
    pub entries: Vec<Entry>,
    /// Names below which others lie, in the same order; empty unless one level was asked for.
    #[serde(default)]
    pub folders: Vec<Folder>,
    /// The end of this page: pass it as `after` for the next one. Null on the last page.
    pub next: Option<String>,
}

impl Listing {
    /// Files below `prefix`, or that one file: `limit` of them, 1,000 at most, behind the key `after`.
    #[must_use]
    pub fn route(prefix: &str, after: Option<&str>, limit: u64) -> Get<Self> {
        Get::page(&format!("/v1/ls?prefix={}", query_value(prefix)), '&', after, limit)
    }

    /// What lies right below `prefix`: `limit` files and folders, 1,000 at most, behind `after`.
    #[must_use]
    pub fn level(prefix: &str, after: Option<&str>, limit: u64) -> Get<Self> {
        let path = format!("/v1/ls?folders=true&prefix={}", query_value(prefix));
        Get::page(&path, '&', after, limit)
    }
}

/// A name below which others lie, and the sum of these.
#[derive(Debug, Serialize, Deserialize)]
pub struct Folder {
    /// Its name.
    pub key: String,
    /// Files and links below it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The latest time at which any of them was changed before it was stored; null if none is known.
    pub modified: Option<String>,
}

/// What is looked for by `GET /v1/find`. What is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Find {
    /// Below this name; everything if it is empty.
    pub prefix: String,
    /// A pattern of the last part of the key, or with a `/` of all of it below the prefix.
    pub name: Option<String>,
    /// Bytes that it has at least.
    pub at_least: Option<u64>,
    /// Bytes that it has at most.
    pub at_most: Option<u64>,
    /// Its time in seconds since 1970 is this one or later.
    pub since: Option<i64>,
    /// Its time is earlier than this one.
    pub before: Option<i64>,
}

impl Find {
    /// Files that are looked for: `limit` of them, 1,000 at most, behind the key `after`.
    #[must_use]
    pub fn route(&self, after: Option<&str>, limit: u64) -> Get<Listing> {
        let mut path = format!("/v1/find?prefix={}", query_value(&self.prefix));
        if let Some(name) = &self.name {
            path += &format!("&name={}", query_value(name));
        }
        let sizes = [("at_least", self.at_least), ("at_most", self.at_most)];
        for (name, bytes) in sizes.iter().filter_map(|(name, size)| Some((name, (*size)?))) {
            path += &format!("&{name}={bytes}");
        }
        let times = [("since", self.since), ("before", self.before)];
        for (name, time) in times.iter().filter_map(|(name, time)| Some((name, (*time)?))) {
            path += &format!("&{name}={time}");
        }
        Get::page(&path, '&', after, limit)
    }
}

/// `GET /v1/sum`: the files and links of a name and of the tree under it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sum {
    /// How many there are; directories are not counted.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Sum {
    /// The sum below `prefix`; of everything, if it is empty.
    #[must_use]
    pub fn route(prefix: &str) -> Get<Self> {
        Get::new(format!("/v1/sum?prefix={}", query_value(prefix)))
    }
}

/// A stored file, link, or empty directory.
#[derive(Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// What it is.
    #[serde(default)]
    pub kind: Kind,
    /// Bytes of its content.
    pub size: u64,
    /// Time at which the file was changed before it was stored; null if it is not known.
    pub modified: Option<String>,
    /// The permission bits of Unix; null if they are not known.
    pub mode: Option<u32>,
    /// Chunks of its content; 0 if it stands in the record.
    pub chunks: u64,
    /// The part of it that is on the node.
    pub here: Here,
    /// Versions concurrent with the one that is listed.
    pub conflicts: u64,
}

/// What a listed name is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A file.
    #[default]
    File,
    /// A symbolic link.
    Link,
    /// A directory in which nothing lies.
    Directory,
}

/// The part of a file that is on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Here {
    /// All of it.
    Local,
    /// Some of its chunks.
    Partial,
    /// None of its chunks.
    Evicted,
    /// The record cannot be read here, and no member that could be asked has it whole.
    Damaged,
}

impl Here {
    /// The word in tables and JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Partial => "partial",
            Self::Evicted => "evicted",
            Self::Damaged => "damaged",
        }
    }
}

/// `GET /v1/where/{key}`: what members say that they hold, not what they prove.
#[derive(Debug, Serialize, Deserialize)]
pub struct Where {
    /// The key.
    pub key: String,
    /// Chunks of the file.
    pub chunks: u64,
    /// True if the content stands in the record.
    pub inline: bool,
    /// Every member.
    pub nodes: Vec<Holder>,
}

impl Where {
    /// The members and what they hold of the file of this key.
    #[must_use]
    pub fn route(key: &str) -> Get<Self> {
        Get::new(key_path("/v1/where", key))
    }
}

/// A member, and the part of a file that it holds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Holder {
    /// Its id.
    pub node_id: String,
    /// Its display name; null if it has none.
    pub name: Option<String>,
    /// Its role.
    pub role: String,
    /// Chunks that it holds; null if it could not be asked.
    pub chunks: Option<u64>,
    /// `complete`, `partial`, `none` or `unreachable`.
    pub state: String,
}

/// `POST /v1/evict`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvictRequest {
    /// A file, or with `recursive` a tree. Not empty.
    pub key: String,
    /// Every file below the key as well. Left out: false.
    #[serde(default)]
    pub recursive: bool,
    /// Other members that must prove their copies, 1 to 255; the bytes are not brought back while so many have
    /// them. Left out: as many as the setting `repair.copies` says.
    #[serde(default)]
    pub copies: Option<u8>,
}

impl Operation for EvictRequest {
    const ROUTE: &'static str = "/v1/evict";
    type Done = EvictDone;
}

/// The end of an evict.
#[derive(Debug, Serialize, Deserialize)]
pub struct EvictDone {
    /// As it was asked for.
    pub key: String,
    /// Files that are evicted as a whole.
    pub files: u64,
    /// Chunks dropped.
    pub chunks: u64,
    /// Sealed bytes freed.
    pub bytes: u64,
    /// Node ids of the members that proved their copies.
    pub proven_by: Vec<String>,
    /// The reason why it went no further, if it stopped after it had dropped something; else null.
    pub stopped: Option<Problem>,
}

/// `POST /v1/rm`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RmRequest {
    /// A file, or with `recursive` a tree. Not empty.
    pub key: String,
    /// Every file below the key as well. Left out: false.
    #[serde(default)]
    pub recursive: bool,
    /// With all versions, for good. Left out: false.
    #[serde(default)]
    pub purge: bool,
    /// The number of files that there are: with another one, nothing is removed. A purge of more than 100 needs it.
    #[serde(default)]
    pub expect: Option<u64>,
    /// The members to wait for.
    #[serde(default)]
    pub wait: Option<String>,
}

impl Operation for RmRequest {
    const ROUTE: &'static str = "/v1/rm";
    type Done = RmDone;
}

/// The end of an rm, also of `DELETE /v1/objects/{key}`.
#[derive(Debug, Serialize, Deserialize)]
pub struct RmDone {
    /// Files removed.
    pub removed: u64,
    /// As in [`PutRoot`].
    pub copies: u64,
    /// As in [`PutRoot`].
    pub wanted: u64,
    /// As in [`PutRoot`].
    pub short: bool,
    /// As in [`PutRoot`].
    pub missing: Vec<Missing>,
}

fn yes() -> bool {
    true
}
