//! Whether the index is right about which records are whole.

use super::Open;
use crate::commit::settle::Log;
use crate::index::Index;
use crate::index::wholeness::{Entries, StepError};
use crate::sync::Arc;
use crate::{ReadError, Ref};

/// Looks at a record that changes all the time.
const LOOKS: usize = 3;

impl Open {
    /// False if the index is wrong about whether a record is whole, which names these blobs. True also while
    /// that cannot be told.
    pub(crate) fn knows_if_whole(
        &self,
        record: &[u8; 32],
        refs: &[Ref],
    ) -> Result<bool, ReadError> {
        for _ in 0..LOOKS {
            let index = self.ground.index();
            if self.agree(&index, record, refs)? {
                return Ok(true);
            }
            // Once more, when nothing changes meanwhile.
            let before = self.commits.settled_state();
            if before.unsettled > 0 || index.record(record)?.is_none() {
                return Ok(true);
            }
            let agree = self.agree(&index, record, refs)?;
            let is_same =
                self.commits.settled_state() == before && Arc::ptr_eq(&index, &self.ground.index());
            if agree || is_same {
                return Ok(agree);
            }
        }
        Ok(true)
    }

    fn agree(&self, index: &Index, record: &[u8; 32], refs: &[Ref]) -> Result<bool, ReadError> {
        let says = index.are_lacking(&[*record])?.contains(&true);
        match self.lacks(index, refs) {
            Ok(lacks) => Ok(lacks == says),
            Err(StepError::Index(error)) => Err(error.into()),
            Err(StepError::Io(error)) => Err(ReadError::Io(error)),
        }
    }

    fn lacks(&self, index: &Index, refs: &[Ref]) -> Result<bool, StepError> {
        let mut manifest = None;
        for r in refs {
            if !index.chunk(&r.address)?.is_some_and(|row| row.is_here()) {
                return Ok(true);
            }
            if index.manifest(&r.address)?.is_some_and(|row| row.dying.is_none()) {
                let mut log = Log { ground: &self.ground, index, manifest: &mut manifest };
                for child in log.of_manifest(&r.address)?.iter() {
                    if !index.chunk(child)?.is_some_and(|row| row.is_here()) {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, Blob, Committer, Finding, MemDisk, Options, RecordEntry, Store};

    #[test]
    fn an_index_that_is_wrong_is_found_by_a_check_and_made_anew_by_scrubbing() {
        let disk = Arc::new(MemDisk::new(1));
        let options = Options { disk, committer: Committer::Inline, ..Options::default() };
        let store = Store::create("/store".as_ref(), &options).unwrap();
        let blob = Blob::hash(vec![1; 100]);
        let address = blob.address();
        store.stage(blob).unwrap();
        for n in 0..64 {
            let refs = vec![Ref { address, sealed_len: 100 }];
            let (hash, bytes) = ([n; 32], vec![n].into());
            let entry =
                RecordEntry { hash, name: [1; 32], writer: [2; 40], n: n.into(), refs, bytes };
            store.commit(Batch::new().record(entry)).unwrap();
        }
        assert!(store.check(false).unwrap().rows_damaged.total == 0);
        let open = store.parts();
        open.commits.with_writer(|writer| {
            let index = open.ground.index();
            index.write(&mut writer.head, |tables| tables.slander(&[9; 32])).unwrap();
        });
        open.commits.with_writer(|writer| open.commits.figures().follow(writer));
        assert_eq!(store.wholeness().lacking.count, 1);
        assert_eq!(store.check(false).unwrap().rows_damaged.total, 1);
        let mut scrubber = store.scrubber();
        let mut found = 0;
        // In one of sixteen passes.
        for _ in 0..16 {
            while let Some(scrubbed) = scrubber.step(u64::MAX).unwrap() {
                let wrong = |finding: &&Finding| matches!(finding, Finding::Index { .. });
                found += scrubbed.findings.iter().filter(wrong).count();
            }
        }
        assert_eq!(found, 1);
        assert_eq!(store.wholeness().lacking.count, 0);
        assert!(store.check(false).unwrap().rows_damaged.total == 0);
    }
}
