//! Figures of a store, as of the last group that was written.

use std::collections::BTreeSet;

use crate::index::State;
use crate::writer::Writer;

/// Sentences about damage in the log that are remembered, some 100 bytes each.
const DAMAGE: usize = 64;

/// Figures for [`crate::Stats`], as of the last group.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) state: State,
    pub(crate) segments: u64,
    /// The segments that are part of the log.
    pub(crate) log: BTreeSet<u64>,
    pub(crate) log_bytes: u64,
    pub(crate) damage: Vec<String>,
    pub(crate) groups: u64,
    pub(crate) batches: u64,
}

impl Figures {
    pub(crate) fn of(writer: &Writer) -> Figures {
        let mut figures = Figures::default();
        figures.follow(writer);
        figures
    }

    /// Takes the figures that the writer has by now.
    pub(crate) fn follow(&mut self, writer: &Writer) {
        self.state = writer.head.state;
        self.segments = writer.log.segments.len() as u64;
        self.log_bytes = writer.log_bytes();
        if !self.log.contains(&writer.log.end.segment) {
            self.log = writer.live_segments();
        }
    }

    /// Remembers damage in the log that was found while the store is open.
    pub(crate) fn note_damage(&mut self, damage: Vec<String>) {
        let room = DAMAGE.saturating_sub(self.damage.len());
        self.damage.extend(damage.into_iter().take(room));
    }
}
