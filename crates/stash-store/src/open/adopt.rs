//! Marking the directory of files of blobs, once it is known to be this store's.

use super::Open;
use crate::chunk_dir::Marker;
use crate::{IoError, OpenError, ReadError};

/// Announced files that are looked for before a directory without a marker is held not to be this
/// store's: one that is right is enough, and a store that lost half of its files has 1 in 2^64 of
/// finding none.
const LOOKED_FOR: usize = 64;

impl Open {
    /// Marks the directory of a store that is being opened, if it has no marker and is this store's:
    /// the log announces no file, or one that it announces lies there. An empty directory says neither
    /// that it is the right one nor that everything is lost.
    pub(crate) fn find_chunk_dir(&self) {
        let marked = match self.ground.files.chunks.marker() {
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
        let _ = self.ground.look();
    }

    /// Marks the directory of a store that is made anew from what is there. That of another store is
    /// refused.
    pub(crate) fn claim_chunk_dir(&self) -> Result<(), OpenError> {
        if let Marker::Missing | Marker::Damaged(_) = self.ground.files.chunks.marker()? {
            self.ground.files.write_marker()?;
        }
        Ok(self.ground.look().map_err(ReadError::from)?)
    }

    fn mark_if_own(&self) -> Result<(), ReadError> {
        let is_empty = self.commits.figures().state.file_bytes == 0;
        if is_empty {
            // Some that copy a store leave empty directories out.
            let path = self.ground.files.chunks.path();
            match self.ground.files.disk.create_dir(path) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(IoError::new("make directory", path, e).into());
                }
                _ => {}
            }
        }
        if is_empty || self.has_any()? {
            self.ground.files.write_marker()?;
        }
        Ok(())
    }

    /// True if any of some announced files is there and right.
    fn has_any(&self) -> Result<bool, ReadError> {
        let (mut left, mut any) = (LOOKED_FOR, false);
        self.ground.each_file(|address, _| {
            any = self.right(address, &self.ground.files.chunk(address)).is_some();
            left -= 1;
            Ok::<_, ReadError>(!any && left > 0)
        })?;
        Ok(any)
    }
}
