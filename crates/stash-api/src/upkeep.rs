//! Collecting garbage, scrubbing and checking.

use serde::{Deserialize, Serialize};

use crate::operation::Operation;

/// Something that is damaged and not healed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Damaged {
    /// `chunk` or `record`.
    pub kind: String,
    /// Its address or hash.
    pub id: String,
    /// A sentence.
    pub why: String,
    /// Name ids of the files that need it, as every member may know them.
    pub names: Vec<String>,
    /// Their keys; null on a keeper.
    pub keys: Option<Vec<String>>,
}

/// `POST /v1/gc`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GcRequest {
    /// True to give nothing back, and say what would be. Left out: false.
    #[serde(default)]
    pub dry_run: bool,
    /// True to wait for no grace. Left out: false.
    #[serde(default)]
    pub now: bool,
}

impl Operation for GcRequest {
    const ROUTE: &'static str = "/v1/gc";
    type Done = GcDone;
}

/// The end of a collection, or what one would do.
#[derive(Debug, Serialize, Deserialize)]
pub struct GcDone {
    /// True if nothing was given back.
    pub dry_run: bool,
    /// Chunks given back.
    pub chunks: u64,
    /// Bytes given back, those of strays included.
    pub bytes: u64,
    /// Chunks that wait for the end of their grace.
    pub waiting_chunks: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Files that nothing announced, which a power cut may leave: found when it is no dry run.
    pub strays: u64,
    /// Their bytes.
    pub stray_bytes: u64,
    /// Old versions that retention forgot before. A dry run counts them, and not what they would free.
    pub forgotten_versions: u64,
    /// Removed files among them that went whole.
    pub forgotten_names: u64,
    /// Retention waits: so many seconds must the node run until its clock is believed. Null if it does not.
    pub retention_waits_seconds: Option<u64>,
}

/// `POST /v1/scrub`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScrubRequest {}

impl Operation for ScrubRequest {
    const ROUTE: &'static str = "/v1/scrub";
    type Done = ScrubDone;
}

/// The end of a pass.
#[derive(Debug, Serialize, Deserialize)]
pub struct ScrubDone {
    /// Bytes read.
    pub bytes: u64,
    /// Chunks and records found damaged.
    pub found: u64,
    /// Those of them that came back whole from other members.
    pub healed: u64,
    /// Those that did not.
    pub unhealed: u64,
    /// Sentences, the first hundred.
    pub findings: Vec<String>,
    /// Damage that is not healed, the first hundred.
    pub damaged: Vec<Damaged>,
}

/// `POST /v1/check`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckRequest {
    /// True to read the chunks as well. Left out: false.
    #[serde(default)]
    pub read_data: bool,
}

impl Operation for CheckRequest {
    const ROUTE: &'static str = "/v1/check";
    type Done = CheckDone;
}

/// The end of a check.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct CheckDone {
    /// True if nothing is damaged, or all of it is healed.
    pub sound: bool,
    /// Rows of the store that were compared.
    pub rows: u64,
    /// Files of the store that were compared.
    pub files: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Everything that was found damaged, of each kind.
    pub found: u64,
    /// The part of it that came back whole from other members.
    pub healed: u64,
    /// The part that did not.
    pub unhealed: u64,
    /// Sentences, the first hundred of each kind.
    pub findings: Vec<String>,
    /// Damage that is not healed, the first hundred.
    pub damaged: Vec<Damaged>,
    /// Chunks that records name and that are not here: evicted, or never fetched.
    pub missing: u64,
    /// Files that nothing announces.
    pub strays: u64,
    /// Their bytes.
    pub stray_bytes: u64,
    /// The outcome of a rebuild; null unless one was asked for.
    pub rebuilt: Option<Rebuilt>,
}

/// The outcome of a rebuild.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Rebuilt {
    /// True if everything that was stored is there.
    pub whole: bool,
    /// Entries of the log that it was rebuilt from.
    pub entries: u64,
    /// Chunks whose files nothing announced, and that are here again.
    pub announced: u64,
    /// Sentences: what could not be saved, and what was restored.
    pub notes: Vec<String>,
}
