//! Files that fit into their record, read by the group in one blocking job.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use stash_crypto::record::{FileType, INLINE_MAX};
use stash_crypto::{Manifest, Meta};

use super::common::{CHANGED, READS, describe, finish, inline_meta};
use super::error::PutError;
use super::large;
use super::session::{Done, Session};
use super::walk::{FoundFile, Stat, open_file};
use crate::blocking::blocking;
use crate::operations::draft::{Content, write};

/// Heads that are compared at once.
const COMPARE: usize = 16;
/// The outcome of reading one small file.
enum Read1 {
    /// The content, and what is to be said of it.
    Content(Box<Meta>, Vec<String>),
    /// It has grown beyond what a record holds.
    Grown,
    /// It cannot be read.
    Skipped(String),
}

/// Links, directories and small files that the walk found together.
#[derive(Default)]
pub(super) struct Group {
    pub(super) whole: Vec<(PathBuf, Box<Meta>)>,
    pub(super) files: Vec<FoundFile>,
}

/// Something whose meta is known, before it is compared with what is stored.
struct Ready {
    meta: Meta,
    /// Whether some version of the key is listed.
    listed: bool,
}

/// Reads a group of small files and prepares what has to be written for them. `done` carries what
/// the walk left out.
pub(super) async fn put(
    session: Arc<Session>,
    group: Group,
    mut done: Done,
) -> Result<Done, PutError> {
    let reading = Arc::clone(&session);
    let (read, mut done) = blocking(move || {
        let (mut ready, mut grown) = (Vec::new(), Vec::new());
        for (path, meta) in group.whole {
            let (listed, below) = match meta.file_type {
                FileType::Directory => (reading.is_listed(&meta.key), Vec::new()),
                _ => reading.look(&meta.key),
            };
            reading.clear(&path, below, &mut done);
            ready.push(Ready { meta: *meta, listed });
        }
        for file in group.files {
            let (listed, below) = reading.look(&file.name.key);
            match read_one(&file) {
                Read1::Content(meta, notes) => {
                    reading.clear(&file.path, below, &mut done);
                    done.notes.extend(notes.into_iter().map(|note| (file.path.clone(), note)));
                    ready.push(Ready { meta: *meta, listed });
                }
                Read1::Grown => grown.push(file),
                Read1::Skipped(why) => done.skipped.push((file.path, why)),
            }
        }
        ((ready, grown), done)
    })
    .await;
    let (ready, grown) = read;
    let mut compare = Vec::new();
    for Ready { meta, listed } in ready {
        if listed {
            compare.push(meta);
            continue;
        }
        session.progress.moved(meta.size);
        let mut new = Done::of(&meta);
        new.beside_new = u64::from(meta.file_type == FileType::Directory);
        new.writes.push(write(&session.inner, Content::put(Manifest::EMPTY, meta)));
        done.absorb(new);
    }
    for file in grown {
        done.absorb(large::put(Arc::clone(&session), file).await?);
    }
    let compared: Vec<Done> = stream::iter(compare)
        .map(|meta| finish(&session, Content::put(Manifest::EMPTY, meta), true))
        .buffer_unordered(COMPARE)
        .try_collect()
        .await?;
    compared.into_iter().for_each(|one| done.absorb(one));
    Ok(done)
}

fn read_one(file: &FoundFile) -> Read1 {
    for read in 1..=READS {
        match read_whole(file, read == READS) {
            Ok(Some(read)) => return read,
            Ok(None) => {}
            Err(error) => return Read1::Skipped(error.to_string()),
        }
    }
    Read1::Skipped(CHANGED.to_owned())
}

/// `None`: it changed meanwhile. If it only grew, the last time that it is read counts.
fn read_whole(file: &FoundFile, last: bool) -> std::io::Result<Option<Read1>> {
    let (handle, before) = open_file(&file.path)?;
    if before.size > INLINE_MAX as u64 {
        return Ok(Some(Read1::Grown));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(before.size).unwrap_or(0) + 1);
    (&handle).take(before.size).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != before.size {
        return Ok(None);
    }
    let mut meta = inline_meta(file.name.key.clone(), bytes);
    let mut notes: Vec<String> =
        describe(&mut meta, file, &handle, &before, false).into_iter().collect();
    let after = Stat::of(&handle.metadata()?);
    if last && before.grew_until(&after) {
        notes.push(before.grew());
    } else if !before.holds_at(&after) {
        return Ok(None);
    }
    Ok(Some(Read1::Content(Box::new(meta), notes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::source::Named;
    use stash_crypto::Key;

    fn found(path: PathBuf, size: u64) -> FoundFile {
        let name = Named::given(Key::new("k").unwrap()).unwrap();
        FoundFile { path, name, size, link: None }
    }

    #[test]
    fn small_files_are_read_whole_up_to_the_inline_limit() {
        let dir = tempfile::tempdir().unwrap();
        for size in [0, 1, INLINE_MAX] {
            let path = dir.path().join(size.to_string());
            std::fs::write(&path, vec![7; size]).unwrap();
            let Read1::Content(meta, notes) = read_one(&found(path, 0)) else { panic!() };
            assert_eq!(notes, [""; 0]);
            assert_eq!(meta.inline, Some(vec![7; size]));
            assert_eq!(meta.size, size as u64);
            assert!(meta.modified.is_some() && meta.mode.is_some());
        }
    }

    #[test]
    fn a_file_that_grew_since_the_walk_is_no_longer_small() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("grown");
        std::fs::write(&path, vec![7; INLINE_MAX + 1]).unwrap();
        assert!(matches!(read_one(&found(path, 10)), Read1::Grown));
    }

    #[test]
    fn a_file_that_vanished_is_skipped_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let Read1::Skipped(why) = read_one(&found(dir.path().join("gone"), 1)) else { panic!() };
        assert!(why.contains("No such file"), "{why}");
    }
}
