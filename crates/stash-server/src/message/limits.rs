//! Limits of messages: how long they, and the lists in them, may be.

/// Addresses in one message, at most: 128 KiB of the 256 KiB that a message may have.
pub(crate) const MAX_ADDRESSES: usize = 4_096;

/// Chunks in one offer, and chunks of one put stream that are offered and not yet here, at most: a member
/// may have 64 streams, and each such chunk costs some 150 bytes.
pub(crate) const MAX_OFFERED: usize = 256;

/// Bytes of records in one message, at most: leaves room for the map around them.
pub(crate) const MAX_RECORD_BYTES: usize = 192 << 10;

/// Bytes around an item in a list of byte strings, at most.
pub(crate) const ITEM: usize = 5;

/// Bytes of an address and its sealed length in an offer.
pub(crate) const REFERENCE: usize = 36;

/// Bytes of member log entries in one answer; one entry alone may have all of it.
pub(crate) const MAX_ENTRY_BYTES: usize = MAX_RECORD_BYTES;

/// Bytes of signed addresses in one answer: what a message has left beside the entries.
pub(crate) const MAX_CLAIM_BYTES: usize = 48 << 10;

/// Records that a member is asked about at once.
pub(crate) const HOLDING_PAGE: usize = 256;

/// Changes of which records are whole in one message.
pub(crate) const TURNED_PAGE: usize = 1_024;

/// Cuts in one message: 192 KiB.
pub(crate) const CUTS_PAGE: usize = 4_096;

/// The name of a stretch.
pub(crate) type LogId = [u8; 16];
