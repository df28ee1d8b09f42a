//! Steps that are the same for files of every size: reading again, and writing a version if it is new.

use std::fs::File;
use std::path::PathBuf;

use stash_crypto::Meta;
use stash_crypto::record::FileType;

use super::error::PutError;
use super::extended::{Facts, Of};
use super::session::{Done, Session};
use super::walk::{FoundFile, Stat};
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
    let mut done = Done::of(&content.meta);
    if content.meta.inline.is_some() {
        session.progress.moved(content.meta.size);
    }
    let directory = content.meta.file_type == FileType::Directory;
    match view.head {
        Some(head) if view.siblings == 0 && content.equals(&head, compare_time) => {
            if content.meta.inline.is_none() {
                // Its chunks were offered and are here again, should it have been evicted.
                session.inner.engine.want_version(name).await?;
            }
            done.unchanged.push(head.record);
        }
        head => {
            if let Some(head) = head.as_ref().filter(|_| !directory) {
                done.changed = 1;
                let node = head.record.clear().dot.writer.node;
                if node != session.inner.engine.node_id() {
                    done.replaced.insert(node, 1);
                }
            }
            if let Some(head) = head.filter(|head| directory && !head.is_directory()) {
                let path = PathBuf::from(head.meta.key.as_str());
                let note = "the directory takes the place of a file, whose versions are kept";
                done.notes.push((path, note.to_owned()));
            }
            done.writes.push(write(&session.inner, content));
        }
    }
    debug_assert!(done.writes.len() + done.unchanged.len() == 1);
    done.beside_new += u64::from(directory) * done.writes.len() as u64;
    done.beside_unchanged += u64::from(directory) * done.unchanged.len() as u64;
    Ok(done)
}

/// The meta of an inline version.
pub(super) fn inline_meta(key: stash_crypto::Key, bytes: Vec<u8>) -> Meta {
    let mut meta = Meta::new(key, bytes.len() as u64);
    meta.inline = Some(bytes);
    meta
}

/// Adds to a meta what is kept of an open file beside its content; what is to be said of it. Blocking.
pub(super) fn describe(
    meta: &mut Meta,
    found: &FoundFile,
    file: &File,
    stat: &Stat,
    small_holes: bool,
) -> Option<String> {
    let facts = Facts::read(Of::File(file), stat.owner, stat.mode);
    let note = facts.note();
    meta.modified = Some(stat.modified);
    meta.mode = Some(facts.mode);
    let mut attributes = facts.attributes;
    if let Some(raw) = &found.name.raw {
        attributes.set_path(raw);
    }
    if let Some(id) = found.link {
        attributes.set_link(id);
    }
    if small_holes {
        attributes.set_holes();
    }
    meta.attributes = attributes.into_inner();
    note
}
