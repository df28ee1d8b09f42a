//! Finding files by what the index knows of them.

use stash_crypto::record::FileType;

use crate::index::{IndexEntry, NameIndex};
use crate::lookup::{LookupError, bad_key};
use crate::model::glob::Glob;
use crate::model::scope::Scope;
use crate::operations::list::Entry;
use crate::vault::Vault;

/// The files and links that are wanted. What is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// A pattern of the last part of the key, or with a `/` of all of it below the prefix.
    pub name: Option<Glob>,
    /// Bytes that it has at least.
    pub at_least: Option<u64>,
    /// Bytes that it has at most.
    pub at_most: Option<u64>,
    /// Its time in seconds since the Unix epoch is this one or later.
    pub since: Option<i64>,
    /// Its time is earlier than this one.
    pub before: Option<i64>,
}

impl Filter {
    fn lets_through(&self, path: &str, entry: &IndexEntry) -> bool {
        let (size, time) = (entry.size, entry.modified.map(|(seconds, _)| seconds));
        entry.file_type != FileType::Directory
            && self.at_least.is_none_or(|least| size >= least)
            && self.at_most.is_none_or(|most| size <= most)
            && self.since.is_none_or(|since| time.is_some_and(|time| time >= since))
            && self.before.is_none_or(|before| time.is_some_and(|time| time < before))
            && self.name.as_ref().is_none_or(|name| name.matches(path))
    }
}

/// A part of what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The files and links, in order.
    pub entries: Vec<Entry>,
    /// After which key the next part begins; `None` at the end.
    pub next: Option<String>,
}

impl Vault {
    /// Up to `limit` files and links of a name and the tree under it that the filter lets through, after the key
    /// `after`. An empty prefix is everything.
    pub async fn find(
        &self,
        prefix: &str,
        filter: Filter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Found, LookupError> {
        let scope = Scope::or_all(prefix).map_err(bad_key(prefix))?;
        let after = after.map(str::to_owned);
        let find = move |names: &NameIndex| {
            let wanted = |key: &_, entry: &_| filter.lets_through(scope.relative(key), entry);
            names.find(&scope, after.as_deref(), limit, &wanted)
        };
        let names = self.inner.indexed(find).await?;
        let next = names.last().filter(|_| names.len() == limit).map(|(key, _)| key.to_string());
        Ok(Found { entries: self.inner.listed(names).await?, next })
    }
}
