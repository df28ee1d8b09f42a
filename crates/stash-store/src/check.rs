//! Checking a store against itself: the index, the log, the files, and the sums.

use std::path::PathBuf;

use crate::chunk_dir::Marker;
use crate::disk::OpenMode;
use crate::entry::{HEADER, Header, Op, Place};
use crate::error::is_unreadable;
use crate::files::Seen;
pub use crate::finding::{LISTED, Listed};
use crate::index::audit::{AuditCursor, Witness};
use crate::index::{ChunkRow, State};
use crate::log::Unread;
use crate::open::Open;
use crate::strays::{StrayFile, Strays};
use crate::{Address, Finding, IoError, ReadError};

/// Rows of the index looked at together: a row has 64 KiB at most.
const PAGE: usize = 256;
/// The number of times that a row is looked up again which was changed while it was checked.
const TRIES: usize = 4;

/// A file below `chunks/` that nothing announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// Where it lies.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
}

/// A figure of [`crate::Stats`] that is not what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongSum {
    /// The figure's name.
    pub what: &'static str,
    /// The number that the figure says.
    pub stated: u64,
    /// The number that was counted.
    pub counted: u64,
}

/// The findings of [`crate::Store::check`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// Rows of the index that were compared with the log.
    pub rows: u64,
    /// Files of blobs.
    pub files: u64,
    /// Bytes of entries and of blobs that were read.
    pub bytes_read: u64,
    /// Rows that the log does not bear out, records and blobs left aside. A damaged index is one
    /// of them, the last: what else it says is not compared.
    pub rows_damaged: Listed<String>,
    /// Records that cannot be read, or that are not found by all they should be found by.
    pub records_damaged: Listed<Finding>,
    /// Blobs that are announced and damaged: without their file, or with another length, or with
    /// other bytes; and the marker of their directory, if that is damaged.
    pub chunks_damaged: Listed<Finding>,
    /// Blobs that a record or a manifest names, and that are not here. That is no damage: they may
    /// have been evicted, or never have been fetched.
    pub missing: Listed<Address>,
    /// Files that nothing announces. That is no damage: a power cut may leave them. A collection
    /// with [`crate::CollectOptions::strays`] removes them, a rebuild takes them in.
    pub strays: Listed<Stray>,
    /// Bytes of those files.
    pub stray_bytes: u64,
    /// Figures of [`crate::Stats`] that are wrong.
    pub sums_wrong: Vec<WrongSum>,
    /// The figures could be compared: nothing was committed during the count.
    pub sums_compared: bool,
}

impl CheckReport {
    /// True if nothing is damaged. Blobs that are missing, and stray files, are not damage.
    pub fn is_sound(&self) -> bool {
        self.rows_damaged.total == 0
            && self.records_damaged.total == 0
            && self.chunks_damaged.total == 0
            && self.sums_wrong.is_empty()
    }
}

/// See [`crate::Store::check`].
pub(crate) fn check(open: &Open, read_data: bool) -> Result<CheckReport, ReadError> {
    open.ground.look()?;
    let depth = if read_data { Depth::Data } else { Depth::Names };
    let mut check = Check { open, depth, report: CheckReport::default() };
    if let Marker::Damaged(what) = open.ground.files.chunks.marker()? {
        check.report.chunks_damaged.add(Finding::Marker { what });
    }
    let checked = check.rows().and_then(|()| check.missing()).and_then(|()| check.strays());
    match checked {
        // What else there is, nobody can say without it.
        Err(ReadError::Index { what }) => {
            let mended = open.mend(&open.ground.index(), &what);
            let anew = if mended { "; it was made anew" } else { "" };
            check.report.rows_damaged.add(format!("the index is damaged: {what}{anew}"));
        }
        checked => checked?,
    }
    Ok(check.report)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    Names,
    Data,
}

struct Check<'a> {
    open: &'a Open,
    depth: Depth,
    report: CheckReport,
}

/// The content of a place in the log.
enum Found {
    Entry { op: Op, sequence: u64, entry: Vec<u8> },
    Damaged(&'static str),
}

impl Check<'_> {
    /// Every row against its entry; the sums, if nothing was committed meanwhile.
    fn rows(&mut self) -> Result<(), ReadError> {
        let (before, mut counted) = (self.open.commits.settled_state(), State::default());
        let mut cursor = AuditCursor::default();
        loop {
            let rows = self.open.ground.index().witnesses(&mut cursor, PAGE)?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                count(&mut counted, &row);
                self.row(row)?;
            }
        }
        self.lacking(&mut counted)?;
        let after = self.open.commits.settled_state();
        let is_same = before.position == after.position && before.unsettled == after.unsettled;
        self.report.sums_compared = is_same;
        if self.report.sums_compared {
            self.sums(&before, &counted);
        }
        Ok(())
    }

    /// Counts the records that the index says lack something.
    fn lacking(&self, counted: &mut State) -> Result<(), ReadError> {
        let mut after = None;
        loop {
            let page = self.open.ground.index().lacking_after(after, PAGE)?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(*last);
            counted.lacking += page.len() as u64;
            page.iter().for_each(|hash| counted.lacking_sum.add(hash));
        }
    }

    fn sums(&mut self, stated: &State, counted: &State) {
        let sums = [
            ("records", stated.records, counted.records),
            ("in the sum of hashes", stated.record_sum.low(), counted.record_sum.low()),
            ("chunks", stated.chunks, counted.chunks),
            ("bytes", stated.bytes, counted.bytes),
            ("file bytes", stated.file_bytes, counted.file_bytes),
            ("evicted", stated.evicted, counted.evicted),
            ("quarantined", stated.quarantined, counted.quarantined),
            ("records that lack something", stated.lacking, counted.lacking),
            ("in the sum of theirs", stated.lacking_sum.low(), counted.lacking_sum.low()),
        ];
        let wrong = sums.into_iter().filter(|(_, stated, counted)| stated != counted);
        let wrong = wrong.map(|(what, stated, counted)| WrongSum { what, stated, counted });
        self.report.sums_wrong.extend(wrong);
    }

    /// Checks a row. It may be changed, or its entry be moved, while it is looked at.
    fn row(&mut self, mut row: Witness) -> Result<(), ReadError> {
        self.report.rows += 1;
        for _ in 0..TRIES {
            let wrong = self.compare(&row)?;
            let Some(what) = wrong else {
                return Ok(());
            };
            // Its file goes before the index says so.
            if let Witness::Chunk(address, _) = &row
                && self.open.stage.is_evicting(address)
            {
                return Ok(());
            }
            match self.open.ground.index().again(&row)? {
                None => return Ok(()),
                Some(now) if now != row => row = now,
                Some(_) => {
                    self.blame(&row, what);
                    return Ok(());
                }
            }
        }
        // It is written all the time: somebody else reads it, too.
        Ok(())
    }

    fn blame(&mut self, row: &Witness, what: String) {
        match row {
            Witness::Record(found) => {
                self.report.records_damaged.add(Finding::Record { hash: found.hash, what });
            }
            Witness::Chunk(address, row) if row.is_here() => {
                self.report.chunks_damaged.add(Finding::Chunk { address: *address, what });
            }
            _ => self.report.rows_damaged.add(format!("{row}: {what}")),
        }
    }

    /// The fault of a row, if it has one.
    fn compare(&mut self, row: &Witness) -> Result<Option<String>, ReadError> {
        let (op, sequence, entry) = match self.entry(row.place())? {
            Found::Entry { op, sequence, entry } => (op, sequence, entry),
            Found::Damaged(what) => return Ok(Some(what.to_owned())),
        };
        if !row.agrees(&op, sequence) {
            return Ok(Some("its log entry says something else".to_owned()));
        }
        match row {
            Witness::Record(found) if !self.open.ground.index().finds(&op, found)? => {
                Ok(Some("the index does not find it by all that it says".to_owned()))
            }
            Witness::Record(found) if !self.knows_if_whole(&found.hash, &op)? => {
                let what = format!("{row}: the index is wrong about whether it is whole");
                self.report.rows_damaged.add(what);
                Ok(None)
            }
            Witness::Chunk(address, ChunkRow::File { len, .. }) => self.file(address, *len),
            Witness::Chunk(address, ChunkRow::Log { place }) if self.depth == Depth::Data => {
                let blob = usize::try_from(place.body().1).unwrap_or(0).saturating_sub(32);
                let right = Address::of(&entry[entry.len().saturating_sub(blob)..]) == *address;
                Ok((!right).then(|| "its bytes do not hash to its address".to_owned()))
            }
            _ => Ok(None),
        }
    }

    fn knows_if_whole(&self, record: &[u8; 32], op: &Op) -> Result<bool, ReadError> {
        let op = if let Op::Moved { op, .. } = op { op } else { op };
        match op {
            Op::Record { refs, .. } => self.open.knows_if_whole(record, refs),
            _ => Ok(true),
        }
    }

    fn entry(&mut self, place: Place) -> Result<Found, ReadError> {
        let entry = match self.open.ground.segments.read(place) {
            Ok(entry) => entry,
            Err(Unread::Damaged(what)) => return Ok(Found::Damaged(what)),
            Err(Unread::Failed(error)) => return Err(ReadError::Io(error)),
        };
        self.report.bytes_read += entry.len() as u64;
        let header = match Header::of_entry(&entry, &self.open.ground.format.log_key, place) {
            Ok(header) => header,
            Err(what) => return Ok(Found::Damaged(what)),
        };
        match Op::decode(header.kind, &entry[HEADER..]) {
            Some(op) => Ok(Found::Entry { op, sequence: header.sequence, entry }),
            None => Ok(Found::Damaged("its log entry is not understood")),
        }
    }

    /// The fault of a blob's file, if it has one.
    fn file(&mut self, address: &Address, len: u32) -> Result<Option<String>, ReadError> {
        self.report.files += 1;
        let path = self.open.ground.files.chunk(address);
        let file = match self.open.ground.files.see(&path) {
            Ok(Seen::File(file)) => file,
            seen => {
                self.open.ground.look()?;
                let nothing = matches!(seen?, Seen::Nothing);
                let what = if nothing { "its file is missing" } else { "its path is not a file's" };
                return Ok(Some(what.to_owned()));
            }
        };
        let failed = |e| ReadError::Io(IoError::new("read", &path, e));
        let there = file.len().map_err(failed)?;
        if there != u64::from(len) {
            return Ok(Some(format!("its file has {there} bytes, not {len}")));
        }
        if self.depth == Depth::Names {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        match file.read_once_at(0, &mut bytes) {
            Ok(()) => {}
            Err(error) if is_unreadable(&error) => {
                return Ok(Some("the disk cannot read it".to_owned()));
            }
            Err(error) => return Err(failed(error)),
        }
        self.report.bytes_read += u64::from(len);
        let right = Address::of(&bytes) == *address;
        Ok((!right).then(|| "its bytes do not hash to its address".to_owned()))
    }

    /// Blobs that somebody names.
    fn missing(&mut self) -> Result<(), ReadError> {
        let mut after = None;
        loop {
            let named = self.open.ground.index().named_after(after, PAGE)?;
            let Some(last) = named.last() else {
                return Ok(());
            };
            after = Some(*last);
            let here = self.open.here(&named)?;
            for (address, _) in named.iter().zip(here).filter(|(_, here)| !here) {
                self.report.missing.add(*address);
            }
        }
    }

    /// Files that nothing announces.
    fn strays(&mut self) -> Result<(), ReadError> {
        let (open, report) = (self.open, &mut self.report);
        let mut strays = Strays::begin(open)?;
        let mut take = |stray: StrayFile| {
            if !is_coming_or_going(open, &stray)? {
                report.stray_bytes += stray.len;
                report.strays.add(Stray { path: stray.path, bytes: stray.len });
            }
            Ok::<_, ReadError>(())
        };
        while strays.step(open, &mut take)?.is_some() {}
        Ok(())
    }
}

/// Adds a row to the sums that the index keeps.
fn count(sums: &mut State, row: &Witness) {
    match row {
        Witness::Record(found) => {
            sums.records += 1;
            sums.record_sum.add(&found.hash);
        }
        Witness::Chunk(_, ChunkRow::Evicted { .. }) => sums.evicted += 1,
        Witness::Chunk(_, ChunkRow::Quarantined { .. }) => sums.quarantined += 1,
        Witness::Chunk(_, row) => {
            sums.chunks += 1;
            sums.bytes += u64::from(row.len());
            if matches!(row, ChunkRow::File { .. }) {
                sums.file_bytes += u64::from(row.len());
            }
        }
        _ => {}
    }
}

/// True if a file is about to be announced, was announced just now, is being removed, or is gone.
fn is_coming_or_going(open: &Open, stray: &StrayFile) -> Result<bool, ReadError> {
    let Some(address) = stray.address else {
        return Ok(false);
    };
    let moves = || -> Result<bool, ReadError> {
        let moving = open.stage.is_coming(&address) || open.stage.is_evicting(&address);
        Ok(moving || matches!(open.ground.index().chunk(&address)?, Some(ChunkRow::File { .. })))
    };
    // It may have come and gone again since it was seen: twice still, with the file there in
    // between, is a file that nothing announces.
    Ok(moves()? || open.ground.files.disk.open(&stray.path, OpenMode::Read).is_err() || moves()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::writer::Writer;
    use crate::{Batch, Blob, MemDisk, Options, RecordEntry, Store};
    use std::path::Path;
    use std::sync::Arc;

    fn record(n: u8) -> RecordEntry {
        let (hash, name, writer) = ([n; 32], [n; 32], [n; 40]);
        RecordEntry { hash, name, writer, n: 1, refs: Vec::new(), bytes: Arc::from([n; 9]) }
    }

    fn store() -> Store {
        let disk = Arc::new(MemDisk::new(1));
        let options =
            Options { disk, committer: crate::Committer::Inline, small: 16, ..Options::default() };
        let store = Store::create(Path::new("/store"), &options).unwrap();
        let batch = Batch::new().record(record(1)).record(record(2)).row(b"key", Some(b"value"));
        store.stage(Blob::hash(vec![7; 100])).unwrap();
        store.commit(batch).unwrap();
        assert!(store.check(true).unwrap().is_sound());
        store
    }

    /// Makes the index believe something else than the log says.
    fn pretend(store: &Store, op: &Op, place: Place) {
        let open = store.parts();
        let index = open.ground.index();
        let write = |writer: &mut Writer| {
            index.write(&mut writer.head, |tables| tables.apply(op, 1, place))
        };
        open.commits.with_writer(write).unwrap();
    }

    #[test]
    fn a_row_that_goes_by_something_else_is_told_from_one_that_does_not() {
        let address = Address::of(b"nowhere");
        let ops = [
            (Op::Row { key: b"key".to_vec(), value: Some(b"other".to_vec()) }, 1, 0),
            (Op::Manifest { address, refs: Vec::new() }, 1, 0),
            (Op::FileChunk { address, len: 3 }, 0, 1),
            (Op::SmallChunk { address }, 0, 1),
        ];
        for (op, rows, chunks) in ops {
            let store = store();
            let place = store.parts().ground.index().records_after(0, 1).unwrap()[0].place;
            pretend(&store, &op, place);
            let report = store.check(false).unwrap();
            let found = (report.rows_damaged.total, report.chunks_damaged.total);
            assert_eq!(found, (rows, chunks), "{op:?}: {report:?}");
            let sums = u64::from(chunks > 0);
            assert_eq!(report.sums_wrong.is_empty(), sums == 0, "{op:?}: {report:?}");
            // A place where nothing was ever written.
            pretend(&store, &op, Place { offset: place.offset + 8, ..place });
            assert!(!store.check(false).unwrap().is_sound(), "{op:?}");
        }
    }

    #[test]
    fn a_record_that_is_not_found_by_its_name_is_told() {
        let store = store();
        let index = store.parts().ground.index();
        let first = index.records_after(0, 1).unwrap()[0];
        let RecordEntry { name, writer, n, .. } = record(1);
        // Takes the second record away, and the first from under its name and writer.
        let (hash, sequence) = ([2; 32], first.sequence);
        let op = Op::Drop { hash, name, writer, n, sequence, refs: Vec::new() };
        pretend(&store, &op, first.place);
        let report = store.check(false).unwrap();
        let [Finding::Record { hash, what }] = &report.records_damaged.first[..] else {
            panic!("{report:?}");
        };
        assert_eq!((*hash, what.contains("does not find it")), ([1; 32], true));
    }
}
