//! Operations on a store as a whole: looking at it, checking it, scrubbing it, making it anew.

use std::path::Path;

use super::Store;
use crate::check::{self, CheckReport};
use crate::rebuild;
use crate::recover;
use crate::scrub::Scrubber;
use crate::sync::Arc;
use crate::{Away, Finding, OpenError, Options, ReadError, RebuildReport};

impl Store {
    /// Looks whether the directory of the files of blobs is there, and this store's own. `Err` if it is
    /// away: then nothing is said of blobs in it, and nothing that relies on one is committed. Whoever
    /// reads a blob, asks for it or relies on it looks as well; a store that nobody asks anything may
    /// be looked at from time to time.
    pub fn look(&self) -> Result<(), Away> {
        self.open.ground.look()
    }

    /// The result of the last look, if the directory of the files of blobs is away.
    pub fn away(&self) -> Option<Away> {
        self.open.ground.files.chunks.is_away()
    }

    /// Compares everything that the index says with the log and the files, and changes nothing.
    /// With `read_data`, also reads all blobs. The store can be used meanwhile. Memory is bounded;
    /// the time is that of reading the index, a place in the log for each row, and the
    /// directories, and with `read_data` everything.
    ///
    /// What is damaged is only reported: reading it, or scrubbing, deals with it. A damaged index
    /// is made anew, unless the store is read-only.
    pub fn check(&self, read_data: bool) -> Result<CheckReport, ReadError> {
        check::check(&self.open, read_data)
    }

    /// Goes on with scrubbing where it was; see [`crate::Stats::scrub`].
    pub fn scrubber(&self) -> Scrubber {
        Scrubber::new(Arc::clone(&self.open), Arc::clone(&self.scrub))
    }

    /// The findings of scrubbing in this pass and the last, oldest first: of each pass the first 100
    /// findings. They survive the end of the process, if not always a power cut.
    pub fn scrub_findings(&self) -> Vec<Finding> {
        self.scrub.findings()
    }

    /// Opens a store that is closed, and trusts nothing in it but the log and the files of blobs.
    /// FORMAT, if it is lost or damaged, is restored from a copy in the log; the index is thrown
    /// away and made anew, entry by entry; files that no entry announces are hashed, and announced
    /// if they are blobs. What could not be saved is in the report.
    ///
    /// The index also knows what damaged parts of the log said: where it can still be opened, have
    /// a collection write that anew first. A rebuild can be cut short, and done again. With
    /// [`Options::read_only`] it only tells what it would do, and takes no file in.
    pub fn rebuild(dir: &Path, options: &Options) -> Result<(Store, RebuildReport), OpenError> {
        let options = &options.for_opening();
        let (opened, salvaged) = recover::rebuild(dir, options)?;
        let store = Store::begin(opened, options)?;
        let report = rebuild::complete(&store.open, salvaged)?;
        if !options.read_only {
            store.flush()?;
        }
        Ok((store, report))
    }
}
