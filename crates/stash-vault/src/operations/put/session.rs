//! The state that the parts of one put share, and the result that each gives back.

use std::path::PathBuf;
use std::sync::Arc;

use stash_crypto::Record;
use stash_server::{Upload, Write};

use super::error::PutError;
use super::options::PutOptions;
use crate::progress::Progress;
use crate::vault::{Inner, Vault};

/// Small files read by one job, and the most that one commit takes.
pub(super) const GROUP: usize = 256;

/// What all parts of one put share.
pub(super) struct Session {
    pub(super) inner: Arc<Inner>,
    pub(super) upload: Upload,
    pub(super) progress: Progress,
    /// Chunks of one file that are read and sealed at once.
    pub(super) depth: usize,
}

/// What became of some files.
#[derive(Default)]
pub(super) struct Done {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) writes: Vec<Write>,
    /// Heads that say the same as the file does.
    pub(super) unchanged: Vec<Record>,
    pub(super) skipped: Vec<(PathBuf, String)>,
}

impl Done {
    pub(super) fn absorb(&mut self, other: Done) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.writes.extend(other.writes);
        self.unchanged.extend(other.unchanged);
        self.skipped.extend(other.skipped);
    }
}

pub(super) fn session(
    vault: &Vault,
    options: &PutOptions,
    progress: &Progress,
) -> Result<Session, PutError> {
    let inner = Arc::clone(&vault.inner);
    inner.may_write(|role| PutError::ReadOnly { role })?;
    let upload = inner.engine.upload(options.wait);
    Ok(Session { inner, upload, progress: progress.clone(), depth: options.jobs() })
}
