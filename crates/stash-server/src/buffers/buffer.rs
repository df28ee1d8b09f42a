//! A buffer for a sealed chunk, which returns to its owner when it is dropped.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use stash_store::disk::PageBuf;

/// Capacities that are pooled: a small chunk, a 1 MiB chunk, a 4 MiB chunk, each with room for the
/// sealed header. One request takes the smallest class that holds it.
pub(crate) const CLASSES: [usize; 3] = [132 << 10, (1 << 20) + (4 << 10), (4 << 20) + (4 << 10)];

/// The largest buffer a pool gives out, in bytes.
pub const MAX_BUFFER: usize = CLASSES[2];

/// Buffers that came back, by class, and the bytes of all buffers, out or back.
#[derive(Default)]
pub(crate) struct Free {
    lists: [Vec<PageBuf>; 3],
    pub(crate) allocated: usize,
}

impl Free {
    /// A buffer of a class: one that came back, else a new one, for which buffers of other classes
    /// are given up so that all of them stay within `budget` bytes.
    pub(crate) fn take(&mut self, class: usize, budget: usize) -> PageBuf {
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
        PageBuf::zeroed(size)
    }

    /// Takes a buffer back.
    pub(crate) fn back(&mut self, class: usize, bytes: PageBuf) {
        self.lists[class].push(bytes);
    }

    /// Takes a buffer back; gives it to the system if more than `budget` bytes are allocated.
    pub(crate) fn put(&mut self, class: usize, bytes: PageBuf, budget: usize) {
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

/// An exclusive buffer; it returns to its pool when dropped. Its content begins at a page boundary, so
/// that the store writes it from where it is.
pub struct Buffer {
    bytes: PageBuf,
    len: usize,
    class: usize,
    home: Option<Box<dyn Home>>,
}

/// The owner of a buffer, to which its bytes return.
pub(crate) trait Home: Send + Sync {
    /// Takes the bytes of a buffer of a class back.
    fn back(self: Box<Self>, class: usize, bytes: PageBuf);
}

impl Buffer {
    /// A buffer of `bytes`, of which the first `len` are visible.
    pub(crate) fn new(bytes: PageBuf, len: usize, class: usize, home: Box<dyn Home>) -> Buffer {
        Buffer { bytes, len, class, home: Some(home) }
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
        Buffer { bytes: PageBuf::copy_of(bytes), len: bytes.len(), class: 0, home: None }
    }

    /// Lets `read` replace the content; true if it found some of exactly the visible length.
    ///
    /// # Errors
    ///
    /// The error of `read`; the content is then unspecified.
    pub(crate) fn fill<E>(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> Result<Option<usize>, E>,
    ) -> Result<bool, E> {
        Ok(read(self)? == Some(self.len))
    }

    /// Makes the content shareable: it returns to the pool when the last clone is dropped.
    #[must_use]
    pub fn freeze(self) -> Shared {
        Shared { buffer: Arc::new(self) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.back(self.class, std::mem::take(&mut self.bytes));
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

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        self
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
