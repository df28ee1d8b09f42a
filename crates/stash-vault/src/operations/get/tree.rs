//! A tree to the disk: whole in its place, or into a directory that is there.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use blake3::Hash;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryStreamExt, stream};
use stash_crypto::record::FileType;
use stash_crypto::{Key, Meta};

use super::error::GetError;
use super::file::{write, write_at};
use super::opened::Run;
use super::options::{GetReport, OUTPUTS, Written};
use super::place::{Directory, LateDirectory, Place, SecondName, Unseen, publish_tree, temporary};
use crate::index::IndexEntry;
use crate::lookup::LookupError;
use crate::model::attributes::{link_id, path_below};
use crate::model::scope::Scope;
use crate::model::version::{Standing, Version};
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
    let tree = Arc::new(Tree { inner, target, scope, run, late: Mutex::default() });
    let mut report = tree.extract().await?;
    let (jobs, late) = (tree.run.jobs.clone(), Arc::clone(&tree));
    report.add(jobs.run(move || late.finish()).await?);
    if report.files == 0 && report.directories == 0 {
        return Err(nothing(&tree.scope));
    }
    if let Some(temporary) = &tree.target.temporary {
        let outputs = report.outputs.iter_mut();
        let lacking = report.lacking.iter_mut().map(|(path, _)| path);
        outputs.chain(lacking).for_each(|path| rebase(path, &temporary.path, &output));
    }
    jobs.run(move || tree.publish(&output)).await?;
    Ok(report)
}

/// The error for a scope in which there is nothing to write out.
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
        match fs::symlink_metadata(output) {
            Ok(_) => {
                let mut entries = match fs::read_dir(output) {
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
                let path = output.with_file_name(temporary());
                let private = DirBuilder::new().mode(0o700).create(&path);
                private.map_err(output_error)?;
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

impl Temporary {
    /// Gives the new directory the mode that one gets which is made now: no directory of that name is
    /// stored that would say another.
    fn open_as_usual(&self) -> Result<(), GetError> {
        let failed = |error| GetError::output(&self.path, error);
        let usual = self.path.join(temporary());
        fs::create_dir(&usual).map_err(failed)?;
        let mode = fs::symlink_metadata(&usual).map(|found| found.permissions().mode() & 0o777);
        fs::remove_dir(&usual).map_err(failed)?;
        let permissions = Permissions::from_mode(mode.map_err(failed)?);
        fs::set_permissions(&self.path, permissions).map_err(failed)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // If even this fails, a hidden directory is left: nothing more can be done about it.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// What is done when all files are written: nothing is made in these directories any more, and no file
/// through one of these links.
#[derive(Default)]
struct Late {
    links: Vec<Version>,
    /// Of files with several names the first that was met, and what it says.
    first: HashMap<Vec<u8>, (Hash, Place)>,
    names: Vec<(SecondName, Standing)>,
    directories: Vec<LateDirectory>,
}

struct Tree {
    inner: Arc<Inner>,
    target: Target,
    scope: Scope,
    run: Run,
    late: Mutex<Late>,
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
            let is_directory =
                |(_, entry): &(Key, IndexEntry)| entry.file_type == FileType::Directory;
            let (directories, page): (Vec<_>, Vec<_>) = page.into_iter().partition(is_directory);
            // Before anything is written into them: they are closed until all of it is.
            self.directories(directories).await?;
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

    async fn directories(
        self: &Arc<Self>,
        entries: Vec<(Key, IndexEntry)>,
    ) -> Result<(), GetError> {
        let heads: Vec<Option<Version>> = stream::iter(entries.into_iter().map(|(key, _)| key))
            .map(|key| self.head(key))
            .buffered(HEADS)
            .try_collect()
            .await?;
        let tree = Arc::clone(self);
        let make = move || {
            let heads = heads.into_iter().flatten().filter(Version::is_directory);
            heads.map(|head| head.meta).try_for_each(|meta| tree.make_directory(&meta))
        };
        self.run.jobs.run(make).await
    }

    fn make_directory(&self, meta: &Meta) -> Result<(), GetError> {
        let mut path = match self.scope.exact() == Some(&meta.key) {
            // The output itself.
            true => Vec::new(),
            false => path_below(meta, self.scope.relative(&meta.key)),
        };
        if let Some(name) = path.pop() {
            self.target.root.descend(&path)?.closed(&name)?;
            path.push(name);
        }
        let late = LateDirectory { path, meta: meta.clone() };
        self.late().directories.push(late);
        self.run.progress.finished(1);
        Ok(())
    }

    fn late(&self) -> std::sync::MutexGuard<'_, Late> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if another name of the same file is written, or is being: then this one is made at the end.
    fn is_second_name(&self, head: &Version) -> bool {
        let Some(id) = link_id(&head.meta) else { return false };
        let (folders, name) = self.place(&head.meta);
        let mut late = self.late();
        match late.first.get(id) {
            None => {
                late.first.insert(id.to_vec(), (fingerprint(head), (folders, name)));
                false
            }
            // It was changed under this name alone, and is another file by now.
            Some((says, _)) if *says != fingerprint(head) => false,
            Some((_, first)) => {
                let (first, meta) = (first.clone(), Meta { inline: None, ..head.meta.clone() });
                late.names.push((SecondName { first, folders, name, meta }, head.standing));
                true
            }
        }
    }

    /// Makes the links, then gives the directories their modes and times, the deepest first: a parent
    /// may let nobody pass. Blocking.
    fn finish(&self) -> Result<GetReport, GetError> {
        let Late { links, mut directories, names, .. } = std::mem::take(&mut *self.late());
        let (options, mut report) = (&self.run.options, GetReport::default());
        for (second, standing) in names {
            let (folders, first) = &second.first;
            let (from, to) = (&self.target.root.descend(folders)?, &second.folders);
            let to = self.target.root.descend(to)?;
            let written = to.second_name(&second, (from, first), options)?;
            self.run.progress.moved(second.meta.size);
            self.run.progress.finished(1);
            report.wrote(written, second.meta.size, standing);
        }
        for Version { meta, standing, .. } in links {
            let (folders, name) = self.place(&meta);
            let directory = self.target.root.descend(&folders)?;
            let written = directory.link(&name, &meta, options)?;
            self.run.progress.moved(meta.size);
            self.run.progress.finished(1);
            report.wrote(written, meta.size, standing);
        }
        report.directories = directories.len() as u64;
        directories.sort_by_key(|late| std::cmp::Reverse(late.path.len()));
        if let Some(new) = &self.target.temporary
            && directories.last().is_none_or(|late| !late.path.is_empty())
        {
            new.open_as_usual()?;
        }
        for late in directories {
            let directory = self.target.root.descend(&late.path)?;
            let Written { path, lacks } = directory.finish(&late.meta, options.restore)?;
            report.lacks(&path, lacks);
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
        if self.is_second_name(&head) {
            return Ok(GetReport::default());
        }
        let (size, standing) = (head.meta.size, head.standing);
        let (meta, tree) = (head.meta.clone(), Arc::clone(self));
        let unseen = self.run.jobs.run(move || tree.create(&meta)).await?;
        let written = write(&self.inner, head, unseen, &self.run).await?;
        self.run.progress.finished(1);
        let mut report = GetReport::default();
        report.wrote(written, size, standing);
        Ok(report)
    }

    /// Writes files whose content stands in their records. Blocking.
    fn write_small(&self, heads: Vec<Version>) -> Result<GetReport, GetError> {
        let mut report = GetReport::default();
        for head in heads {
            let Version { meta, standing, .. } = &head;
            match meta.file_type {
                FileType::Regular if self.is_second_name(&head) => continue,
                FileType::Regular => {}
                FileType::Link => {
                    self.late().links.push(head);
                    continue;
                }
                // It took the place of a file since the page was read.
                FileType::Directory => {
                    self.make_directory(meta)?;
                    continue;
                }
            }
            let written = self.write_inline(meta)?;
            self.run.progress.moved(meta.size);
            self.run.progress.finished(1);
            report.wrote(written, meta.size, *standing);
        }
        Ok(report)
    }

    /// The directories on the way to a file or link, and its name.
    fn place(&self, meta: &Meta) -> Place {
        let mut folders = path_below(meta, self.scope.relative(&meta.key));
        let name = folders.pop().unwrap_or_default();
        (folders, name)
    }

    fn create(&self, meta: &Meta) -> Result<Unseen, GetError> {
        let (folders, name) = self.place(meta);
        self.target.root.descend(&folders)?.create(&name)
    }

    fn write_inline(&self, meta: &Meta) -> Result<Written, GetError> {
        let unseen = self.create(meta)?;
        write_at(&unseen, meta.inline.as_deref().unwrap_or_default(), 0)?;
        unseen.publish(meta, &self.run.options)
    }
}

/// Equal for two versions that are one file: content, mode and time.
fn fingerprint(Version { record, meta, .. }: &Version) -> Hash {
    let mut hasher = blake3::Hasher::new();
    for chunk in record.clear().manifest.refs() {
        hasher.update(chunk.address.as_bytes());
    }
    let (seconds, nanos) = meta.modified.unwrap_or_default();
    hasher.update(&meta.size.to_le_bytes());
    hasher.update(&meta.mode.unwrap_or_default().to_le_bytes());
    hasher.update(&seconds.to_le_bytes()).update(&nanos.to_le_bytes());
    hasher.update(meta.inline.as_deref().unwrap_or_default());
    hasher.finalize()
}

impl GetReport {
    fn add(&mut self, other: GetReport) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.directories += other.directories;
        self.conflicts += other.conflicts;
        let room = OUTPUTS.saturating_sub(self.outputs.len());
        self.outputs.extend(other.outputs.into_iter().take(room));
        let room = OUTPUTS.saturating_sub(self.lacking.len());
        self.lacking.extend(other.lacking.into_iter().take(room));
    }
}
