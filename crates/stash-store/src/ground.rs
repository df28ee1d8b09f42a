//! The ground on which all parts of an open store stand: its files, its format, its index.

use crate::disk::{Lock, OpenMode};
use crate::entry::{HEADER, Header, Op, Place};
use crate::files::Files;
use crate::format::Format;
use crate::index::{ChunkRow, Index};
use crate::log::Segments;
use crate::sync::{Arc, PoisonError, RwLock};
use crate::{Address, Away, Committer, Options, ReadError};

/// Rows of the index read at once, to try one.
const TRIED: usize = 256;
/// Rows of the index read at once, to see all.
const PAGE: usize = 4096;

/// Files, format and index of an open store. A part that holds it declares it last, so that the directory
/// stays locked until all parts are gone.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) files: Arc<Files>,
    pub(crate) options: Options,
    pub(crate) format: Format,
    pub(crate) segments: Segments,
    index: RwLock<Arc<Index>>,
    /// Released when everything else is.
    _lock: Box<dyn Lock>,
}

impl Ground {
    pub(crate) fn new(
        files: Arc<Files>,
        options: Options,
        format: Format,
        index: Index,
        lock: Box<dyn Lock>,
    ) -> Ground {
        let segments = Segments::new(Arc::clone(&files));
        let index = RwLock::new(Arc::new(index));
        Ground { files, options, format, segments, index, _lock: lock }
    }

    pub(crate) fn index(&self) -> Arc<Index> {
        Arc::clone(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn replace_index(&self, index: Index) {
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(index);
    }

    /// True if the thread that calls does the work of all threads.
    pub(crate) fn is_inline(&self) -> bool {
        self.options.committer == Committer::Inline
    }

    /// The entry at a place, the original one if it was moved. `None` if it is damaged or gone.
    pub(crate) fn read_entry(&self, place: Place) -> Option<Op> {
        self.decode_entry(place, &self.segments.read(place).ok()?)
    }

    /// An entry, header and body, that was read from a place.
    pub(crate) fn decode_entry(&self, place: Place, entry: &[u8]) -> Option<Op> {
        let header = Header::of_entry(entry, &self.format.log_key, place).ok()?;
        match Op::decode(header.kind, &entry[HEADER..])? {
            Op::Moved { op, .. } => Some(*op),
            op => Some(op),
        }
    }

    /// Calls `visit` with every blob that is announced to lie in a file of its own, until it says
    /// false.
    pub(crate) fn each_file<E: From<ReadError>>(
        &self,
        mut visit: impl FnMut(&Address, &ChunkRow) -> Result<bool, E>,
    ) -> Result<(), E> {
        let mut after = None;
        loop {
            let rows = self.index().chunks_after(after, PAGE).map_err(ReadError::from)?;
            let Some((last, _)) = rows.last() else {
                return Ok(());
            };
            after = Some(*last);
            for (address, row) in &rows {
                if matches!(row, ChunkRow::File { .. }) && !visit(address, row)? {
                    return Ok(());
                }
            }
        }
    }

    /// See [`crate::Store::look`].
    pub(crate) fn look(&self) -> Result<(), Away> {
        let chunks = &self.files.chunks;
        let away = match chunks.look() {
            Ok(()) => return Ok(()),
            Err(away) => away,
        };
        match chunks.is_sick() {
            Some(after) if self.reads_one(after) => {
                chunks.recovered();
                chunks.look()
            }
            _ => Err(away),
        }
    }

    /// Tries to read one blob, another one each time. True if the disk reads it.
    fn reads_one(&self, after: Option<Address>) -> bool {
        let (index, chunks) = (self.index(), &self.files.chunks);
        let mut next = index.chunks_after(after, TRIED).unwrap_or_default();
        if next.is_empty() {
            next = index.chunks_after(None, TRIED).unwrap_or_default();
        }
        chunks.tried(next.last().map(|(address, _)| *address));
        let is_file = |row: &ChunkRow| matches!(row, ChunkRow::File { .. });
        let Some((address, row)) = next.into_iter().find(|(_, row)| is_file(row)) else {
            return false;
        };
        chunks.tried(Some(address));
        let path = self.files.chunk(&address);
        let mut bytes = vec![0; usize::try_from(row.len()).unwrap_or(0)];
        let file = self.files.disk.open(&path, OpenMode::Read);
        file.and_then(|file| file.read_at(0, &mut bytes)).is_ok()
    }
}
