//! Writing one file to the disk.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesOrdered;

use super::error::GetError;
use super::opened::{Opened, Run, unfetched};
use super::options::GetOptions;
use super::place::{Directory, Unseen};
use super::report::{Done, GetReport, Written};
use super::there::Step;
use super::verify::has_bytes;
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
    output: &Path,
    run: &Run,
) -> Result<GetReport, GetError> {
    let (size, standing) = (head.meta.size, head.standing);
    run.progress.found(1, size);
    let path = output.to_owned();
    let (directory, name) = run.jobs.run(move || parent(&path)).await?;
    let mut report = GetReport::default();
    let named = |written| Written { path: output.to_owned(), ..written };
    match bring(inner, head, directory, name, run).await? {
        Done::Wrote(written) => report.wrote(named(written), size, standing),
        Done::Left(there) => report.left(named(there), size, standing),
    }
    run.progress.finished(1);
    Ok(report)
}

/// Opens the output's directory. An output that is a directory is refused.
fn parent(output: &Path) -> Result<(Arc<Directory>, OsString), GetError> {
    let name = output.file_name().ok_or(GetError::IsDirectory { path: output.to_owned() })?;
    // A link may be replaced, whatever it leads to.
    if std::fs::symlink_metadata(output).is_ok_and(|found| found.is_dir()) {
        return Err(GetError::IsDirectory { path: output.to_owned() });
    }
    let parent = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Ok((Arc::new(Directory::open(parent)?), name.to_owned()))
}

/// Writes a file or link of any size, unless it is there.
pub(super) async fn bring(
    inner: &Arc<Inner>,
    head: Version,
    directory: Arc<Directory>,
    name: OsString,
    run: &Run,
) -> Result<Done, GetError> {
    let (options, size) = (run.options, head.meta.size);
    if head.meta.file_type == FileType::Link {
        let meta = head.meta;
        let made = run.jobs.run(move || bring_link(&directory, &name, &meta, &options)).await?;
        run.progress.moved(size);
        return Ok(made);
    }
    let (at, own, meta) = (Arc::clone(&directory), name.clone(), head.meta.clone());
    let step = match run.jobs.run(move || at.step(&own, &meta, &options)).await? {
        Step::Compare(lacks) => {
            let opened = inner.opened(head.clone()).await?;
            let (inner, progress) = (Arc::clone(inner), run.progress.clone());
            let (at, own) = (Arc::clone(&directory), name.clone());
            let compare = move || {
                let same = match at.open_file(&own) {
                    Ok(file) => inner.has_content(&opened, &file, &progress)?,
                    Err(_) => false,
                };
                at.compared(&own, &opened.version.meta, &options, lacks, same)
            };
            run.jobs.run(compare).await?
        }
        step => step,
    };
    match step {
        Step::Leave(there) => {
            run.progress.moved(size);
            Ok(Done::Left(there))
        }
        Step::Write | Step::Compare(_) if options.dry_run => {
            run.progress.moved(size);
            Ok(Done::Wrote(Written { path: directory.path.join(&name), lacks: None }))
        }
        Step::Write | Step::Compare(_) => {
            let unseen = run.jobs.run(move || directory.create(&name)).await?;
            write(inner, head, unseen, run).await.map(Done::Wrote)
        }
    }
}

/// The same of a file whose content stands in its record. Blocking.
pub(super) fn bring_inline(
    directory: &Arc<Directory>,
    name: &OsStr,
    meta: &Meta,
    options: &GetOptions,
) -> Result<Done, GetError> {
    let bytes = meta.inline.as_deref().unwrap_or_default();
    let step = match directory.step(name, meta, options)? {
        Step::Compare(lacks) => {
            let file = directory.open_file(name);
            let same = file.is_ok_and(|file| has_bytes(&file, bytes).unwrap_or(false));
            directory.compared(name, meta, options, lacks, same)?
        }
        step => step,
    };
    match step {
        Step::Leave(there) => Ok(Done::Left(there)),
        _ if options.dry_run => {
            Ok(Done::Wrote(Written { path: directory.path.join(name), lacks: None }))
        }
        _ => {
            let unseen = directory.create(name)?;
            write_at(&unseen, bytes, 0)?;
            unseen.publish(meta, options).map(Done::Wrote)
        }
    }
}

/// The same of a link. Blocking.
pub(super) fn bring_link(
    directory: &Directory,
    name: &OsStr,
    meta: &Meta,
    options: &GetOptions,
) -> Result<Done, GetError> {
    match directory.step(name, meta, options)? {
        Step::Leave(there) => Ok(Done::Left(there)),
        _ if options.dry_run => {
            Ok(Done::Wrote(Written { path: directory.path.join(name), lacks: None }))
        }
        _ => directory.link(name, meta, options).map(Done::Wrote),
    }
}

/// Fetches, opens and writes a version, then gives it its name.
async fn write(
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
    let keep = run.options.keep && inner.wants(&opened.version).await?;
    let mut fetch = inner.engine.fetch(opened.refs.clone(), keep);
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

fn write_at(unseen: &Unseen, bytes: &[u8], offset: u64) -> Result<(), GetError> {
    let written: io::Result<()> = unseen.file().write_all_at(bytes, offset);
    written.map_err(|error| GetError::output(unseen.path(), error))
}
