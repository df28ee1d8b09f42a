//! Collecting garbage, scrubbing and checking.

use serde::{Deserialize, Serialize};

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
