//! Changing the index: what one group of the log adds, seen by itself before anybody else.

use crate::entry::{Op, Place};
use crate::{Address, Ref};

use super::error::{IndexError, bad_value};
use super::state::{State, Usage};
use super::tables::{
    BY_MANIFEST, BY_RECORD, ChunkRow, Located, ManifestRow, PLACE, address_of, decode_record, key,
    order_value, place, put_place, record_value, table,
};
use stash_runs::{Changes, Tree};

/// The tables of the index, with changes that nobody else sees yet.
pub(crate) struct Tables<'t> {
    tree: &'t Tree,
    pub(super) changes: Changes,
    pub(crate) state: State,
    pub(super) usage: Usage,
    /// Records that turned whole (true), or stopped being so, in this order.
    pub(super) turned: Vec<([u8; 32], bool)>,
}

impl<'t> Tables<'t> {
    pub(super) fn new(tree: &'t Tree, state: State) -> Tables<'t> {
        let (changes, usage) = (Changes::default(), Usage::default());
        Tables { tree, changes, state, usage, turned: Vec::new() }
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(self.tree.get_over(&self.changes, key)?)
    }

    pub(super) fn decoded<T>(
        &self,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, IndexError> {
        match self.get(key)? {
            Some(value) => decode(&value).map(Some).ok_or_else(|| bad_value(key)),
            None => Ok(None),
        }
    }

    /// Every key that begins with `prefix`, while `visit` says so.
    pub(super) fn under(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), IndexError> {
        let mut visit = |key: &[u8], _: &[u8]| visit(key);
        Ok(self.tree.scan_prefix_over(&self.changes, prefix, &mut visit)?)
    }

    /// The same from `from` on, as it was before any change in here.
    pub(super) fn within(
        &self,
        prefix: &[u8],
        from: &[u8],
        visit: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), IndexError> {
        Ok(self.tree.scan_within(prefix, from, &mut |key, _| visit(key))?)
    }

    pub(crate) fn chunk(&self, address: &Address) -> Result<Option<ChunkRow>, IndexError> {
        self.decoded(&key(table::CHUNKS, &[address.as_bytes()]), ChunkRow::decode)
    }

    pub(crate) fn record(&self, hash: &[u8; 32]) -> Result<Option<Located>, IndexError> {
        self.decoded(&key(table::RECORDS, &[hash]), |value| decode_record(hash, value))
    }

    pub(crate) fn manifest(&self, address: &Address) -> Result<Option<ManifestRow>, IndexError> {
        self.decoded(&key(table::MANIFESTS, &[address.as_bytes()]), ManifestRow::decode)
    }

    /// Since when nothing may refer to a blob, in seconds of uptime.
    pub(crate) fn unnamed_since(&self, address: &Address) -> Result<Option<u64>, IndexError> {
        let decode = |value: &[u8]| value.try_into().ok().map(u64::from_le_bytes);
        self.decoded(&key(table::UNNAMED, &[address.as_bytes()]), decode)
    }

    /// True if a record or a manifest names the blob.
    pub(crate) fn is_needed(&self, address: &Address) -> Result<bool, IndexError> {
        let mut found = false;
        self.under(&key(table::REFS, &[address.as_bytes()]), &mut |_| {
            found = true;
            false
        })?;
        Ok(found)
    }

    /// True if a file that lies in its place, and is right, is to be taken back: the blob was found
    /// damaged, or nothing is known of it and something names it. What was evicted or collected
    /// stays so: a cut between the entry and the unlink leaves such a file.
    pub(crate) fn wants_back(
        &self,
        address: &Address,
        is_damaged: impl FnOnce(&ChunkRow) -> bool,
    ) -> Result<bool, IndexError> {
        match self.chunk(address)? {
            Some(ChunkRow::Quarantined { .. }) => Ok(true),
            Some(row @ ChunkRow::File { .. }) => Ok(is_damaged(&row)),
            Some(ChunkRow::Evicted { .. } | ChunkRow::Log { .. }) => Ok(false),
            None => self.is_needed(address),
        }
    }

    /// The entry that drops a record, made without the record's own. Reads most of the index: for an
    /// entry that is damaged.
    pub(crate) fn drop_of(&self, hash: &[u8; 32], sequence: u64) -> Result<Op, IndexError> {
        let order = sequence.to_be_bytes();
        let (mut name, mut writer, mut n) = ([0; 32], [0; 40], 0);
        self.under(&[table::NAMES], &mut |key| {
            let found = key.strip_suffix(&order).and_then(|key| key.get(1..)?.try_into().ok());
            name = found.unwrap_or(name);
            found.is_none()
        })?;
        self.under(&[table::DOTS], &mut |key| {
            let dot =
                key.strip_suffix(&order).and_then(|key| key.get(1..)?.split_last_chunk::<8>());
            if let Some((by, number)) = dot
                && let Ok(by) = by.try_into()
            {
                (writer, n) = (by, u64::from_be_bytes(*number));
            }
            dot.is_none()
        })?;
        let mut refs = Vec::new();
        self.under(&[table::REFS], &mut |key| {
            let by_this = key.get(33) == Some(&BY_RECORD) && key.ends_with(hash);
            let address = address_of(key).filter(|_| by_this && key.len() == 66);
            refs.extend(address.map(|address| Ref { address, sealed_len: 0 }));
            true
        })?;
        Ok(Op::Drop { hash: *hash, name, writer, n, sequence, refs })
    }

    fn place_in(&self, key: &[u8]) -> Result<Option<Place>, IndexError> {
        self.decoded(key, |value| place(value).map(|(place, _)| place))
    }

    /// True if the entry at `at` is what the index goes by. Entries that say that something is
    /// gone are not for the index to judge.
    pub(crate) fn goes_by(&self, op: &Op, at: Place) -> Result<bool, IndexError> {
        let place = match op {
            Op::Record { hash, .. } => self.record(hash)?.map(|row| row.place),
            Op::SmallChunk { address }
            | Op::FileChunk { address, .. }
            | Op::Evict { address }
            | Op::Quarantine { address } => self.chunk(address)?.map(|row| row.place()),
            Op::Manifest { address, .. } => self.manifest(address)?.map(|row| row.place),
            Op::Row { key: row, value: Some(_) } => self.place_in(&key(table::ROWS, &[row]))?,
            Op::Moved { op, .. } => return self.goes_by(op, at),
            _ => None,
        };
        Ok(place == Some(at))
    }

    /// The entry to write again for one that says that something is gone. `None` if that has come
    /// back since.
    pub(crate) fn still_absent(&self, op: &Op) -> Result<Option<Op>, IndexError> {
        let is_back = match op {
            Op::Row { key: row, .. } => self.get(&key(table::ROWS, &[row]))?.is_some(),
            Op::Drop { hash, .. } => self.record(hash)?.is_some(),
            Op::Dead { address, .. } => self.chunk(address)?.is_some(),
            _ => false,
        };
        if is_back {
            return Ok(None);
        }
        Ok(Some(match op {
            // Its manifest may have been said anew, and that counts.
            Op::Dead { address, .. } => {
                let lives = self.manifest(address)?.is_some_and(|row| row.dying.is_none());
                Op::Dead { address: *address, manifest: !lives }
            }
            op => op.clone(),
        }))
    }

    /// Bytes of the log that mean nothing from the start, such as commit marks.
    pub(crate) fn dead(&mut self, place: &Place) {
        self.usage.dead(place);
    }

    fn put_chunk(&mut self, address: &Address, row: ChunkRow) -> Result<(), IndexError> {
        let old = self.chunk(address)?;
        self.uncount(old);
        let state = &mut self.state;
        match row {
            ChunkRow::File { .. } | ChunkRow::Log { .. } => {
                state.chunks += 1;
                state.bytes += u64::from(row.len());
                if matches!(row, ChunkRow::File { .. }) {
                    state.file_bytes += u64::from(row.len());
                }
            }
            ChunkRow::Evicted { .. } => state.evicted += 1,
            ChunkRow::Quarantined { .. } => state.quarantined += 1,
        }
        self.changes.insert(&key(table::CHUNKS, &[address.as_bytes()]), row.encode());
        // One that was evicted may have lost its last record meanwhile, and its mark with it.
        let (was, is) = (old.is_some_and(|old| old.is_here()), row.is_here());
        if is && !was {
            self.unnamed(address, self.state.uptime);
        }
        self.moved(address, was, is)
    }

    /// A row about a blob goes: its sums, and the entry it went by.
    fn uncount(&mut self, old: Option<ChunkRow>) {
        let Some(old) = old else {
            return;
        };
        self.usage.dead(&old.place());
        let state = &mut self.state;
        match old {
            ChunkRow::Evicted { .. } => state.evicted = state.evicted.saturating_sub(1),
            ChunkRow::Quarantined { .. } => {
                state.quarantined = state.quarantined.saturating_sub(1);
            }
            ChunkRow::File { len, .. } => {
                state.chunks = state.chunks.saturating_sub(1);
                state.bytes = state.bytes.saturating_sub(u64::from(len));
                state.file_bytes = state.file_bytes.saturating_sub(u64::from(len));
            }
            ChunkRow::Log { .. } => {
                state.chunks = state.chunks.saturating_sub(1);
                state.bytes = state.bytes.saturating_sub(u64::from(old.len()));
            }
        }
    }

    /// Notes that nothing may refer to a blob. Cheap, and sometimes wrong: whoever collects looks.
    fn unnamed(&mut self, address: &Address, since: u64) {
        let key = key(table::UNNAMED, &[address.as_bytes()]);
        self.changes.insert(&key, since.to_le_bytes().to_vec());
    }

    /// Takes that back.
    pub(crate) fn named(&mut self, address: &Address) {
        self.changes.remove(&key(table::UNNAMED, &[address.as_bytes()]));
    }

    /// Applies one entry of the log.
    pub(crate) fn apply(&mut self, op: &Op, sequence: u64, at: Place) -> Result<(), IndexError> {
        if op.is_absence() {
            self.usage.absent(&at);
        }
        match op {
            Op::Record { .. } => self.apply_record(op, sequence, at),
            Op::SmallChunk { address } => self.put_chunk(address, ChunkRow::Log { place: at }),
            Op::FileChunk { address, len } => {
                self.put_chunk(address, ChunkRow::File { len: *len, place: at })
            }
            Op::Manifest { .. } => self.apply_manifest(op, at),
            Op::Row { key: row, value } => self.apply_row(row, value.as_deref(), at),
            // Older versions kept copies for others by them.
            Op::Hold { .. } | Op::Release { .. } => {
                self.usage.dead(&at);
                Ok(())
            }
            Op::Evict { address } => {
                self.put_gone(address, at, |len, place| ChunkRow::Evicted { len, place })
            }
            Op::Quarantine { address } => {
                self.put_gone(address, at, |len, place| ChunkRow::Quarantined { len, place })
            }
            Op::Dead { address, manifest } => self.apply_dead(address, *manifest),
            Op::Unref { .. } => self.apply_unref(op),
            Op::Drop { .. } => self.apply_drop(op),
            Op::Moved { sequence, op } => self.apply(op, *sequence, at),
            Op::Open { opens } => {
                self.state.opens = self.state.opens.max(*opens);
                self.usage.dead(&at);
                Ok(())
            }
            Op::Uptime { seconds } => {
                self.state.uptime = self.state.uptime.max(*seconds);
                self.usage.dead(&at);
                Ok(())
            }
            Op::Retire { segment, floor } => {
                self.usage.dead(&at);
                self.usage.retire(*segment, *floor);
                Ok(())
            }
            Op::Commit(_) => {
                self.usage.dead(&at);
                Ok(())
            }
        }
    }

    fn put_gone(
        &mut self,
        address: &Address,
        at: Place,
        row: impl FnOnce(u32, Place) -> ChunkRow,
    ) -> Result<(), IndexError> {
        match self.chunk(address)? {
            Some(old) => self.put_chunk(address, row(old.len(), at)),
            None => {
                self.usage.dead(&at);
                Ok(())
            }
        }
    }

    fn set_place(&mut self, key: &[u8], at: Option<Place>) -> Result<(), IndexError> {
        if let Some(old) = self.place_in(key)? {
            self.usage.dead(&old);
        }
        match at {
            Some(at) => {
                let mut value = Vec::with_capacity(PLACE);
                put_place(&mut value, &at);
                self.changes.insert(key, value);
            }
            None => self.changes.remove(key),
        }
        Ok(())
    }

    fn apply_row(&mut self, row: &[u8], value: Option<&[u8]>, at: Place) -> Result<(), IndexError> {
        let key = key(table::ROWS, &[row]);
        self.set_place(&key, value.map(|_| at))?;
        if let Some(value) = value {
            let mut stored = Vec::with_capacity(PLACE + value.len());
            put_place(&mut stored, &at);
            stored.extend_from_slice(value);
            self.changes.insert(&key, stored);
        }
        Ok(())
    }

    fn apply_record(&mut self, op: &Op, sequence: u64, at: Place) -> Result<(), IndexError> {
        let Op::Record { hash, name, writer, n, refs } = op else {
            return Ok(());
        };
        let order = sequence.to_be_bytes();
        let old = self.record(hash)?;
        match old {
            Some(old) if old.sequence != sequence => {
                self.usage.dead(&at);
                return Ok(());
            }
            Some(old) => self.usage.dead(&old.place),
            None => {}
        }
        self.changes.insert(&key(table::RECORDS, &[hash]), record_value(sequence, &at));
        self.changes.insert(&key(table::ORDER, &[&order]), order_value(hash, &at));
        if old.is_some() {
            return self.judge_again(hash);
        }
        self.changes.insert(&key(table::NAMES, &[name, &order]), Vec::new());
        let dot = key(table::DOTS, &[writer, &n.to_be_bytes(), &order]);
        self.changes.insert(&dot, Vec::new());
        for r in refs {
            let key = key(table::REFS, &[r.address.as_bytes(), &[BY_RECORD], hash]);
            self.changes.insert(&key, r.sealed_len.to_le_bytes().to_vec());
            self.named(&r.address);
        }
        self.state.records += 1;
        self.state.record_sum.add(hash);
        self.state.last_record = self.state.last_record.max(sequence);
        self.judge(hash, refs)
    }

    fn apply_drop(&mut self, op: &Op) -> Result<(), IndexError> {
        let Op::Drop { hash, name, writer, n, sequence, refs } = op else {
            return Ok(());
        };
        let Some(old) = self.record(hash)? else {
            return Ok(());
        };
        self.usage.dead(&old.place);
        let order = sequence.to_be_bytes();
        self.changes.remove(&key(table::RECORDS, &[hash]));
        self.changes.remove(&key(table::ORDER, &[&order]));
        self.changes.remove(&key(table::NAMES, &[name, &order]));
        self.changes.remove(&key(table::DOTS, &[writer, &n.to_be_bytes(), &order]));
        for r in refs {
            self.changes.remove(&key(table::REFS, &[r.address.as_bytes(), &[BY_RECORD], hash]));
            self.unnamed(&r.address, self.state.uptime);
        }
        self.state.records = self.state.records.saturating_sub(1);
        self.state.record_sum.subtract(hash);
        self.forget(hash)
    }

    fn apply_manifest(&mut self, op: &Op, at: Place) -> Result<(), IndexError> {
        let Op::Manifest { address, refs } = op else {
            return Ok(());
        };
        let old = self.manifest(address)?;
        if let Some(old) = old {
            self.usage.dead(&old.place);
        }
        let count = u32::try_from(refs.len()).expect("limits are checked before an entry is made");
        // Moved while it dies: it goes on dying. Said anew: it lives.
        let dying = old.and_then(|old| old.dying).filter(|_| at.moved);
        let row = ManifestRow { place: at, count, dying };
        self.changes.insert(&key(table::MANIFESTS, &[address.as_bytes()]), row.encode());
        if old.is_some_and(|old| old.dying.is_none()) || dying.is_some() {
            return Ok(());
        }
        for r in refs {
            let by = [r.address.as_bytes().as_slice(), &[BY_MANIFEST], address.as_bytes()];
            self.changes.insert(&key(table::REFS, &by), r.sealed_len.to_le_bytes().to_vec());
            self.named(&r.address);
        }
        self.unnamed(address, self.state.uptime);
        self.said(address)
    }

    fn apply_dead(&mut self, address: &Address, manifest: bool) -> Result<(), IndexError> {
        let since = self.unnamed_since(address)?.unwrap_or(self.state.uptime);
        let old = self.chunk(address)?;
        self.uncount(old);
        self.changes.remove(&key(table::CHUNKS, &[address.as_bytes()]));
        let row = self.manifest(address)?;
        // A manifest that was said anew since may be named by nothing, and has no other mark.
        if manifest || row.is_none_or(|row| row.dying.is_some()) {
            self.named(address);
        }
        if let Some(row) = row.filter(|_| manifest) {
            let row = ManifestRow { dying: row.dying.or(Some((0, since))), ..row };
            self.changes.insert(&key(table::MANIFESTS, &[address.as_bytes()]), row.encode());
        }
        self.moved(address, old.is_some_and(|old| old.is_here()), false)
    }

    fn apply_unref(&mut self, op: &Op) -> Result<(), IndexError> {
        let Op::Unref { manifest, next, last, addresses } = op else {
            return Ok(());
        };
        let Some(ManifestRow { dying: Some((before, since)), place, count }) =
            self.manifest(manifest)?
        else {
            return Ok(());
        };
        for address in addresses {
            let by = [address.as_bytes().as_slice(), &[BY_MANIFEST], manifest.as_bytes()];
            self.changes.remove(&key(table::REFS, &by));
            self.unnamed(address, since);
        }
        let key = key(table::MANIFESTS, &[manifest.as_bytes()]);
        if *last {
            self.usage.dead(&place);
            self.changes.remove(&key);
        } else {
            let row = ManifestRow { place, count, dying: Some(((*next).max(before), since)) };
            self.changes.insert(&key, row.encode());
        }
        Ok(())
    }
}
