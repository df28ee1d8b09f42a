//! A stream: one request and its response, each a row of messages and raw bytes.
//!
//! Raw bytes can be written and read by tokio's traits as well, so that what copies, compresses or
//! frames bytes works on a stream.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error::StreamError;
use crate::frame::{Frame, StreamKey};
use crate::lent::Lent;
use crate::limits::{DATA_FRAME, MAX_MESSAGE};
use crate::link::Link;

/// Largest piece that `data` hands to the queue at once, in bytes.
const PIECE: usize = 256 * 1024;

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
    /// The rest of raw bytes that were read in part.
    rest: Bytes,
    /// Bytes of such a rest that are in lent memory, by memory, and were not counted.
    placed: VecDeque<usize>,
}

impl Stream {
    pub(crate) fn new(link: Arc<Link>, key: StreamKey) -> Self {
        let send = SendStream { link: Arc::clone(&link), key, ended: false };
        Self { send, recv: RecvStream { link, key, rest: Bytes::new(), placed: VecDeque::new() } }
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
        self.end();
    }

    fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.link.run(|mux, _| mux.finish(self.key));
        }
    }

    /// Ends the stream early, both ways; what is queued is dropped. The remote sees
    /// [`StreamError::Reset`] with this code.
    pub fn reset(mut self, code: u32) {
        self.ended = true;
        self.link.run(|mux, _| mux.reset(self.key, code));
    }
}

/// Raw bytes, as [`data`](SendStream::data) sends them, but copied. Written is what is queued; it leaves by
/// itself, and flushing waits for nothing. Shutting down is [`finish`](SendStream::finish). Neither says that
/// the remote has anything: its answer does.
impl AsyncWrite for SendStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Err(StreamError::Finished.into()));
        }
        // As many as travel together: more would be copied in vain while the queue is full.
        let len = bytes.len().min(DATA_FRAME);
        if len > 0 {
            let frame = Frame::Data(Bytes::copy_from_slice(&bytes[..len]));
            ready!(self.link.poll_push(cx, self.key, &frame))?;
        }
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.link.closed() {
            Some(reason) => Poll::Ready(Err(StreamError::Closed(reason).into())),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        self.poll_flush(cx)
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        self.link.drop_sender(self.key);
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
        if !self.rest.is_empty() {
            return Ok(Some(Frame::Data(std::mem::take(&mut self.rest))));
        }
        poll_fn(|cx| self.link.poll_recv(cx, self.key)).await
    }

    /// Lends memory to the stream, of which `filled` bytes are in use already: raw bytes that come next are put
    /// behind them until it is full, and [`filled`](Self::filled) says how many. Most are decrypted straight
    /// into it, where [`next`](Self::next) shares or copies them.
    ///
    /// Several may be lent, which are filled in that order: so what comes before the application has looked
    /// at the first one finds room as well. The memory counts as the stream's until [`Lent::take`]; take the
    /// last one back first.
    pub fn lend<B: AsMut<[u8]> + Send + 'static>(&mut self, memory: B, filled: usize) -> Lent<B> {
        let (lent, memory) = Lent::new(memory, filled);
        let placed = memory.put(&self.rest);
        if placed > 0 {
            self.placed.push_back(placed);
            self.rest.advance(placed);
        }
        self.link.lend(self.key, memory);
        lent
    }

    /// Waits until more bytes have been put into lent memory; returns how many more, of one memory. 0: what
    /// comes next is no raw bytes, or found no room; [`next`](Self::next) has it. Gives credit back as [`next`](Self::next) does.
    ///
    /// Dropping the future before it is ready loses nothing.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn filled(&mut self) -> Result<usize, StreamError> {
        match self.placed.pop_front() {
            Some(placed) => Ok(placed),
            None if self.rest.is_empty() => poll_fn(|cx| self.link.poll_placed(cx, self.key)).await,
            None => Ok(0),
        }
    }
}

/// Raw bytes, without the pieces in which they came. A message in their place is
/// [`io::ErrorKind::InvalidData`], and is lost: ask for messages by [`next`](RecvStream::next).
impl AsyncRead for RecvStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty() && out.remaining() > 0 {
            match ready!(self.link.poll_recv(cx, self.key))? {
                Some(Frame::Data(bytes)) => self.rest = bytes,
                Some(Frame::Message(message)) => {
                    let text = format!("a message of {} bytes among raw ones", message.len());
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
                }
                None => {}
            }
        }
        let len = self.rest.len().min(out.remaining());
        out.put_slice(&self.rest[..len]);
        self.rest.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        self.link.drop_receiver(self.key);
    }
}
