//! One stream's state.

use std::collections::VecDeque;

use crate::stream::Frame;

/// How far the sending direction is.
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

/// How far the receiving direction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecvEnd {
    Open,
    Ended,
    Reset(u32),
}

pub(super) struct StreamState {
    pub(super) id: Option<u32>,
    pub(super) remote_opened: bool,
    /// Counts against the number of open streams.
    pub(super) counted: bool,
    pub(super) priority: u8,

    pub(super) queue: VecDeque<Frame>,
    pub(super) queued: usize,
    pub(super) send_credit: u64,
    pub(super) send_end: SendEnd,
    pub(super) stopped: Option<u32>,
    pub(super) room_wanted: bool,
    pub(super) scheduled: bool,
    pub(super) send_handle: bool,

    pub(super) received: VecDeque<(Frame, u64)>,
    pub(super) recv_allowed: u64,
    pub(super) unreturned: u64,
    pub(super) recv_end: RecvEnd,
    pub(super) discarding: bool,
    pub(super) credit_dirty: bool,
    pub(super) recv_handle: bool,

    pub(super) abort: Option<u32>,
    pub(super) stop: Option<u32>,
    pub(super) reset_dirty: bool,
}

impl StreamState {
    pub(super) fn new(id: Option<u32>, priority: u8, send_credit: u64, recv_window: u64) -> Self {
        Self {
            id,
            remote_opened: id.is_some(),
            counted: true,
            priority,
            queue: VecDeque::new(),
            queued: 0,
            send_credit,
            send_end: SendEnd::Open,
            stopped: None,
            room_wanted: false,
            scheduled: false,
            send_handle: true,
            received: VecDeque::new(),
            recv_allowed: recv_window,
            unreturned: 0,
            recv_end: RecvEnd::Open,
            discarding: false,
            credit_dirty: false,
            recv_handle: true,
            abort: None,
            stop: None,
            reset_dirty: false,
        }
    }

    pub(super) fn enqueue(&mut self, frame: Frame) {
        self.queued += frame.queue_cost();
        self.queue.push_back(frame);
    }

    pub(super) fn drop_queue(&mut self) {
        self.queue.clear();
        self.queued = 0;
    }

    /// Forgets what was received and not taken; returns its cost in credit.
    pub(super) fn drop_received(&mut self) -> u64 {
        self.received.drain(..).map(|(_, cost)| cost).sum()
    }

    /// Whether a message, data or END waits to be sent.
    pub(super) fn has_frames(&self) -> bool {
        match self.send_end {
            SendEnd::Open => !self.queue.is_empty(),
            SendEnd::Queued => true,
            SendEnd::Aborting | SendEnd::Done => false,
        }
    }
}
