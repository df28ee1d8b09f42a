//! Files of blobs that were taken for lost, and are there after all.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::chunk_dir::{Away, Marker};
use crate::commit::Reclaim;
use crate::disk::OpenMode;
use crate::files::is_gone;
use crate::index::{ChunkRow, IndexError};
use crate::shared::Shared;
use crate::{Address, CommitError, IoError, MAX_BLOB_BYTES, OpenError, ReadError, Store};

/// Announced files that are looked for before a directory without a marker is held not to be this
/// store's: one that is right is enough, and a store that lost half of its files has 1 in 2^64 of
/// finding none.
const LOOKED_FOR: usize = 64;
/// Rows of the index read at once.
const PAGE: usize = 256;

impl Store {
    /// Looks whether the directory of the files of blobs is there, and this store's own. `Err` if it is
    /// away: then nothing is said of blobs in it, and nothing that relies on one is committed. Whoever
    /// reads a blob, asks for it or relies on it looks as well; a store that nobody asks anything may
    /// be looked at from time to time.
    pub fn look(&self) -> Result<(), Away> {
        self.shared().look()
    }

    /// What the last look found, if the directory of the files of blobs is away.
    pub fn away(&self) -> Option<Away> {
        self.shared().files.is_away()
    }
}

impl Shared {
    /// See [`Store::look`].
    pub(crate) fn look(&self) -> Result<(), Away> {
        let away = match self.files.look() {
            Ok(()) => return Ok(()),
            Err(away) => away,
        };
        match self.files.is_sick() {
            Some(after) if self.reads_one(after) => {
                self.files.recovered();
                self.files.look()
            }
            _ => Err(away),
        }
    }

    /// Whether the disk reads one blob, another one each time.
    fn reads_one(&self, after: Option<Address>) -> bool {
        let index = self.index();
        let mut next = index.chunks_after(after, PAGE).unwrap_or_default();
        if next.is_empty() {
            next = index.chunks_after(None, PAGE).unwrap_or_default();
        }
        self.files.tried(next.last().map(|(address, _)| *address));
        let is_file = |row: &ChunkRow| matches!(row, ChunkRow::File { .. });
        let Some((address, row)) = next.into_iter().find(|(_, row)| is_file(row)) else {
            return false;
        };
        self.files.tried(Some(address));
        let path = self.files.chunk(&address);
        let mut bytes = vec![0; usize::try_from(row.len()).unwrap_or(0)];
        let file = self.files.disk.open(&path, OpenMode::Read);
        file.and_then(|file| file.read_at(0, &mut bytes)).is_ok()
    }

    /// Marks the directory of a store that is being opened, if it has no marker and is this store's:
    /// the log announces no file, or one that it announces lies there. An empty directory says neither
    /// that it is the right one nor that everything is lost.
    pub(crate) fn find_chunk_dir(&self) {
        let marked = match self.files.marker() {
            Ok(Marker::Missing) => self.mark_if_own(),
            Ok(Marker::Damaged(what)) => {
                tracing::warn!(what, "the marker in chunks/ is damaged");
                self.mark_if_own()
            }
            _ => Ok(()),
        };
        if let Err(error) = marked {
            tracing::warn!(%error, "the directory of chunks could not be marked");
        }
        // Whoever asks is told.
        let _ = self.look();
    }

    /// Marks the directory of a store that is made anew from what is there. That of another store is
    /// refused.
    pub(crate) fn claim_chunk_dir(&self) -> Result<(), OpenError> {
        if let Marker::Missing | Marker::Damaged(_) = self.files.marker()? {
            self.files.write_marker()?;
        }
        Ok(self.look().map_err(ReadError::from)?)
    }

    fn mark_if_own(&self) -> Result<(), ReadError> {
        let is_empty = crate::commit::lock(&self.figures).state.file_bytes == 0;
        if is_empty {
            // Some that copy a store leave empty directories out.
            match self.files.disk.create_dir(&self.files.chunk_dir()) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(IoError::new("make directory", &self.files.chunk_dir(), e).into());
                }
                _ => {}
            }
        }
        if is_empty || self.has_any()? {
            self.files.write_marker()?;
        }
        Ok(())
    }

    /// Whether any of some announced files is there and right.
    fn has_any(&self) -> Result<bool, ReadError> {
        let (mut after, mut left) = (None, LOOKED_FOR);
        loop {
            let rows = self.index().chunks_after(after, PAGE)?;
            let Some((last, _)) = rows.last().filter(|_| left > 0) else {
                return Ok(false);
            };
            after = Some(*last);
            let files = rows.iter().filter(|(_, row)| matches!(row, ChunkRow::File { .. }));
            for (address, _) in files.take(left) {
                left -= 1;
                if self.right(address, &self.files.chunk(address)).is_some() {
                    return Ok(true);
                }
            }
        }
    }

    /// The length of the file at a path, if it has the bytes of a blob and no others.
    fn right(&self, address: &Address, path: &Path) -> Option<u32> {
        let file = self.files.disk.open(path, OpenMode::Read).ok()?;
        let len = file.len().ok().filter(|len| *len <= MAX_BLOB_BYTES)?;
        let mut bytes = vec![0; usize::try_from(len).ok()?];
        file.read_at(0, &mut bytes).ok()?;
        (Address::of(&bytes) == *address).then_some(u32::try_from(len).ok()?)
    }

    /// Looks again at a blob that was found damaged. Its file may be back in its place, or be right
    /// where it was set aside: a disk that failed to read it may read it now. True if it is here again.
    pub(crate) fn second_look(&self, address: &Address) -> bool {
        if self.read_only().is_some() || self.is_committer() || self.look().is_err() {
            return false;
        }
        let path = self.files.chunk(address);
        let aside = path.file_name().and_then(|name| name.to_str());
        let aside = aside.map(|name| self.files.quarantine(name));
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
            self.index().peek(|tables| tables.wants_back(&address, is_damaged))
        };
        if !self.stage.taking_back(&address, wanted).map_err(|e: IndexError| ReadError::from(e))? {
            return Ok(false);
        }
        let taken = self.keep_file(&address, path).and_then(|()| {
            self.reclaim(Reclaim::TakeBack { address, len })?;
            tracing::info!(%address, len, "a chunk that was taken for lost is here");
            Ok(true)
        });
        self.stage.evicted(&[address]);
        taken
    }

    /// Makes a file durable in the place of its blob.
    fn keep_file(&self, address: &Address, path: &Path) -> Result<(), CommitError> {
        let open = |e| CommitError::Io(IoError::new("open", path, e));
        let file = self.files.disk.open(path, OpenMode::Read).map_err(open)?;
        let failed = |error: IoError| {
            if !is_gone(&error.source) {
                self.poison(error.to_string());
            }
            CommitError::Io(error)
        };
        self.files.sync_files(&[(path.to_owned(), file)]).map_err(failed)?;
        let place = self.files.chunk(address);
        if place != path {
            let moved = self.files.settle(&[(path.to_owned(), place)]).map_err(failed)?;
            return moved.into_iter().collect::<Result<(), _>>().map_err(CommitError::Io);
        }
        self.files.sync_dirs(&self.above(&place)).map_err(failed)
    }

    /// The directories above a file, up to that of the store, which is not among them.
    pub(crate) fn above(&self, path: &Path) -> BTreeSet<PathBuf> {
        let below = path.ancestors().skip(1).take_while(|dir| *dir != self.files.dir);
        below.map(Path::to_owned).collect()
    }
}
