//! Buffers for sealed chunks: bounded in bytes, for the node and for each member.

pub(crate) mod buffer;
pub(crate) mod places;
pub(crate) mod pool;
pub(crate) mod pools;

pub use buffer::{Buffer, MAX_BUFFER, Shared};
pub use pool::BufferPool;
