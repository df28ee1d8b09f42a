//! Reading a tree in order.

use crate::changes::Changes;
use crate::codec::PREFIX;
use crate::cursor::{Cursor, Merged, Source};
use crate::error::TreeError;
use crate::run::{Blocks, Run};
use crate::sync::Arc;
use crate::tree::{Below, Entry, Tree};

/// Entries that are read between two looks at what is published; most scans want a few.
const FIRST_PAGE: usize = 16;
/// The same for a scan that goes on: bounds what is copied while publishing waits.
const PAGE: usize = 512;
/// Bytes that are copied while publishing waits, unless a single entry has more.
const PAGE_BYTES: u64 = 256 * 1024;

/// Takes keys and values, until it says false.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> bool + 'a;

/// The entries that a scan goes through.
struct Range<'a> {
    /// Changes on top of everything.
    over: &'a Changes,
    prefix: &'a [u8],
}

/// The source of a page of a scan.
struct Page {
    from: Vec<u8>,
    /// Entries that it has at most.
    size: usize,
    /// The part of the active table.
    active: Changes,
    /// The last key of `active` if there are more in the table.
    cut: Option<Box<[u8]>>,
    below: Arc<Below>,
}

impl Below {
    /// The runs that may have keys which begin with `prefix`, newest first.
    fn runs_with<'a>(&'a self, tree: &Tree, prefix: &[u8]) -> impl Iterator<Item = &'a Run> {
        let hash = (prefix.len() >= PREFIX).then(|| tree.keys.filter_hash(prefix));
        let runs = self.runs.iter().map(AsRef::as_ref);
        runs.filter(move |run: &&Run| hash.is_none_or(|hash| run.filter.may_have(hash)))
    }
}

impl Tree {
    /// Entries from `from` on, in order, until `visit` says false. Each is as it was at some
    /// moment of the scan.
    pub fn scan(&self, from: &[u8], visit: &mut Visit<'_>) -> Result<(), TreeError> {
        self.scan_over(&Changes::default(), from, visit)
    }

    /// Like [`Tree::scan`], with `over` on top of everything.
    pub fn scan_over(
        &self,
        over: &Changes,
        from: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), TreeError> {
        self.walk(&Range { over, prefix: &[] }, from, visit)
    }

    /// Entries whose key begins with `prefix`, in order, until `visit` says false. For a prefix of
    /// at least [`PREFIX`] bytes, most runs that have none are not read.
    pub fn scan_prefix(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), TreeError> {
        self.scan_prefix_over(&Changes::default(), prefix, visit)
    }

    /// Like [`Tree::scan_prefix`], from `from` on. It ends behind the prefix: keys there, and such as were
    /// removed there, are not read.
    pub fn scan_within(
        &self,
        prefix: &[u8],
        from: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), TreeError> {
        self.walk(&Range { over: &Changes::default(), prefix }, from.max(prefix), visit)
    }

    /// Like [`Tree::scan_prefix`], with `over` on top of everything.
    pub fn scan_prefix_over(
        &self,
        over: &Changes,
        prefix: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), TreeError> {
        self.walk(&Range { over, prefix }, prefix, visit)
    }

    fn walk(&self, range: &Range<'_>, from: &[u8], visit: &mut Visit<'_>) -> Result<(), TreeError> {
        let (mut from, mut size) = (from.to_vec(), FIRST_PAGE);
        while let Some(next) = self.walk_page(range, &self.page(from, range.prefix, size), visit)? {
            (from, size) = (next, (size * 4).min(PAGE));
        }
        Ok(())
    }

    fn page(&self, from: Vec<u8>, prefix: &[u8], size: usize) -> Page {
        let state = self.state();
        let (mut active, mut cut) = (Changes::default(), None);
        for (key, slot) in state.active.from(&from).take_while(|(key, _)| key.starts_with(prefix)) {
            active.put(key.clone(), slot.clone());
            if active.len() == size || active.bytes() > PAGE_BYTES {
                cut = Some(key.clone());
                break;
            }
        }
        Page { from, size, active, cut, below: Arc::clone(&state.below) }
    }

    /// Visits a page of entries: where the next one begins, `None` if there is none.
    fn walk_page(
        &self,
        range: &Range<'_>,
        page: &Page,
        visit: &mut Visit<'_>,
    ) -> Result<Option<Vec<u8>>, TreeError> {
        let frozen = page.below.frozen.as_ref().map(|frozen| &frozen.changes);
        let from = &page.from;
        let tables = [range.over, &page.active].into_iter().chain(frozen);
        let mut sources: Vec<_> = tables.map(|table| Source::changes(table.from(from))).collect();
        for run in page.below.runs_with(self, range.prefix) {
            sources.push(Source::Run(Cursor::new(run, from, Blocks::Cached(&self.cache))?));
        }
        let (mut merged, mut left) = (Merged::new(sources), page.size);
        while let Some((key, value)) = merged.entry() {
            if page.cut.as_ref().is_some_and(|cut| key > cut) {
                break;
            }
            if !key.starts_with(range.prefix) {
                return Ok(None);
            }
            if left == 0 {
                return Ok(Some(key.to_vec()));
            }
            if value.is_some_and(|value| !visit(key, value)) {
                return Ok(None);
            }
            left -= 1;
            merged.advance()?;
        }
        // The first key after the cut, whatever the active table has there by now.
        Ok(page.cut.as_ref().map(|cut| [cut, &[0][..]].concat()))
    }

    /// The last entry whose key is at least `from` and before `before`.
    pub fn last(&self, from: &[u8], before: &[u8]) -> Result<Option<Entry>, TreeError> {
        let prefix = &from[..crate::block::shared(from, before)];
        let mut before = before.to_vec();
        loop {
            let state = self.state();
            let last = |changes: &Changes| {
                let (key, slot) = changes.between(from, &before).next_back()?;
                Some((key.to_vec(), slot.clone()))
            };
            let (mut best, below) = (last(&state.active), Arc::clone(&state.below));
            drop(state);
            let frozen = below.frozen.as_ref().and_then(|frozen| last(&frozen.changes));
            let mut candidates = vec![frozen];
            for run in below.runs_with(self, prefix) {
                candidates.push(run.last(&before, &self.cache)?.filter(|(key, _)| **key >= *from));
            }
            for candidate in candidates.into_iter().flatten() {
                // Of the same key, what is newer stays.
                if best.as_ref().is_none_or(|(key, _)| candidate.0 > *key) {
                    best = Some(candidate);
                }
            }
            match best {
                Some((key, Some(value))) => return Ok(Some((key, value.into()))),
                Some((key, None)) => before = key,
                None => return Ok(None),
            }
        }
    }
}
