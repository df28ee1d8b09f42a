//! The database's file, in blocks that carry their own tags.
//!
//! redb verifies checksums only while it repairs; a flipped bit in a branch page would make it
//! say "absent" of a key that is there. So every block of 4,096 bytes is stored with a tag keyed
//! by its number, and one that does not match is an error, never an answer. Block 0, which redb
//! overwrites in place to commit, is stored twice in turn, so that a torn write leaves the other.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use crate::DiskFile;

const BLOCK: usize = 4096;
const TAG: usize = 8;
const STORED: usize = BLOCK + TAG;
/// The two places of block 0: counter, block, tag; each in a span of its own.
const HEAD_SPAN: u64 = 8192;
const HEAD: usize = 8 + BLOCK + TAG;
/// Where block 1 lies.
const BASE: u64 = 2 * HEAD_SPAN;
/// Blocks kept in memory while the disk is full, 4 KiB each.
const OVERFLOW: usize = 2048;

/// A [`StorageBackend`] over one file of the disk.
#[derive(Debug, Clone)]
pub(super) struct Pages(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: Arc<dyn DiskFile>,
    key: [u8; 32],
    state: Mutex<State>,
    dead: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// Length as the database sees it.
    len: u64,
    head: Box<[u8; BLOCK]>,
    counter: u64,
    /// Blocks that found no room on the disk. The database may not learn of a full disk: it
    /// would stop for good.
    overflow: BTreeMap<u64, Vec<u8>>,
    /// The disk was too full for the file's length.
    short: bool,
}

fn damaged(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

impl Inner {
    fn tag(&self, number: u64, bytes: &[u8]) -> [u8; TAG] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&number.to_le_bytes()).update(bytes);
        let mut tag = [0; TAG];
        tag.copy_from_slice(&hasher.finalize().as_bytes()[..TAG]);
        tag
    }

    fn stored_len(len: u64) -> u64 {
        BASE + len.div_ceil(BLOCK as u64).saturating_sub(1) * STORED as u64
    }

    fn at(number: u64) -> u64 {
        BASE + (number - 1) * STORED as u64
    }

    fn read_head(&self, slot: u64) -> Option<(u64, Box<[u8; BLOCK]>)> {
        let mut stored = vec![0; HEAD];
        self.file.read_at(slot * HEAD_SPAN, &mut stored).ok()?;
        let (body, tag) = stored.split_at(HEAD - TAG);
        if self.tag(0, body) != tag {
            return None;
        }
        let (counter, block) = body.split_at(8);
        let block: [u8; BLOCK] = block.try_into().ok()?;
        Some((u64::from_le_bytes(counter.try_into().ok()?), Box::new(block)))
    }

    fn write_head(&self, state: &mut State) -> io::Result<()> {
        state.counter += 1;
        let mut stored = Vec::with_capacity(HEAD);
        stored.extend_from_slice(&state.counter.to_le_bytes());
        stored.extend_from_slice(&state.head[..]);
        let tag = self.tag(0, &stored);
        stored.extend_from_slice(&tag);
        self.file.write_at((state.counter % 2) * HEAD_SPAN, &stored)
    }

    fn read_block(&self, state: &State, number: u64) -> io::Result<Vec<u8>> {
        if number == 0 {
            return Ok(state.head.to_vec());
        }
        if let Some(block) = state.overflow.get(&number) {
            return Ok(block.clone());
        }
        let mut stored = vec![0; STORED];
        match self.file.read_at(Self::at(number), &mut stored) {
            // The file may be shorter than the database was told, while the disk is full.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof && state.short => stored.fill(0),
            read => read?,
        }
        self.open_block(number, &stored)?;
        stored.truncate(BLOCK);
        Ok(stored)
    }

    /// A block that was never written is zeros, tag included.
    fn open_block(&self, number: u64, stored: &[u8]) -> io::Result<()> {
        let (block, tag) = stored.split_at(BLOCK);
        if self.tag(number, block) == tag || stored.iter().all(|b| *b == 0) {
            return Ok(());
        }
        Err(damaged(format!("block {number} of index.redb does not match its tag")))
    }

    /// Writes blocks that lie side by side, none of them block 0.
    fn write_blocks(&self, state: &mut State, first: u64, data: &[u8]) -> io::Result<()> {
        let mut stored = Vec::with_capacity(data.len() / BLOCK * STORED);
        for (number, block) in (first..).zip(data.chunks_exact(BLOCK)) {
            stored.extend_from_slice(block);
            stored.extend_from_slice(&self.tag(number, block));
        }
        let written = self.file.write_at(Self::at(first), &stored);
        let count = data.len() / BLOCK;
        match written {
            Ok(()) => {
                state.overflow.retain(|n, _| !(first..first + count as u64).contains(n));
                Ok(())
            }
            Err(e)
                if e.kind() == io::ErrorKind::StorageFull
                    && state.overflow.len() + count <= OVERFLOW =>
            {
                let blocks = data.chunks_exact(BLOCK).map(<[u8]>::to_vec);
                state.overflow.extend((first..).zip(blocks));
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    fn drain(&self, state: &mut State) -> io::Result<()> {
        if state.short {
            self.file.set_len(Self::stored_len(state.len))?;
            state.short = false;
        }
        while let Some((&number, block)) = state.overflow.first_key_value() {
            let mut stored = block.clone();
            stored.extend_from_slice(&self.tag(number, block));
            self.file.write_at(Self::at(number), &stored)?;
            state.overflow.remove(&number);
        }
        Ok(())
    }
}

impl Pages {
    /// Opens what the file has; an empty file is an empty database.
    pub(super) fn open(file: Arc<dyn DiskFile>, key: [u8; 32]) -> io::Result<Pages> {
        let stored = file.len()?;
        let state = State {
            len: 0,
            head: Box::new([0; BLOCK]),
            counter: 0,
            overflow: BTreeMap::new(),
            short: false,
        };
        let inner = Inner { file, key, state: Mutex::new(state), dead: AtomicBool::new(false) };
        if stored > 0 {
            let heads = inner.read_head(0).into_iter().chain(inner.read_head(1));
            let newest = heads.max_by_key(|(counter, _)| *counter);
            let (counter, head) =
                newest.ok_or_else(|| damaged("neither copy of the head of index.redb is whole"))?;
            let blocks = stored.saturating_sub(BASE) / STORED as u64 + 1;
            let mut state = inner.state();
            (state.counter, state.head, state.len) = (counter, head, blocks * BLOCK as u64);
        }
        Ok(Pages(Arc::new(inner)))
    }

    /// After this, the database can do no more harm to the file, whatever it does while it is
    /// dropped.
    pub(super) fn kill(&self) {
        self.0.dead.store(true, Ordering::SeqCst);
    }

    /// Writes what a full disk kept in memory. Must succeed before a durable commit is tried.
    pub(super) fn drain(&self) -> io::Result<()> {
        self.0.drain(&mut self.0.state())
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alive(&self) -> io::Result<()> {
        if self.dead.load(Ordering::SeqCst) {
            return Err(io::Error::other("this index has been given up"));
        }
        Ok(())
    }
}

/// The blocks that a range touches: number, place inside the block, place inside the range.
fn blocks(offset: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let start = usize::try_from(at % BLOCK as u64).unwrap_or(0);
        let n = (BLOCK - start).min(len - done);
        let item = (at / BLOCK as u64, start..start + n, done);
        done += n;
        Some(item)
    })
}

impl StorageBackend for Pages {
    fn len(&self) -> io::Result<u64> {
        self.0.alive()?;
        Ok(self.0.state().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.alive()?;
        let state = self.0.state();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > state.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, range, at) in blocks(offset, out.len()) {
            let block = self.0.read_block(&state, number)?;
            out[at..at + range.len()].copy_from_slice(&block[range]);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.alive()?;
        let mut state = self.0.state();
        let blocks = len.div_ceil(BLOCK as u64).saturating_sub(1);
        match self.0.file.set_len(Inner::stored_len(len)) {
            Err(e) if e.kind() == io::ErrorKind::StorageFull && len > state.len => {
                state.short = true;
            }
            set => set?,
        }
        state.overflow.retain(|number, _| *number <= blocks);
        state.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.alive()?;
        self.0.drain(&mut self.0.state())?;
        self.0.file.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.alive()?;
        let mut state = self.0.state();
        let whole = offset.is_multiple_of(BLOCK as u64) && data.len().is_multiple_of(BLOCK);
        if whole && offset > 0 {
            return self.0.write_blocks(&mut state, offset / BLOCK as u64, data);
        }
        for (number, range, at) in blocks(offset, data.len()) {
            let piece = &data[at..at + range.len()];
            if number == 0 {
                state.head[range].copy_from_slice(piece);
                self.0.write_head(&mut state)?;
            } else {
                let mut block = self.0.read_block(&state, number)?;
                block[range].copy_from_slice(piece);
                self.0.write_blocks(&mut state, number, &block)?;
            }
        }
        Ok(())
    }
}
