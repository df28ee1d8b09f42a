//! The changes that outlive a power cut.

use super::random::Random;

/// The unsynced changes that survive a power cut, for [`MemDisk::restart_with`].
///
/// [`MemDisk::restart_with`]: super::MemDisk::restart_with
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    /// All of it: the disk was quick. What a failed sync lost is lost all the same.
    Everything,
    /// None of it: every name, length and byte is as it was last synced.
    Nothing,
    /// Any part of it, in any order. Each name, each length and each sector of 512 bytes has a fate
    /// of its own; a length that is changing may stop anywhere on its way.
    Random,
}

/// Decides change by change.
#[derive(Debug)]
pub(super) enum Fate {
    Everything,
    Nothing,
    Random(Random),
}

impl Fate {
    pub(super) fn survives(&mut self) -> bool {
        match self {
            Fate::Everything => true,
            Fate::Nothing => false,
            Fate::Random(random) => random.next() & 1 == 1,
        }
    }

    /// The length of a file that had `durable` bytes when it was synced, has `now` bytes, and had
    /// `shortest` in between.
    pub(super) fn len(&mut self, durable: usize, shortest: usize, now: usize) -> usize {
        match self {
            Fate::Everything => now,
            Fate::Nothing => durable,
            Fate::Random(random) => match random.below(4) {
                0 => durable,
                1 => shortest,
                2 => now,
                _ => shortest + random.below(durable.max(now) - shortest + 1),
            },
        }
    }
}
