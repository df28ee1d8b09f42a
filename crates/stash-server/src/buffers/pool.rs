//! Reused buffers for sealed chunks, bounded in bytes.
//!
//! Touching fresh memory costs more than encrypting it, so a buffer that is dropped goes back to
//! its pool. The bound keeps a node's memory flat: a task that wants a buffer waits for one.

use std::fmt;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use stash_store::disk::PageBuf;

use crate::buffers::buffer::{Buffer, CLASSES, Free, Home, MAX_BUFFER, class_of};
use crate::lock::lock;

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
        Buffer::new(bytes, len, class, Box::new(Taken { pool, permit }))
    }
}

/// A part of the budget that a buffer has out.
struct Taken {
    pool: Arc<Inner>,
    permit: OwnedSemaphorePermit,
}

impl Home for Taken {
    fn back(self: Box<Self>, class: usize, bytes: PageBuf) {
        lock(&self.pool.free).back(class, bytes);
        drop(self.permit);
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
