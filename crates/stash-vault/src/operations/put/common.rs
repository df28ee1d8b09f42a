//! Steps that are the same for files of every size: reading again, and writing a version if it is new.

use stash_crypto::Meta;

use super::error::PutError;
use super::session::{Done, Session};
use super::walk::Stat;
use crate::operations::draft::{Content, write};

/// Times that a file is read which changes while it is.
pub(super) const READS: u32 = 2;
/// Why a file is left out that does not hold still.
pub(super) const CHANGED: &str = "it changed while it was read";

/// Compares a finished version with the head and writes it only if they differ.
pub(super) async fn finish(
    session: &Session,
    content: Content,
    compare_time: bool,
) -> Result<Done, PutError> {
    let name = session.inner.keys.name_id(&content.meta.key);
    let view = session.inner.view_to_cover(name).await?;
    let mut done = Done { files: 1, bytes: content.meta.size, ..Done::default() };
    if content.meta.inline.is_some() {
        session.progress.moved(content.meta.size);
    }
    match view.head {
        Some(head) if view.siblings == 0 => {
            if content.equals(&head, compare_time) {
                if content.meta.inline.is_none() {
                    // Its chunks were offered and are here again, should it have been evicted.
                    session.inner.engine.want_version(name).await?;
                }
                done.unchanged.push(head.record);
            } else {
                done.writes.push(write(&session.inner, content));
            }
        }
        _ => done.writes.push(write(&session.inner, content)),
    }
    debug_assert!(done.writes.len() + done.unchanged.len() == 1);
    Ok(done)
}

/// The meta of an inline version.
pub(super) fn inline_meta(key: stash_crypto::Key, bytes: Vec<u8>, stat: Option<&Stat>) -> Meta {
    let mut meta = Meta::new(key, bytes.len() as u64);
    meta.modified = stat.map(|stat| stat.modified);
    meta.mode = stat.map(|stat| stat.mode);
    meta.inline = Some(bytes);
    meta
}
