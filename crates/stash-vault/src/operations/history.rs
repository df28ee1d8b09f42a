//! Every version of a name: what `history` shows, and the listings of names by their versions.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};
use stash_crypto::{Key, NodeId, RecordHash};

use crate::lookup::{LookupError, bad_key, position};
use crate::model::scope::Scope;
use crate::model::version::{Alarm, Here, Standing, Version, Versions};
use crate::model::version_id::VersionId;
use crate::vault::{Inner, Vault};

/// Versions of one name that a listing of names shows; [`Vault::history`] has all of them.
const SHOWN: usize = 100;
/// Alarms of one name that a history shows.
const ALARMS: usize = 100;
/// Names, or versions, that are looked up at once.
const LOOKUPS: usize = 16;

/// A version of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionEntry {
    /// Its id: the hash of its record.
    pub version: RecordHash,
    /// True if it is a removal.
    pub removal: bool,
    /// When it was written, in seconds and nanoseconds since the Unix epoch by its writer's clock;
    /// `None` of a version that an older program wrote.
    pub written: Option<(i64, u32)>,
    /// Its true size in bytes; 0 of a removal.
    pub size: u64,
    /// The time of the file, if it was stored with one.
    pub modified: Option<(i64, u32)>,
    /// Unix permission bits, if it was stored with them.
    pub mode: Option<u32>,
    /// Chunks; 0 when the content stands in the record.
    pub chunks: u64,
    /// The node that wrote it.
    pub writer: NodeId,
    /// The display name of that node, if it has one; also of a node that was removed.
    pub writer_name: Option<String>,
    /// The place of its content: on this node or not.
    pub here: Here,
    /// Where it stands among the others.
    pub standing: Standing,
}

/// A part of the versions of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The name.
    pub key: Key,
    /// The head, its siblings, then what they cover, each before those that it covers itself.
    pub versions: Vec<VersionEntry>,
    /// Versions after these.
    pub more: usize,
    /// Records of the name that were set aside, the first hundred.
    pub alarms: Vec<Alarm>,
}

/// A name and some of its versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameEntry {
    /// The name.
    pub key: Key,
    /// The versions of one file, at most a hundred, in the order of [`History::versions`]; nothing if
    /// a record of the name is damaged here, and whole on no member that could be asked.
    pub versions: Vec<VersionEntry>,
    /// Versions that were left out.
    pub more: usize,
}

/// A page of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePage {
    /// The names, in order.
    pub names: Vec<NameEntry>,
    /// After which key the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// Which names [`Vault::names`] lists, and which of their versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Files with siblings: all leaves.
    Conflicts,
    /// Removed names that can be brought back: the removals, and the version that
    /// [`Vault::undelete`] brings back.
    Removed,
    /// Every name, removed ones included: all versions.
    All,
}

impl Vault {
    /// The versions held of a name, also of a removed one: up to `limit` after the version `after`.
    pub async fn history(
        &self,
        key: &Key,
        after: Option<&VersionId>,
        limit: usize,
    ) -> Result<History, LookupError> {
        let inner = &self.inner;
        let Versions { all, mut alarms, .. } = inner.versions_of(key).await?;
        if all.is_empty() && alarms.is_empty() {
            return Err(LookupError::NotFound { name: key.to_string() });
        }
        let passed = match after {
            None => 0,
            Some(after) => position(key, &all, after)? + 1,
        };
        let rest = &all[passed..];
        let shown = &rest[..limit.min(rest.len())];
        alarms.truncate(ALARMS);
        let versions = inner.entries(shown, &self.writer_names()).await?;
        Ok(History { key: key.clone(), versions, more: rest.len() - shown.len(), alarms })
    }

    /// A version of a name.
    pub async fn version(&self, key: &Key, id: &VersionId) -> Result<VersionEntry, LookupError> {
        let version = self.inner.version(key, id).await?;
        self.inner.version_entry(&version, &self.writer_names()).await
    }

    /// Names of a scope, as [`Vault::ls`] has it, by their versions: up to `limit` after `after`.
    pub async fn names(
        &self,
        which: Names,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<NamePage, LookupError> {
        let scope = Scope::or_all(prefix).map_err(bad_key(prefix))?;
        let keys = self.inner.keys_of(which, &scope, after, limit).await?;
        let next = keys.last().filter(|_| keys.len() == limit).map(Key::to_string);
        let writers = self.writer_names();
        let entries = keys.into_iter().map(|key| self.inner.name_entry(which, key, &writers));
        let entries: Vec<Option<NameEntry>> =
            stream::iter(entries).buffered(LOOKUPS).try_collect().await?;
        // What changed between the index and the records is no longer of this kind.
        Ok(NamePage { names: entries.into_iter().flatten().collect(), next })
    }

    /// The display names of all nodes that are members, or were, and have one.
    #[must_use]
    pub fn writer_names(&self) -> BTreeMap<NodeId, String> {
        let engine = &self.inner.engine;
        let removed = engine.removed().into_iter().map(|gone| (gone.node, gone.label));
        let members = engine.members().into_iter().map(|member| (member.node, member.label));
        removed
            .chain(members)
            .filter_map(|(node, label)| Some((node, self.display_name(&label, &node)?)))
            .collect()
    }
}

impl Inner {
    /// A page of keys by what the index knows of their versions.
    pub(crate) async fn keys_of(
        &self,
        which: Names,
        scope: &Scope,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Key>, LookupError> {
        let (scope, after) = (scope.clone(), after.map(str::to_owned));
        self.indexed(move |names| match which {
            Names::Conflicts => names.conflicts(&scope, after.as_deref(), limit),
            Names::Removed => names.removed(&scope, after.as_deref(), limit),
            Names::All => names.every(&scope, after.as_deref(), limit),
        })
        .await
    }

    async fn name_entry(
        &self,
        which: Names,
        key: Key,
        writers: &BTreeMap<NodeId, String>,
    ) -> Result<Option<NameEntry>, LookupError> {
        let versions = match self.versions_of(&key).await {
            Err(LookupError::Engine(error)) if error.is_damaged_record() => {
                return Ok(Some(NameEntry { key, versions: Vec::new(), more: 0 }));
            }
            versions => versions?,
        };
        let chosen: Vec<Version> = match which {
            Names::Conflicts if versions.leaves < 2 => return Ok(None),
            Names::Conflicts => versions.all[..versions.leaves].to_vec(),
            Names::Removed => match versions.restorable() {
                None => return Ok(None),
                Some(before) => {
                    let removals = versions.leaves.min(SHOWN - 1);
                    let removals = versions.all[..removals].iter();
                    removals.chain([before]).cloned().collect()
                }
            },
            Names::All if versions.all.is_empty() => return Ok(None),
            Names::All => versions.all,
        };
        let shown = &chosen[..chosen.len().min(SHOWN)];
        let versions = self.entries(shown, writers).await?;
        Ok(Some(NameEntry { key, versions, more: chosen.len() - shown.len() }))
    }

    async fn entries(
        &self,
        versions: &[Version],
        writers: &BTreeMap<NodeId, String>,
    ) -> Result<Vec<VersionEntry>, LookupError> {
        let entries = versions
            .iter()
            .cloned()
            .map(|version| async move { self.version_entry(&version, writers).await });
        stream::iter(entries).buffered(LOOKUPS).try_collect().await
    }

    async fn version_entry(
        &self,
        version: &Version,
        writers: &BTreeMap<NodeId, String>,
    ) -> Result<VersionEntry, LookupError> {
        let Version { record, meta, standing } = version;
        let clear = record.clear();
        let writer = clear.dot.writer.node;
        Ok(VersionEntry {
            version: record.hash(),
            removal: !version.is_put(),
            written: meta.written,
            size: meta.size,
            modified: meta.modified,
            mode: meta.mode,
            chunks: clear.manifest.file_chunks(),
            writer,
            writer_name: writers.get(&writer).cloned(),
            here: self.here(&clear.manifest).await?,
            standing: *standing,
        })
    }
}
