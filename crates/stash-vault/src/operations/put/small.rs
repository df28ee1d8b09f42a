//! Files that fit into their record, read by the group in one blocking job.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use stash_crypto::record::INLINE_MAX;
use stash_crypto::{Manifest, Meta};

use super::common::{CHANGED, READS, finish, inline_meta};
use super::error::PutError;
use super::large;
use super::session::{Done, Session};
use super::walk::{FoundFile, Stat, open_file};
use crate::blocking::blocking;
use crate::operations::draft::{Content, write};

/// Heads that are compared at once.
const COMPARE: usize = 16;
/// What reading one small file gave.
enum Read1 {
    /// The content, and whether some version of the key is listed.
    Content(Box<Meta>, bool),
    /// It has grown beyond what a record holds.
    Grown(FoundFile),
    /// It cannot be read.
    Skipped(PathBuf, String),
}

/// Reads a group of small files and prepares what has to be written for them. `done` carries what
/// the walk left out.
pub(super) async fn put(
    session: Arc<Session>,
    group: Vec<FoundFile>,
    mut done: Done,
) -> Result<Done, PutError> {
    let inner = Arc::clone(&session.inner);
    let read = blocking(move || {
        let listed = |file: &FoundFile| inner.names.get(&file.key).map_or(true, |e| e.is_some());
        let one = |file: FoundFile| {
            let listed = listed(&file);
            read_one(file, listed)
        };
        group.into_iter().map(one).collect::<Vec<_>>()
    })
    .await;
    let mut compare = Vec::new();
    for one in read {
        match one {
            Read1::Content(meta, true) => compare.push(*meta),
            Read1::Content(meta, false) => {
                session.progress.moved(meta.size);
                done.files += 1;
                done.bytes += meta.size;
                let content = Content::put(Manifest::EMPTY, *meta);
                done.writes.push(write(&session.inner, content));
            }
            Read1::Grown(file) => done.absorb(large::put(Arc::clone(&session), file).await?),
            Read1::Skipped(path, why) => done.skipped.push((path, why)),
        }
    }
    let compared: Vec<Done> = stream::iter(compare)
        .map(|meta| finish(&session, Content::put(Manifest::EMPTY, meta), true))
        .buffer_unordered(COMPARE)
        .try_collect()
        .await?;
    compared.into_iter().for_each(|one| done.absorb(one));
    Ok(done)
}

fn read_one(file: FoundFile, listed: bool) -> Read1 {
    for _ in 0..READS {
        match read_whole(&file) {
            Ok(Some(Whole::Fits(bytes, stat))) => {
                let meta = inline_meta(file.key, bytes, Some(&stat));
                return Read1::Content(Box::new(meta), listed);
            }
            Ok(Some(Whole::TooLong)) => return Read1::Grown(file),
            Ok(None) => {}
            Err(error) => return Read1::Skipped(file.path, error.to_string()),
        }
    }
    Read1::Skipped(file.path, CHANGED.to_owned())
}

enum Whole {
    Fits(Vec<u8>, Stat),
    TooLong,
}

/// `None`: it changed meanwhile.
fn read_whole(file: &FoundFile) -> std::io::Result<Option<Whole>> {
    let (handle, before) = open_file(&file.path)?;
    if before.size > INLINE_MAX as u64 {
        return Ok(Some(Whole::TooLong));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(before.size).unwrap_or(0) + 1);
    (&handle).take(INLINE_MAX as u64 + 1).read_to_end(&mut bytes)?;
    let after = Stat::of(&handle.metadata()?);
    let whole = after == before && bytes.len() as u64 == before.size;
    Ok(whole.then_some(Whole::Fits(bytes, before)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use stash_crypto::Key;

    fn found(path: PathBuf, size: u64) -> FoundFile {
        FoundFile { path, key: Key::new("k").unwrap(), size }
    }

    #[test]
    fn small_files_are_read_whole_up_to_the_inline_limit() {
        let dir = tempfile::tempdir().unwrap();
        for size in [0, 1, INLINE_MAX] {
            let path = dir.path().join(size.to_string());
            std::fs::write(&path, vec![7; size]).unwrap();
            let Read1::Content(meta, false) = read_one(found(path, 0), false) else { panic!() };
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
        assert!(matches!(read_one(found(path, 10), false), Read1::Grown(_)));
    }

    #[test]
    fn a_file_that_vanished_is_skipped_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let Read1::Skipped(_, why) = read_one(found(dir.path().join("gone"), 1), false) else {
            panic!()
        };
        assert!(why.contains("No such file"), "{why}");
    }
}
