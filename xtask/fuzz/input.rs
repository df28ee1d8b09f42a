//! Reads decisions out of the bytes that a fuzzer gives. Bytes that are used up read as zeros, so
//! every input is one, and a shorter input is a simpler one.
//!
//! The crates include this file; it is part of none, and depends on nothing.
#![allow(dead_code, reason = "each crate uses a part of it")]

pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// `len` bytes, or as many as there are.
    pub(crate) fn take(&mut self, len: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        head
    }

    /// Bytes with their length, a little-endian u16, before them.
    pub(crate) fn block(&mut self) -> &'a [u8] {
        let len = u16::from_le_bytes(self.array());
        self.take(len.into())
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let bytes = self.take(N);
        array[..bytes.len()].copy_from_slice(bytes);
        array
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// A number below `n`, which is not 0: from one byte if that is enough, else from four.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        if n <= 256 { u64::from(self.u8()) % n } else { u64::from(self.u32()) % n }
    }

    /// A place in `bytes`, which are not empty.
    pub(crate) fn at(&mut self, bytes: &[u8]) -> usize {
        usize::try_from(self.below(bytes.len() as u64)).unwrap_or(0)
    }
}
