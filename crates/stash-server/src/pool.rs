//! Reused buffers for sealed chunks, bounded in bytes.
//!
//! Touching fresh memory costs more than encrypting it, so a buffer that is dropped goes back to
//! its pool. The bound is what keeps a node's memory flat: whoever wants a buffer waits for one.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::core::lock;
use crate::places::Place;

/// Capacities that are pooled: a small chunk, a 1 MiB chunk, a 4 MiB chunk, each with room for the
/// sealed header. One request takes the smallest class that holds it.
pub(crate) const CLASSES: [usize; 3] = [132 << 10, (1 << 20) + (4 << 10), (4 << 20) + (4 << 10)];

/// The largest buffer a pool gives out, in bytes.
pub const MAX_BUFFER: usize = CLASSES[2];

/// Permits are counted in KiB: a semaphore's count is 32 bits on small machines.
const PERMIT: usize = 1 << 10;

/// A set of reusable buffers with a budget in bytes.
#[derive(Clone)]
pub struct BufferPool {
    inner: Arc<Inner>,
}

struct Inner {
    budget: Arc<Semaphore>,
    bytes: usize,
    free: Mutex<Free>,
}

/// Buffers that came back, by class, and the bytes of all buffers, out or back.
#[derive(Default)]
pub(crate) struct Free {
    lists: [Vec<Vec<u8>>; 3],
    allocated: usize,
}

impl Free {
    /// A buffer of a class: one that came back, else a new one, for which buffers of other classes
    /// are given up so that all of them stay within `budget` bytes.
    pub(crate) fn take(&mut self, class: usize, budget: usize) -> Vec<u8> {
        if let Some(bytes) = self.lists[class].pop() {
            return bytes;
        }
        let size = CLASSES[class];
        for (class, list) in self.lists.iter_mut().enumerate() {
            while self.allocated + size > budget && list.pop().is_some() {
                self.allocated -= CLASSES[class];
            }
        }
        self.allocated += size;
        vec![0; size]
    }

    /// Takes a buffer back; gives it to the system if more than `budget` bytes are allocated.
    pub(crate) fn put(&mut self, class: usize, bytes: Vec<u8>, budget: usize) {
        if self.allocated > budget {
            self.allocated -= CLASSES[class];
        } else {
            self.lists[class].push(bytes);
        }
    }
}

/// The smallest class that holds `len` bytes.
///
/// # Panics
///
/// When `len` is above [`MAX_BUFFER`]: lengths from peers are checked before this is called.
pub(crate) fn class_of(len: usize) -> usize {
    let class = CLASSES.iter().position(|size| len <= *size);
    class.expect("buffer lengths are checked against MAX_BUFFER by the caller")
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.inner.budget.available_permits() * PERMIT;
        f.debug_struct("BufferPool").field("bytes_left", &left).finish_non_exhaustive()
    }
}

impl BufferPool {
    /// A pool that has at most `bytes` out at any time; at least one buffer of the largest class.
    #[must_use]
    pub fn new(bytes: usize) -> BufferPool {
        let bytes = bytes.max(MAX_BUFFER);
        BufferPool {
            inner: Arc::new(Inner {
                budget: Arc::new(Semaphore::new(bytes.div_ceil(PERMIT))),
                bytes,
                free: Mutex::default(),
            }),
        }
    }

    /// A buffer of `len` bytes, of unspecified content; waits while the budget is used up.
    ///
    /// # Panics
    ///
    /// When `len` is above [`MAX_BUFFER`]: lengths from peers are checked before this is called.
    pub async fn take(&self, len: usize) -> Buffer {
        let class = class_of(len);
        let permits = u32::try_from(CLASSES[class] / PERMIT).expect("a class is a few MiB");
        let permit = Arc::clone(&self.inner.budget).acquire_many_owned(permits).await;
        let permit = permit.expect("the semaphore is never closed");
        let bytes = lock(&self.inner.free).take(class, self.inner.bytes);
        let pool = Arc::clone(&self.inner);
        Buffer { bytes, len, class, home: Some(Home::Pool(pool, permit)) }
    }
}

/// One exclusive buffer; it returns to its pool when dropped.
pub struct Buffer {
    bytes: Vec<u8>,
    len: usize,
    class: usize,
    home: Option<Home>,
}

/// Where a buffer returns to.
enum Home {
    Pool(Arc<Inner>, OwnedSemaphorePermit),
    Place(Place),
}

impl Buffer {
    /// One that fills a member's place, all of it visible.
    pub(crate) fn at(bytes: Vec<u8>, place: Place) -> Buffer {
        let (len, class) = (bytes.len(), place.class());
        Buffer { bytes, len, class, home: Some(Home::Place(place)) }
    }

    /// Changes the visible length within the buffer's capacity.
    ///
    /// # Panics
    ///
    /// When `len` is above the capacity of the buffer's class.
    pub fn resize(&mut self, len: usize) {
        assert!(len <= self.bytes.len(), "a buffer of {} cannot hold {len}", self.bytes.len());
        self.len = len;
    }

    /// A copy outside any pool: for small chunks, which the store may hold for a while.
    pub(crate) fn copy_of(bytes: &[u8]) -> Buffer {
        Buffer { bytes: bytes.to_vec(), len: bytes.len(), class: 0, home: None }
    }

    /// Lets `read` replace the content; whether it found some of exactly the visible length.
    ///
    /// # Errors
    ///
    /// What `read` returns; the content is then unspecified.
    pub(crate) fn fill<E>(
        &mut self,
        read: impl FnOnce(&mut Vec<u8>) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let found = read(&mut self.bytes);
        let whole = self.bytes.len() == self.len;
        self.bytes.resize(CLASSES[self.class], 0);
        Ok(found? && whole)
    }

    /// Makes the content shareable: it returns to the pool when the last clone is dropped.
    #[must_use]
    pub fn freeze(self) -> Shared {
        Shared { buffer: Arc::new(self) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        match self.home.take() {
            None => {}
            Some(Home::Pool(pool, permit)) => {
                lock(&pool.free).lists[self.class].push(std::mem::take(&mut self.bytes));
                drop(permit);
            }
            Some(Home::Place(place)) => place.back(std::mem::take(&mut self.bytes)),
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len)
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

/// A buffer that several tasks read: one sealed chunk on its way to a disk and to peers.
#[derive(Clone, Debug)]
pub struct Shared {
    buffer: Arc<Buffer>,
}

impl Shared {
    /// Makes the content exclusive again.
    ///
    /// # Errors
    ///
    /// Itself, while there are other clones.
    pub fn thaw(self) -> Result<Buffer, Shared> {
        Arc::try_unwrap(self.buffer).map_err(|buffer| Shared { buffer })
    }
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl From<Shared> for bytes::Bytes {
    fn from(shared: Shared) -> bytes::Bytes {
        bytes::Bytes::from_owner(shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn a_pool_gives_no_more_than_its_budget_and_reuses_what_comes_back() {
        let pool = BufferPool::new(2 * CLASSES[2]);
        let first = pool.take(MAX_BUFFER).now_or_never().unwrap();
        let address = first.as_ptr();
        let _second = pool.take(MAX_BUFFER).now_or_never().unwrap();
        assert!(pool.take(1).now_or_never().is_none(), "the budget is used up");
        let shared = first.freeze();
        let clone = shared.clone();
        drop(shared);
        assert!(pool.take(1).now_or_never().is_none(), "a clone still holds the buffer");
        drop(clone);
        let third = pool.take(MAX_BUFFER).now_or_never().unwrap();
        assert_eq!(third.as_ptr(), address, "the memory itself is used again");
    }

    #[test]
    fn memory_stays_within_the_budget_when_sizes_change() {
        let budget = 4 * CLASSES[2];
        let pool = BufferPool::new(budget);
        for len in [CLASSES[0], CLASSES[1], CLASSES[2], CLASSES[1], CLASSES[0]] {
            let out: Vec<_> =
                std::iter::from_fn(|| pool.take(len).now_or_never()).take(64).collect();
            assert!(!out.is_empty());
            let allocated = lock(&pool.inner.free).allocated;
            assert!(allocated <= budget, "{allocated} bytes for buffers of {len}");
        }
    }

    #[test]
    fn a_buffer_shows_the_length_that_was_asked_for() {
        let pool = BufferPool::new(0);
        let mut buffer = pool.take(100).now_or_never().unwrap();
        assert_eq!(buffer.len(), 100);
        buffer.resize(50);
        assert_eq!(buffer.len(), 50);
    }
}
