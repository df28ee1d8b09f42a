//! The state of one stream.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Buf;

use crate::backlog::Lane;
use crate::frame::{Class, Frame};
use crate::lent::Memory;
use crate::limits::MESSAGE_CREDIT;

/// Priorities of streams opened here, by class.
pub(super) const CONTROL: u8 = 128;
pub(super) const BULK: u8 = 16;

/// The class whose limits hold for a stream of this priority.
pub(super) fn class_of(priority: u8) -> Class {
    if priority >= CONTROL { Class::Control } else { Class::Bulk }
}

/// The state of the sending direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendEnd {
    Open,
    /// END goes out with the last queued frame.
    Queued,
    /// A reset that ends the direction goes out.
    Aborting,
    /// The end was transmitted.
    Done,
}

/// The state of the receiving direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecvEnd {
    Open,
    Ended,
    Reset(u32),
}

/// A part of what a stream received.
pub(super) enum Received {
    Frame(Frame),
    /// So many raw bytes, in lent memory.
    Placed(usize),
}

pub(super) struct StreamState {
    pub(super) id: Option<u32>,
    pub(super) remote_opened: bool,
    /// Counts against the number of open streams.
    pub(super) counted: bool,
    pub(super) priority: u8,

    pub(super) queue: VecDeque<Frame>,
    pub(super) queued: usize,
    /// Credit for sending; below zero after a message that cost more than there was.
    pub(super) send_credit: i64,
    pub(super) send_end: SendEnd,
    pub(super) stopped: Option<u32>,
    /// True if the application is told when a frame has left.
    pub(super) room_wanted: bool,
    /// True if it stands in the row of those that want room on the connection.
    pub(super) waiting: bool,
    /// True if it was told that there is room on the connection.
    pub(super) next: bool,
    pub(super) scheduled: bool,
    pub(super) send_handle: bool,

    /// What came and was not taken, each with its cost in credit.
    pub(super) received: VecDeque<(Received, u64)>,
    /// Memory that raw bytes go to, one after the other.
    pub(super) lent: VecDeque<Arc<dyn Memory>>,
    /// The credit that the remote has; below zero after a message that cost more.
    pub(super) recv_allowed: i64,
    /// The window of the remote, in bytes.
    pub(super) window: u64,
    pub(super) unreturned: u64,
    /// Cost of what was taken since the window grew.
    pub(super) used: u64,
    /// Large, and new: the window becomes as large as the connection's allows.
    pub(super) wide: bool,
    pub(super) recv_end: RecvEnd,
    pub(super) discarding: bool,
    pub(super) credit_dirty: bool,
    pub(super) recv_handle: bool,

    pub(super) abort: Option<u32>,
    pub(super) stop: Option<u32>,
    pub(super) reset_dirty: bool,
}

impl StreamState {
    pub(super) fn new(id: Option<u32>, priority: u8, send_credit: u32, window: u32) -> Self {
        Self {
            id,
            remote_opened: id.is_some(),
            counted: true,
            priority,
            queue: VecDeque::new(),
            queued: 0,
            send_credit: send_credit.into(),
            send_end: SendEnd::Open,
            stopped: None,
            room_wanted: false,
            waiting: false,
            next: false,
            scheduled: false,
            send_handle: true,
            received: VecDeque::new(),
            lent: VecDeque::new(),
            recv_allowed: window.into(),
            window: window.into(),
            unreturned: 0,
            used: 0,
            wide: false,
            recv_end: RecvEnd::Open,
            discarding: false,
            credit_dirty: false,
            recv_handle: true,
            abort: None,
            stop: None,
            reset_dirty: false,
        }
    }

    /// The account of its queued bytes.
    pub(super) fn lane(&self) -> Lane {
        Lane { answer: self.remote_opened, class: class_of(self.priority) }
    }

    pub(super) fn enqueue(&mut self, frame: Frame) {
        self.queued += frame.queue_cost();
        self.queue.push_back(frame);
    }

    /// Forgets what is queued; returns its cost.
    pub(super) fn drop_queue(&mut self) -> usize {
        self.queue.clear();
        std::mem::take(&mut self.queued)
    }

    /// The credit to give now, with a window of at most so many bytes.
    pub(super) fn give(&mut self, most: u64) -> u64 {
        let kept = self.unreturned.min(self.window.saturating_sub(most));
        self.window -= kept;
        let room = most.saturating_sub(self.window);
        let grown = if std::mem::take(&mut self.wide) {
            room
        } else if self.used >= self.window / 2 {
            room.min(self.window)
        } else {
            0
        };
        if grown > 0 {
            self.used = 0;
        }
        self.window += grown;
        let given = std::mem::take(&mut self.unreturned) - kept + grown;
        self.recv_allowed += i64::try_from(given).unwrap_or(i64::MAX);
        given
    }

    /// Pays for what came, if the remote might send it.
    pub(super) fn pay(&mut self, cost: u64, message: bool) -> bool {
        let least = if message { cost.min(MESSAGE_CREDIT) } else { cost };
        let fits = self.recv_allowed >= i64::try_from(least).unwrap_or(i64::MAX);
        if fits {
            self.recv_allowed -= i64::try_from(cost).unwrap_or(i64::MAX);
        }
        fits
    }

    /// Keeps what was received: raw bytes in lent memory, as far as there is some.
    pub(super) fn keep(&mut self, mut received: Received, mut cost: u64) {
        if let Received::Frame(Frame::Data(bytes)) = &mut received {
            for lent in &self.lent {
                let put = lent.put(bytes);
                if put > 0 {
                    self.received.push_back((Received::Placed(put), std::mem::take(&mut cost)));
                    bytes.advance(put);
                    if bytes.is_empty() {
                        return;
                    }
                }
            }
        }
        self.received.push_back((received, cost));
    }

    /// From now on raw bytes go to this memory, when none that was lent before has room; those first that
    /// were not taken yet.
    pub(super) fn lend(&mut self, lent: Arc<dyn Memory>) {
        self.lent.push_back(lent);
        for (received, cost) in std::mem::take(&mut self.received) {
            self.keep(received, cost);
        }
    }

    /// Lists lent memory that has room; false if there is none.
    pub(super) fn list_lent(&mut self, all: &mut Vec<(u32, Arc<dyn Memory>)>) -> bool {
        self.lent.retain(|memory| memory.has_room());
        if let Some(id) = self.id {
            all.extend(self.lent.iter().map(|memory| (id, Arc::clone(memory))));
        }
        !self.lent.is_empty()
    }

    /// Forgets what was received and not taken; returns its cost in credit.
    pub(super) fn drop_received(&mut self) -> u64 {
        self.received.drain(..).map(|(_, cost)| cost).sum()
    }

    /// True if a message, data or END waits to be sent.
    pub(super) fn has_frames(&self) -> bool {
        match self.send_end {
            SendEnd::Open => !self.queue.is_empty(),
            SendEnd::Queued => true,
            SendEnd::Aborting | SendEnd::Done => false,
        }
    }
}
