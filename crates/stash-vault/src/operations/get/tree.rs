//! A tree to the disk, file by file: what fails is noted, and the rest goes on.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryStreamExt, stream};
use stash_crypto::record::FileType;
use stash_crypto::{Key, Meta};

use super::error::GetError;
use super::file::{write, write_at};
use super::names::Names;
use super::opened::Run;
use super::options::GetOptions;
use super::place::{Cursor, Directory, Place, UNFINISHED, usual_mode};
use super::report::{GetReport, Written};
use crate::index::IndexEntry;
use crate::lookup::LookupError;
use crate::model::attributes::path_below;
use crate::model::scope::Scope;
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

/// A tree on its way to the disk. Its errors are those that keep all the rest back as well; others are
/// noted in the report.
pub(super) struct Tree {
    pub(super) inner: Arc<Inner>,
    pub(super) root: Arc<Directory>,
    pub(super) scope: Scope,
    pub(super) run: Run,
    /// Files with several names.
    pub(super) names: Mutex<Names>,
    /// True once a link or a directory was met.
    late: AtomicBool,
    report: Mutex<GetReport>,
}

pub(super) async fn get(
    inner: &Arc<Inner>,
    scope: Scope,
    output: &Path,
    run: &Run,
) -> Result<GetReport, GetError> {
    let described = match scope.exact() {
        Some(key) => inner.head(key).await.is_ok_and(|head| head.is_directory()),
        None => false,
    };
    let (path, options) = (output.to_owned(), run.options);
    let root = run.jobs.run(move || root(&path, described, &options)).await?;
    let tree = Arc::new(Tree {
        inner: Arc::clone(inner),
        root: Arc::new(root),
        scope,
        run: run.clone(),
        names: Mutex::default(),
        late: AtomicBool::default(),
        report: Mutex::default(),
    });
    tree.files().await?;
    if tree.late.load(Ordering::Relaxed) {
        tree.end().await?;
    }
    let mut report = std::mem::take(&mut *tree.report());
    report.failures.sort_by(|one, two| one.key.cmp(&two.key));
    if report.is_empty() {
        let name = tree.scope.under().to_owned();
        return Err(LookupError::NotFound { name }.into());
    }
    Ok(report)
}

/// Opens the directory of the tree, or makes it: closed to others, if a record says what it is to become.
fn root(output: &Path, described: bool, options: &GetOptions) -> Result<Directory, GetError> {
    let mode = if described { UNFINISHED } else { usual_mode(options.umask) };
    match DirBuilder::new().mode(mode.as_raw_mode()).create(output) {
        Ok(()) => Directory::open(output),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let exists = || GetError::Exists { path: output.to_owned() };
            let mut entries = output.read_dir().map_err(|_| exists())?;
            if !options.overwrite && entries.next().is_some() {
                return Err(exists());
            }
            Directory::open(output)
        }
        Err(error) => Err(GetError::output(output, error)),
    }
}

impl Tree {
    /// Makes the directories, closed, and writes the files.
    async fn files(self: &Arc<Self>) -> Result<(), GetError> {
        let mut under_way: FuturesUnordered<Work> = FuturesUnordered::new();
        let mut pages = Pages::new(&self.inner, &self.scope, PAGE);
        while let Some(page) = pages.files().await? {
            let bytes = page.iter().map(|(_, entry)| entry.size).sum();
            self.run.progress.found(page.len() as u64, bytes);
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

    async fn directories(
        self: &Arc<Self>,
        late: Vec<(Key, IndexEntry)>,
    ) -> Result<(), GetError> {
        let is_directory = |entry: &IndexEntry| entry.file_type == FileType::Directory;
        let keys = late.into_iter().filter(|(_, entry)| is_directory(entry)).map(|(key, _)| key);
        let heads = self.heads(keys.collect()).await?;
        let tree = Arc::clone(self);
        let make = move || {
            let mut cursor = Cursor::new(&tree.root, &tree.run.options);
            for head in heads.into_iter().filter(Version::is_directory) {
                match cursor.closed(&tree.path(&head.meta)) {
                    Ok(()) => {}
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
        if head.meta.file_type != FileType::Regular || self.is_second_name(&head) {
            return Ok(());
        }
        let (size, standing, kept) = (head.meta.size, head.standing, head.clone());
        match self.written(head).await {
            Ok(written) => self.wrote(written, size, standing),
            Err(error) => return self.not_written(&kept, error),
        }
        Ok(())
    }

    async fn written(self: &Arc<Self>, head: Version) -> Result<Written, GetError> {
        let (tree, meta) = (Arc::clone(self), head.meta.clone());
        let create = move || {
            let (folders, name) = tree.place(&meta);
            Cursor::new(&tree.root, &tree.run.options).descend(&folders)?.create(&name)
        };
        let unseen = self.run.jobs.run(create).await?;
        write(&self.inner, head, unseen, &self.run).await
    }

    /// Writes files whose content stands in their records. Blocking.
    fn write_small(&self, heads: Vec<Version>) -> Result<(), GetError> {
        let mut cursor = Cursor::new(&self.root, &self.run.options);
        for head in heads {
            // What became a link or a directory since its page was read is seen at the end.
            if head.meta.file_type != FileType::Regular || self.is_second_name(&head) {
                continue;
            }
            match self.write_inline(&mut cursor, &head.meta) {
                Ok(written) => self.wrote(written, head.meta.size, head.standing),
                Err(error) => self.not_written(&head, error)?,
            }
        }
        Ok(())
    }

    fn write_inline(&self, cursor: &mut Cursor, meta: &Meta) -> Result<Written, GetError> {
        let (folders, name) = self.place(meta);
        let unseen = cursor.descend(&folders)?.create(&name)?;
        write_at(&unseen, meta.inline.as_deref().unwrap_or_default(), 0)?;
        unseen.publish(meta, &self.run.options)
    }

    /// The path below the output; empty for the directory that is the output.
    pub(super) fn path(&self, meta: &Meta) -> Vec<OsString> {
        match self.scope.exact() == Some(&meta.key) {
            true => Vec::new(),
            false => path_below(meta, self.scope.relative(&meta.key)),
        }
    }

    /// The directories on the way to a file or link, and its name.
    pub(super) fn place(&self, meta: &Meta) -> Place {
        let mut folders = self.path(meta);
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
        self.report().failed(key, &error);
        Ok(())
    }

    /// Notes a file or link that is written.
    pub(super) fn wrote(&self, written: Written, size: u64, standing: Standing) {
        self.run.progress.finished(1);
        self.report().wrote(written, size, standing);
    }

    /// Notes a directory that has its mode and time.
    pub(super) fn finished(&self, written: Written) {
        self.run.progress.finished(1);
        let mut report = self.report();
        report.directories += 1;
        report.lacks(&written.path, written.lacks);
    }

    pub(super) fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self) -> MutexGuard<'_, GetReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
