//! Writing a run, from its first entry to its footer.

use std::path::PathBuf;

use crate::block::{Packer, shared};
use crate::codec::{BOUND, Keys, TAG};
use crate::directory::Directory;
use crate::error::{TreeError, new_file_failed, write_failed};
use crate::fences::{FenceWriter, Place};
use crate::filter::Filter;
use crate::layout::{Layout, PIECE};
use crate::run::Run;
use crate::sync::Arc;
use stash_disk::{DiskFile, OpenMode};

/// Bytes of a block, so that what its tag hashes has 4 KiB: what a look-up reads. An entry that is
/// longer has a longer one to itself.
const BLOCK: usize = 4096 - BOUND;
/// Bytes of an entry beside its key and value, about: three numbers.
const NUMBERS: usize = 6;
/// Bytes that are written at once.
const WRITE: usize = 256 * 1024;
/// Bytes that wait for a sync at most, so that the log's own never waits for a long one.
const UNSYNCED: u64 = 32 * 1024 * 1024;

/// A run that is being written.
pub(crate) struct RunWriter {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    keys: Keys,
    layout: Layout,
    /// Bytes that are not written yet, and their offset.
    buffer: Vec<u8>,
    written: u64,
    synced: u64,
    packer: Packer,
    /// The fence of the block that is being packed.
    fence: Vec<u8>,
    fences: FenceWriter,
    filter: Filter,
}

impl RunWriter {
    /// Begins a run of at most so many entries.
    pub(crate) fn create(
        directory: &Directory,
        keys: Keys,
        id: u64,
        entries: u64,
    ) -> Result<RunWriter, TreeError> {
        let path = directory.run(id);
        let file = directory.disk.open(&path, OpenMode::Create);
        let file = file.map_err(write_failed("create", &path))?;
        Ok(RunWriter {
            path,
            file,
            keys,
            layout: Layout { id, entries: 0, blocks: 0, fences: 0, filter: 0 },
            buffer: Vec::with_capacity(WRITE + 2 * BLOCK),
            written: 0,
            synced: 0,
            packer: Packer::default(),
            fence: Vec::new(),
            fences: FenceWriter::default(),
            filter: Filter::with_room(entries),
        })
    }

    /// Appends an entry. Its key is after all before it.
    pub(crate) fn push(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), TreeError> {
        let more = key.len() + value.map_or(0, <[u8]>::len) + NUMBERS;
        if !self.packer.body().is_empty() && self.packer.body().len() + more > BLOCK {
            self.end_block()?;
            // The shortest key that is after the last block and not after this one.
            let shared = shared(self.packer.last(), key);
            self.fence.clear();
            self.fence.extend_from_slice(&key[..key.len().min(shared + 1)]);
        }
        self.packer.push(key, value);
        self.filter.insert(self.keys.filter_hash(key));
        self.layout.entries += 1;
        Ok(())
    }

    fn end_block(&mut self) -> Result<(), TreeError> {
        let offset = self.offset();
        self.fences.push(&self.fence, Place { offset, len: self.packer.body().len() + TAG });
        let tag = self.keys.tag(self.layout.id, offset, self.packer.body());
        self.buffer.extend_from_slice(self.packer.body());
        self.buffer.extend_from_slice(&tag);
        self.packer.clear();
        if self.buffer.len() >= WRITE { self.flush() } else { Ok(()) }
    }

    fn offset(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn flush(&mut self) -> Result<(), TreeError> {
        let written = self.file.write_at(self.written, &self.buffer);
        written.map_err(write_failed("write", &self.path))?;
        self.written = self.offset();
        self.buffer.clear();
        if self.written - self.synced >= UNSYNCED { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), TreeError> {
        self.file.sync().map_err(new_file_failed("sync", &self.path))?;
        self.synced = self.written;
        Ok(())
    }

    fn piece(&mut self, piece: &[u8]) -> Result<(), TreeError> {
        let tag = self.keys.tag(self.layout.id, self.offset(), piece);
        self.buffer.extend_from_slice(piece);
        self.buffer.extend_from_slice(&tag);
        if self.buffer.len() >= WRITE { self.flush() } else { Ok(()) }
    }

    /// Completes the run and syncs it. Its name is not durable yet.
    pub(crate) fn finish(mut self) -> Result<Run, TreeError> {
        if !self.packer.body().is_empty() {
            self.end_block()?;
        }
        self.layout.blocks = self.offset();
        let fences = std::mem::take(&mut self.fences).finish();
        self.layout.fences = fences.encoded().len() as u64;
        for piece in fences.encoded().chunks(PIECE) {
            self.piece(piece)?;
        }
        let filter = std::mem::replace(&mut self.filter, Filter::for_bytes(0));
        self.layout.filter = filter.bytes() as u64;
        for piece in filter.pieces(PIECE) {
            self.piece(&piece)?;
        }
        let footer = self.layout.encode(&self.keys);
        self.buffer.extend(footer.expect("a file that could be written has a length"));
        self.flush()?;
        self.sync()?;
        let RunWriter { path, file, keys, layout, written: len, .. } = self;
        Ok(Run { path, file, keys, layout, len, fences, filter })
    }
}
