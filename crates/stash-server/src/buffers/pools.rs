//! Buffers by purpose.

use crate::buffers::buffer::CLASSES;
use crate::buffers::places::{Bounds, Places};
use crate::buffers::pool::BufferPool;

/// Buffers by purpose, so that no purpose waits for another one's to come back. Bytes.
#[derive(Debug)]
pub(crate) struct Pools {
    /// Chunks that this node is putting: sixteen of 1 MiB on their way to disk and peers.
    pub upload: BufferPool,
    /// Chunks arriving from putting members.
    pub intake: Places,
    /// Chunks on their way to a reader here, in order.
    pub fetch: BufferPool,
    /// Second requests for late chunks.
    pub hedge: BufferPool,
    /// Chunks that this node should have and misses.
    pub catch_up: BufferPool,
    /// Chunks on their way to members: those that they ask for, and those that are put to them.
    pub serve: Places,
}

/// Places of chunks that arrive: one of 1 MiB for each of 32 members that begin one and do not go
/// on, and twelve that are shared. A member may have them all: its streams wait for each other's
/// bytes.
const INTAKE: Bounds = Bounds {
    own: 32 * CLASSES[1],
    shared: 12 << 20,
    least: usize::MAX,
    most: usize::MAX,
    on_their_way: usize::MAX,
};

/// Places of chunks that leave: one of 1 MiB for each of the 64 members that may be connected, or
/// one of 4 MiB for sixteen, and eight more of 1 MiB for members that take them fast. Of members that
/// take them fast, sixteen of 1 MiB are enough for two cores and for a line of 2 Gbit/s.
const SERVE: Bounds = Bounds {
    own: 64 * CLASSES[1],
    shared: 8 << 20,
    least: 1,
    most: 8,
    on_their_way: 16 * CLASSES[1],
};

impl Default for Pools {
    fn default() -> Pools {
        Pools {
            upload: BufferPool::new(16 << 20),
            intake: Places::new(INTAKE),
            fetch: BufferPool::new(12 << 20),
            // As large as `fetch`: every chunk under way may have one second request, so a first
            // chunk never waits for buffers that later ones hold.
            hedge: BufferPool::new(12 << 20),
            catch_up: BufferPool::new(8 << 20),
            serve: Places::new(SERVE),
        }
    }
}
