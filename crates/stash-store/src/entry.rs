//! Log entries: what one says, and how it looks on disk.

mod body;
mod header;
mod op;
mod reader;

pub(crate) use body::record_bytes;
pub(crate) use header::{BatchDigest, Header};
pub(crate) use op::{HEADER, Kind, MOVED_PREFIX, Mark, Op, Place, entry_len};
