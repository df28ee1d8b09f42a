//! Asking the index.

use std::collections::BTreeSet;

use crate::{Address, Ref};

use super::Index;
use super::error::{IndexError, bad_value};
use super::referrers::Referrers;
use super::tables::{
    BY_MANIFEST, BY_RECORD, ChunkRow, Located, ManifestRow, PLACE, address_of, decode_order,
    decode_record, key, sequence_at_end, table,
};

type Pair = (Vec<u8>, Vec<u8>);

impl Index {
    pub(super) fn decoded<T>(
        &self,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, IndexError> {
        match self.tree.get(key)? {
            Some(value) => decode(&value).map(Some).ok_or_else(|| bad_value(key)),
            None => Ok(None),
        }
    }

    /// Every entry whose key begins with `prefix`, at most `limit`.
    pub(super) fn under(&self, prefix: &[u8], limit: usize) -> Result<Vec<Pair>, IndexError> {
        let mut pairs = Vec::new();
        self.tree.scan_prefix(prefix, &mut |key, value| {
            if pairs.len() < limit {
                pairs.push((key.to_vec(), value.to_vec()));
            }
            pairs.len() < limit
        })?;
        Ok(pairs)
    }

    /// At most `limit` entries from a key on, while keys begin with `under`.
    pub(super) fn page<T>(
        &self,
        from: &[u8],
        under: &[u8],
        limit: usize,
        decode: impl Fn(&[u8], &[u8]) -> Option<T>,
    ) -> Result<Vec<T>, IndexError> {
        let (mut found, mut bad) = (Vec::new(), None);
        self.tree.scan(from, &mut |key, value| {
            if found.len() >= limit || !key.starts_with(under) {
                return false;
            }
            match decode(key, value) {
                Some(entry) => found.push(entry),
                None => bad = Some(bad_value(key)),
            }
            bad.is_none() && found.len() < limit
        })?;
        bad.map_or(Ok(found), Err)
    }

    pub(crate) fn chunk(&self, address: &Address) -> Result<Option<ChunkRow>, IndexError> {
        self.decoded(&key(table::CHUNKS, &[address.as_bytes()]), ChunkRow::decode)
    }

    pub(crate) fn chunks(&self, all: &[Address]) -> Result<Vec<Option<ChunkRow>>, IndexError> {
        all.iter().map(|address| self.chunk(address)).collect()
    }

    /// Rows about blobs after `after`, in the order of their addresses.
    pub(crate) fn chunks_after(
        &self,
        after: Option<Address>,
        limit: usize,
    ) -> Result<Vec<(Address, ChunkRow)>, IndexError> {
        self.rows_after(table::CHUNKS, after, limit, ChunkRow::decode)
    }

    /// Blobs that nothing may refer to, after `after`, with the uptime since when.
    pub(crate) fn unnamed_after(
        &self,
        after: Option<Address>,
        limit: usize,
    ) -> Result<Vec<(Address, u64)>, IndexError> {
        let decode = |value: &[u8]| value.try_into().ok().map(u64::from_le_bytes);
        self.rows_after(table::UNNAMED, after, limit, decode)
    }

    /// Manifests after `after`.
    pub(crate) fn manifests_after(
        &self,
        after: Option<Address>,
        limit: usize,
    ) -> Result<Vec<(Address, ManifestRow)>, IndexError> {
        self.rows_after(table::MANIFESTS, after, limit, ManifestRow::decode)
    }

    /// The manifest of this address, if it is one.
    pub(crate) fn manifest(&self, address: &Address) -> Result<Option<ManifestRow>, IndexError> {
        self.peek(|tables| tables.manifest(address))
    }

    /// Since when nothing may refer to a blob, in seconds of uptime.
    pub(crate) fn unnamed_since(&self, address: &Address) -> Result<Option<u64>, IndexError> {
        self.peek(|tables| tables.unnamed_since(address))
    }

    fn rows_after<T>(
        &self,
        table: u8,
        after: Option<Address>,
        limit: usize,
        decode: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<(Address, T)>, IndexError> {
        // The smallest key behind that of `after` is the same with a zero byte more.
        let from = match after {
            Some(after) => key(table, &[after.as_bytes(), &[0]]),
            None => key(table, &[]),
        };
        self.page(&from, &[table], limit, |key, value| address_of(key).zip(decode(value)))
    }

    pub(crate) fn record(&self, hash: &[u8; 32]) -> Result<Option<Located>, IndexError> {
        self.decoded(&key(table::RECORDS, &[hash]), |value| decode_record(hash, value))
    }

    fn at_sequence(&self, sequence: u64) -> Result<Option<Located>, IndexError> {
        let key = key(table::ORDER, &[&sequence.to_be_bytes()]);
        self.decoded(&key, |value| decode_order(&key, value))
    }

    /// The records that the ends of these keys name; one dropped in the meantime is left out.
    pub(super) fn located(&self, pairs: &[Pair]) -> Result<Vec<Located>, IndexError> {
        let mut found = Vec::with_capacity(pairs.len());
        for (key, _) in pairs {
            let sequence = sequence_at_end(key).ok_or_else(|| bad_value(key))?;
            found.extend(self.at_sequence(sequence)?);
        }
        Ok(found)
    }

    pub(crate) fn records_of(&self, name: &[u8; 32]) -> Result<Vec<Located>, IndexError> {
        self.located(&self.under(&key(table::NAMES, &[name]), usize::MAX)?)
    }

    /// Calls `visit` with the hash of every record whose hash begins with `prefix`, in order.
    pub(crate) fn hashes_under(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8; 32]),
    ) -> Result<(), IndexError> {
        self.hashes_in(table::RECORDS, prefix, visit)
    }

    /// The same of those that are not known to be whole.
    pub(crate) fn lacking_under(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8; 32]),
    ) -> Result<(), IndexError> {
        self.hashes_in(table::LACKING, prefix, visit)
    }

    fn hashes_in(
        &self,
        table: u8,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8; 32]),
    ) -> Result<(), IndexError> {
        let mut bad = None;
        self.tree.scan_prefix(&key(table, &[prefix]), &mut |key, _| {
            match key[1..].try_into() {
                Ok(hash) => visit(hash),
                Err(_) => bad = Some(bad_value(key)),
            }
            bad.is_none()
        })?;
        bad.map_or(Ok(()), Err)
    }

    pub(crate) fn records_after(&self, after: u64, limit: u64) -> Result<Vec<Located>, IndexError> {
        let Some(from) = after.checked_add(1) else {
            return Ok(Vec::new());
        };
        let from = key(table::ORDER, &[&from.to_be_bytes()]);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.page(&from, &[table::ORDER], limit, decode_order)
    }

    pub(crate) fn row(&self, row: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        let value = |value: &[u8]| value.get(PLACE..).map(<[u8]>::to_vec);
        self.decoded(&key(table::ROWS, &[row]), value)
    }

    pub(crate) fn rows(&self, prefix: &[u8]) -> Result<Vec<Pair>, IndexError> {
        let pairs = self.under(&key(table::ROWS, &[prefix]), usize::MAX)?;
        let row = |(key, value): Pair| row_of(&key, &value).ok_or_else(|| bad_value(&key));
        pairs.into_iter().map(row).collect()
    }

    /// At most `limit` rows whose keys begin with `prefix` and come after `after`.
    pub(crate) fn rows_beyond(
        &self,
        prefix: &[u8],
        after: &[u8],
        limit: usize,
    ) -> Result<Vec<Pair>, IndexError> {
        let under = key(table::ROWS, &[prefix]);
        // The smallest key behind another is the same with a zero byte more.
        let from = if after < prefix { under.clone() } else { key(table::ROWS, &[after, &[0]]) };
        self.page(&from, &under, limit, row_of)
    }

    /// The first piece of work that waits behind another one.
    pub(crate) fn unsettled_after(&self, after: &[u8]) -> Result<Option<Pair>, IndexError> {
        let mut from = if after.is_empty() { vec![table::UNSETTLED] } else { after.to_vec() };
        from.extend((!after.is_empty()).then_some(0));
        let mut found = None;
        self.tree.scan_within(&[table::UNSETTLED], &from, &mut |key, value| {
            found = Some((key.to_vec(), value.to_vec()));
            false
        })?;
        Ok(found)
    }

    /// For each record, whether it is known to lack a blob, or not known to be whole.
    pub(crate) fn are_lacking(&self, records: &[[u8; 32]]) -> Result<Vec<bool>, IndexError> {
        let lacks =
            |record: &[u8; 32]| Ok(self.tree.get(&key(table::LACKING, &[record]))?.is_some());
        records.iter().map(lacks).collect()
    }

    /// At most `limit` records that are not known to be whole, behind `after`, by hash.
    pub(crate) fn lacking_after(
        &self,
        after: Option<[u8; 32]>,
        limit: usize,
    ) -> Result<Vec<[u8; 32]>, IndexError> {
        // The smallest key behind another is the same with a zero byte more.
        let from = match &after {
            Some(after) => key(table::LACKING, &[after, &[0]]),
            None => key(table::LACKING, &[]),
        };
        self.page(&from, &[table::LACKING], limit, |key, _| key.get(1..)?.try_into().ok())
    }

    /// True if a record or a manifest names the blob.
    pub(crate) fn is_needed(&self, address: &Address) -> Result<bool, IndexError> {
        self.peek(|tables| tables.is_needed(address))
    }

    /// The referrers next to a blob: records (false) and manifests (true), at most `limit`.
    pub(crate) fn named_by(
        &self,
        address: &Address,
        limit: usize,
    ) -> Result<Vec<(bool, [u8; 32])>, IndexError> {
        let prefix = key(table::REFS, &[address.as_bytes()]);
        let pairs = self.under(&prefix, limit)?;
        let referrer = |(key, _): &Pair| {
            let (kind, hash) = key[prefix.len()..].split_first()?;
            let by_manifest = match *kind {
                BY_RECORD => false,
                BY_MANIFEST => true,
                _ => return None,
            };
            Some((by_manifest, hash.try_into().ok()?))
        };
        pairs.iter().map(|pair| referrer(pair).ok_or_else(|| bad_value(&pair.0))).collect()
    }

    /// Records that name the blob, directly or through manifests of any depth.
    pub(crate) fn referrers(&self, address: &Address) -> Result<Vec<[u8; 32]>, IndexError> {
        self.peek(|tables| Ok(Referrers::new(tables).of(address)?.into_iter().collect()))
    }

    /// The same for many blobs.
    pub(crate) fn referrers_of_all(
        &self,
        addresses: &[Address],
    ) -> Result<Vec<BTreeSet<[u8; 32]>>, IndexError> {
        self.peek(|tables| {
            let mut referrers = Referrers::new(tables);
            addresses.iter().map(|address| referrers.of(address)).collect()
        })
    }

    /// The blobs that a manifest still refers to. Reads all references: for a manifest whose entry is damaged.
    pub(crate) fn children_of(&self, manifest: &Address) -> Result<Vec<Ref>, IndexError> {
        let mut refs = Vec::new();
        self.tree.scan_prefix(&[table::REFS], &mut |key, value| {
            let by_this = key.get(33) == Some(&BY_MANIFEST) && key.ends_with(manifest.as_bytes());
            if let Some(address) = address_of(key).filter(|_| by_this && key.len() == 66) {
                let sealed_len = value.try_into().map_or(0, u32::from_le_bytes);
                refs.push(Ref { address, sealed_len });
            }
            true
        })?;
        Ok(refs)
    }
}

/// Key and value of a row of the layer above.
fn row_of(key: &[u8], value: &[u8]) -> Option<Pair> {
    Some((key.get(1..)?.to_vec(), value.get(PLACE..)?.to_vec()))
}
