//! Blobs of a store: handing them over, and reading them back.

use std::collections::BTreeSet;
use std::io;

use super::{READS, Store, is_misplaced};
use crate::budget::Claim;
use crate::chunk_dir::is_of_the_disk;
use crate::disk::OpenMode;
use crate::index::ChunkRow;
use crate::room::Allowance;
use crate::shared::Shared;
use crate::stage::Admission;
use crate::{
    Address, Blob, ChunkState, Committer, IoError, Lease, MAX_BLOB_BYTES, ReadError, StageError,
    Staged,
};

impl Store {
    /// Hands a blob over. It is durable and visible once a commit, or [`Store::flush`], that
    /// began later has succeeded. A large blob is in a file, unsynced, when this returns; a small
    /// one is kept in memory. Waits while more than
    /// [`Options::queue_bytes`](crate::Options::queue_bytes) are on their way.
    ///
    /// If the disk fails or fills after this returned, the blob may be lost. That is told, once,
    /// to the next batch that names it (by [`Batch::require`](crate::Batch::require), or in a
    /// record or manifest), and to the next flush, which is an empty batch: they fail. Commits of
    /// others do not. A batch that must not be committed without the blob requires it.
    ///
    /// A blob that is not here takes room, within [`Options::quota`](crate::Options::quota):
    /// without room, see [`StageError::is_full`], it is refused and leaves nothing behind.
    pub fn stage(&self, blob: Blob) -> Result<Staged, StageError> {
        self.stage_in(blob, &mut None)
    }

    /// What a blob of so many bytes takes.
    pub(super) fn claim_of(&self, len: u64) -> Claim {
        match self.is_small(len) {
            true => Claim::of_small(len),
            false => self.shared.budget.claim_of_file(len),
        }
    }

    pub(super) fn is_small(&self, len: u64) -> bool {
        len < u64::from(self.shared.options.small.min(crate::MAX_SMALL))
    }

    /// Stages in room that is `kept` for it, which is taken then, or in some that is to be found.
    pub(super) fn stage_in(
        &self,
        blob: Blob,
        kept: &mut Option<Claim>,
    ) -> Result<Staged, StageError> {
        let (address, len) = (blob.address(), blob.bytes().len() as u64);
        if len > MAX_BLOB_BYTES {
            return Err(StageError::TooLarge { len });
        }
        let sealed_len = u32::try_from(len).map_err(|_| StageError::TooLarge { len })?;
        if !self.is_small(len) {
            // Before it is asked what is there, or written what would have no place.
            self.shared.look()?;
        }
        match self.admit(address, len)? {
            Admission::Present => return Ok(Staged::Present),
            Admission::Refused => {
                let reason = self.shared.read_only().unwrap_or_default();
                return Err(StageError::ReadOnly { reason });
            }
            Admission::Go | Admission::NoRoom => {}
        }
        let options = &self.shared.options;
        let claim = self.claim_of(len);
        if kept.take().is_none()
            && let Err(shortage) = self.shared.take_room(claim, Allowance::None)
        {
            self.shared.stage.withdraw(&address, len);
            return Err(shortage.into());
        }
        if self.is_small(len) {
            if self.shared.stage.take_small(blob, options.queue_bytes)
                && options.committer == Committer::Thread
            {
                self.shared.queue.nudge();
            }
            return Ok(Staged::New);
        }
        let written = self.shared.files.write_tmp(blob.bytes());
        self.shared.budget.wrote(claim);
        match written {
            Ok((tmp, file)) => {
                drop(blob);
                // Or else a gigabyte of dirty pages waits for the commit.
                file.start_writeback();
                self.shared.stage.take_file(address, sealed_len, tmp, file);
                Ok(Staged::New)
            }
            Err(error) => {
                self.shared.budget.release(claim);
                self.shared.budget.found_full();
                self.shared.stage.withdraw(&address, len);
                Err(if error.is_full() { StageError::Full(error) } else { StageError::Io(error) })
            }
        }
    }

    fn admit(&self, address: Address, len: u64) -> Result<Admission, ReadError> {
        let shared = &self.shared;
        let wait = shared.options.committer == Committer::Thread;
        let refused = || shared.read_only().is_some();
        let row = || shared.index().chunk(&address).map_err(ReadError::from);
        loop {
            let limit = shared.options.queue_bytes;
            match shared.stage.admit(address, len, limit, wait, refused, row)? {
                Admission::NoRoom => shared.flush_inline(),
                admission => return Ok(admission),
            }
        }
    }

    /// Whether a blob is here, and if not, why.
    pub fn chunk_state(&self, address: &Address) -> Result<ChunkState, ReadError> {
        Ok(self.shared.states(&[*address])?[0])
    }

    /// For each blob, whether it is durable and here.
    pub fn has(&self, addresses: &[Address]) -> Result<Vec<bool>, ReadError> {
        self.shared.here(addresses)
    }

    /// How often blobs have left the store (evicted, collected, found damaged) since it was opened;
    /// see [`Batch::none_lost_since`](crate::Batch::none_lost_since).
    pub fn losses(&self) -> u64 {
        self.shared.losses()
    }

    /// An empty lease: see [`Lease::add`].
    pub fn lease(&self) -> Lease {
        Lease::new(self.clone())
    }

    /// Reads a blob into `out`, replacing what is in it; `false` if it is not here. The bytes are
    /// checked against the address. After an error, `out` is empty.
    pub fn read_into(&self, address: &Address, out: &mut Vec<u8>) -> Result<bool, ReadError> {
        out.clear();
        let result = self.read_chunk(address, out);
        if !matches!(result, Ok(true)) {
            out.clear();
        }
        result
    }

    fn read_chunk(&self, address: &Address, out: &mut Vec<u8>) -> Result<bool, ReadError> {
        let mut failed = None;
        for _ in 0..READS {
            let row = self.chunk_rows(&[*address])?[0];
            if let Some(ChunkRow::Quarantined { .. }) = row
                && self.shared.second_look(address)
            {
                continue;
            }
            let Some(row) = row.filter(ChunkRow::is_here) else {
                return Ok(false);
            };
            let what = self.read_row(address, &row, out)?;
            if self.shared.stage.is_evicting(address) {
                return Ok(false);
            }
            if self.shared.stage.is_damaged(address, &row) {
                // That the log does not say so yet is no reason not to look again.
                match self.shared.second_look(address) {
                    true => continue,
                    false => return Ok(false),
                }
            }
            let Some(what) = what else {
                return Ok(true);
            };
            // One that was evicted, replaced or written again elsewhere while it was read is not
            // damaged: the index had the same row before and after.
            if failed.replace(row) == Some(row) {
                what.strike(&self.shared)?;
                self.shared.note_damage(*address, row.place());
                return Err(ReadError::Damaged { address: *address, what: what.text });
            }
        }
        let what = "it changes all the time".to_owned();
        Err(ReadError::Damaged { address: *address, what })
    }

    fn chunk_rows(&self, addresses: &[Address]) -> Result<Vec<Option<ChunkRow>>, ReadError> {
        self.shared.ask(|index| index.chunks(addresses))
    }

    /// Reads what a row names. What is wrong with it, if something is.
    fn read_row(
        &self,
        address: &Address,
        row: &ChunkRow,
        out: &mut Vec<u8>,
    ) -> Result<Option<Wrong>, ReadError> {
        let read = match *row {
            ChunkRow::File { len, .. } => self.read_file(address, len, out),
            _ => {
                let (place, (at, len)) = (row.place(), row.place().body());
                self.read_log(place.segment, at + 32, len.saturating_sub(32), out)
            }
        };
        let is_file = matches!(row, ChunkRow::File { .. });
        let error = match read {
            Ok(()) => {
                if is_file {
                    self.shared.files.could_read();
                }
                let right = Address::of(out) == *address;
                let text = || "its bytes do not hash to its address".to_owned();
                return Ok((!right).then(|| Wrong { text: text(), by_disk: None }));
            }
            Err(error) => error,
        };
        if is_file {
            // Of a file in a directory that is away, nothing is known.
            self.shared.look()?;
        }
        let what = match error.source.kind() {
            io::ErrorKind::NotFound => "its file is missing",
            io::ErrorKind::UnexpectedEof => "its file is too short",
            _ if is_misplaced(&error.source) => "its path is not a file's",
            _ if error.is_unreadable() => "the disk cannot read it",
            _ if is_file && is_of_the_disk(&error.source) => {
                self.shared.files.could_not_read(&error)?;
                return Err(ReadError::Io(error));
            }
            _ => return Err(ReadError::Io(error)),
        };
        let text = what.to_owned();
        Ok(Some(Wrong { text, by_disk: (is_file && error.is_unreadable()).then_some(error) }))
    }

    fn read_file(&self, address: &Address, len: u32, out: &mut Vec<u8>) -> Result<(), IoError> {
        let path = self.shared.files.chunk(address);
        let file = self.shared.files.disk.open(&path, OpenMode::Read);
        let file = file.map_err(|e| IoError::new("open", &path, e))?;
        out.resize(usize::try_from(len).unwrap_or(0), 0);
        file.read_at(0, out).map_err(|e| IoError::new("read", &path, e))
    }

    /// The hashes of all records that name a blob, directly or through manifests.
    pub fn referrers(&self, address: &Address) -> Result<Vec<[u8; 32]>, ReadError> {
        self.shared.ask(|index| index.referrers(address))
    }

    /// For each of these blobs the hashes of all records that name it, directly or through manifests,
    /// in order. Blobs of one file are looked up together in little more time than one of them.
    pub fn referrers_of_all(
        &self,
        addresses: &[Address],
    ) -> Result<Vec<BTreeSet<[u8; 32]>>, ReadError> {
        self.shared.ask(|index| index.referrers_of_all(addresses))
    }
}

/// What is wrong with a blob.
struct Wrong {
    text: String,
    /// What the disk answered, if it failed to read the file.
    by_disk: Option<IoError>,
}

impl Wrong {
    /// Counts a failure of the disk. `Err` if that, and not the blob, is to blame.
    fn strike(&self, shared: &Shared) -> Result<(), ReadError> {
        match &self.by_disk {
            Some(error) => Ok(shared.files.could_not_read(error)?),
            None => Ok(()),
        }
    }
}
