//! Frames that leave, in their order: the connection's own, then those of streams by priority.

use std::time::Duration;

use bytes::{Buf, Bytes};

use super::frames::{credit, goodbye, last_word, own, reclaim};
use super::stream::{RecvEnd, SendEnd, StreamState, class_of};
use super::{Goodbye, Mux, MuxEvent, cost};
use crate::error::CloseReason;
use crate::frame::{Class, Frame, StreamKey};
use crate::limits::{FRAME_COST, MESSAGE_CREDIT};
use crate::packer::Segment;
use crate::rate::Room;
use crate::wire::{ACK, END, Header, Kind};

/// The result of a try to send one frame of a stream.
enum Try {
    Sent,
    /// The stream's own credit is used up.
    StreamFull,
    /// The connection's credit is used up.
    ConnectionFull,
    Nothing,
}

impl Mux {
    /// Appends frames to `out`, about as many bytes as there is room for. If it appends none,
    /// nothing is to be sent now. Returns the class of the most urgent stream that waits for
    /// nothing but room.
    pub(crate) fn poll_transmit(
        &mut self,
        now: Duration,
        out: &mut Vec<Segment>,
        room: Room,
    ) -> Option<Class> {
        if self.finished {
            return None;
        }
        if let Some(reason) = self.hard_close.clone() {
            self.finished = true;
            out.push(last_word(&reason));
            self.events.push_back(MuxEvent::Finished(reason));
            return None;
        }
        let own = out.len();
        self.transmit_own(now, out);
        let held = self.transmit_streams(out, room);
        self.transmit_done(out);
        if out.len() > own {
            self.said = now;
        }
        held
    }

    /// Sends frames of the most urgent streams while there is room.
    fn transmit_streams(&mut self, out: &mut Vec<Segment>, mut room: Room) -> Option<Class> {
        loop {
            let priority = self.most_urgent()?;
            let class = class_of(priority);
            if room.holds(class) {
                return Some(class);
            }
            let key = self.ready.get_mut(&priority)?.pop_front()?;
            match self.transmit_frame(key, out, room.frame) {
                Try::Sent => {
                    let sent = out.last().map_or(0, Segment::len);
                    room.bytes = room.bytes.saturating_sub(sent);
                    self.after_frame(key);
                }
                Try::ConnectionFull => {
                    // Nothing less urgent may use up the credit that this one waits for.
                    self.ready.entry(priority).or_default().push_front(key);
                    return None;
                }
                Try::StreamFull | Try::Nothing => {
                    if let Some(stream) = self.streams.get_mut(&key) {
                        stream.scheduled = false;
                    }
                }
            }
        }
    }

    /// The priority of the streams whose turn it is.
    fn most_urgent(&mut self) -> Option<u8> {
        while let Some(entry) = self.ready.last_entry() {
            if !entry.get().is_empty() {
                return Some(*entry.key());
            }
            entry.remove();
        }
        None
    }

    fn transmit_own(&mut self, now: Duration, out: &mut Vec<Segment>) {
        if !self.hello_sent {
            self.hello_sent = true;
            let hello = Bytes::from(self.config.hello.encode());
            out.push(own(Kind::Hello, 0, hello));
        }
        if let Some(stamp) = self.pong.take() {
            out.push(own(Kind::Ping, ACK, Bytes::copy_from_slice(&stamp)));
        }
        if self.ping.take().is_some() {
            let micros = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
            self.ping_sent.get_or_insert(now);
            out.push(own(Kind::Ping, 0, Bytes::copy_from_slice(&micros.to_le_bytes())));
        }
        while let Some(payload) = self.bulk_out.pop_front() {
            out.push(own(Kind::Bulk, 0, payload));
        }
        if self.remote.is_none() {
            return;
        }
        if let Some(reason) = &self.drain_reason
            && self.sent_goodbye == Goodbye::None
        {
            self.sent_goodbye = Goodbye::Announced;
            out.push(goodbye(reason, 0));
        }
        if let Some(unused) = self.returning.take() {
            out.push(reclaim(ACK, unused));
        }
        if let Some(amount) = self.config.window.poll_ask() {
            out.push(reclaim(0, amount));
        }
        let given = self.config.window.give(now);
        out.extend((given > 0).then(|| credit(0, given)));
        self.transmit_stream_control(out);
    }

    fn transmit_stream_control(&mut self, out: &mut Vec<Segment>) {
        let first = self.config.hello.stream_window;
        // One stream alone may not use up the connection.
        let most = self.config.stream_window.min(self.config.window.size() / 2).max(first);
        while let Some(key) = self.dirty_credit.pop_front() {
            let Some(stream) = self.streams.get_mut(&key) else {
                continue;
            };
            stream.credit_dirty = false;
            if let (Some(id), RecvEnd::Open) = (stream.id, stream.recv_end) {
                let given = stream.give(most.into());
                out.extend((given > 0).then(|| credit(id, given)));
            }
        }
        while let Some(key) = self.dirty_reset.pop_front() {
            let Some(stream) = self.streams.get_mut(&key) else {
                continue;
            };
            stream.reset_dirty = false;
            out.extend(reset(stream));
            self.collect(key);
        }
    }

    fn transmit_frame(&mut self, key: StreamKey, out: &mut Vec<Segment>, frame: usize) -> Try {
        let Some(stream) = self.streams.get_mut(&key) else {
            return Try::Nothing;
        };
        if !stream.has_frames() {
            return Try::Nothing;
        }
        let ends = stream.send_end == SendEnd::Queued;
        let want = match stream.queue.front() {
            Some(Frame::Message(bytes)) => bytes.len(),
            Some(Frame::Data(bytes)) => bytes.len().min(frame),
            None => 0,
        };
        // Data may go in part, if the part is worth a frame.
        let splits = !matches!(stream.queue.front(), Some(Frame::Message(_)));
        let least = cost(if splits { want.min(1024) } else { want });
        let own = u64::try_from(stream.send_credit).unwrap_or(0);
        if own < if splits { least } else { least.min(MESSAGE_CREDIT) } {
            return Try::StreamFull;
        }
        if self.send_credit < least {
            return Try::ConnectionFull;
        }
        let credit = if splits { own.min(self.send_credit) } else { self.send_credit };
        let credit = usize::try_from(credit - u64::from(FRAME_COST)).unwrap_or(usize::MAX);
        let (len, opens) = (want.min(credit), stream.id.is_none());
        let id = *stream.id.get_or_insert_with(|| {
            let id = self.next_id;
            self.next_id += 2;
            self.ids.insert(id, key);
            id
        });
        let (lane, queued) = (stream.lane(), stream.queued);
        let (kind, payload) = stream.take_frame(len);
        self.config.backlog.remove(lane, queued - stream.queued);
        let last = ends && stream.queue.is_empty();
        if last {
            stream.send_end = SendEnd::Done;
        }
        let paid = cost(payload.len());
        stream.send_credit -= i64::try_from(paid).unwrap_or(i64::MAX);
        self.send_credit -= paid;
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let flags = if last { END } else { 0 };
        let header = Header { kind, flags, priority: stream.priority, stream: id, len };
        out.push(Segment::new(header, payload));
        if opens {
            self.widen(key);
        }
        Try::Sent
    }

    fn after_frame(&mut self, key: StreamKey) {
        let limit = self.config.send_queue;
        let Some(stream) = self.streams.get_mut(&key) else {
            return;
        };
        let lane = stream.lane();
        if stream.room_wanted && stream.queued < limit {
            stream.room_wanted = false;
            self.events.push_back(MuxEvent::Writable(key));
        }
        if stream.has_frames() {
            self.ready.entry(stream.priority).or_default().push_back(key);
        } else {
            stream.scheduled = false;
        }
        if stream.stop.is_some() || stream.abort.is_some() {
            self.mark_reset(key);
        }
        self.collect(key);
        self.make_room(lane);
    }

    /// The last word, once every stream has ended and the other side opens no more.
    fn transmit_done(&mut self, out: &mut Vec<Segment>) {
        let quiet = self.load() == 0
            && self.sent_goodbye == Goodbye::Announced
            && self.heard_goodbye >= Goodbye::Announced;
        if !quiet {
            return;
        }
        let reason = self.drain_reason.clone().unwrap_or(CloseReason::Shutdown);
        self.sent_goodbye = Goodbye::Done;
        out.push(goodbye(&reason, END));
        self.check_finished();
    }

    pub(super) fn check_finished(&mut self) {
        if self.sent_goodbye == Goodbye::Done && self.heard_goodbye == Goodbye::Done {
            self.finished = true;
            let reason = self.drain_reason.clone().unwrap_or(CloseReason::Shutdown);
            self.events.push_back(MuxEvent::Finished(reason));
        }
    }
}

impl StreamState {
    fn take_frame(&mut self, len: usize) -> (Kind, Bytes) {
        match self.queue.front_mut() {
            Some(Frame::Data(bytes)) if bytes.len() > len => {
                self.queued -= len;
                let part = bytes.slice(..len);
                bytes.advance(len);
                (Kind::Data, part)
            }
            Some(frame) => {
                self.queued -= frame.queue_cost();
                match self.queue.pop_front() {
                    Some(Frame::Message(bytes)) => (Kind::Message, bytes),
                    Some(Frame::Data(bytes)) => (Kind::Data, bytes),
                    None => (Kind::Data, Bytes::new()),
                }
            }
            None => (Kind::Data, Bytes::new()),
        }
    }
}

/// The reset frame that a stream owes, if it still means anything.
fn reset(stream: &mut StreamState) -> Option<Segment> {
    let id = stream.id?;
    let abort = stream.abort.take().filter(|_| stream.send_end == SendEnd::Aborting);
    let stop = stream.stop.take().filter(|_| stream.recv_end == RecvEnd::Open);
    let mut flags = 0;
    if abort.is_some() {
        flags |= END;
        stream.send_end = SendEnd::Done;
    }
    if stop.is_some() {
        flags |= ACK;
    }
    let code = abort.or(stop)?;
    let header = Header { flags, stream: id, ..Header::plain(Kind::Reset, 4) };
    Some(Segment::new(header, Bytes::copy_from_slice(&code.to_le_bytes())))
}
