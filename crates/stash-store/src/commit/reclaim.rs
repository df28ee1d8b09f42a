//! What the store itself puts into a group, to get room back.

use crate::sync::{AtomicU64, Ordering};

use crate::batch::Step;
use crate::entry::{HEADER, MOVED_PREFIX, Op, Place, entry_len};
use crate::index::{ChunkRow, IndexError, Tables};
use crate::shared::Shared;
use crate::sync::Arc;
use crate::{Address, Batch};

use super::group::Built;

/// Work on what nothing needs any more. Every condition is checked again in the group itself,
/// under the lock under which batches check theirs.
#[derive(Debug, Clone)]
pub(crate) enum Reclaim {
    /// Gives up blobs that nothing needs.
    Collect { addresses: Vec<Address>, freed: Arc<Freed> },
    /// Ends some references of a manifest that was given up.
    Unref { manifest: Address, first: u32, last: bool, addresses: Vec<Address> },
    /// Writes entries of an old segment again.
    Move { items: Vec<MoveItem>, freed: Arc<Freed> },
    /// Writes anew what the index still knows of entries that are damaged.
    Salvage { ops: Vec<(Op, Place)> },
    /// Says of files that lie in their places that they are here, unless the log says so.
    Announce { files: Vec<(Address, u32)> },
    /// The file of a blob lies in its place, and is right: it is here again, if it was found damaged,
    /// or if nothing is known of it and something names it.
    TakeBack { address: Address, len: u32 },
    /// A segment is no longer part of the log.
    Retire { segment: u64, floor: u64 },
    /// The store has been open for so many seconds, in all its life.
    Uptime(u64),
}

/// An entry of an old segment.
#[derive(Debug, Clone)]
pub(crate) struct MoveItem {
    pub(crate) op: Op,
    pub(crate) sequence: u64,
    pub(crate) place: Place,
    /// What follows the fields that `op` has: a record's or a blob's bytes.
    pub(crate) payload: Vec<u8>,
}

impl MoveItem {
    pub(crate) fn log_bytes(&self) -> u64 {
        entry_len(u64::from(MOVED_PREFIX) + self.op.body_len(self.payload.len()))
    }
}

/// Counts what was given up.
#[derive(Debug, Default)]
pub(crate) struct Freed {
    pub(crate) chunks: AtomicU64,
    pub(crate) file_bytes: AtomicU64,
    pub(crate) moved_bytes: AtomicU64,
    pub(crate) manifests: AtomicU64,
}

impl Freed {
    fn add(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }
}

impl Reclaim {
    pub(crate) fn batch(self) -> Batch {
        let mut batch = Batch::new();
        batch.steps.push(Step::Reclaim(self));
        batch
    }

    /// True if there is more room once it is done, or the work that it belongs to.
    pub(crate) fn gives_back(&self) -> bool {
        match self {
            Reclaim::Collect { .. } | Reclaim::Unref { .. } | Reclaim::Retire { .. } => true,
            Reclaim::Move { .. } | Reclaim::Salvage { .. } => true,
            Reclaim::Announce { .. } | Reclaim::TakeBack { .. } | Reclaim::Uptime(_) => false,
        }
    }

    /// True if it is right only while the directory of the files of blobs is there.
    pub(crate) fn is_about_files(&self) -> bool {
        matches!(self, Reclaim::Collect { .. } | Reclaim::TakeBack { .. })
    }

    /// Bytes of log that it takes at most.
    pub(crate) fn log_bytes(&self) -> u64 {
        match self {
            Reclaim::Collect { addresses, .. } => addresses.len() as u64 * entry_len(36),
            Reclaim::Unref { addresses, .. } => entry_len(44 + addresses.len() as u64 * 32),
            Reclaim::Move { items, .. } => items.iter().map(MoveItem::log_bytes).sum(),
            Reclaim::Salvage { ops } => ops.iter().map(|(op, _)| entry_len(op.body_len(0))).sum(),
            Reclaim::Announce { files } => files.len() as u64 * entry_len(36),
            Reclaim::TakeBack { .. } => entry_len(36),
            Reclaim::Retire { .. } => entry_len(16) + 2 * entry_len(8),
            Reclaim::Uptime(_) => entry_len(8),
        }
    }
}

impl Built {
    pub(super) fn reclaim(
        &mut self,
        shared: &Shared,
        tables: &mut Tables<'_>,
        work: &Reclaim,
    ) -> Result<(), IndexError> {
        match work {
            Reclaim::Collect { addresses, freed } => {
                for address in addresses {
                    self.collect(shared, tables, address, freed)?;
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
            Reclaim::Move { items, freed } => {
                for item in items {
                    self.move_item(tables, item, freed)?;
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
                if tables.wants_back(address, |row| shared.stage.is_damaged(address, row))? {
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
    fn collect(
        &mut self,
        shared: &Shared,
        tables: &mut Tables<'_>,
        address: &Address,
        freed: &Freed,
    ) -> Result<(), IndexError> {
        let (row, manifest) = (tables.chunk(address)?, tables.manifest(address)?);
        let lives = manifest.is_some_and(|manifest| manifest.dying.is_none());
        if tables.is_needed(address)? || (row.is_none() && !lives) {
            tables.named(address);
            return Ok(());
        }
        if !shared.stage.collecting(address) {
            return Ok(());
        }
        shared.lose();
        if let Some(ChunkRow::File { len, .. }) = row {
            self.doomed.push(*address);
            Freed::add(&freed.file_bytes, u64::from(len));
        } else {
            self.leaving.push(*address);
        }
        self.write(tables, &Op::Dead { address: *address, manifest: true }, &[])?;
        Freed::add(&freed.chunks, u64::from(row.is_some_and(|row| row.is_here())));
        Freed::add(&freed.manifests, u64::from(lives));
        Ok(())
    }

    fn move_item(
        &mut self,
        tables: &mut Tables<'_>,
        item: &MoveItem,
        freed: &Freed,
    ) -> Result<(), IndexError> {
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
        Freed::add(&freed.moved_bytes, item.log_bytes());
        Ok(())
    }

    /// Drops a record, and with it all that the index has under it.
    pub(super) fn drop_record(
        &mut self,
        shared: &Shared,
        tables: &mut Tables<'_>,
        hash: &[u8; 32],
    ) -> Result<(), IndexError> {
        let Some(found) = tables.record(hash)? else {
            return Ok(());
        };
        let op = match self.read_record(shared, found.place) {
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
    fn read_record(&self, shared: &Shared, place: Place) -> Option<Op> {
        let mut entry = vec![0; HEADER + usize::try_from(place.len).ok()?];
        if !self.copy_of(place, &mut entry) {
            return shared.read_entry(place);
        }
        shared.decode_entry(place, &entry)
    }
}
