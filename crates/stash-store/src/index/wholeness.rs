//! Which records are whole: every blob that they name, directly or through a manifest, is here.
//!
//! A record that is not whole *watches* one blob that it lacks. While that blob is missing, nothing else about the record
//! has to be known; when it comes, the record's other blobs are looked at, and it watches the next one that
//! is missing, or is whole. So a blob that comes or goes costs what watches it or names it, and not what those
//! records hold besides.
//!
//! A blob may be named by a million records. What a change of it means for them is work that waits in a table of its own, and
//! is done in short steps after the commit. While there is any, it is not known which records are whole. When there is none,
//! it is known of each; this was checked over all orders of changes and steps, for three records.

use super::error::{IndexError, bad_value};
use super::tables::{BY_MANIFEST, BY_RECORD, key, table};
use super::write::Tables;
use crate::{Address, IoError, Ref};

/// A blob has left: the records that name a blob (a manifest or itself) lack it.
const GONE: u8 = 0;
/// A blob has come that records watch.
const CAME: u8 = 1;
/// A manifest says anew what it names.
const SAID: u8 = 2;
/// The blobs of a record are being looked at.
const CHECK: u8 = 3;

/// Records, or blobs of one record, that a step looks at.
pub(crate) const STEP: usize = 256;

/// Behind every blob of a record.
const END: u64 = u64::MAX;

/// A record that is not known to be whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lacking {
    /// The blob that it watches; `None` while its blobs are looked at. A record whose entry is damaged
    /// watches its own hash, which is no blob.
    watched: Option<Address>,
    /// Where that blob stands among the record's blobs.
    spot: u64,
}

impl Lacking {
    fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(40);
        out.extend_from_slice(&self.spot.to_le_bytes());
        out.extend(self.watched.iter().flat_map(|address| *address.as_bytes()));
        out
    }

    fn decode(bytes: &[u8]) -> Option<Lacking> {
        let (spot, rest) = bytes.split_first_chunk::<8>()?;
        let watched = match rest.is_empty() {
            true => None,
            false => Some(Address::from_bytes(rest.try_into().ok()?)),
        };
        Some(Lacking { watched, spot: u64::from_le_bytes(*spot) })
    }
}

/// A look at the blobs of a record, from the last to the first: those before `start`, then, behind the end,
/// those from `start` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Check {
    start: u64,
    next: u64,
    turned: bool,
}

impl Check {
    const ALL: Check = Check { start: END, next: END, turned: false };

    fn encode(self) -> Vec<u8> {
        let mut out = [self.start, self.next].map(u64::to_le_bytes).concat();
        out.push(u8::from(self.turned));
        out
    }

    fn decode(bytes: &[u8]) -> Option<Check> {
        let (start, rest) = bytes.split_first_chunk::<8>()?;
        let (next, turned) = rest.split_first_chunk::<8>()?;
        let turned = match turned {
            [0] => false,
            [1] => true,
            _ => return None,
        };
        let (start, next) = (u64::from_le_bytes(*start), u64::from_le_bytes(*next));
        Some(Check { start, next, turned })
    }
}

/// The entries of the log that say what records and manifests name.
pub(crate) trait Entries {
    /// The blobs that stand in a record; `None` if its entry is damaged.
    fn of_record(&mut self, record: &[u8; 32]) -> Result<Option<Vec<Ref>>, StepError>;

    /// The blobs that a manifest names.
    fn of_manifest(&mut self, manifest: &Address) -> Result<std::sync::Arc<[Address]>, StepError>;
}

/// Why a step could not be made.
#[derive(Debug)]
pub(crate) enum StepError {
    Index(IndexError),
    /// The disk failed, which says nothing of what it holds.
    Io(IoError),
}

impl From<IndexError> for StepError {
    fn from(error: IndexError) -> StepError {
        StepError::Index(error)
    }
}

fn spot(item: usize, child: usize) -> u64 {
    ((item as u64) << 32) | child as u64
}

impl Tables<'_> {
    fn lacking(&self, record: &[u8; 32]) -> Result<Option<Lacking>, IndexError> {
        self.decoded(&key(table::LACKING, &[record]), Lacking::decode)
    }

    fn is_here(&self, address: &Address) -> Result<bool, IndexError> {
        Ok(self.chunk(address)?.is_some_and(|row| row.is_here()))
    }

    /// True if a record is known to lack the blob that it watches.
    fn lacks_what_it_watches(&self, record: &[u8; 32]) -> Result<bool, IndexError> {
        match self.lacking(record)?.and_then(|lacking| lacking.watched) {
            Some(watched) => Ok(!self.is_here(&watched)?),
            None => Ok(false),
        }
    }

    fn set_lacking(&mut self, record: &[u8; 32], new: Lacking) -> Result<(), IndexError> {
        match self.lacking(record)? {
            Some(Lacking { watched: Some(old), .. }) => self.unwatch(&old, record),
            Some(_) => {}
            None => {
                self.state.lacking += 1;
                self.state.lacking_sum.add(record);
                self.turned.push((*record, false));
            }
        }
        if let Some(watched) = new.watched {
            self.changes.insert(&key(table::WATCHED, &[watched.as_bytes(), record]), Vec::new());
            self.done(&key(table::UNSETTLED, &[&[CHECK], record]))?;
        }
        self.changes.insert(&key(table::LACKING, &[record]), new.encode());
        Ok(())
    }

    /// Makes the index say something wrong.
    #[cfg(test)]
    pub(crate) fn slander(&mut self, record: &[u8; 32]) -> Result<(), IndexError> {
        let itself = Some(Address::from_bytes(*record));
        self.set_lacking(record, Lacking { watched: itself, spot: END })
    }

    fn unwatch(&mut self, watched: &Address, record: &[u8; 32]) {
        self.changes.remove(&key(table::WATCHED, &[watched.as_bytes(), record]));
    }

    /// A record lacks nothing, or is no more.
    fn set_whole(&mut self, record: &[u8; 32], is_held: bool) -> Result<(), IndexError> {
        if let Some(Lacking { watched, .. }) = self.lacking(record)? {
            if let Some(watched) = watched {
                self.unwatch(&watched, record);
            }
            self.changes.remove(&key(table::LACKING, &[record]));
            self.state.lacking = self.state.lacking.saturating_sub(1);
            self.state.lacking_sum.subtract(record);
        }
        if is_held {
            self.turned.push((*record, true));
        }
        self.done(&key(table::UNSETTLED, &[&[CHECK], record]))
    }

    /// Work that waits. What was done of it before is done again.
    fn queue(&mut self, item: &[u8], value: Vec<u8>) -> Result<(), IndexError> {
        if self.get(item)?.is_none() {
            self.state.unsettled += 1;
        }
        self.changes.insert(item, value);
        Ok(())
    }

    fn done(&mut self, item: &[u8]) -> Result<(), IndexError> {
        if self.state.unsettled > 0 && self.get(item)?.is_some() {
            self.changes.remove(item);
            self.state.unsettled -= 1;
        }
        Ok(())
    }

    fn check(&mut self, record: &[u8; 32], check: Check) -> Result<(), IndexError> {
        self.queue(&key(table::UNSETTLED, &[&[CHECK], record]), check.encode())
    }

    /// A blob has come or left.
    pub(super) fn moved(
        &mut self,
        address: &Address,
        was: bool,
        is: bool,
    ) -> Result<(), IndexError> {
        match (was, is) {
            (true, false) if self.is_needed(address)? => {
                let at = address.as_bytes();
                self.queue(&key(table::UNSETTLED, &[&[GONE], at, at]), Vec::new())
            }
            (false, true) if self.state.lacking > 0 && self.is_watched(address)? => {
                self.queue(&key(table::UNSETTLED, &[&[CAME], address.as_bytes()]), Vec::new())
            }
            _ => Ok(()),
        }
    }

    fn is_watched(&self, address: &Address) -> Result<bool, IndexError> {
        let mut found = false;
        self.under(&key(table::WATCHED, &[address.as_bytes()]), &mut |_| {
            found = true;
            false
        })?;
        Ok(found)
    }

    /// A record is new: it lacks a blob that stands in it, or its manifests are looked at later.
    pub(super) fn judge(&mut self, record: &[u8; 32], refs: &[Ref]) -> Result<(), IndexError> {
        let mut through = false;
        for (at, r) in refs.iter().enumerate().rev() {
            if !self.is_here(&r.address)? {
                let lacking = Lacking { watched: Some(r.address), spot: spot(at, 0) };
                return self.set_lacking(record, lacking);
            }
            through |= self.is_said(&r.address)?;
        }
        if through {
            return self.check(record, Check::ALL);
        }
        self.turned.push((*record, true));
        Ok(())
    }

    /// A record has an entry again that can be read.
    pub(super) fn judge_again(&mut self, record: &[u8; 32]) -> Result<(), IndexError> {
        let itself = Some(Address::from_bytes(*record));
        if self.lacking(record)?.is_some_and(|lacking| lacking.watched == itself) {
            self.set_lacking(record, Lacking { watched: None, spot: END })?;
            self.check(record, Check::ALL)?;
        }
        Ok(())
    }

    /// A record is no more.
    pub(super) fn forget(&mut self, record: &[u8; 32]) -> Result<(), IndexError> {
        self.set_whole(record, false)
    }

    /// A manifest says what it names, and did not before.
    pub(super) fn said(&mut self, manifest: &Address) -> Result<(), IndexError> {
        if !self.is_needed(manifest)? {
            return Ok(());
        }
        self.queue(&key(table::UNSETTLED, &[&[SAID], manifest.as_bytes()]), Vec::new())
    }

    fn is_said(&self, address: &Address) -> Result<bool, IndexError> {
        Ok(self.manifest(address)?.is_some_and(|row| row.dying.is_none()))
    }

    /// Does a part of some work that waits. Nothing may have been changed before in these tables.
    pub(crate) fn settle(
        &mut self,
        item: &[u8],
        value: &[u8],
        entries: &mut dyn Entries,
    ) -> Result<(), StepError> {
        let hash = |at: usize| -> Option<[u8; 32]> { item.get(at..at + 32)?.try_into().ok() };
        let kind = item.get(1).copied();
        let parts = (kind, hash(2), hash(34), item.len());
        match parts {
            (Some(GONE), Some(node), Some(witness), 66) => {
                let (node, witness) = (Address::from_bytes(node), Address::from_bytes(witness));
                self.settle_gone(item, &node, &witness, value)?;
            }
            (Some(CAME), Some(address), None, 34) => {
                self.settle_came(item, &Address::from_bytes(address))?;
            }
            (Some(SAID), Some(manifest), None, 34) => {
                self.settle_said(item, &Address::from_bytes(manifest), value)?;
            }
            (Some(CHECK), Some(record), None, 34) => {
                let check = Check::decode(value).ok_or_else(|| bad_value(item))?;
                self.settle_check(item, &record, check, entries)?;
            }
            _ => return Err(bad_value(item).into()),
        }
        Ok(())
    }

    /// At most [`STEP`] of those who name a blob, behind `after`.
    fn namers(&self, node: &Address, after: &[u8]) -> Result<Vec<(u8, [u8; 32])>, IndexError> {
        let prefix = key(table::REFS, &[node.as_bytes()]);
        let mut from = [&prefix[..], after].concat();
        if !after.is_empty() {
            from.push(0);
        }
        let (mut found, mut bad) = (Vec::new(), None);
        self.within(&prefix, &from, &mut |key| {
            let by = key[prefix.len()..].split_first();
            match by.and_then(|(kind, hash)| Some((*kind, <[u8; 32]>::try_from(hash).ok()?))) {
                Some(by) => found.push(by),
                None => bad = Some(bad_value(key)),
            }
            bad.is_none() && found.len() < STEP
        })?;
        bad.map_or(Ok(found), Err)
    }

    /// Ends some work, or notes how far it came.
    fn came_to(&mut self, item: &[u8], page: &[(u8, [u8; 32])]) -> Result<(), IndexError> {
        match page.last() {
            Some((kind, hash)) if page.len() >= STEP => {
                let mut cursor = vec![*kind];
                cursor.extend_from_slice(hash);
                self.changes.insert(item, cursor);
                Ok(())
            }
            _ => self.done(item),
        }
    }

    fn settle_gone(
        &mut self,
        item: &[u8],
        node: &Address,
        witness: &Address,
        after: &[u8],
    ) -> Result<(), IndexError> {
        // It is back: whoever watches it hears of that.
        if self.is_here(witness)? {
            return self.done(item);
        }
        let page = self.namers(node, after)?;
        for (kind, hash) in &page {
            match *kind {
                BY_RECORD if !self.lacks_what_it_watches(hash)? => {
                    self.set_lacking(hash, Lacking { watched: Some(*witness), spot: END })?;
                }
                BY_MANIFEST if node == witness && self.is_said(&Address::from_bytes(*hash))? => {
                    let parts = [&[GONE][..], hash, witness.as_bytes()];
                    self.queue(&key(table::UNSETTLED, &parts), Vec::new())?;
                }
                _ => {}
            }
        }
        self.came_to(item, &page)
    }

    fn settle_came(&mut self, item: &[u8], address: &Address) -> Result<(), IndexError> {
        // It has left again: those who watch it are right.
        if !self.is_here(address)? {
            return self.done(item);
        }
        let prefix = key(table::WATCHED, &[address.as_bytes()]);
        let (mut records, mut bad) = (Vec::new(), None);
        self.within(&prefix, &prefix, &mut |key| {
            match key[prefix.len()..].try_into() {
                Ok(record) => records.push(record),
                Err(_) => bad = Some(bad_value(key)),
            }
            bad.is_none() && records.len() < STEP
        })?;
        bad.map_or(Ok(()), Err)?;
        for record in &records {
            let spot = self.lacking(record)?.map_or(END, |lacking| lacking.spot);
            self.set_lacking(record, Lacking { watched: None, spot })?;
            let next = spot.checked_sub(u64::from(spot < END));
            // Nothing stands before the first blob.
            let (next, turned) = next.map_or((END, true), |next| (next, false));
            self.check(record, Check { start: spot, next, turned })?;
        }
        if records.len() < STEP { self.done(item) } else { Ok(()) }
    }

    fn settle_said(
        &mut self,
        item: &[u8],
        manifest: &Address,
        after: &[u8],
    ) -> Result<(), IndexError> {
        let page = self.namers(manifest, after)?;
        for (kind, hash) in &page {
            if *kind == BY_RECORD && !self.lacks_what_it_watches(hash)? {
                self.check(hash, Check::ALL)?;
            }
        }
        self.came_to(item, &page)
    }

    fn settle_check(
        &mut self,
        item: &[u8],
        record: &[u8; 32],
        mut check: Check,
        entries: &mut dyn Entries,
    ) -> Result<(), StepError> {
        let lacking = self.lacking(record)?;
        // What it watches decides, and when that comes, all is looked at again.
        if self.record(record)?.is_none() || lacking.is_some_and(|one| one.watched.is_some()) {
            return Ok(self.done(item)?);
        }
        let Some(refs) = entries.of_record(record)? else {
            let itself = Address::from_bytes(*record);
            return Ok(self.set_lacking(record, Lacking { watched: Some(itself), spot: END })?);
        };
        for _ in 0..STEP {
            let Some((at, address)) = self.blob_at(&refs, check.next, entries)? else {
                return Ok(self.set_whole(record, true)?);
            };
            if check.turned && at < check.start {
                return Ok(self.set_whole(record, true)?);
            }
            if !self.is_here(&address)? {
                return Ok(self.set_lacking(record, Lacking { watched: Some(address), spot: at })?);
            }
            check = match at.checked_sub(1) {
                Some(next) => Check { next, ..check },
                None if check.turned || check.start == END => {
                    return Ok(self.set_whole(record, true)?);
                }
                None => Check { next: END, turned: true, ..check },
            };
        }
        self.changes.insert(item, check.encode());
        Ok(())
    }

    /// The last of a record's blobs that does not stand behind a spot; `None` if it names none.
    fn blob_at(
        &self,
        refs: &[Ref],
        limit: u64,
        entries: &mut dyn Entries,
    ) -> Result<Option<(u64, Address)>, StepError> {
        let Some(last) = refs.len().checked_sub(1) else {
            return Ok(None);
        };
        let item = usize::try_from(limit >> 32).map_or(last, |item| item.min(last));
        let address = refs[item].address;
        let child = if spot(item, 0) == limit || !self.is_said(&address)? {
            0
        } else {
            let children = entries.of_manifest(&address)?;
            let most = limit.saturating_sub(spot(item, 0)).min(children.len() as u64);
            let most = usize::try_from(most).unwrap_or(children.len());
            if let Some(child) = most.checked_sub(1) {
                return Ok(Some((spot(item, most), children[child])));
            }
            0
        };
        Ok(Some((spot(item, child), address)))
    }
}
