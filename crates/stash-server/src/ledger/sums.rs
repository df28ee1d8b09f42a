//! Sums of record hashes as 256-bit little-endian numbers, modulo 2^256.

use stash_crypto::RecordHash;
use stash_crypto::member::RecordSum;
use stash_store::{RecordTotals, Store};

/// The records that are held here.
pub(crate) fn held(store: &Store) -> RecordSum {
    sum_of(store.record_totals())
}

pub(crate) fn sum_of(totals: RecordTotals) -> RecordSum {
    RecordSum { count: totals.count, sum: totals.sum }
}

/// Adds a record.
pub(crate) fn add(to: &mut RecordSum, record: &RecordHash) {
    *to = RecordSum { count: to.count + 1, sum: plus(&to.sum, record.as_bytes()) };
}

/// Takes a record out.
pub(crate) fn take(from: &mut RecordSum, record: &RecordHash) {
    let sum = minus(&from.sum, record.as_bytes());
    *from = RecordSum { count: from.count.saturating_sub(1), sum };
}

/// Some records and others.
pub(crate) fn with(some: RecordSum, others: RecordSum) -> RecordSum {
    RecordSum { count: some.count + others.count, sum: plus(&some.sum, &others.sum) }
}

/// All of some records but these of them.
pub(crate) fn without(all: RecordSum, these: RecordSum) -> RecordSum {
    RecordSum { count: all.count.saturating_sub(these.count), sum: minus(&all.sum, &these.sum) }
}

/// The difference of two 256-bit little-endian numbers, modulo 2^256.
pub(crate) fn minus(one: &[u8; 32], other: &[u8; 32]) -> [u8; 32] {
    let (mut rest, mut borrow) = ([0; 32], 0);
    for (at, byte) in rest.iter_mut().enumerate() {
        let all = 256 + u16::from(one[at]) - u16::from(other[at]) - borrow;
        (*byte, borrow) = (all.to_le_bytes()[0], 1 - (all >> 8));
    }
    rest
}

/// The sum of two 256-bit little-endian numbers, modulo 2^256.
pub(crate) fn plus(one: &[u8; 32], other: &[u8; 32]) -> [u8; 32] {
    let (mut sum, mut carry) = ([0; 32], 0);
    for (at, byte) in sum.iter_mut().enumerate() {
        let all = u16::from(one[at]) + u16::from(other[at]) + carry;
        (*byte, carry) = (all.to_le_bytes()[0], all >> 8);
    }
    sum
}
