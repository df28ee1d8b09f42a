//! Finding out which records are whole, in short steps between the commits.

use super::Commits;
use crate::entry::{HEADER, Header, Op, Place};
use crate::ground::Ground;
use crate::index::wholeness::{Entries, StepError};
use crate::index::{Index, IndexError};
use crate::log::Unread;
use crate::sync::Arc;
use crate::writer::Writer;
use crate::{Address, Ref};

impl Commits {
    /// Does a step of the work that waits. False if there is none, or if it cannot be done now.
    pub(super) fn settle(&self, writer: &mut Writer) -> bool {
        if writer.head.state.unsettled == 0 || self.health.read_only().is_some() {
            writer.manifest = None;
            return false;
        }
        let index = self.ground.index();
        match self.settle_one(&index, writer) {
            Ok(()) => {
                self.figures().follow(writer);
                self.upkeep.checkpoint_if_due(writer);
                true
            }
            Err(StepError::Index(error)) => self.heal(writer, &error).is_ok(),
            Err(StepError::Io(error)) => {
                tracing::warn!(%error, "which records are whole is found out later");
                false
            }
        }
    }

    fn settle_one(&self, index: &Index, writer: &mut Writer) -> Result<(), StepError> {
        // Behind the piece of work that was done last, or else those that are gone are passed over again and again.
        let after = std::mem::take(&mut writer.settled);
        let Some((item, value)) = index.unsettled_after(&after)? else {
            return match after.is_empty() {
                // The count is wrong.
                true => Err(IndexError("work that waits cannot be found".to_owned()).into()),
                false => Ok(()),
            };
        };
        let mut entries = Log { ground: &self.ground, index, manifest: &mut writer.manifest };
        index.write(&mut writer.head, |tables| tables.settle(&item, &value, &mut entries))?;
        writer.settled = item;
        Ok(())
    }

    /// Does what waits, until somebody waits for a commit. True if some is left.
    pub(super) fn settle_until_wanted(&self) -> bool {
        loop {
            let more = self.settle(&mut self.writer.lock());
            if !more || !self.queue.is_idle() {
                return more;
            }
        }
    }

    /// Does all that waits, on the calling thread.
    pub(crate) fn settle_inline(&self) {
        while let Some(mut writer) = self.writer.try_lock() {
            if !self.settle(&mut writer) {
                return;
            }
        }
    }
}

/// The entries of the log that the index goes by.
pub(crate) struct Log<'a> {
    pub(crate) ground: &'a Ground,
    pub(crate) index: &'a Index,
    /// The manifest that was read last: the blobs of a file share it.
    pub(crate) manifest: &'a mut Option<(Address, Arc<[Address]>)>,
}

impl Log<'_> {
    /// The entry at a place; `None` if it is damaged.
    fn read(&self, place: Place) -> Result<Option<Op>, StepError> {
        let entry = match self.ground.segments.read(place) {
            Ok(entry) => entry,
            Err(Unread::Damaged(_)) => return Ok(None),
            Err(Unread::Failed(error)) => return Err(StepError::Io(error)),
        };
        let header = Header::of_entry(&entry, &self.ground.format.log_key, place).ok();
        let op = header.and_then(|header| Op::decode(header.kind, &entry[HEADER..]));
        Ok(op.map(|op| if let Op::Moved { op, .. } = op { *op } else { op }))
    }
}

impl Entries for Log<'_> {
    fn of_record(&mut self, record: &[u8; 32]) -> Result<Option<Vec<Ref>>, StepError> {
        let Some(found) = self.index.record(record)? else {
            return Ok(None);
        };
        Ok(match self.read(found.place)? {
            Some(Op::Record { hash, refs, .. }) if hash == *record => Some(refs),
            _ => None,
        })
    }

    fn of_manifest(&mut self, manifest: &Address) -> Result<Arc<[Address]>, StepError> {
        if let Some((address, children)) = &*self.manifest
            && address == manifest
        {
            return Ok(Arc::clone(children));
        }
        let said = match self.index.manifest(manifest)? {
            Some(row) => self.read(row.place)?,
            None => None,
        };
        let children: Arc<[Address]> = match said {
            Some(Op::Manifest { address, refs }) if address == *manifest => {
                refs.iter().map(|r| r.address).collect()
            }
            // The index still knows, in another order.
            _ => self.index.children_of(manifest)?.iter().map(|r| r.address).collect(),
        };
        *self.manifest = Some((*manifest, Arc::clone(&children)));
        Ok(children)
    }
}
