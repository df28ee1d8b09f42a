//! The names of a scope, page by page: for what is done with every one of them.

use stash_crypto::Key;

use crate::index::IndexEntry;
use crate::lookup::LookupError;
use crate::model::scope::Scope;
use crate::operations::history::Names;
use crate::vault::Inner;

/// Goes through the names of a scope in the order of their keys. What is written or removed before
/// its page is read is seen or not.
pub(crate) struct Pages<'a> {
    inner: &'a Inner,
    scope: &'a Scope,
    size: usize,
    after: Option<String>,
}

impl<'a> Pages<'a> {
    /// `size` names a page at most.
    pub(crate) fn new(inner: &'a Inner, scope: &'a Scope, size: usize) -> Pages<'a> {
        Pages { inner, scope, size, after: None }
    }

    /// The next files; `None` after the last.
    pub(crate) async fn files(&mut self) -> Result<Option<Vec<(Key, IndexEntry)>>, LookupError> {
        let page = self.inner.page(self.scope, self.after.as_deref(), self.size).await?;
        Ok(self.passed(page, |(key, _)| key))
    }

    /// The next names that are removed and can be brought back; `None` after the last.
    pub(crate) async fn removed(&mut self) -> Result<Option<Vec<Key>>, LookupError> {
        let after = self.after.as_deref();
        let page = self.inner.keys_of(Names::Removed, self.scope, after, self.size).await?;
        Ok(self.passed(page, |key| key))
    }

    fn passed<T>(&mut self, page: Vec<T>, key: impl Fn(&T) -> &Key) -> Option<Vec<T>> {
        self.after = Some(key(page.last()?).to_string());
        Some(page)
    }
}
