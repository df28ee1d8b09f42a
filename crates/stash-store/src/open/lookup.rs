//! Asking the index of an open store.

use super::Open;
use crate::batch::Reclaim;
use crate::index::{ChunkRow, Index, IndexError};
use crate::stage::Leaving;
use crate::sync::Arc;
use crate::{Address, ChunkState, ReadError};

impl Open {
    /// Asks the index. If it is damaged, it is made anew from the log, and asked once more.
    pub(crate) fn ask<T>(
        &self,
        question: impl Fn(&Index) -> Result<T, IndexError>,
    ) -> Result<T, ReadError> {
        let index = self.ground.index();
        match question(&index) {
            Ok(answer) => Ok(answer),
            Err(error) if self.mend(&index, &error.0) => Ok(question(&self.ground.index())?),
            Err(error) => Err(error.into()),
        }
    }

    /// Has this index, if it is not replaced already, made anew from the log. False if it cannot be,
    /// here and now.
    pub(crate) fn mend(&self, index: &Arc<Index>, what: &str) -> bool {
        // The committer mends it; while it runs a callback, it cannot.
        if self.health.is_read_only() || self.commits.is_committer() {
            return false;
        }
        if !Arc::ptr_eq(index, &self.ground.index()) {
            return true;
        }
        self.upkeep.work.damaged(Arc::clone(index), what.to_owned());
        // Nothing to write; not a flush, which would be told what others have lost.
        self.commits.reclaim(Reclaim::Salvage { ops: Vec::new() }).is_ok()
    }

    /// For each blob, whether it is durable and here.
    pub(crate) fn here(&self, addresses: &[Address]) -> Result<Vec<bool>, ReadError> {
        let states = self.states(addresses)?;
        Ok(states.iter().map(|state| matches!(state, ChunkState::Here { .. })).collect())
    }

    /// For each blob, whether it is durable and here, and if not, why.
    pub(crate) fn states(&self, addresses: &[Address]) -> Result<Vec<ChunkState>, ReadError> {
        // Before the index is asked, and after: a mark goes once the index says the same, and the
        // rows may be older than that.
        let before = self.stage.leaving(addresses);
        let rows = self.ask(|index| index.chunks(addresses))?;
        // What the index says of files holds where they should be.
        if rows.iter().flatten().any(|row| matches!(row, ChunkRow::File { .. })) {
            self.ground.look()?;
        }
        let after = self.stage.leaving(addresses);
        let state = |(row, (before, after)): (Option<ChunkRow>, (Leaving, Leaving))| match row {
            None => ChunkState::Absent,
            Some(ChunkRow::Evicted { .. }) => ChunkState::Evicted,
            Some(ChunkRow::Quarantined { .. }) => ChunkState::Quarantined,
            Some(_) if before.evicting || after.evicting => ChunkState::Evicted,
            Some(row) if before.is_damaged(&row) || after.is_damaged(&row) => {
                ChunkState::Quarantined
            }
            Some(row) => ChunkState::Here { len: row.len() },
        };
        Ok(rows.into_iter().zip(before.into_iter().zip(after)).map(state).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, Committer, MemDisk, Options, Store};

    #[test]
    fn an_index_that_was_made_anew_stays_when_damage_of_the_old_one_is_told_late() {
        let disk = Arc::new(MemDisk::new(1));
        for committer in [Committer::Thread, Committer::Inline] {
            let options = Options { disk: disk.clone(), committer, ..Options::default() };
            let dir = format!("/{committer:?}");
            let store = Store::create(dir.as_ref(), &options).unwrap();
            let open = store.parts();
            let old = open.ground.index();
            assert!(open.mend(&old, "found by one"));
            let new = open.ground.index();
            assert!(!Arc::ptr_eq(&old, &new));
            assert!(open.mend(&old, "found by another, who asked before"));
            // By one who looked a moment before it was made anew.
            open.upkeep.work.damaged(Arc::clone(&old), "found by a third".to_owned());
            store.flush().unwrap();
            assert!(Arc::ptr_eq(&new, &open.ground.index()));
        }
    }

    #[test]
    fn an_index_that_was_made_anew_has_not_failed_to_be_written() {
        let disk = Arc::new(MemDisk::new(1));
        let committer = Committer::Inline;
        let options =
            Options { disk: disk.clone(), committer, ballast_bytes: 0, ..Options::default() };
        let store = Store::create("/store".as_ref(), &options).unwrap();
        store.commit(Batch::new().row(b"key", Some(b"value"))).unwrap();
        let open = store.parts();
        assert!(open.commits.with_writer(|writer| open.upkeep.set_aside(writer)));
        disk.set_capacity(Some(disk.used()));
        open.upkeep.write_index();
        assert!(open.upkeep.work.failed().is_some());
        disk.set_capacity(None);
        assert!(open.mend(&open.ground.index(), "damaged"));
        assert!(open.upkeep.work.failed().is_none());
    }
}
