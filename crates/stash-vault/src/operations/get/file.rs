//! Writing one file to the disk.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesOrdered;

use super::error::GetError;
use super::opened::{Opened, Run, unfetched};
use super::report::{GetReport, Written};
use super::place::{Directory, Unseen};
use crate::model::attributes::has_holes;
use crate::model::version::Version;
use crate::progress::Progress;
use crate::vault::Inner;
use stash_crypto::Meta;
use stash_crypto::chunk::CHUNK_OVERHEAD;
use stash_crypto::record::FileType;

/// The smallest hole of usual file systems, in bytes.
const BLOCK: usize = 4096;
/// Chunks that are opened and written while the next one is fetched.
const BEHIND: usize = 3;

pub(super) async fn get(
    inner: &Arc<Inner>,
    head: Version,
    output: PathBuf,
    run: &Run,
) -> Result<GetReport, GetError> {
    let (size, standing) = (head.meta.size, head.standing);
    run.progress.found(1, size);
    let (path, overwrite) = (output.clone(), run.options.overwrite);
    let written = if head.meta.file_type == FileType::Link {
        let options = run.options;
        let make = move || {
            let (directory, name) = parent(&path, overwrite)?;
            directory.link(&name, &head.meta, &options)
        };
        run.jobs.run(make).await?
    } else {
        let create = move || {
            let (directory, name) = parent(&path, overwrite)?;
            Arc::new(directory).create(&name)
        };
        let unseen = run.jobs.run(create).await?;
        write(inner, head, unseen, run).await?
    };
    run.progress.finished(1);
    let mut report = GetReport::default();
    report.wrote(Written { path: output, ..written }, size, standing);
    Ok(report)
}

/// Opens the output's directory and refuses an output that is taken.
fn parent(output: &Path, overwrite: bool) -> Result<(Directory, OsString), GetError> {
    let name = output.file_name().ok_or(GetError::IsDirectory { path: output.to_owned() })?;
    // A link may be replaced, whatever it leads to.
    if std::fs::symlink_metadata(output).is_ok_and(|found| found.is_dir()) {
        return Err(GetError::IsDirectory { path: output.to_owned() });
    }
    let parent = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let directory = Directory::open(parent)?;
    if !overwrite && directory.holds(name) {
        return Err(GetError::Exists { path: output.to_owned() });
    }
    Ok((directory, name.to_owned()))
}

/// Fetches, opens and writes a version, then gives it its name.
pub(super) async fn write(
    inner: &Arc<Inner>,
    head: Version,
    unseen: Unseen,
    run: &Run,
) -> Result<Written, GetError> {
    let opened = inner.opened(head).await?;
    let unseen = Arc::new(unseen);
    if let Some(bytes) = opened.version.meta.inline.clone() {
        let handle = Arc::clone(&unseen);
        run.jobs.run(move || write_at(&handle, &bytes, 0)).await?;
        run.progress.moved(opened.version.meta.size);
    } else {
        chunks(inner, &opened, &unseen, run).await?;
    }
    let (meta, options) = (opened.version.meta, run.options);
    run.jobs
        .run(move || match Arc::into_inner(unseen) {
            Some(unseen) => unseen.publish(&meta, &options),
            // A job that still writes would have been waited for.
            None => Err(GetError::Cancelled),
        })
        .await
}

async fn chunks(
    inner: &Arc<Inner>,
    opened: &Opened,
    unseen: &Arc<Unseen>,
    run: &Run,
) -> Result<(), GetError> {
    if run.options.keep {
        inner.want(&opened.version).await?;
    }
    let mut fetch = inner.engine.fetch(opened.refs.clone(), run.options.keep);
    let mut writing = FuturesOrdered::new();
    let plan = opened.plan;
    let Meta { key, size, .. } = &opened.version.meta;
    let sparse = has_holes(&opened.version.meta);
    if sparse {
        // What is not written is a hole, up to the end.
        let (unseen, size) = (Arc::clone(unseen), *size);
        run.jobs.run(move || set_len(&unseen, size)).await?;
    }
    let mut data = 0;
    for (index, chunk) in opened.stored(0..plan.chunks()) {
        data += u64::from(plan.plain_len(index));
        let fetched = fetch.next().await.unwrap_or(Err(stash_server::FetchError::Stopping));
        let mut buffer = fetched.map_err(|error| unfetched(&opened.version, error))?;
        let (inner, unseen, key) = (Arc::clone(inner), Arc::clone(unseen), key.clone());
        writing.push_back(run.jobs.spawn(move || {
            let len = inner.open_chunk(&key, &plan, index, chunk, &mut buffer)?;
            let plain = &buffer[CHUNK_OVERHEAD..CHUNK_OVERHEAD + len];
            match sparse {
                true => write_data(&unseen, plain, plan.offset(index))?,
                false => write_at(&unseen, plain, plan.offset(index))?,
            }
            Ok::<u64, GetError>(len as u64)
        }));
        if writing.len() > BEHIND {
            written(&mut writing, &run.progress).await?;
        }
    }
    while !writing.is_empty() {
        written(&mut writing, &run.progress).await?;
    }
    run.progress.moved(size - data);
    Ok(())
}

fn set_len(unseen: &Unseen, size: u64) -> Result<(), GetError> {
    unseen.file().set_len(size).map_err(|error| GetError::output(unseen.path(), error))
}

/// Writes the blocks that are not all zeros.
fn write_data(unseen: &Unseen, bytes: &[u8], offset: u64) -> Result<(), GetError> {
    let blocks = bytes.chunks(BLOCK);
    let data: Vec<bool> = blocks.map(|block| block.iter().any(|byte| *byte != 0)).collect();
    let mut at = 0;
    for run in data.chunk_by(|one, next| one == next) {
        let end = (at + run.len() * BLOCK).min(bytes.len());
        if run[0] {
            write_at(unseen, &bytes[at..end], offset + at as u64)?;
        }
        at = end;
    }
    Ok(())
}

type Writing = FuturesOrdered<tokio::task::JoinHandle<Result<u64, GetError>>>;

async fn written(writing: &mut Writing, progress: &Progress) -> Result<(), GetError> {
    if let Some(done) = writing.next().await {
        // A job ends without an answer only when the runtime stops.
        progress.moved(done.map_err(|_| GetError::Cancelled)??);
    }
    Ok(())
}

pub(super) fn write_at(unseen: &Unseen, bytes: &[u8], offset: u64) -> Result<(), GetError> {
    let written: io::Result<()> = unseen.file().write_all_at(bytes, offset);
    written.map_err(|error| GetError::output(unseen.path(), error))
}
