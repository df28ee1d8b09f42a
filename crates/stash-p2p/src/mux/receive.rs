//! Frames that arrive, and everything that can be wrong with them.

use std::time::Duration;

use bytes::Bytes;

use super::stream::{Received, RecvEnd, SendEnd, StreamState};
use super::{Goodbye, Mux, MuxEvent, cost};
use crate::error::{CloseReason, ProtocolError};
use crate::frame::{Frame, StreamKey};
use crate::hello::Hello;
use crate::intake::Inbound;
use crate::limits::{FRAME_COST, MAX_BULK, MAX_CREDIT};
use crate::wire::{ACK, END, Header, Kind};

impl Mux {
    /// Bytes arrived, be they a whole frame or not.
    pub(crate) fn handle_bytes(&mut self, now: Duration) {
        self.heard = now;
    }

    /// Takes one frame, or a piece of one. After an error the connection must be closed.
    pub(crate) fn handle(&mut self, now: Duration, inbound: Inbound) -> Result<(), CloseReason> {
        self.heard = now;
        let header = match &inbound {
            Inbound::Whole(header, _)
            | Inbound::Piece { header, .. }
            | Inbound::Placed { header, .. } => *header,
        };
        // In the place of its hello a remote may say why it speaks no further.
        let turned_away = header.kind == Kind::GoAway && header.has(ACK);
        if (header.kind == Kind::Hello) != self.remote.is_none()
            && !(self.remote.is_none() && turned_away)
        {
            return Err(CloseReason::Protocol(ProtocolError::HelloOrder));
        }
        match inbound {
            Inbound::Piece { header, bytes, first, last } => {
                let cost = piece_cost(first, bytes.len());
                let end = last && header.has(END);
                let kept = (!bytes.is_empty()).then(|| Received::Frame(Frame::Data(bytes)));
                self.stream_frame(&header, kept, cost, end).map_err(CloseReason::Protocol)
            }
            Inbound::Placed { header, len, first, last } => {
                let (cost, end) = (piece_cost(first, len), last && header.has(END));
                let kept = Some(Received::Placed(len));
                self.stream_frame(&header, kept, cost, end).map_err(CloseReason::Protocol)
            }
            Inbound::Whole(header, bytes) => self.handle_whole(now, &header, bytes),
        }
    }

    fn handle_whole(
        &mut self,
        now: Duration,
        header: &Header,
        bytes: Bytes,
    ) -> Result<(), CloseReason> {
        let handled = match header.kind {
            Kind::Message => {
                let (cost, end) = (cost(bytes.len()), header.has(END));
                let kept = Some(Received::Frame(Frame::Message(bytes)));
                self.stream_frame(header, kept, cost, end)
            }
            Kind::Credit => self.credit(header.stream, word(&bytes)),
            Kind::Reset => self.reset_frame(header, word(&bytes)),
            Kind::Ping => {
                self.ping_frame(now, header, &bytes);
                Ok(())
            }
            Kind::Hello => self.hello(&bytes),
            Kind::Bulk => self.bulk(&bytes),
            Kind::Reclaim => self.reclaim(header, word(&bytes)),
            Kind::GoAway => return self.go_away(now, header, word(&bytes)),
            Kind::Data | Kind::Skip => Ok(()),
        };
        handled.map_err(CloseReason::Protocol)
    }

    fn hello(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        let hello = Hello::decode(bytes)?;
        self.send_credit = u64::from(hello.connection_window);
        self.remote = Some(hello);
        self.wake = true;
        Ok(())
    }

    /// The key of the stream that a message or data frame belongs to, opening it if it is new.
    fn stream_of(&mut self, header: &Header) -> Result<StreamKey, ProtocolError> {
        let id = header.stream;
        if let Some(key) = self.ids.get(&id) {
            return Ok(*key);
        }
        if self.is_ours(id) {
            return Err(self.unknown_own(id));
        }
        if id <= self.highest_remote {
            return Err(ProtocolError::StreamReused(id));
        }
        if self.heard_goodbye == Goodbye::Done {
            return Err(ProtocolError::OpenedAfterGoAway(id));
        }
        if self.remote_open >= self.config.hello.streams {
            return Err(ProtocolError::TooManyStreams(self.config.hello.streams));
        }
        self.highest_remote = id;
        self.remote_open += 1;
        let credit = self.remote.as_ref().map_or(0, |hello| hello.stream_window);
        let window = self.config.hello.stream_window;
        let key = self.insert(StreamState::new(Some(id), header.priority, credit, window));
        self.ids.insert(id, key);
        self.events.push_back(MuxEvent::Opened(key));
        self.widen(key);
        Ok(key)
    }

    fn is_ours(&self, id: u32) -> bool {
        (id % 2 == 1) == self.config.initiator
    }

    fn unknown_own(&self, id: u32) -> ProtocolError {
        if id >= self.next_id {
            ProtocolError::ResponseWithoutRequest(id)
        } else {
            ProtocolError::StreamReused(id)
        }
    }

    fn stream_frame(
        &mut self,
        header: &Header,
        received: Option<Received>,
        cost: u64,
        end: bool,
    ) -> Result<(), ProtocolError> {
        let key = self.stream_of(header)?;
        let Some(stream) = self.streams.get_mut(&key) else {
            return Ok(());
        };
        if stream.recv_end != RecvEnd::Open {
            return Err(ProtocolError::FrameAfterEnd(header.stream));
        }
        if !stream.pay(cost, header.kind == Kind::Message) {
            return Err(ProtocolError::CreditExceeded(header.stream));
        }
        self.config.window.pay(self.heard, cost)?;
        if end {
            stream.recv_end = RecvEnd::Ended;
        }
        let kept = match received {
            Some(received) if !stream.discarding => {
                stream.keep(received, cost);
                true
            }
            _ => false,
        };
        if stream.discarding {
            stream.unreturned += cost;
        }
        if !kept {
            self.return_credit(cost);
        }
        self.events.push_back(MuxEvent::Readable(key));
        self.collect(key);
        Ok(())
    }

    fn credit(&mut self, id: u32, amount: u32) -> Result<(), ProtocolError> {
        if amount == 0 {
            return Err(ProtocolError::BadCredit(amount));
        }
        self.wake = true;
        if id == 0 {
            let sum = self.send_credit + u64::from(amount);
            self.send_credit = sum;
            return (sum <= MAX_CREDIT).then_some(()).ok_or(ProtocolError::BadCredit(amount));
        }
        let Some(key) = self.known(id)? else {
            return Ok(());
        };
        if let Some(stream) = self.streams.get_mut(&key) {
            stream.send_credit += i64::from(amount);
            if u64::try_from(stream.send_credit).is_ok_and(|sum| sum > MAX_CREDIT) {
                return Err(ProtocolError::BadCredit(amount));
            }
        }
        self.schedule(key);
        Ok(())
    }

    /// The stream with this id; `None` if it has ended, which credit and resets may cross.
    fn known(&self, id: u32) -> Result<Option<StreamKey>, ProtocolError> {
        if let Some(key) = self.ids.get(&id) {
            return Ok(Some(*key));
        }
        let opened = if self.is_ours(id) { id < self.next_id } else { id <= self.highest_remote };
        opened.then_some(None).ok_or(ProtocolError::ResponseWithoutRequest(id))
    }

    fn reset_frame(&mut self, header: &Header, code: u32) -> Result<(), ProtocolError> {
        if header.flags == 0 {
            return Err(ProtocolError::BadFlags { kind: Kind::Reset.code(), flags: 0 });
        }
        let Some(key) = self.known(header.stream)? else {
            return Ok(());
        };
        let Some(stream) = self.streams.get_mut(&key) else {
            return Ok(());
        };
        let mut freed = 0;
        if header.has(END) {
            if stream.recv_end != RecvEnd::Open {
                return Err(ProtocolError::FrameAfterEnd(header.stream));
            }
            stream.recv_end = RecvEnd::Reset(code);
            freed = stream.drop_received();
        }
        if header.has(ACK) && stream.send_end != SendEnd::Done {
            stream.stopped = Some(code);
            stream.send_end = SendEnd::Aborting;
            stream.abort = Some(code);
            self.drop_queue(key);
            self.mark_reset(key);
        }
        self.return_credit(freed);
        self.events.push_back(MuxEvent::Readable(key));
        self.events.push_back(MuxEvent::Writable(key));
        self.collect(key);
        Ok(())
    }

    fn ping_frame(&mut self, now: Duration, header: &Header, bytes: &[u8]) {
        let Ok(stamp) = <[u8; 8]>::try_from(bytes) else {
            return;
        };
        if header.has(ACK) {
            if let Some(sent) = self.ping_sent.take() {
                self.rtt = now.checked_sub(sent);
                // The next ping is due earlier than what the driver waits for.
                self.wake = true;
            }
        } else {
            // Only the latest ping is answered, so pings cannot fill a queue.
            self.pong = Some(stamp);
            self.wake = true;
        }
    }

    fn bulk(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        let event = match (bytes, self.config.initiator) {
            ([0], true) => MuxEvent::BulkWanted,
            ([1], false) => MuxEvent::BulkAsked,
            ([2, token @ ..], true) => {
                let token = token.try_into().map_err(|_| ProtocolError::BulkOutOfPlace)?;
                MuxEvent::BulkToken(token)
            }
            _ => return Err(ProtocolError::BulkOutOfPlace),
        };
        if !self.config.control || self.bulk_out.len() >= 2 * MAX_BULK {
            return Err(ProtocolError::BulkOutOfPlace);
        }
        self.events.push_back(event);
        Ok(())
    }

    /// The remote wants credit back, or gives some back.
    fn reclaim(&mut self, header: &Header, amount: u32) -> Result<(), ProtocolError> {
        self.wake = true;
        if header.has(ACK) {
            return self.config.window.returned(amount).map(drop);
        }
        if amount == 0 || self.returning.is_some() {
            return Err(ProtocolError::ReclaimOutOfTurn);
        }
        let unused = u32::try_from(self.send_credit).unwrap_or(u32::MAX).min(amount);
        self.send_credit -= u64::from(unused);
        self.returning = Some(unused);
        Ok(())
    }

    fn go_away(&mut self, now: Duration, header: &Header, code: u32) -> Result<(), CloseReason> {
        let reason = CloseReason::from_code(code);
        self.start_drain(now, reason.clone());
        self.wake = true;
        if header.has(ACK) {
            return Err(reason);
        }
        let heard = if header.has(END) { Goodbye::Done } else { Goodbye::Announced };
        self.heard_goodbye = self.heard_goodbye.max(heard);
        self.check_finished();
        Ok(())
    }
}

/// The cost in credit of a piece of a data frame.
fn piece_cost(first: bool, len: usize) -> u64 {
    let fee = if first { FRAME_COST } else { 0 };
    u64::from(fee) + len as u64
}

fn word(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_le_bytes)
}
