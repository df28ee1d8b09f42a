//! Batches that wait for blobs on their way in.

use super::{Stage, Staging};
use crate::queue::Job;

impl Stage {
    /// Files taken so far.
    pub(crate) fn ticket(&self) -> u64 {
        self.lock().taken
    }

    /// Waits until the flusher is done with all files that were taken so far.
    pub(crate) fn wait_for(&self, refused: impl Fn() -> bool) {
        let mut state = self.lock();
        let ticket = state.taken;
        while state.flushed < ticket && !refused() {
            state = self.wait(state);
        }
    }

    /// Takes those batches out of `waiting` for which no file is on its way to the disk: a flush waits for all
    /// that were taken before it came, any other for the blobs that it names or gives up.
    pub(crate) fn take_ready(&self, waiting: &mut Vec<Job>) -> Vec<Job> {
        let mut state = self.lock();
        let waits = |job: &Job| match job.batch.is_empty() {
            true => state.flushed < job.ticket,
            false => job.batch.awaits().any(|blob| state.unflushed.contains(&blob)),
        };
        let (rest, ready) = std::mem::take(waiting).into_iter().partition(waits);
        *waiting = rest;
        state.awaited = !waiting.is_empty();
        ready
    }

    /// True if a batch waits for the flusher.
    pub(crate) fn is_awaited(&self) -> bool {
        self.lock().awaited
    }

    /// Everything there is to announce now.
    pub(crate) fn take(&self) -> Staging {
        let mut state = self.lock();
        Staging { small: std::mem::take(&mut state.small), ready: std::mem::take(&mut state.ready) }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    use crate::budget::Claim;
    use crate::disk::OpenMode;
    use crate::sync::Arc;
    use crate::{Address, Batch, Committer, MemDisk, Options, Store};

    fn address(n: u8) -> Address {
        Address::from_bytes([n; 32])
    }

    fn job(batch: Batch, ticket: u64) -> Job {
        Job { batch, log_bytes: 0, claim: Claim::default(), ticket, done: None }
    }

    #[test]
    fn a_batch_waits_for_the_blobs_that_it_names_and_a_flush_for_all_before_it() {
        let disk = Arc::new(MemDisk::new(1));
        let options = Options { committer: Committer::Inline, disk, ..Options::default() };
        let store = Store::create(Path::new("/store"), &options).unwrap();
        let (files, stage) = (&store.parts().ground.files, Stage::default());
        let taken = |n: u8| {
            let path = files.tmp();
            let file = files.open(&path, OpenMode::Create).unwrap();
            stage.take_file(address(n), 1, path, file);
        };
        taken(1);
        let early = stage.ticket();
        taken(2);
        let row = || Batch::new().row(b"k", None);
        let mut waiting = vec![
            job(row(), 2),
            job(row().require(address(1)), 2),
            job(Batch::new().awaiting(address(3)), 2),
            job(Batch::new().evict(vec![address(2)]), 2),
            job(Batch::new(), early),
            job(Batch::new(), stage.ticket()),
        ];
        let ready = stage.take_ready(&mut waiting);
        assert_eq!((ready.len(), waiting.len()), (2, 4), "the row, and a blob that nobody brings");
        assert!(stage.is_awaited());
        stage.flush_files(files, &store.parts().budget, false).unwrap();
        assert_eq!(stage.take_ready(&mut waiting).len(), 4);
        assert!(!stage.is_awaited());
    }
}
