//! A stream: one request and its response, each a row of messages and raw bytes.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::StreamError;
use crate::limits::MAX_MESSAGE;
use crate::link::Link;
use crate::mux::StreamKey;

/// Largest piece that `data` hands to the queue at once, in bytes.
const PIECE: usize = 256 * 1024;

/// What a stream carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A whole message, as it was sent.
    Message(Bytes),
    /// A piece of a byte stream, of any length but zero. Boundaries mean nothing.
    Data(Bytes),
}

impl Frame {
    /// What it weighs in a queue, in bytes.
    pub(crate) fn queue_cost(&self) -> usize {
        match self {
            Self::Message(bytes) => bytes.len() + 64,
            Self::Data(bytes) => bytes.len(),
        }
    }
}

/// Both directions of a stream.
#[derive(Debug)]
pub struct Stream {
    send: SendStream,
    recv: RecvStream,
}

/// The sending direction. Dropped without [`finish`](Self::finish), it resets the stream with
/// code 0, both ways.
#[derive(Debug)]
pub struct SendStream {
    link: Arc<Link>,
    key: StreamKey,
    ended: bool,
}

/// The receiving direction. Dropped before the end, it asks the remote to stop sending.
#[derive(Debug)]
pub struct RecvStream {
    link: Arc<Link>,
    key: StreamKey,
}

impl Stream {
    pub(crate) fn new(link: Arc<Link>, key: StreamKey) -> Self {
        let send = SendStream { link: Arc::clone(&link), key, ended: false };
        Self { send, recv: RecvStream { link, key } }
    }

    /// The two directions, for two tasks or one.
    #[must_use]
    pub fn split(self) -> (SendStream, RecvStream) {
        (self.send, self.recv)
    }
}

impl SendStream {
    /// Queues one message of at most [`MAX_MESSAGE`] bytes; waits while the queue is full. It
    /// arrives whole, after everything queued before it on this stream.
    ///
    /// Dropping the future before it is ready queues nothing.
    ///
    /// # Errors
    /// [`StreamError::TooLong`] leaves the stream usable; any other error is its end.
    pub async fn message(&mut self, message: impl Into<Bytes>) -> Result<(), StreamError> {
        let message = message.into();
        if message.len() > MAX_MESSAGE {
            return Err(StreamError::TooLong(message.len()));
        }
        self.push(Frame::Message(message)).await
    }

    /// Queues raw bytes of any length, in pieces, without copying them; waits while the queue is
    /// full. They are shared until they were encrypted for sending.
    ///
    /// Dropping the future before it is ready may have queued a part.
    ///
    /// # Errors
    /// Any error is the end of the stream.
    pub async fn data(&mut self, data: impl Into<Bytes>) -> Result<(), StreamError> {
        let mut data = data.into();
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(PIECE));
            self.push(Frame::Data(piece)).await?;
        }
        Ok(())
    }

    async fn push(&self, frame: Frame) -> Result<(), StreamError> {
        poll_fn(|cx| self.link.poll_push(cx, self.key, &frame)).await
    }

    /// Ends this direction after all that is queued; returns at once. The other direction goes on.
    pub fn finish(mut self) {
        self.ended = true;
        self.link.run(|mux, _| mux.finish(self.key));
    }

    /// Ends the stream early, both ways; what is queued is dropped. The remote sees
    /// [`StreamError::Reset`] with this code.
    pub fn reset(mut self, code: u32) {
        self.ended = true;
        self.link.run(|mux, _| mux.reset(self.key, code));
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        if !self.ended {
            self.link.run(|mux, _| mux.reset(self.key, 0));
        }
    }
}

impl RecvStream {
    /// The next frame; `None` is the end. Taking a frame gives its credit back to the remote, so
    /// a reader that does not read holds the remote up, and only that.
    ///
    /// Dropping the future before it is ready loses nothing.
    ///
    /// # Errors
    /// The stream ended early. What was received before a reset is lost with it; what was received
    /// before the connection broke is still delivered.
    pub async fn next(&mut self) -> Result<Option<Frame>, StreamError> {
        poll_fn(|cx| self.link.poll_recv(cx, self.key)).await
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        self.link.drop_receiver(self.key);
    }
}
