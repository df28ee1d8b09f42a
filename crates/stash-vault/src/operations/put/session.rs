//! The state that the parts of one put share, and the result that each gives back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use stash_crypto::record::FileType;
use stash_crypto::{Meta, NodeId, Record};
use stash_server::{Upload, Write};

use super::error::PutError;
use super::options::PutOptions;
use crate::progress::Progress;
use crate::vault::{Inner, Vault};

/// Small files read by one job, and the most that one commit takes.
pub(super) const GROUP: usize = 256;

/// State that all parts of one put share.
pub(super) struct Session {
    pub(super) inner: Arc<Inner>,
    pub(super) upload: Upload,
    pub(super) progress: Progress,
    /// Chunks of one file that are read and sealed at once.
    pub(super) depth: usize,
    /// Whether anything is listed under the root's key: only then may a file be in the way of a directory, or
    /// a directory in the way of a file.
    pub(super) known: AtomicBool,
}

/// The outcome for some files.
#[derive(Default)]
pub(super) struct Done {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) writes: Vec<Write>,
    /// Heads that say the same as the file does.
    pub(super) unchanged: Vec<Record>,
    /// Of these writes, those of no file and no link: of directories, and removals.
    pub(super) beside_new: u64,
    /// Files and links whose write takes the place of a version.
    pub(super) changed: u64,
    /// Of these, those whose version another node wrote.
    pub(super) replaced: BTreeMap<NodeId, u64>,
    /// Of these heads, those of directories.
    pub(super) beside_unchanged: u64,
    pub(super) skipped: Vec<(PathBuf, String)>,
    pub(super) notes: Vec<(PathBuf, String)>,
}

impl Done {
    /// A version that is about to be compared or written.
    pub(super) fn of(meta: &Meta) -> Done {
        let files = u64::from(meta.file_type != FileType::Directory);
        Done { files, bytes: meta.size, ..Done::default() }
    }

    pub(super) fn absorb(&mut self, other: Done) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.writes.extend(other.writes);
        self.unchanged.extend(other.unchanged);
        self.beside_new += other.beside_new;
        self.changed += other.changed;
        for (node, files) in other.replaced {
            *self.replaced.entry(node).or_default() += files;
        }
        self.beside_unchanged += other.beside_unchanged;
        self.skipped.extend(other.skipped);
        self.notes.extend(other.notes);
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
    let (progress, known) = (progress.clone(), AtomicBool::new(true));
    Ok(Session { inner, upload, progress, depth: options.jobs(), known })
}
