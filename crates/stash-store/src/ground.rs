//! What all parts of an open store stand on: its files, its format, its index.

use crate::disk::{Lock, OpenMode};
use crate::entry::{HEADER, Header, Op, Place};
use crate::files::Files;
use crate::format::Format;
use crate::index::{ChunkRow, Index};
use crate::log::Segments;
use crate::sync::{Arc, PoisonError, RwLock};
use crate::{Address, Away, Committer, Options};

/// Rows of the index read at once.
const PAGE: usize = 256;

/// What all parts of an open store stand on. Every part that has it has it last: so the store stays
/// locked until all of them are gone.
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
        let mut entry = vec![0; HEADER + usize::try_from(place.len).ok()?];
        let (file, _) = self.segments.get(place.segment).ok()?;
        file.read_at(u64::from(place.offset), &mut entry).ok()?;
        self.decode_entry(place, &entry)
    }

    /// An entry, header and body, that was read from a place.
    pub(crate) fn decode_entry(&self, place: Place, entry: &[u8]) -> Option<Op> {
        let at = u64::from(place.offset);
        let header = Header::decode(entry, &self.format.log_key, place.segment, at)?;
        let body = entry.get(HEADER..)?;
        if header.len != place.len || crc32fast::hash(body) != header.crc {
            return None;
        }
        match Op::decode(header.kind, body)? {
            Op::Moved { op, .. } => Some(*op),
            op => Some(op),
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
        let mut next = index.chunks_after(after, PAGE).unwrap_or_default();
        if next.is_empty() {
            next = index.chunks_after(None, PAGE).unwrap_or_default();
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
