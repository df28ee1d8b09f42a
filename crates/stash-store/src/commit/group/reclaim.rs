//! Work of the store itself, as it goes into a group.

use super::Built;
use crate::Address;
use crate::batch::{MoveItem, Reclaim};
use crate::entry::{HEADER, Op, Place};
use crate::index::{ChunkRow, IndexError, Tables};

impl Built<'_> {
    pub(super) fn reclaim(
        &mut self,
        tables: &mut Tables<'_>,
        work: &Reclaim,
    ) -> Result<(), IndexError> {
        match work {
            Reclaim::Collect { addresses } => {
                for address in addresses {
                    self.collect(tables, address)?;
                }
            }
            Reclaim::Unref { manifest, first, last, addresses } => {
                let dying = tables.manifest(manifest)?.and_then(|row| row.dying);
                if dying.is_some_and(|(next, _)| next == *first) {
                    let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
                    let (manifest, next) = (*manifest, first.saturating_add(count));
                    let addresses = addresses.clone();
                    let op = Op::Unref { manifest, next, last: *last, addresses };
                    self.write(tables, &op, &[])?;
                }
            }
            Reclaim::Move { items } => {
                for item in items {
                    self.move_item(tables, item)?;
                }
            }
            Reclaim::Salvage { ops } => {
                for (op, place) in ops {
                    if tables.goes_by(op, *place)? {
                        self.write(tables, op, &[])?;
                    }
                }
            }
            Reclaim::Announce { files } => {
                for &(address, len) in files {
                    if !matches!(tables.chunk(&address)?, Some(ChunkRow::File { .. })) {
                        self.write(tables, &Op::FileChunk { address, len }, &[])?;
                    }
                }
            }
            Reclaim::TakeBack { address, len } => {
                if tables.wants_back(address, |row| self.stage.is_damaged(address, row))? {
                    self.write(tables, &Op::FileChunk { address: *address, len: *len }, &[])?;
                }
            }
            Reclaim::Retire { segment, floor } => {
                let (segment, floor) = (*segment, *floor);
                self.write(tables, &Op::Retire { segment, floor }, &[])?;
                // The entries that said this may have been in that segment.
                self.write(tables, &Op::Open { opens: tables.state.opens }, &[])?;
                self.write(tables, &Op::Uptime { seconds: tables.state.uptime }, &[])?;
                self.retired.push(segment);
            }
            Reclaim::Uptime(seconds) => {
                self.write(tables, &Op::Uptime { seconds: *seconds }, &[])?;
            }
        }
        Ok(())
    }

    /// Gives up one blob, unless it is needed after all.
    fn collect(&mut self, tables: &mut Tables<'_>, address: &Address) -> Result<(), IndexError> {
        let (row, manifest) = (tables.chunk(address)?, tables.manifest(address)?);
        let lives = manifest.is_some_and(|manifest| manifest.dying.is_none());
        if tables.is_needed(address)? || (row.is_none() && !lives) {
            tables.named(address);
            return Ok(());
        }
        if !self.stage.collecting(address) {
            return Ok(());
        }
        self.health.lose();
        if let Some(ChunkRow::File { len, .. }) = row {
            self.doomed.push(*address);
            self.freed.file_bytes += u64::from(len);
        } else {
            self.leaving.push(*address);
        }
        self.write(tables, &Op::Dead { address: *address, manifest: true }, &[])?;
        self.freed.chunks += u64::from(row.is_some_and(|row| row.is_here()));
        Ok(())
    }

    fn move_item(&mut self, tables: &mut Tables<'_>, item: &MoveItem) -> Result<(), IndexError> {
        let op = match &item.op {
            op @ Op::Retire { .. } => op.clone(),
            op if op.is_absence() => match tables.still_absent(op)? {
                Some(op) => op,
                None => return Ok(()),
            },
            op if tables.goes_by(op, item.place)? => op.clone(),
            _ => return Ok(()),
        };
        let op = Op::Moved { sequence: item.sequence, op: Box::new(op) };
        self.write(tables, &op, &item.payload)?;
        self.freed.moved_bytes += item.log_bytes();
        Ok(())
    }

    /// Drops a record, and with it all that the index has under it.
    pub(super) fn drop_record(
        &mut self,
        tables: &mut Tables<'_>,
        hash: &[u8; 32],
    ) -> Result<(), IndexError> {
        let Some(found) = tables.record(hash)? else {
            return Ok(());
        };
        let op = match self.read_record(found.place) {
            Some(Op::Record { hash: named, name, writer, n, refs }) if named == *hash => {
                let (hash, sequence) = (*hash, found.sequence);
                Op::Drop { hash, name, writer, n, sequence, refs }
            }
            // The entry is damaged: the index knows, too, though it takes reading all of it.
            _ => tables.drop_of(hash, found.sequence)?,
        };
        self.write(tables, &op, &[])
    }

    /// The entry of a record that is in the log, or in this very group.
    fn read_record(&self, place: Place) -> Option<Op> {
        let mut entry = vec![0; HEADER + usize::try_from(place.len).ok()?];
        if !self.copy_of(place, &mut entry) {
            return self.ground.read_entry(place);
        }
        self.ground.decode_entry(place, &entry)
    }
}
