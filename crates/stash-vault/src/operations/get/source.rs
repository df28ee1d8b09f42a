//! What a get was asked for, and the path that each name of it has below the output.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;

use futures::{StreamExt, TryStreamExt, stream};
use stash_crypto::record::FileType;
use stash_crypto::{Key, Meta};

use super::error::GetError;
use crate::index::IndexEntry;
use crate::lookup::{LookupError, Target, bad_key};
use crate::model::attributes::path_below;
use crate::model::pattern::Pattern;
use crate::model::scope::{Scope, base_name};
use crate::vault::Inner;

/// Names of which is asked at once whether others lie below them.
const PROBES: usize = 8;

/// A part of the namespace that is written out.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// As it was asked for.
    pub(super) name: String,
    pub(super) scope: Scope,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    /// Everything, below the output.
    Tree,
    /// Everything, below a directory of the output.
    Below(OsString),
    /// The one file or link.
    File,
    /// What a pattern takes.
    Matching(Pattern),
}

impl Source {
    /// A tree whose root is the output.
    pub(super) fn tree(scope: Scope) -> Source {
        Source { name: scope.under().to_owned(), scope, what: What::Tree }
    }

    /// Those of names that are written out below one directory, each under its own last segment, or for a
    /// pattern under what follows its last segment without wildcards. Names that are not stored are given
    /// apart, with their errors.
    pub(super) async fn all(
        inner: &Inner,
        names: &[String],
    ) -> Result<(Vec<Source>, Vec<(String, LookupError)>), GetError> {
        let (mut sources, mut missing) = (Vec::new(), Vec::new());
        let mut places: HashMap<OsString, &String> = HashMap::new();
        for name in names {
            let source = match Source::of(inner, name).await {
                Ok(source) => source,
                Err(error @ (LookupError::NotFound { .. } | LookupError::SetAside { .. })) => {
                    missing.push((name.clone(), error));
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if let Some(place) = source.place()
                && let Some(first) = places.insert(place.clone(), name)
            {
                let (first, second) = (first.clone(), name.clone());
                return Err(GetError::SameOutput { first, second, output: PathBuf::from(place) });
            }
            sources.push(source);
        }
        Ok((sources, missing))
    }

    /// A name that is stored is that one, whatever wildcards it has.
    async fn of(inner: &Inner, name: &str) -> Result<Source, LookupError> {
        let source = |scope, what| Ok(Source { name: name.to_owned(), scope, what });
        let own = |meta: &Meta| path_below(meta, base_name(meta.key.as_str())).pop();
        match inner.source(name).await {
            Ok(Target::File(head)) => {
                let scope = Scope::named(head.meta.key.as_str()).map_err(bad_key(name))?;
                source(scope, What::File)
            }
            Ok(Target::Tree(scope)) => {
                let head = match scope.exact() {
                    Some(key) => inner.head(key).await.ok(),
                    None => None,
                };
                let below = head.and_then(|head| own(&head.meta));
                let below = below.or_else(|| scope.base_name().map(OsString::from));
                source(scope, below.map_or(What::Tree, What::Below))
            }
            Err(error @ LookupError::NotFound { .. }) => {
                match Pattern::new(name).map_err(bad_key(name))? {
                    Some(pattern) => source(pattern.scope(), What::Matching(pattern)),
                    None => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// The entry of the output that is this source alone; `None` where there may be several.
    fn place(&self) -> Option<OsString> {
        match &self.what {
            What::Below(name) => Some(name.clone()),
            What::File => self.scope.base_name().map(OsString::from),
            What::Tree | What::Matching(_) => None,
        }
    }

    /// True if the name itself is the directory in which everything is written.
    pub(super) fn is_output(&self) -> bool {
        matches!(self.what, What::Tree)
    }

    /// True if this name of the scope belongs to it.
    fn takes(&self, key: &Key) -> bool {
        match &self.what {
            What::Tree | What::Below(_) => true,
            What::File => self.scope.exact() == Some(key),
            What::Matching(pattern) => pattern.takes(self.scope.relative(key)),
        }
    }

    /// The path below the output; empty for the output itself.
    pub(super) fn path(&self, meta: &Meta) -> Vec<OsString> {
        let relative = || path_below(meta, self.scope.relative(&meta.key));
        let is_root = self.scope.exact() == Some(&meta.key);
        match &self.what {
            What::Tree if is_root => Vec::new(),
            What::Below(name) if is_root => vec![name.clone()],
            What::Below(name) => [vec![name.clone()], relative()].concat(),
            What::Tree | What::File | What::Matching(_) => relative(),
        }
    }

    /// Those of a page that are to be written, and files and links below which other names lie: a directory
    /// has their place.
    pub(super) async fn sorted(
        &self,
        inner: &Inner,
        page: Vec<(Key, IndexEntry)>,
    ) -> Result<(Vec<(Key, IndexEntry)>, Vec<Key>), LookupError> {
        let page: Vec<_> = page.into_iter().filter(|(key, _)| self.takes(key)).collect();
        if matches!(self.what, What::File) {
            return Ok((page, Vec::new()));
        }
        let Covered { mut covered, open } = Covered::of(&page);
        let probes = open.into_iter().map(|at| {
            let key = &page[at].0;
            async move { Ok::<_, LookupError>(inner.is_filled(key).await?.then_some(at)) }
        });
        let probed: Vec<Option<usize>> =
            stream::iter(probes).buffered(PROBES).try_collect().await?;
        probed.into_iter().flatten().for_each(|at| covered[at] = true);
        let (covered, page): (Vec<_>, Vec<_>) =
            page.into_iter().zip(covered).partition(|(_, covered)| *covered);
        let keys = covered.into_iter().map(|((key, _), _)| key).collect();
        Ok((page.into_iter().map(|(entry, _)| entry).collect(), keys))
    }
}

/// Which files and links of a page have names below them.
struct Covered {
    covered: Vec<bool>,
    /// Those of which only names behind the page can tell.
    open: Vec<usize>,
}

impl Covered {
    fn of(page: &[(Key, IndexEntry)]) -> Covered {
        let mut covered = vec![false; page.len()];
        // Names that begin the one that is looked at, each the one behind it.
        let mut open: Vec<usize> = Vec::new();
        let key = |at: usize| page[at].0.as_str();
        for (at, (_, entry)) in page.iter().enumerate() {
            while open.pop_if(|before| !key(at).starts_with(key(*before))).is_some() {}
            for before in &open {
                covered[*before] |= key(at).as_bytes()[key(*before).len()] == b'/';
            }
            if entry.file_type != FileType::Directory {
                open.push(at);
            }
        }
        open.retain(|at| !covered[*at]);
        Covered { covered, open }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stash_crypto::{NameId, RecordHash};

    fn entry(file_type: FileType) -> IndexEntry {
        IndexEntry {
            name: NameId::from_bytes([0; 32]),
            head: RecordHash::from_bytes([0; 32]),
            size: 0,
            chunks: 0,
            chunk_size: 0,
            siblings: 0,
            modified: None,
            mode: None,
            inline: true,
            file_type,
        }
    }

    #[test]
    fn a_file_below_which_names_lie_is_found_however_far_away_they_are() {
        let page: Vec<(Key, IndexEntry)> =
            ["a", "a-b", "a.c", "a/b", "a/b-", "a/b/c", "aa", "ab", "ab!"]
                .map(|key| (Key::new(key).unwrap(), entry(FileType::Regular)))
                .into();
        assert!(page.is_sorted_by(|one, two| one.0 < two.0));
        let Covered { covered, open } = Covered::of(&page);
        let keys = |wanted: &dyn Fn(usize) -> bool| -> Vec<&str> {
            (0..page.len()).filter(|at| wanted(*at)).map(|at| page[at].0.as_str()).collect()
        };
        assert_eq!(keys(&|at| covered[at]), ["a", "a/b"]);
        assert_eq!(keys(&|at| open.contains(&at)), ["ab", "ab!"], "the page ends with it");
        let directory = [("a", FileType::Directory), ("a/b", FileType::Link)];
        let page = directory.map(|(key, kind)| (Key::new(key).unwrap(), entry(kind)));
        let Covered { covered, open } = Covered::of(&page);
        assert_eq!((covered, open), (vec![false, false], vec![1]));
    }
}
