//! Records by their writers and numbers.

use super::Index;
use super::error::{IndexError, bad_value};
use super::tables::{key, table};
use crate::WriterEnd;

impl Index {
    pub(crate) fn dots(&self, writer: &[u8; 40], n: u64) -> Result<Vec<[u8; 32]>, IndexError> {
        let pairs = self.under(&key(table::DOTS, &[writer, &n.to_be_bytes()]), usize::MAX)?;
        Ok(self.located(&pairs)?.iter().map(|found| found.hash).collect())
    }

    /// Writer and number of the record with this sequence number, without its entry in the log.
    /// Reads much of the index: for an entry that is damaged.
    pub(crate) fn dot_of(&self, sequence: u64) -> Result<Option<([u8; 40], u64)>, IndexError> {
        let (order, mut dot) = (sequence.to_be_bytes(), None);
        self.tree.scan_prefix(&[table::DOTS], &mut |key, _| {
            let found = key.strip_suffix(&order).and_then(|key| key.get(1..));
            let found = found.and_then(|dot| dot.split_last_chunk::<8>());
            dot = found.and_then(|(by, n)| Some((by.try_into().ok()?, u64::from_be_bytes(*n))));
            dot.is_none()
        })?;
        Ok(dot)
    }

    pub(crate) fn last_of(&self, writer: &[u8; 40]) -> Result<Option<(u64, [u8; 32])>, IndexError> {
        let (from, before) = (key(table::DOTS, &[writer]), key(table::DOTS, &[writer, &[255; 16]]));
        let Some((key, _)) = self.tree.last(&from, &before)? else {
            return Ok(None);
        };
        let n = number_of(&key).ok_or_else(|| bad_value(&key))?;
        // Of several records under one dot, the first that was stored.
        Ok(self.dots(writer, n)?.first().map(|hash| (n, *hash)))
    }

    /// At most `limit` records of one writer from a number on, by number.
    pub(crate) fn dots_from(
        &self,
        writer: &[u8; 40],
        n: u64,
        limit: usize,
    ) -> Result<Vec<(u64, [u8; 32])>, IndexError> {
        let under = key(table::DOTS, &[writer]);
        let from = key(table::DOTS, &[writer, &n.to_be_bytes()]);
        let pair = |key: &[u8], value: &[u8]| Some((key.to_vec(), value.to_vec()));
        let pairs = self.page(&from, &under, limit, pair)?;
        let mut found = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let n = number_of(&pair.0).ok_or_else(|| bad_value(&pair.0))?;
            found.extend(self.located(&[pair])?.first().map(|record| (n, record.hash)));
        }
        Ok(found)
    }

    /// The writers whose ids begin with `prefix`, each with its last record. Costs two look-ups a
    /// writer, however many records there are.
    pub(crate) fn writers(&self, prefix: &[u8]) -> Result<Vec<WriterEnd>, IndexError> {
        let under = key(table::DOTS, &[prefix]);
        let (mut from, mut ends) = (under.clone(), Vec::new());
        loop {
            let mut first = None;
            self.tree.scan(&from, &mut |key, _| {
                first = key.starts_with(&under).then(|| key.to_vec());
                false
            })?;
            let Some(first) = first else {
                return Ok(ends);
            };
            let writer = first.get(1..41).and_then(|writer| writer.try_into().ok());
            let writer: [u8; 40] = writer.ok_or_else(|| bad_value(&first))?;
            ends.extend(self.last_of(&writer)?.map(|(n, hash)| (writer, n, hash)));
            from = key(table::DOTS, &[&writer, &[255; 17]]);
        }
    }
}

/// The number in a key of [`table::DOTS`].
fn number_of(key: &[u8]) -> Option<u64> {
    key.get(41..49)?.try_into().ok().map(u64::from_be_bytes)
}
