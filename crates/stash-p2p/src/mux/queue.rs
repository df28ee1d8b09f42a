//! The sending queue, as the application fills it. Streams queue frames while there is room, and
//! wait for it in turn.

use super::stream::{SendEnd, class_of};
use super::{Mux, MuxEvent};
use crate::backlog::Lane;
use crate::error::StreamError;
use crate::frame::{Class, Frame, StreamKey};

impl Mux {
    /// Queues a frame. `Ok(false)`: the queue is full, a [`MuxEvent::Writable`] will come.
    pub(crate) fn push(&mut self, key: StreamKey, frame: &Frame) -> Result<bool, StreamError> {
        let limit = self.config.send_queue;
        let stream = self.streams.get_mut(&key).ok_or(StreamError::Finished)?;
        if let Some(code) = stream.stopped {
            return Err(StreamError::Reset(code));
        }
        if stream.send_end != SendEnd::Open {
            return Err(StreamError::Finished);
        }
        let (lane, cost) = (stream.lane(), frame.queue_cost());
        let backlog = &mut self.config.backlog;
        if !backlog.has_room(lane, cost, (stream.queued, limit), stream.next) {
            if stream.queued > 0 {
                stream.room_wanted = true;
            } else if !std::mem::replace(&mut stream.waiting, true) {
                backlog.wait(lane, key, cost);
            }
            return Ok(false);
        }
        stream.next = false;
        backlog.add(lane, cost);
        stream.enqueue(frame.clone());
        self.schedule(key);
        Ok(true)
    }

    /// Forgets what a stream has queued.
    pub(super) fn drop_queue(&mut self, key: StreamKey) {
        if let Some(stream) = self.streams.get_mut(&key) {
            let lane = stream.lane();
            self.config.backlog.remove(lane, stream.drop_queue());
            self.make_room(lane);
        }
    }

    /// The connection is over: nothing that is queued will leave, nor more come.
    pub(crate) fn end(&mut self) {
        let held = self.held();
        self.config.window.close(held);
        let mut keys = Vec::from_iter(self.streams.keys().copied());
        // In an order that a run has again.
        keys.sort_unstable();
        keys.into_iter().for_each(|key| self.drop_queue(key));
    }

    /// Tells those that find room now.
    pub(super) fn make_room(&mut self, lane: Lane) {
        let mut promised = 0;
        while let Some(key) = self.config.backlog.next(lane, &mut promised) {
            if let Some(stream) = self.streams.get_mut(&key) {
                (stream.waiting, stream.next) = (false, true);
                self.events.push_back(MuxEvent::Writable(key));
            }
        }
    }

    /// True if the remote takes its answers of a class more slowly than it asks.
    pub(crate) fn is_clogged(&self, class: Class) -> bool {
        self.config.backlog.is_clogged(class)
    }

    /// The class of a stream; of one that is over, any.
    pub(crate) fn class(&self, key: StreamKey) -> Class {
        self.streams.get(&key).map_or(Class::Control, |stream| class_of(stream.priority))
    }
}
