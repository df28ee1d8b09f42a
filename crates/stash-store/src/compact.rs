//! Writing a segment of the log again without what is dead in it.

use std::collections::BTreeMap;

use crate::batch::{MoveItem, Reclaim};
use crate::disk::OpenMode;
use crate::entry::{Op, Place};
use crate::error::CollectError;
use crate::index::Usage;
use crate::index::audit::Witness;
use crate::log::{SEGMENT_HEADER, SegmentFile};
use crate::open::Open;
use crate::scan::{Scan, Scanned};
use crate::sync::Arc;
use crate::writer::Writer;
use crate::{Address, CommitError, IoError, ReadError};

/// Bytes of entries that are written again in one batch; one entry may be longer. In a model of
/// races, about one entry.
const BATCH_BYTES: u64 = if cfg!(shuttle) { 1 } else { 256 * 1024 };
/// Bytes read in one step.
const STEP_BYTES: u64 = 1024 * 1024;
/// Attempts to be the one who sets changes of the index aside. What is left after them is removed
/// with the next checkpoint.
const SETTLE: usize = 4;

/// A segment that is being written again. Not the last one: nothing is added to it any more, and
/// so what is dead in it stays dead.
#[derive(Debug)]
pub(crate) struct Compaction {
    open: Arc<Open>,
    segment: u64,
    len: u64,
    /// `None` if the file is missing.
    scan: Option<Scan>,
    others: BTreeMap<u64, SegmentFile>,
    floor: u64,
    damaged: bool,
    is_retired: bool,
    _claim: Claim,
}

/// The right to write a segment again, for one at a time.
#[derive(Debug)]
struct Claim {
    open: Arc<Open>,
    segment: u64,
}

impl Claim {
    fn take(open: &Arc<Open>, segment: u64) -> Option<Claim> {
        let taken = open.upkeep.begin_compacting(segment);
        taken.then(|| Claim { open: Arc::clone(open), segment })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.open.upkeep.end_compacting(self.segment);
    }
}

impl Compaction {
    /// `None` if another collection is at it, or has been.
    pub(crate) fn new(open: &Arc<Open>, segment: u64) -> Result<Option<Compaction>, CollectError> {
        let Some(claim) = Claim::take(open, segment) else {
            return Ok(None);
        };
        let begun = open.commits.with_writer(|writer| {
            let is_retired = |id: &u64| writer.head.usage.is_retired(*id);
            let left = |id: &&u64| **id != segment && !is_retired(id);
            let floor = writer.log.segments.keys().find(left).copied().unwrap_or(segment);
            (!is_retired(&segment)).then(|| (writer.log.segments.clone(), floor))
        });
        let Some((mut others, floor)) = begun else {
            return Ok(None);
        };
        let len = others.remove(&segment).map_or(0, |file| file.len);
        let path = open.ground.files.segment(segment);
        let scan = match open.ground.files.disk.open(&path, OpenMode::Read) {
            Ok(file) => {
                Some(Scan::new((file, &path), open.ground.format.log_key, segment, SEGMENT_HEADER)?)
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(IoError::new("open", &path, e).into()),
        };
        let open = Arc::clone(open);
        let (damaged, is_retired) = (scan.is_none(), false);
        Ok(Some(Compaction {
            open,
            segment,
            len,
            scan,
            others,
            floor,
            damaged,
            is_retired,
            _claim: claim,
        }))
    }

    /// Bytes of the segment, if it is no longer part of the log.
    pub(crate) fn retired(&self) -> Option<u64> {
        self.is_retired.then_some(self.len)
    }

    /// Writes some entries again, and adds their bytes to `moved`: bytes read, and whether the segment has
    /// come to its end.
    pub(crate) fn step(&mut self, moved: &mut u64) -> Result<(u64, bool), CollectError> {
        let begin = self.at();
        let (mut items, mut bytes, mut ended) = (Vec::new(), 0, false);
        while bytes < BATCH_BYTES && self.at() - begin < STEP_BYTES {
            match self.next()? {
                Next::Live(item) => {
                    bytes += item.log_bytes();
                    items.push(item);
                }
                Next::Dead => {}
                Next::End => {
                    ended = true;
                    break;
                }
            }
        }
        if !items.is_empty() {
            *moved += self.open.commits.reclaim(Reclaim::Move { items })?.moved_bytes;
        }
        let work = self.at() - begin + bytes;
        if ended {
            self.finish(moved)?;
        }
        Ok((work, ended))
    }

    fn at(&self) -> u64 {
        self.scan.as_ref().map_or(0, Scan::at)
    }

    fn next(&mut self) -> Result<Next, CollectError> {
        let Some(scan) = &mut self.scan else {
            return Ok(Next::End);
        };
        let scanned = match scan.next() {
            Ok(scanned) => scanned,
            Err(error) if error.is_unreadable() => {
                self.damaged = true;
                return Ok(Next::End);
            }
            Err(error) => return Err(error.into()),
        };
        let (op, sequence, place) = match scanned {
            Scanned::Entry { op, sequence, place, .. } => (op, sequence, place),
            Scanned::Damaged { .. } => {
                self.damaged = true;
                return Ok(Next::Dead);
            }
            Scanned::End { at } => {
                self.damaged |= at < scan.len();
                return Ok(Next::End);
            }
        };
        let (op, sequence) = match op {
            Op::Moved { sequence, op } => (*op, sequence),
            op => (op, sequence),
        };
        let payload = scan.payload(&op, place);
        if !self.is_live(&op, sequence, place)? {
            return Ok(Next::Dead);
        }
        Ok(Next::Live(MoveItem { op, sequence, place, payload }))
    }

    fn is_live(&self, op: &Op, sequence: u64, place: Place) -> Result<bool, CollectError> {
        if op.is_absence() {
            // What it denies was said before it, and can be found only in a segment begun before.
            return Ok(self.others.values().any(|file| file.first_sequence < sequence));
        }
        if let Op::Retire { segment, .. } = op {
            return Ok(*segment >= self.floor);
        }
        let index = self.open.ground.index();
        Ok(index.peek(|tables| tables.goes_by(op, place)).map_err(ReadError::from)?)
    }

    /// Ends the segment, unless something is in it that cannot be written again.
    fn finish(&mut self, moved: &mut u64) -> Result<(), CollectError> {
        if self.damaged && !self.salvage(moved)? {
            return Ok(());
        }
        let (segment, floor) = (self.segment, self.floor);
        self.open.commits.reclaim(Reclaim::Retire { segment, floor })?;
        self.open.health.clear(|id| id == segment);
        self.is_retired = true;
        Ok(())
    }

    /// Writes anew what the index knows of entries that are damaged. False if records are among
    /// them: the segment stays until these were committed again.
    fn salvage(&self, moved: &mut u64) -> Result<bool, CollectError> {
        let index = self.open.ground.index();
        let (mut ops, mut lost) = (Vec::new(), 0);
        for row in index.witnesses_in(self.segment, &[(0, u64::MAX)]).map_err(ReadError::from)? {
            match index.entry_of(&row).map_err(ReadError::from)? {
                Some(op) => ops.push((op, row.place())),
                None => lost += u64::from(!self.set_aside(&row, moved)?),
            }
        }
        for ops in ops.chunks(64) {
            self.open.commits.reclaim(Reclaim::Salvage { ops: ops.to_vec() })?;
        }
        Ok(lost == 0)
    }

    /// A small blob is written again if its bytes are right, and else quarantined; a record is
    /// remembered as broken, and not gone: nobody here could tell whether its bytes are right.
    fn set_aside(&self, row: &Witness, moved: &mut u64) -> Result<bool, CollectError> {
        let place = row.place();
        match row {
            Witness::Chunk(address, _) => {
                match self.blob_at(address, place) {
                    Some(payload) => {
                        let op = Op::SmallChunk { address: *address };
                        let items = vec![MoveItem { op, sequence: 0, place, payload }];
                        *moved += self.open.commits.reclaim(Reclaim::Move { items })?.moved_bytes;
                    }
                    None => self.open.note_damage(*address, place),
                }
                Ok(true)
            }
            Witness::Record(found) => {
                self.open.health.note_broken(found.hash);
                Ok(false)
            }
            _ => Ok(true),
        }
    }

    /// The bytes of a small blob whose entry is damaged, if they are not.
    fn blob_at(&self, address: &Address, place: Place) -> Option<Vec<u8>> {
        let (file, _) = self.open.ground.segments.get(self.segment).ok()?;
        let (at, len) = place.body();
        let mut bytes = vec![0; usize::try_from(len.checked_sub(32)?).ok()?];
        file.read_at(at + 32, &mut bytes).ok()?;
        (Address::of(&bytes) == *address).then_some(bytes)
    }
}

enum Next {
    Live(MoveItem),
    Dead,
    End,
}

/// Segments that compaction would shorten enough, the oldest first.
pub(crate) fn wasteful(open: &Open, percent: u8) -> Vec<u64> {
    waste(open, percent, &Usage::default()).into_iter().map(|(id, _)| id).collect()
}

/// Segments in which damage was found, or that are missing, the oldest first. One that is
/// still written to is ended first.
pub(crate) fn damaged_segments(open: &Open) -> Result<Vec<u64>, CollectError> {
    let suspects = open.health.suspects();
    if suspects.is_empty() {
        return Ok(Vec::new());
    }
    let is_last = open.commits.with_writer(|writer| {
        let is_last = suspects.contains(&writer.log.end.segment);
        writer.log.stale |= is_last;
        is_last
    });
    if is_last {
        let uptime = open.commits.figures().state.uptime;
        open.commits.reclaim(Reclaim::Uptime(uptime))?;
    }
    Ok(suspects.into_iter().collect())
}

/// Bytes that compaction would give back, were these dead, too.
pub(crate) fn wasted(open: &Open, percent: u8, more: &Usage) -> u64 {
    waste(open, percent, more).into_iter().map(|(_, bytes)| bytes).sum()
}

fn waste(open: &Open, percent: u8, more: &Usage) -> Vec<(u64, u64)> {
    open.commits.with_writer(|writer| waste_of(writer, percent, more))
}

/// True if entries of this segment deny what was said before.
pub(crate) fn denies(open: &Open, segment: u64) -> bool {
    let denied = |writer: &mut Writer| {
        writer.head.usage.waste.get(&segment).is_some_and(|waste| waste.absent > 0)
    };
    open.commits.with_writer(denied)
}

/// Makes the index durable as it is now, so that segments it needs no longer are removed.
/// Nobody who commits waits for it.
pub(crate) fn settle(open: &Open) -> Result<(), CollectError> {
    for _ in 0..SETTLE {
        // What was set aside before goes first.
        open.upkeep.write_index();
        if open
            .commits
            .with_writer(|writer| writer.retired.is_empty() || open.upkeep.set_aside(writer))
        {
            open.upkeep.write_index();
            break;
        }
    }
    open.commits.with_writer(|writer| open.commits.forget_gone(writer));
    match open.health.read_only() {
        Some(reason) => Err(CommitError::ReadOnly { reason }.into()),
        None => Ok(()),
    }
}

/// Segments that compaction would shorten enough, were these bytes dead, too, and by how much.
fn waste_of(writer: &Writer, percent: u8, more: &Usage) -> Vec<(u64, u64)> {
    let usage = &writer.head.usage;
    let last = writer.log.end.segment;
    let segments = writer.log.segments.iter().filter(|(id, _)| !usage.is_retired(**id));
    let segments: Vec<Wasted> = segments
        .filter(|(id, _)| **id != last)
        .map(|(id, file)| {
            let (now, then) = (usage.waste.get(id), more.waste.get(id));
            Wasted {
                id: *id,
                size: file.len.saturating_sub(SEGMENT_HEADER),
                dead: now.into_iter().chain(then).map(|waste| waste.dead).sum(),
                absent: now.map_or(0, |waste| waste.absent),
            }
        })
        .collect();
    due(&segments, percent)
}

/// Bytes of a segment, and of those in it that are waste.
#[derive(Clone, Copy, Debug)]
struct Wasted {
    id: u64,
    size: u64,
    /// Of entries that mean nothing any more.
    dead: u64,
    /// Of entries that deny what was said before. They mean nothing once no older segment is left.
    absent: u64,
}

/// Of the segments of a log, the oldest first, those that are to be written again, and what that gives back.
///
/// A segment whose own waste is enough is due by itself. Besides, all up to one of them are due together if
/// what they waste is enough of all that they have, where entries that deny something count: else one old
/// segment that stays full would keep every such entry of the log for ever. No byte is written again without
/// as much being given back, at a share of 50 percent.
fn due(segments: &[Wasted], percent: u8) -> Vec<(u64, u64)> {
    let is_enough = |waste: u64, size: u64| waste > 0 && waste * 100 >= size * u64::from(percent);
    let (mut waste, mut size, mut together) = (0, 0, 0);
    for (count, segment) in (1..).zip(segments) {
        waste += segment.dead + segment.absent;
        size += segment.size;
        if is_enough(waste, size) {
            together = count;
        }
    }
    let one = |(at, segment): (usize, &Wasted)| {
        let is_old = at < together;
        let waste = segment.dead + if is_old { segment.absent } else { 0 };
        (is_old || is_enough(waste, segment.size)).then_some((segment.id, waste))
    };
    segments.iter().enumerate().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of some segments of 100 bytes are due, by what is dead and what denies something in each.
    fn due_of(waste: &[(u64, u64)]) -> Vec<u64> {
        let segment = |(id, (dead, absent)): (u64, &(u64, u64))| Wasted {
            id,
            size: 100,
            dead: *dead,
            absent: *absent,
        };
        let segments: Vec<Wasted> = (1..).zip(waste).map(segment).collect();
        due(&segments, 50).into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn a_segment_that_is_mostly_dead_is_due_wherever_it_stands() {
        assert_eq!(due_of(&[(0, 0), (50, 0), (49, 0), (80, 0)]), [2, 4]);
        assert_eq!(due_of(&[(20, 30), (0, 90)]), [1, 2], "the oldest denies nothing that is there");
        assert_eq!(due_of(&[(0, 0), (10, 60)]), [0; 0], "what it denies may be said before");
    }

    #[test]
    fn an_old_segment_that_stays_full_is_moved_once_what_it_keeps_alive_is_as_much() {
        assert_eq!(due_of(&[(0, 0), (0, 90)]), [0; 0], "90 bytes for 110");
        assert_eq!(due_of(&[(0, 0), (0, 100)]), [1, 2]);
        assert_eq!(due_of(&[(0, 0), (0, 90), (0, 90)]), [1, 2, 3]);
        assert_eq!(due_of(&[(0, 0), (0, 0), (0, 90), (0, 90), (0, 90)]), [1, 2, 3, 4, 5]);
        assert_eq!(due_of(&[(0, 0), (0, 100), (0, 0)]), [1, 2], "what follows stays");
        assert_eq!(due_of(&[]), [0; 0]);
    }
}
