//! The connection machine: streams, credit, pings, go-away. No I/O, no clock, no cipher.
//!
//! In: [`Mux::handle`] for each frame that arrived, [`Mux::handle_timeout`] when
//! [`Mux::poll_timeout`] has come, and the calls of the application (`open`, `push`, `finish`,
//! `reset`, `recv`, ...). Out: [`Mux::poll_transmit`] for frames to send and [`Mux::poll_event`]
//! for what happened; both are to be polled after every input. Time is the age of the connection.

mod frames;
mod queue;
mod receive;
mod stream;
mod timing;
mod transmit;
mod window;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::backlog::Backlog;
use crate::error::{CloseReason, StreamError};
use crate::frame::{Class, Frame, StreamKey};
use crate::hello::Hello;
use crate::lent::Memory;
use crate::limits::{FRAME_COST, MAX_BULK};
pub(crate) use frames::last_word;
use stream::{BULK, CONTROL, Received, RecvEnd, SendEnd, StreamState, class_of};
pub(crate) use window::Window;

/// The settings of one connection.
#[derive(Debug)]
pub(crate) struct MuxConfig {
    pub(crate) initiator: bool,
    pub(crate) control: bool,
    pub(crate) hello: Hello,
    pub(crate) send_queue: usize,
    pub(crate) backlog: Backlog,
    pub(crate) window: Window,
    /// Largest window of a stream, in bytes.
    pub(crate) stream_window: u32,
    pub(crate) ping_interval: Duration,
    pub(crate) dead_after: Duration,
    pub(crate) max_age: Duration,
    pub(crate) drain: Duration,
}

/// An event of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MuxEvent {
    /// The remote opened a stream.
    Opened(StreamKey),
    /// A stream has something to receive, or its end or failure.
    Readable(StreamKey),
    /// A stream has room to send, or failed.
    Writable(StreamKey),
    /// A further stream may be opened.
    Slot,
    /// The connection began to drain, from either side.
    Draining(CloseReason),
    /// Both sides have said their last word: close the transport.
    Finished(CloseReason),
    /// The remote, which this side dialled, wants a bulk connection.
    BulkWanted,
    /// The remote asks for a bulk token.
    BulkAsked,
    /// The remote gave a bulk token.
    BulkToken([u8; 32]),
}

/// The state of the goodbye in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Goodbye {
    None,
    Announced,
    Done,
}

/// The machine. See the module's text for the order of calls.
pub(crate) struct Mux {
    config: MuxConfig,
    remote: Option<Hello>,
    streams: HashMap<StreamKey, StreamState>,
    /// Streams that have lent memory.
    lending: BTreeSet<StreamKey>,
    ids: HashMap<u32, StreamKey>,
    next_key: StreamKey,
    next_id: u32,
    highest_remote: u32,
    /// Streams open on the wire or about to be, by who opened them.
    local_open: u32,
    remote_open: u32,
    slot_wanted: bool,

    send_credit: u64,
    /// Credit that the remote asked back, and that goes with the next transmission.
    returning: Option<u32>,

    ready: BTreeMap<u8, VecDeque<StreamKey>>,
    dirty_credit: VecDeque<StreamKey>,
    dirty_reset: VecDeque<StreamKey>,
    hello_sent: bool,
    pong: Option<[u8; 8]>,
    ping: Option<Duration>,
    ping_sent: Option<Duration>,
    bulk_out: VecDeque<Bytes>,

    drain_reason: Option<CloseReason>,
    drain_until: Option<Duration>,
    sent_goodbye: Goodbye,
    heard_goodbye: Goodbye,
    hard_close: Option<CloseReason>,
    finished: bool,

    heard: Duration,
    /// The time at which something was last sent.
    said: Duration,
    rtt: Option<Duration>,
    events: VecDeque<MuxEvent>,
    wake: bool,
}

impl Mux {
    /// A connection whose handshake has just ended.
    pub(crate) fn new(config: MuxConfig) -> Self {
        Self {
            next_id: if config.initiator { 1 } else { 2 },
            config,
            remote: None,
            streams: HashMap::new(),
            lending: BTreeSet::new(),
            ids: HashMap::new(),
            next_key: 0,
            highest_remote: 0,
            local_open: 0,
            remote_open: 0,
            slot_wanted: false,
            send_credit: 0,
            returning: None,
            ready: BTreeMap::new(),
            dirty_credit: VecDeque::new(),
            dirty_reset: VecDeque::new(),
            hello_sent: false,
            pong: None,
            ping: None,
            ping_sent: None,
            bulk_out: VecDeque::new(),
            drain_reason: None,
            drain_until: None,
            sent_goodbye: Goodbye::None,
            heard_goodbye: Goodbye::None,
            hard_close: None,
            finished: false,
            heard: Duration::ZERO,
            said: Duration::ZERO,
            rtt: None,
            events: VecDeque::new(),
            wake: true,
        }
    }

    /// The remote's hello, once it has come.
    pub(crate) fn remote_hello(&self) -> Option<&Hello> {
        self.remote.as_ref()
    }

    #[cfg(test)]
    pub(crate) fn hello_bytes(&self) -> Vec<u8> {
        self.config.hello.encode()
    }

    /// The size of the remote's window, and the credit that it has now.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn window(&self) -> (u32, u64) {
        (self.config.window.size(), self.config.window.allowed())
    }

    /// The credit that this side has for sending.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn credit_left(&self) -> u64 {
        self.send_credit
    }

    /// The cost in credit of received frames that wait for the application.
    pub(crate) fn held(&self) -> u64 {
        let received = self.streams.values().flat_map(|stream| &stream.received);
        received.map(|(_, cost)| cost).sum()
    }

    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// The reason for which the connection takes no new streams, if it takes none.
    pub(crate) fn draining(&self) -> Option<&CloseReason> {
        self.drain_reason.as_ref()
    }

    /// Streams under way.
    pub(crate) fn load(&self) -> u32 {
        self.local_open + self.remote_open
    }

    /// Opens a stream. `None`: no slot is free (a [`MuxEvent::Slot`] will come) or the connection
    /// is draining.
    pub(crate) fn open(&mut self, class: Class) -> Option<StreamKey> {
        let remote = self.remote.as_ref()?;
        if self.drain_reason.is_some() || self.hard_close.is_some() {
            return None;
        }
        if self.local_open >= remote.streams {
            self.slot_wanted = true;
            return None;
        }
        let priority = match class {
            Class::Control => CONTROL,
            Class::Bulk => BULK,
        };
        let (credit, window) = (remote.stream_window, self.config.hello.stream_window);
        self.local_open += 1;
        Some(self.insert(StreamState::new(None, priority, credit, window)))
    }

    fn insert(&mut self, state: StreamState) -> StreamKey {
        let key = self.next_key;
        self.next_key += 1;
        self.streams.insert(key, state);
        key
    }

    /// Ends the sending direction after what is queued.
    pub(crate) fn finish(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(&key) else {
            return;
        };
        stream.send_handle = false;
        if stream.send_end == SendEnd::Open {
            stream.send_end = SendEnd::Queued;
            if stream.id.is_none() && stream.queue.is_empty() && !stream.recv_handle {
                return self.vanish(key);
            }
            self.schedule(key);
        }
        self.collect(key);
    }

    /// Ends both directions at once; what is queued or buffered is dropped.
    pub(crate) fn reset(&mut self, key: StreamKey, code: u32) {
        let Some(stream) = self.streams.get_mut(&key) else {
            return;
        };
        stream.send_handle = false;
        if stream.send_end != SendEnd::Done {
            self.drop_queue(key);
            let Some(stream) = self.streams.get_mut(&key) else {
                return;
            };
            if stream.id.is_none() {
                stream.recv_end = RecvEnd::Reset(code);
                stream.send_end = SendEnd::Done;
                self.release_slot(key);
                self.events.push_back(MuxEvent::Readable(key));
                return self.collect(key);
            }
            stream.send_end = SendEnd::Aborting;
            stream.abort = Some(code);
            self.mark_reset(key);
        }
        self.discard(key, code);
        self.events.push_back(MuxEvent::Readable(key));
        self.collect(key);
    }

    /// The application dropped the receiving half: what still comes is thrown away, and the
    /// remote is asked to stop.
    pub(crate) fn drop_receiver(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(&key) else {
            return;
        };
        stream.recv_handle = false;
        if stream.id.is_none() && stream.send_end == SendEnd::Queued && stream.queue.is_empty() {
            return self.vanish(key);
        }
        self.discard(key, 0);
        self.collect(key);
    }

    fn discard(&mut self, key: StreamKey, code: u32) {
        let Some(stream) = self.streams.get_mut(&key) else {
            return;
        };
        let freed = stream.drop_received();
        if stream.recv_end == RecvEnd::Open && !stream.discarding {
            stream.discarding = true;
            stream.stop = Some(code);
            self.mark_reset(key);
        }
        self.return_credit(freed);
    }

    /// The next frame of a stream, if one is there. `Ok(None)` inside `Some` is the end.
    pub(crate) fn recv(&mut self, key: StreamKey) -> Option<Result<Option<Frame>, StreamError>> {
        let Some(stream) = self.streams.get_mut(&key) else {
            return Some(Err(StreamError::Finished));
        };
        if stream.discarding {
            return Some(Err(StreamError::Finished));
        }
        let end = stream.recv_end;
        while let Some(received) = self.take(key) {
            // Bytes that are in lent memory are no frame.
            if let Received::Frame(frame) = received {
                return Some(Ok(Some(frame)));
            }
        }
        match end {
            RecvEnd::Open => None,
            RecvEnd::Ended => Some(Ok(None)),
            RecvEnd::Reset(code) => Some(Err(StreamError::Reset(code))),
        }
    }

    /// The next raw bytes of a stream that were put into lent memory: how many. 0 if something else is next.
    pub(crate) fn placed(&mut self, key: StreamKey) -> Option<Result<usize, StreamError>> {
        let next = self.streams.get(&key).and_then(|stream| stream.received.front());
        match next {
            Some((Received::Placed(count), _)) => {
                let count = *count;
                self.take(key);
                Some(Ok(count))
            }
            Some((Received::Frame(_), _)) => Some(Ok(0)),
            // Its end, or the lack of one.
            None => self.recv(key).map(|end| end.map(|_| 0)),
        }
    }

    /// Takes what a stream received next, and frees its credit.
    fn take(&mut self, key: StreamKey) -> Option<Received> {
        let stream = self.streams.get_mut(&key)?;
        let (received, cost) = stream.received.pop_front()?;
        stream.unreturned += cost;
        stream.used += cost;
        if stream.unreturned >= stream.window / 4 {
            self.mark_credit(key);
        }
        self.return_credit(cost);
        Some(received)
    }

    /// Has raw bytes of a stream put into memory, as long as there is room in it.
    pub(crate) fn lend(&mut self, key: StreamKey, memory: Arc<dyn Memory>) {
        if let Some(stream) = self.streams.get_mut(&key) {
            stream.lend(memory);
            self.lending.insert(key);
        }
    }

    /// Lent memory with room, by the ids of its streams on the wire, that of one stream in the order in
    /// which it is filled.
    pub(crate) fn lent(&mut self) -> Vec<(u32, Arc<dyn Memory>)> {
        let (mut all, streams) = (Vec::new(), &mut self.streams);
        self.lending
            .retain(|key| streams.get_mut(key).is_some_and(|stream| stream.list_lent(&mut all)));
        all
    }

    fn return_credit(&mut self, cost: u64) {
        self.wake |= self.config.window.take(cost);
    }

    fn mark_credit(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(&key) else {
            return;
        };
        if stream.recv_end == RecvEnd::Open && !std::mem::replace(&mut stream.credit_dirty, true) {
            self.dirty_credit.push_back(key);
            self.wake = true;
        }
    }

    /// A large stream is there: what it brings should not wait for its window to grow by use.
    fn widen(&mut self, key: StreamKey) {
        if let Some(stream) = self.streams.get_mut(&key)
            && class_of(stream.priority) == Class::Bulk
        {
            stream.wide = true;
            self.mark_credit(key);
        }
    }

    /// Wants a bulk connection: asks for a token, or asks the dialling side to ask.
    pub(crate) fn want_bulk(&mut self) {
        let op: &'static [u8] = if self.config.initiator { &[1] } else { &[0] };
        self.queue_bulk(Bytes::from_static(op));
    }

    /// Answers [`MuxEvent::BulkAsked`].
    pub(crate) fn give_token(&mut self, token: &[u8; 32]) {
        self.queue_bulk([&[2], &token[..]].concat().into());
    }

    fn queue_bulk(&mut self, payload: Bytes) {
        if self.config.control && self.bulk_out.len() < 2 * MAX_BULK {
            self.bulk_out.push_back(payload);
            self.wake = true;
        }
    }

    /// The next thing that happened.
    pub(crate) fn poll_event(&mut self) -> Option<MuxEvent> {
        self.events.pop_front()
    }

    /// True if there may be something new to transmit since the last call.
    pub(crate) fn take_wake(&mut self) -> bool {
        std::mem::take(&mut self.wake)
    }

    fn schedule(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(&key) else {
            return;
        };
        if !stream.scheduled && stream.has_frames() {
            stream.scheduled = true;
            self.ready.entry(stream.priority).or_default().push_back(key);
        }
        self.wake = true;
    }

    fn mark_reset(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(&key) else {
            return;
        };
        if stream.id.is_some() && !stream.reset_dirty {
            stream.reset_dirty = true;
            self.dirty_reset.push_back(key);
            self.wake = true;
        }
    }

    /// Drops a stream of which nothing was ever sent.
    fn vanish(&mut self, key: StreamKey) {
        self.release_slot(key);
        self.streams.remove(&key);
        self.wake = true;
    }

    /// Frees what a stream holds, once both its directions have ended on the wire.
    fn collect(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get(&key) else {
            return;
        };
        if stream.send_end != SendEnd::Done || stream.recv_end == RecvEnd::Open {
            return;
        }
        self.release_slot(key);
        let Some(stream) = self.streams.get_mut(&key) else {
            return;
        };
        if !stream.recv_handle && !stream.send_handle {
            let freed = stream.drop_received();
            self.streams.remove(&key);
            self.return_credit(freed);
        }
        self.wake |= self.drain_reason.is_some();
    }

    fn release_slot(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(&key) else {
            return;
        };
        if !std::mem::take(&mut stream.counted) {
            return;
        }
        if let Some(id) = stream.id {
            self.ids.remove(&id);
        }
        if stream.remote_opened {
            self.remote_open -= 1;
        } else {
            self.local_open -= 1;
            if std::mem::take(&mut self.slot_wanted) {
                self.events.push_back(MuxEvent::Slot);
            }
        }
    }
}

/// The cost in credit of a frame with `len` bytes of payload.
fn cost(len: usize) -> u64 {
    u64::from(FRAME_COST) + len as u64
}
