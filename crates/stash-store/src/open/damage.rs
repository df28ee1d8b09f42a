//! Blobs that were found damaged, or taken for lost, and are there after all.

use std::path::Path;

use super::Open;
use crate::batch::{Reclaim, Step};
use crate::disk::OpenMode;
use crate::entry::Place;
use crate::error::is_gone;
use crate::index::{ChunkRow, IndexError};
use crate::{Address, Batch, CommitError, IoError, MAX_BLOB_BYTES, ReadError};

impl Open {
    /// Tells the index that a blob was found damaged which it has at `place`. Nothing happens if it
    /// has another copy by now.
    pub(crate) fn note_damage(&self, address: Address, place: Place) {
        let is_there = || {
            let row = self.ground.index().chunk(&address);
            row.is_ok_and(|row| row.is_some_and(|row| row.is_here() && row.place() == place))
        };
        let set_aside = || {
            if !self.health.is_read_only() {
                let from = self.ground.files.chunk(&address);
                let name = from.file_name().and_then(|name| name.to_str()).unwrap_or("chunk");
                // A small blob has no file; a missing one is the damage itself.
                let _ = self.ground.files.disk.rename(&from, &self.ground.files.quarantine(name));
            }
        };
        let condemned = self.stage.condemn(&address, place, is_there, set_aside);
        if condemned {
            self.health.lose();
        }
        if condemned && !self.health.is_read_only() {
            let batch = Batch::of_store(Step::Quarantine { address, place });
            self.commits.submit(batch, None, false);
        }
    }

    /// Looks again at a blob that was found damaged. Its file may be back in its place, or be right
    /// where it was set aside: a disk that failed to read it may read it now. True if it is here again.
    pub(crate) fn second_look(&self, address: &Address) -> bool {
        if self.health.is_read_only() || self.commits.is_committer() || self.ground.look().is_err()
        {
            return false;
        }
        let path = self.ground.files.chunk(address);
        let aside = path.file_name().and_then(|name| name.to_str());
        let aside = aside.map(|name| self.ground.files.quarantine(name));
        let places = [Some(path), aside].into_iter().flatten();
        let found = places.filter_map(|path| Some((self.right(address, &path)?, path)));
        let back = found.map(|(len, path)| self.take_back(*address, len, &path)).next();
        match back {
            Some(Ok(back)) => back,
            Some(Err(error)) => {
                tracing::warn!(%address, %error, "a chunk whose file is right is not taken back");
                false
            }
            None => false,
        }
    }

    /// Takes back a blob whose bytes lie at `path`: durably there first, then said by the log. False,
    /// and nothing is done, if it is here, is on its way in or out, or was given up.
    pub(crate) fn take_back(
        &self,
        address: Address,
        len: u32,
        path: &Path,
    ) -> Result<bool, CommitError> {
        let wanted = |is_damaged: &dyn Fn(&ChunkRow) -> bool| {
            self.ground.index().peek(|tables| tables.wants_back(&address, is_damaged))
        };
        if !self.stage.hold(&address, wanted).map_err(|e: IndexError| ReadError::from(e))? {
            return Ok(false);
        }
        let taken = self.keep_file(&address, path).and_then(|()| {
            self.commits.reclaim(Reclaim::TakeBack { address, len })?;
            tracing::info!(%address, len, "a chunk that was taken for lost is here");
            Ok(true)
        });
        self.stage.evicted(&[address]);
        taken
    }

    /// Makes a file durable in the place of its blob.
    fn keep_file(&self, address: &Address, path: &Path) -> Result<(), CommitError> {
        let file = self.ground.files.open(path, OpenMode::Read).map_err(CommitError::Io)?;
        let failed = |error: IoError| {
            if !is_gone(&error.source) {
                self.health.poison(error.to_string());
            }
            CommitError::Io(error)
        };
        let synced = self.ground.files.sync_files(&[(path.to_owned(), file)]).map_err(failed)?;
        synced.into_iter().collect::<Result<(), _>>().map_err(CommitError::Io)?;
        let place = self.ground.files.chunk(address);
        if place != path {
            let moved = self.ground.files.settle(&[(path.to_owned(), place)]).map_err(failed)?;
            return moved.into_iter().collect::<Result<(), _>>().map_err(CommitError::Io);
        }
        self.ground.files.sync_dirs(&self.ground.files.above(&place)).map_err(failed)
    }

    /// The length of the file at a path, if it has the bytes of a blob and no others.
    pub(super) fn right(&self, address: &Address, path: &Path) -> Option<u32> {
        let file = self.ground.files.disk.open(path, OpenMode::Read).ok()?;
        let len = file.len().ok().filter(|len| *len <= MAX_BLOB_BYTES)?;
        let mut bytes = vec![0; usize::try_from(len).ok()?];
        file.read_at(0, &mut bytes).ok()?;
        (Address::of(&bytes) == *address).then_some(u32::try_from(len).ok()?)
    }
}
