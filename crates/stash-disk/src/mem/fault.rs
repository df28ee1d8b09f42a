//! What can go wrong, and when it is due.

use std::collections::BTreeMap;
use std::io;

use super::random::Random;

/// What goes wrong at an operation of a [`MemDisk`](super::MemDisk) that changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The power goes: this operation and all later ones fail, until
    /// [`MemDisk::restart`](super::MemDisk::restart).
    PowerCut,
    /// This operation, and as many after it as `times` says, fail with an error of this kind. A
    /// write has written [`Part::Random`]; a sync loses what it was to make durable.
    Error {
        /// The kind of error, such as [`io::ErrorKind::StorageFull`].
        kind: io::ErrorKind,
        /// How many operations fail, this one included. With [`u64::MAX`] all do, until
        /// [`MemDisk::heal`](super::MemDisk::heal).
        times: u64,
    },
    /// This operation if it is a write, or else the next write, writes only a part and fails. The
    /// operations after it succeed.
    ShortWrite {
        /// How much it writes.
        part: Part,
        /// The kind of error: [`io::ErrorKind::WriteZero`] where the system takes no more bytes
        /// without saying why, [`io::ErrorKind::StorageFull`] where it says.
        kind: io::ErrorKind,
    },
}

/// How much of its bytes, from the front, a write has written when it fails: never all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// No byte.
    Nothing,
    /// The first byte, unless it is the only one.
    OneByte,
    /// All but the last byte.
    AllButOne,
    /// One of the other three, or any number of bytes: each in a quarter of all cases.
    Random,
}

impl Part {
    /// How many of `len` bytes are written.
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

/// How an operation goes on.
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
    /// What fails now, and how many times more.
    error: Option<(io::ErrorKind, u64)>,
    /// Waits for a write.
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

    /// How the write that was just counted falls short, if it does.
    pub(super) fn take_short(&mut self) -> Option<(Part, io::ErrorKind)> {
        self.short.take()
    }
}
