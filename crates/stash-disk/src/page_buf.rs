//! Bytes that begin at a page boundary.

use std::fmt;
use std::ops::{Deref, DerefMut, Range};

/// Bytes of a page: where a [`PageBuf`] begins, and the largest [`DiskFile::alignment`].
///
/// [`DiskFile::alignment`]: crate::DiskFile::alignment
pub const PAGE: usize = 4096;

/// Bytes that begin at a page boundary in memory, so that a file that is written past the page
/// cache takes them from where they are.
pub struct PageBuf {
    /// One page longer than what is asked for, which begins at the first boundary in it. Empty if
    /// there are no bytes and no memory.
    bytes: Box<[u8]>,
    start: usize,
}

impl PageBuf {
    /// So many zeros.
    pub fn zeroed(len: usize) -> PageBuf {
        let bytes = vec![0; len + PAGE].into_boxed_slice();
        // Where the address cannot be known, writes are slower and no less right.
        let start = bytes.as_ptr().align_offset(PAGE).min(PAGE);
        PageBuf { bytes, start }
    }

    /// A copy of these bytes.
    pub fn copy_of(bytes: &[u8]) -> PageBuf {
        let mut copy = PageBuf::zeroed(bytes.len());
        copy.copy_from_slice(bytes);
        copy
    }

    fn range(&self) -> Range<usize> {
        self.start..self.start + self.bytes.len().saturating_sub(PAGE)
    }
}

impl Default for PageBuf {
    /// No bytes, and no memory.
    fn default() -> PageBuf {
        PageBuf { bytes: Box::default(), start: 0 }
    }
}

impl Deref for PageBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[self.range()]
    }
}

impl DerefMut for PageBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        let range = self.range();
        &mut self.bytes[range]
    }
}

impl fmt::Debug for PageBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageBuf({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_a_page_and_has_the_length_that_was_asked_for() {
        for len in [0, 1, 511, PAGE, PAGE + 1, 3 << 20] {
            let mut buffer = PageBuf::zeroed(len);
            assert_eq!((buffer.len(), buffer.as_ptr().align_offset(PAGE)), (len, 0));
            assert!(buffer.iter().all(|byte| *byte == 0));
            buffer.fill(7);
            let copy = PageBuf::copy_of(&buffer);
            assert_eq!((&*copy, copy.as_ptr().align_offset(PAGE)), (&*buffer, 0));
        }
    }
}
