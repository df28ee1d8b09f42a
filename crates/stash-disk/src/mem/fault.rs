//! Faults, and when they are due.

use std::collections::BTreeMap;
use std::io;

use super::random::Random;

/// A fault at an operation of a [`MemDisk`](super::MemDisk) that changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The power goes: this operation and all later ones fail, until
    /// [`MemDisk::restart`](super::MemDisk::restart).
    PowerCut,
    /// This operation and those after it, `times` in all, fail with an error of this kind. A write
    /// has written [`Part::Random`]; a sync loses what it was to make durable.
    Error {
        /// The kind of error, such as [`io::ErrorKind::StorageFull`].
        kind: io::ErrorKind,
        /// The number of operations that fail, this one included. With [`u64::MAX`] all do, until
        /// [`MemDisk::heal`](super::MemDisk::heal).
        times: u64,
    },
    /// This operation if it is a write, or else the next write, writes only a part and fails. The
    /// operations after it succeed.
    ShortWrite {
        /// The part that it writes.
        part: Part,
        /// The kind of error: [`io::ErrorKind::WriteZero`] where the system takes no more bytes
        /// without saying why, [`io::ErrorKind::StorageFull`] where it says.
        kind: io::ErrorKind,
    },
}

/// The bytes, from the front, that a write has written when it fails: never all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// No byte.
    Nothing,
    /// The first byte, unless it is the only one.
    OneByte,
    /// All but the last byte.
    AllButOne,
    /// Any of the other three, or any number of bytes: each in a quarter of all cases.
    Random,
}

impl Part {
    /// The number of bytes that are written, of `len`.
    pub(super) fn of(self, len: usize, random: &mut Random) -> usize {
        let most = len.saturating_sub(1);
        match self {
            Part::Nothing => 0,
            Part::OneByte => most.min(1),
            Part::AllButOne => most,
            Part::Random => match random.below(4) {
                0 => 0,
                1 => most.min(1),
                2 => most,
                _ => random.below(len),
            },
        }
    }
}

/// The outcome of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Goes,
    Fails(io::ErrorKind),
    PowerCut,
}

/// Counts operations of one sort, and knows at which of them something goes wrong.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    count: u64,
    due: BTreeMap<u64, Fault>,
    /// The error that operations fail with now, and for how many more.
    error: Option<(io::ErrorKind, u64)>,
    /// The short write that waits for a write.
    short: Option<(Part, io::ErrorKind)>,
}

impl Schedule {
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn inject(&mut self, after: u64, fault: Fault) {
        self.due.insert(self.count.saturating_add(after), fault);
    }

    /// Takes back what has not happened, and ends what is happening.
    pub(super) fn heal(&mut self) {
        *self = Schedule { count: self.count, ..Schedule::default() };
    }

    /// Counts an operation.
    pub(super) fn step(&mut self) -> Step {
        self.count += 1;
        match self.due.remove(&self.count) {
            Some(Fault::PowerCut) => return Step::PowerCut,
            Some(Fault::Error { kind, times }) => self.error = Some((kind, times)),
            Some(Fault::ShortWrite { part, kind }) => self.short = Some((part, kind)),
            None => {}
        }
        match &mut self.error {
            Some((kind, times)) if *times > 0 => {
                *times -= 1;
                Step::Fails(*kind)
            }
            _ => Step::Goes,
        }
    }

    /// The part and the error of the write that was just counted, if it falls short.
    pub(super) fn take_short(&mut self) -> Option<(Part, io::ErrorKind)> {
        self.short.take()
    }
}
