//! Trees to the disk, file by file: what fails is noted, and the rest goes on.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryStreamExt, stream};
use stash_crypto::record::FileType;
use stash_crypto::{Key, Meta};

use super::error::GetError;
use super::file::{bring, bring_inline};
use super::names::Names;
use super::opened::Run;
use super::options::GetOptions;
use super::place::{Cursor, Directory, Place, UNFINISHED, usual_mode};
use super::report::{Done, GetReport, Written};
use super::source::Source;
use crate::index::IndexEntry;
use crate::lookup::LookupError;
use crate::model::version::{Standing, Version};
use crate::operations::pages::Pages;
use crate::vault::Inner;

/// Names taken from the index at once.
pub(super) const PAGE: usize = 512;
/// Small files written by one job.
pub(super) const GROUP: usize = 64;
/// Heads read at once for one job.
const HEADS: usize = 8;
/// Jobs under way at once: small files by the group, larger ones alone.
const JOBS: usize = 4;

type Work = BoxFuture<'static, Result<(), GetError>>;

/// One source on its way to the disk. Its errors are those that keep all the rest back as well; others are
/// noted in the report.
pub(super) struct Tree {
    pub(super) inner: Arc<Inner>,
    /// Missing in a dry run at most.
    pub(super) root: Option<Arc<Directory>>,
    output: PathBuf,
    pub(super) source: Source,
    pub(super) run: Run,
    /// The time at which the get began.
    pub(super) begun: SystemTime,
    /// Files with several names.
    names: Arc<Mutex<Names>>,
    /// True once a link or a directory was met.
    late: AtomicBool,
    report: Arc<Mutex<GetReport>>,
}

/// Writes all sources below the output, or one of them as the output.
pub(super) async fn get(
    inner: &Arc<Inner>,
    sources: Vec<Source>,
    output: &Path,
    run: &Run,
    report: GetReport,
) -> Result<GetReport, GetError> {
    let begun = SystemTime::now();
    let whole = sources.iter().find(|source| source.is_output());
    let described = match whole.and_then(|source| source.scope.exact()) {
        Some(key) => inner.head(key).await.is_ok_and(|head| head.is_directory()),
        None => false,
    };
    let (path, options) = (output.to_owned(), run.options);
    let root = run.jobs.run(move || root(&path, described, &options)).await?;
    let (root, report) = (root.map(Arc::new), Arc::new(Mutex::new(report)));
    let names = Arc::<Mutex<Names>>::default();
    let tree = |source| Tree {
        inner: Arc::clone(inner),
        root: root.clone(),
        output: output.to_owned(),
        source,
        run: run.clone(),
        begun,
        names: Arc::clone(&names),
        late: AtomicBool::default(),
        report: Arc::clone(&report),
    };
    let trees: Vec<Arc<Tree>> = sources.into_iter().map(|source| Arc::new(tree(source))).collect();
    for tree in &trees {
        tree.files().await?;
    }
    for tree in trees.iter().filter(|tree| tree.late.load(Ordering::Relaxed)) {
        tree.end().await?;
    }
    drop(trees);
    let mut report = std::mem::take(&mut *lock(&report));
    report.failures.sort_by(|one, two| one.key.cmp(&two.key));
    Ok(report)
}

/// Opens the directory in which everything is written, or makes it: closed to others, if a record says what
/// it is to become.
fn root(
    output: &Path,
    described: bool,
    options: &GetOptions,
) -> Result<Option<Directory>, GetError> {
    let mode = if described { UNFINISHED } else { usual_mode(options.umask) };
    let made = match options.dry_run {
        true => output.symlink_metadata().map(|_| io::ErrorKind::AlreadyExists.into()),
        false => match DirBuilder::new().mode(mode.as_raw_mode()).create(output) {
            Ok(()) => return Directory::open(output).map(Some),
            Err(error) => Ok(error),
        },
    };
    match made {
        Ok(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(GetError::output(output, error))
        }
        Ok(_) if !output.is_dir() => Err(GetError::Exists { path: output.to_owned() }),
        Ok(_) => Directory::open(output).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(GetError::output(output, error)),
    }
}

impl Tree {
    /// Makes the directories, closed, and writes the files.
    async fn files(self: &Arc<Self>) -> Result<(), GetError> {
        let mut under_way: FuturesUnordered<Work> = FuturesUnordered::new();
        let mut pages = Pages::new(&self.inner, &self.source.scope, PAGE);
        while let Some(page) = pages.files().await? {
            let (page, covered) = self.source.sorted(&self.inner, page).await?;
            for key in covered {
                self.failed(&key, GetError::Covered { key: key.clone() })?;
            }
            let (files, late): (Vec<_>, Vec<_>) =
                page.into_iter().partition(|(_, entry)| entry.file_type == FileType::Regular);
            self.late.fetch_or(!late.is_empty(), Ordering::Relaxed);
            // Before anything is written into them: they are closed until all of it is.
            self.directories(late).await?;
            for work in self.jobs(files) {
                while under_way.len() >= JOBS
                    && let Some(done) = under_way.next().await
                {
                    done?;
                }
                under_way.push(work);
            }
            if self.names().are_many() {
                while let Some(done) = under_way.next().await {
                    done?;
                }
                self.second_names().await?;
            }
        }
        while let Some(done) = under_way.next().await {
            done?;
        }
        self.second_names().await
    }

    async fn directories(self: &Arc<Self>, late: Vec<(Key, IndexEntry)>) -> Result<(), GetError> {
        let is_directory = |entry: &IndexEntry| entry.file_type == FileType::Directory;
        let keys = late.into_iter().filter(|(_, entry)| is_directory(entry)).map(|(key, _)| key);
        let heads = self.heads(keys.collect()).await?;
        let tree = Arc::clone(self);
        let make = move || {
            let mut cursor = tree.cursor();
            for head in heads.into_iter().filter(Version::is_directory) {
                match cursor.closed(&tree.source.path(&head.meta)) {
                    // In a dry run.
                    Ok(false) => tree.report().directories += 1,
                    Ok(true) => {}
                    Err(error) => tree.failed(&head.meta.key, error)?,
                }
            }
            Ok(())
        };
        self.run.jobs.run(make).await
    }

    fn jobs(self: &Arc<Self>, files: Vec<(Key, IndexEntry)>) -> Vec<Work> {
        let (small, large): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|(_, entry)| entry.inline);
        let keys: Vec<Key> = small.into_iter().map(|(key, _)| key).collect();
        let groups = keys
            .chunks(GROUP)
            .map(|group| Box::pin(Arc::clone(self).small(group.to_vec())) as Work);
        let large = large.into_iter().map(|(key, _)| Box::pin(Arc::clone(self).large(key)) as Work);
        groups.chain(large).collect()
    }

    async fn small(self: Arc<Self>, keys: Vec<Key>) -> Result<(), GetError> {
        let heads = self.heads(keys).await?;
        let (small, grown): (Vec<_>, Vec<_>) =
            heads.into_iter().partition(|head| head.meta.inline.is_some());
        let tree = Arc::clone(&self);
        self.run.jobs.run(move || tree.write_small(small)).await?;
        for head in grown {
            self.write(head).await?;
        }
        Ok(())
    }

    async fn large(self: Arc<Self>, key: Key) -> Result<(), GetError> {
        match self.head(key).await? {
            Some(head) => self.write(head).await,
            None => Ok(()),
        }
    }

    /// The heads of these names, without those that were removed since their page was read.
    pub(super) async fn heads(&self, keys: Vec<Key>) -> Result<Vec<Version>, GetError> {
        let heads = stream::iter(keys).map(|key| self.head(key)).buffered(HEADS);
        heads.try_filter_map(async |head| Ok(head)).try_collect().await
    }

    async fn head(&self, key: Key) -> Result<Option<Version>, GetError> {
        match self.inner.head(&key).await {
            Ok(head) => Ok(Some(head)),
            Err(LookupError::NotFound { .. }) => Ok(None),
            Err(error) => self.failed(&key, error.into()).map(|()| None),
        }
    }

    /// Writes a file of any size.
    pub(super) async fn write(self: &Arc<Self>, head: Version) -> Result<(), GetError> {
        match head.meta.file_type != FileType::Regular || self.is_second_name(&head) {
            true => Ok(()),
            false => self.write_alone(head).await,
        }
    }

    /// Writes a file, whatever other names it has.
    pub(super) async fn write_alone(self: &Arc<Self>, head: Version) -> Result<(), GetError> {
        let (size, standing, kept) = (head.meta.size, head.standing, head.clone());
        match self.written(head).await {
            Ok(done) => self.done(done, size, standing),
            Err(error) => return self.not_written(&kept, error),
        }
        Ok(())
    }

    async fn written(self: &Arc<Self>, head: Version) -> Result<Done, GetError> {
        let (tree, meta) = (Arc::clone(self), head.meta.clone());
        let find = move || {
            let (folders, name) = tree.place(&meta);
            let directory = tree.cursor().descend(&folders)?.cloned();
            Ok::<_, GetError>((directory, name))
        };
        match self.run.jobs.run(find).await? {
            (Some(directory), name) => bring(&self.inner, head, directory, name, &self.run).await,
            (None, _) => {
                self.run.progress.moved(head.meta.size);
                Ok(self.would_write(&head.meta))
            }
        }
    }

    /// Writes files whose content stands in their records. Blocking.
    fn write_small(&self, heads: Vec<Version>) -> Result<(), GetError> {
        let mut cursor = self.cursor();
        for head in heads {
            // What became a link or a directory since its page was read is seen at the end.
            if head.meta.file_type != FileType::Regular || self.is_second_name(&head) {
                continue;
            }
            let (folders, name) = self.place(&head.meta);
            let done = match cursor.descend(&folders) {
                Ok(Some(directory)) => {
                    bring_inline(directory, &name, &head.meta, &self.run.options)
                }
                Ok(None) => Ok(self.would_write(&head.meta)),
                Err(error) => Err(error),
            };
            self.run.progress.moved(head.meta.size);
            match done {
                Ok(done) => self.done(done, head.meta.size, head.standing),
                Err(error) => self.not_written(&head, error)?,
            }
        }
        Ok(())
    }

    pub(super) fn cursor(&self) -> Cursor {
        Cursor::new(self.root.as_ref(), &self.run.options)
    }

    /// In a dry run, a file or link in a directory that is not there.
    pub(super) fn would_write(&self, meta: &Meta) -> Done {
        let path = self.output.join(PathBuf::from_iter(self.source.path(meta)));
        Done::Wrote(Written { path, lacks: None })
    }

    /// The directories on the way to a file or link, and its name.
    pub(super) fn place(&self, meta: &Meta) -> Place {
        let mut folders = self.source.path(meta);
        let name = folders.pop().unwrap_or_default();
        (folders, name)
    }

    fn not_written(&self, head: &Version, error: GetError) -> Result<(), GetError> {
        self.names().forget(head, &self.place(&head.meta));
        self.failed(&head.meta.key, error)
    }

    /// Notes what did not come back. An error that keeps all the rest back as well is one of the whole.
    pub(super) fn failed(&self, key: &Key, error: GetError) -> Result<(), GetError> {
        if error.ends_all() {
            return Err(error);
        }
        self.run.progress.finished(1);
        self.report().failed(key.as_str(), &error);
        Ok(())
    }

    /// Notes a file or link that is written, or was there.
    pub(super) fn done(&self, done: Done, size: u64, standing: Standing) {
        self.run.progress.finished(1);
        match done {
            Done::Wrote(written) => self.report().wrote(written, size, standing),
            Done::Left(there) => self.report().left(there, size, standing),
        }
    }

    /// Notes a directory that has its mode and time.
    pub(super) fn finished(&self, written: Written) {
        self.run.progress.finished(1);
        let mut report = self.report();
        report.directories += 1;
        report.lacks(&written.path, written.lacks);
    }

    pub(super) fn names(&self) -> MutexGuard<'_, Names> {
        lock(&self.names)
    }

    fn report(&self) -> MutexGuard<'_, GetReport> {
        lock(&self.report)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
