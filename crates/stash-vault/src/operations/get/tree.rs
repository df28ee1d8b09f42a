//! A tree to the disk: whole in its place, or into a directory that is there.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryStreamExt, stream};
use rand::Rng;
use stash_crypto::{Key, Meta};

use super::error::GetError;
use super::file::{write, write_at};
use super::opened::Run;
use super::options::{GetReport, OUTPUTS};
use super::place::{Directory, Unseen, publish_tree};
use crate::index::IndexEntry;
use crate::lookup::LookupError;
use crate::model::scope::Scope;
use crate::model::version::Version;
use crate::operations::pages::Pages;
use crate::vault::Inner;

/// Names taken from the index at once.
const PAGE: usize = 512;
/// Small files written by one job.
const GROUP: usize = 64;
/// Heads read at once for one job.
const HEADS: usize = 8;
/// Jobs under way at once: small files by the group, larger ones alone.
const JOBS: usize = 4;

type Work = BoxFuture<'static, Result<GetReport, GetError>>;

pub(super) async fn get(
    inner: &Arc<Inner>,
    scope: Scope,
    output: PathBuf,
    run: &Run,
) -> Result<GetReport, GetError> {
    let (target, overwrite) = (output.clone(), run.options.overwrite);
    let target = run.jobs.run(move || Target::open(&target, overwrite)).await?;
    let (inner, run) = (Arc::clone(inner), run.clone());
    let tree = Arc::new(Tree { inner, target, scope, run });
    let mut report = tree.extract().await?;
    if report.files == 0 {
        return Err(nothing(&tree.scope));
    }
    if let Some(temporary) = &tree.target.temporary {
        let outputs = report.outputs.iter_mut();
        outputs.for_each(|path| rebase(path, &temporary.path, &output));
    }
    let jobs = tree.run.jobs.clone();
    jobs.run(move || tree.publish(&output)).await?;
    Ok(report)
}

/// What is written out for a scope: for error messages about nothing.
fn nothing(scope: &Scope) -> GetError {
    let name = scope.under().to_owned();
    GetError::Lookup(LookupError::NotFound { name })
}

fn rebase(path: &mut PathBuf, from: &Path, to: &Path) {
    if let Ok(relative) = path.strip_prefix(from) {
        *path = to.join(relative);
    }
}

/// Where a tree is written.
struct Target {
    root: Directory,
    /// The new directory that takes the output's place at the end.
    temporary: Option<Temporary>,
}

impl Target {
    fn open(output: &Path, overwrite: bool) -> Result<Target, GetError> {
        let output_error = |error| GetError::output(output, error);
        match std::fs::symlink_metadata(output) {
            Ok(_) => {
                let mut entries = match std::fs::read_dir(output) {
                    Ok(entries) => entries,
                    Err(_) => {
                        return Err(GetError::Exists { path: output.to_owned() });
                    }
                };
                if !overwrite && entries.next().is_some() {
                    return Err(GetError::Exists { path: output.to_owned() });
                }
                Ok(Target { root: Directory::open(output)?, temporary: None })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let name = format!(".stash-{:016x}.part", rand::rng().next_u64());
                let path = output.with_file_name(name);
                std::fs::create_dir(&path).map_err(output_error)?;
                let temporary = Temporary { path };
                let root = Directory::open(&temporary.path)?;
                Ok(Target { root, temporary: Some(temporary) })
            }
            Err(error) => Err(output_error(error)),
        }
    }
}

/// A directory that goes with all that is in it, unless it was renamed meanwhile.
struct Temporary {
    path: PathBuf,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // If even this fails, a hidden directory is left: nothing more can be done about it.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

struct Tree {
    inner: Arc<Inner>,
    target: Target,
    scope: Scope,
    run: Run,
}

impl Tree {
    /// Gives a new tree its name. What was written into a directory that was there stays there.
    fn publish(&self, output: &Path) -> Result<(), GetError> {
        match &self.target.temporary {
            Some(temporary) => publish_tree(&temporary.path, output),
            None => Ok(()),
        }
    }

    async fn extract(self: &Arc<Self>) -> Result<GetReport, GetError> {
        let mut report = GetReport::default();
        let mut under_way: FuturesUnordered<Work> = FuturesUnordered::new();
        let mut pages = Pages::new(&self.inner, &self.scope, PAGE);
        while let Some(page) = pages.files().await? {
            let bytes = page.iter().map(|(_, entry)| entry.size).sum();
            self.run.progress.found(page.len() as u64, bytes);
            for work in self.jobs(page) {
                while under_way.len() >= JOBS
                    && let Some(done) = under_way.next().await
                {
                    report.add(done?);
                }
                under_way.push(work);
            }
        }
        while let Some(done) = under_way.next().await {
            report.add(done?);
        }
        Ok(report)
    }

    fn jobs(self: &Arc<Self>, page: Vec<(Key, IndexEntry)>) -> Vec<Work> {
        let (small, large): (Vec<_>, Vec<_>) =
            page.into_iter().partition(|(_, entry)| entry.inline);
        let keys: Vec<Key> = small.into_iter().map(|(key, _)| key).collect();
        let groups = keys
            .chunks(GROUP)
            .map(|group| Box::pin(Arc::clone(self).small(group.to_vec())) as Work);
        let large = large.into_iter().map(|(key, _)| Box::pin(Arc::clone(self).large(key)) as Work);
        groups.chain(large).collect()
    }

    async fn small(self: Arc<Self>, keys: Vec<Key>) -> Result<GetReport, GetError> {
        let heads: Vec<Option<Version>> =
            stream::iter(keys).map(|key| self.head(key)).buffered(HEADS).try_collect().await?;
        let (small, grown): (Vec<_>, Vec<_>) =
            heads.into_iter().flatten().partition(|head| head.meta.inline.is_some());
        let tree = Arc::clone(&self);
        let mut report = self.run.jobs.run(move || tree.write_small(small)).await?;
        for head in grown {
            report.add(self.write_large(head).await?);
        }
        Ok(report)
    }

    async fn large(self: Arc<Self>, key: Key) -> Result<GetReport, GetError> {
        match self.head(key).await? {
            Some(head) => self.write_large(head).await,
            None => Ok(GetReport::default()),
        }
    }

    /// The head, `None` if the file was removed since the page was read.
    async fn head(&self, key: Key) -> Result<Option<Version>, GetError> {
        match self.inner.head(&key).await {
            Ok(head) => Ok(Some(head)),
            Err(LookupError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn write_large(self: &Arc<Self>, head: Version) -> Result<GetReport, GetError> {
        let (size, standing) = (head.meta.size, head.standing);
        let (key, tree) = (head.meta.key.clone(), Arc::clone(self));
        let unseen = self.run.jobs.run(move || tree.create(&key)).await?;
        let path = write(&self.inner, head, unseen, &self.run).await?;
        self.run.progress.finished(1);
        let mut report = GetReport::default();
        report.wrote(path, size, standing);
        Ok(report)
    }

    /// Writes files whose content stands in their records. Blocking.
    fn write_small(&self, heads: Vec<Version>) -> Result<GetReport, GetError> {
        let mut report = GetReport::default();
        for Version { meta, standing, .. } in heads {
            let path = self.write_inline(&meta)?;
            self.run.progress.moved(meta.size);
            self.run.progress.finished(1);
            report.wrote(path, meta.size, standing);
        }
        Ok(report)
    }

    fn create(&self, key: &Key) -> Result<Unseen, GetError> {
        let (folders, name) = split(self.scope.relative(key));
        self.target.root.descend(&folders)?.create(OsStr::new(name))
    }

    fn write_inline(&self, meta: &Meta) -> Result<PathBuf, GetError> {
        let unseen = self.create(&meta.key)?;
        write_at(&unseen, meta.inline.as_deref().unwrap_or_default(), 0)?;
        unseen.publish(meta, self.run.options.overwrite)
    }
}

/// The directories of a relative path, and its last segment. Keys have neither `.`, `..` nor empty
/// segments, so each segment is a plain name.
fn split(relative: &str) -> (Vec<&str>, &str) {
    let mut segments: Vec<&str> = relative.split('/').collect();
    let name = segments.pop().unwrap_or_default();
    (segments, name)
}

impl GetReport {
    fn add(&mut self, other: GetReport) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.conflicts += other.conflicts;
        let room = OUTPUTS.saturating_sub(self.outputs.len());
        self.outputs.extend(other.outputs.into_iter().take(room));
    }
}
