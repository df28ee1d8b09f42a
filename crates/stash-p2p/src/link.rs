//! A connection as its tasks and the handles of its streams share it: the machine behind a lock,
//! and the wakers of those that wait for it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::{CloseReason, StreamError};
use crate::frame::{Class, Frame, StreamKey};
use crate::lent::Memory;
use crate::mux::{Mux, MuxEvent};
use crate::tiebreak::Contender;

/// The fixed facts of a confirmed connection.
#[derive(Debug, Clone)]
pub(crate) struct LinkInfo {
    pub(crate) addr: SocketAddr,
    pub(crate) hash: [u8; 32],
    pub(crate) contender: Contender,
}

/// A connection.
pub(crate) struct Link {
    pub(crate) info: LinkInfo,
    state: Mutex<State>,
    /// Wakes the writer.
    pub(crate) writer: Notify,
    /// Wakes those who wait to open a stream.
    pub(crate) slots: Notify,
    /// True for a class if the remote leaves its answers of that class untaken: control, then bulk.
    clogged: [AtomicBool; 2],
    /// Wakes the task that takes the remote's streams.
    pub(crate) incoming: OnceLock<Arc<Notify>>,
    /// Ends both tasks without another word.
    pub(crate) cancel: CancellationToken,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    start: Instant,
}

struct State {
    mux: Mux,
    wakers: BTreeMap<StreamKey, Wakers>,
    /// Events for the layer above; taken by the reader and the writer after each of their calls.
    upward: Vec<MuxEvent>,
    closed: Option<CloseReason>,
}

#[derive(Default)]
struct Wakers {
    read: Option<Waker>,
    write: Option<Waker>,
}

impl Link {
    pub(crate) fn new(mux: Mux, info: LinkInfo, start: Instant) -> Arc<Self> {
        let state = State { mux, wakers: BTreeMap::new(), upward: Vec::new(), closed: None };
        Arc::new(Self {
            info,
            state: Mutex::new(state),
            writer: Notify::new(),
            slots: Notify::new(),
            clogged: Default::default(),
            incoming: OnceLock::new(),
            cancel: CancellationToken::new(),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            start,
        })
    }

    /// The connection's age, which is the machine's clock.
    pub(crate) fn age(&self) -> Duration {
        self.start.elapsed()
    }

    /// When the machine's clock shows `age`.
    pub(crate) fn at(&self, age: Duration) -> Instant {
        self.start.checked_add(age).unwrap_or_else(|| self.start + Duration::from_secs(1 << 30))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under this lock leaves a machine whose invariants may be broken, but every
        // later call only touches this one connection.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on the machine, then wakes whom its events concern.
    pub(crate) fn run<R>(&self, f: impl FnOnce(&mut Mux, Duration) -> R) -> R {
        let now = self.age();
        let mut state = self.lock();
        let result = f(&mut state.mux, now);
        self.settle(&mut state);
        result
    }

    fn settle(&self, state: &mut State) {
        while let Some(event) = state.mux.poll_event() {
            match event {
                MuxEvent::Readable(key) => {
                    if let Some(waker) = state.wakers.get_mut(&key).and_then(|w| w.read.take()) {
                        waker.wake();
                    }
                }
                MuxEvent::Writable(key) => {
                    if let Some(waker) = state.wakers.get_mut(&key).and_then(|w| w.write.take()) {
                        waker.wake();
                    }
                }
                MuxEvent::Slot => self.slots.notify_waiters(),
                event => state.upward.push(event),
            }
        }
        if state.mux.take_wake() {
            self.writer.notify_one();
        }
        for class in [Class::Control, Class::Bulk] {
            self.set_clogged(class, state.mux.is_clogged(class));
        }
    }

    fn set_clogged(&self, class: Class, clogged: bool) {
        let was = self.clogged[usize::from(class == Class::Bulk)].swap(clogged, Ordering::Relaxed);
        if let (true, false, Some(incoming)) = (was, clogged, self.incoming.get()) {
            incoming.notify_one();
        }
    }

    /// True if streams of a class that the remote opened are to wait until it has taken answers.
    pub(crate) fn is_clogged(&self, class: Class) -> bool {
        self.clogged[usize::from(class == Class::Bulk)].load(Ordering::Relaxed)
    }

    /// The events for the layer above.
    pub(crate) fn take_upward(&self) -> Vec<MuxEvent> {
        std::mem::take(&mut self.lock().upward)
    }

    /// The connection is over: everyone who waits is told. The first reason stays.
    pub(crate) fn shut(&self, reason: &CloseReason) -> CloseReason {
        let mut state = self.lock();
        let reason = state.closed.get_or_insert_with(|| reason.clone()).clone();
        state.mux.end();
        self.settle(&mut state);
        for wakers in std::mem::take(&mut state.wakers).into_values() {
            wakers.read.into_iter().chain(wakers.write).for_each(Waker::wake);
        }
        drop(state);
        self.slots.notify_waiters();
        reason
    }

    pub(crate) fn closed(&self) -> Option<CloseReason> {
        self.lock().closed.clone()
    }

    /// True if a new stream may go here.
    pub(crate) fn accepts_streams(&self) -> bool {
        let state = self.lock();
        state.closed.is_none() && state.mux.draining().is_none()
    }

    /// Why the connection drains, if it does.
    pub(crate) fn draining(&self) -> Option<CloseReason> {
        self.lock().mux.draining().cloned()
    }

    pub(crate) fn load(&self) -> u32 {
        self.lock().mux.load()
    }

    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.lock().mux.rtt()
    }

    pub(crate) fn open(&self, class: Class) -> Option<StreamKey> {
        if self.closed().is_some() {
            return None;
        }
        self.run(|mux, _| mux.open(class))
    }

    pub(crate) fn start_drain(&self, reason: &CloseReason) {
        self.run(|mux, now| mux.start_drain(now, reason.clone()));
    }

    /// Says why, at once, and ends.
    pub(crate) fn close(&self, reason: &CloseReason) {
        self.run(|mux, _| mux.close(reason.clone()));
    }

    pub(crate) fn poll_push(
        &self,
        cx: &Context<'_>,
        key: StreamKey,
        frame: &Frame,
    ) -> Poll<Result<(), StreamError>> {
        let mut state = self.lock();
        if let Some(reason) = &state.closed {
            return Poll::Ready(Err(StreamError::Closed(reason.clone())));
        }
        let pushed = state.mux.push(key, frame);
        self.settle(&mut state);
        match pushed {
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => {
                state.wakers.entry(key).or_default().write = Some(cx.waker().clone());
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// As [`Link::poll_recv`], for the bytes in lent memory.
    pub(crate) fn poll_placed(
        &self,
        cx: &Context<'_>,
        key: StreamKey,
    ) -> Poll<Result<usize, StreamError>> {
        self.poll_received(cx, key, |mux| mux.placed(key))
    }

    /// Has raw bytes of a stream put into memory.
    pub(crate) fn lend(&self, key: StreamKey, memory: Arc<dyn Memory>) {
        self.run(|mux, _| mux.lend(key, memory));
    }

    /// Lent memory with room, by the ids of its streams.
    pub(crate) fn lent(&self) -> Vec<(u32, Arc<dyn Memory>)> {
        self.lock().mux.lent()
    }

    pub(crate) fn poll_recv(
        &self,
        cx: &Context<'_>,
        key: StreamKey,
    ) -> Poll<Result<Option<Frame>, StreamError>> {
        self.poll_received(cx, key, |mux| mux.recv(key))
    }

    fn poll_received<T>(
        &self,
        cx: &Context<'_>,
        key: StreamKey,
        receive: impl FnOnce(&mut Mux) -> Option<Result<T, StreamError>>,
    ) -> Poll<Result<T, StreamError>> {
        let mut state = self.lock();
        let received = receive(&mut state.mux);
        self.settle(&mut state);
        match (received, &state.closed) {
            (Some(received), _) => Poll::Ready(received),
            (None, Some(reason)) => Poll::Ready(Err(StreamError::Closed(reason.clone()))),
            (None, None) => {
                state.wakers.entry(key).or_default().read = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Ends receiving on this stream. Another task that waits to send on it goes on waiting.
    pub(crate) fn drop_receiver(&self, key: StreamKey) {
        self.forget(key, |wakers| wakers.read = None);
        self.run(|mux, _| mux.drop_receiver(key));
    }

    /// Takes note that nothing sends on this stream any more.
    pub(crate) fn drop_sender(&self, key: StreamKey) {
        self.forget(key, |wakers| wakers.write = None);
    }

    fn forget(&self, key: StreamKey, which: impl FnOnce(&mut Wakers)) {
        let mut state = self.lock();
        let Some(wakers) = state.wakers.get_mut(&key) else { return };
        which(wakers);
        if wakers.read.is_none() && wakers.write.is_none() {
            state.wakers.remove(&key);
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("info", &self.info).finish_non_exhaustive()
    }
}

impl PartialEq for Link {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}
