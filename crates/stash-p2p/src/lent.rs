//! Memory that the application lends to a stream, so that raw bytes are decrypted to where they are
//! wanted.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Memory lent to a stream by [`RecvStream::lend`](crate::RecvStream::lend). Dropped, or taken back, nothing more
/// is written to it.
pub struct Lent<B> {
    slot: Arc<Slot<B>>,
}

/// Memory that may be taken back at any time.
struct Slot<B>(Mutex<State<B>>);

struct State<B> {
    memory: Option<B>,
    /// Bytes at its beginning that are what was sent.
    filled: usize,
}

/// Lent memory, as the connection sees it.
pub(crate) trait Memory: Send + Sync {
    /// Works on the memory and on the count of bytes that are in it, unless it was taken back.
    fn with(&self, work: &mut dyn FnMut(&mut [u8], &mut usize));
}

impl dyn Memory + '_ {
    /// Copies as many of the bytes behind what is there as fit; returns how many.
    pub(crate) fn put(&self, bytes: &[u8]) -> usize {
        let mut put = 0;
        self.with(&mut |memory, filled| {
            put = bytes.len().min(memory.len() - *filled);
            memory[*filled..*filled + put].copy_from_slice(&bytes[..put]);
            *filled += put;
        });
        put
    }

    /// True if there is room for more.
    pub(crate) fn has_room(&self) -> bool {
        let mut room = false;
        self.with(&mut |memory, filled| room = *filled < memory.len());
        room
    }
}

impl<B> Slot<B> {
    fn lock(&self) -> MutexGuard<'_, State<B>> {
        // The count moves only once the bytes are there, a panic in between included.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: AsMut<[u8]> + Send> Memory for Slot<B> {
    fn with(&self, work: &mut dyn FnMut(&mut [u8], &mut usize)) {
        let State { memory, filled } = &mut *self.lock();
        if let Some(memory) = memory {
            work(memory.as_mut(), filled);
        }
    }
}

impl<B: AsMut<[u8]> + Send + 'static> Lent<B> {
    pub(crate) fn new(mut memory: B, filled: usize) -> (Self, Arc<dyn Memory>) {
        let filled = filled.min(memory.as_mut().len());
        let slot = Arc::new(Slot(Mutex::new(State { memory: Some(memory), filled })));
        (Self { slot: Arc::clone(&slot) }, slot)
    }
}

impl<B> Lent<B> {
    /// Takes the memory back. Bytes that are in it and that [`RecvStream::filled`](crate::RecvStream::filled)
    /// has not counted are lost.
    #[must_use]
    pub fn take(self) -> B {
        let memory = self.slot.lock().memory.take();
        memory.expect("it is taken once, by value")
    }
}

impl<B> Drop for Lent<B> {
    fn drop(&mut self) {
        self.slot.lock().memory = None;
    }
}

impl<B> fmt::Debug for Lent<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lent({} bytes are in it)", self.slot.lock().filled)
    }
}
