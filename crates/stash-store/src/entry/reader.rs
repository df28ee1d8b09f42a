//! Reads the fields of a log entry, one after the other.

use super::op::REF;
use crate::{Address, Ref};

/// Bytes left to read. `None` where they are too few, or are no such field.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        match self.u32()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(super) fn address(&mut self) -> Option<Address> {
        self.array().map(Address::from_bytes)
    }

    pub(super) fn refs(&mut self, count: u32) -> Option<Vec<Ref>> {
        let count = usize::try_from(count).ok()?;
        if self.0.len() / REF < count {
            return None;
        }
        let mut refs = Vec::with_capacity(count);
        for _ in 0..count {
            refs.push(Ref { address: self.address()?, sealed_len: self.u32()? });
        }
        Some(refs)
    }
}
