//! Keeping blobs from being collected while a record that names them is on its way.

use crate::address::Mark;
use crate::open::Open;
use crate::sync::{Arc, Mutex, lock};
use crate::{Address, ReadError};

/// Blobs that one lease may name: those of a file of 1 TiB in chunks of 4 MiB four times over;
/// about 40 bytes of memory each.
pub const MAX_LEASED: usize = 1_048_576;

/// Why a lease was not extended. Nothing changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// The caller's fault: commit what is leased so far, and take another lease.
    #[error("a lease names at most {MAX_LEASED} blobs")]
    TooMany,
    /// The store could not say what is here.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Keeps blobs from being collected until it is dropped, whether they are here already or not.
///
/// A session that is about to commit a record takes a lease first, and then asks what is here: what
/// the lease says is here is still here when the record is committed, unless somebody evicts it.
/// A lease is in memory only; what outlives the process is the grace that every blob has. The store
/// stays open as long as there is one.
#[derive(Debug)]
pub struct Lease {
    open: Arc<Open>,
    held: Mutex<Vec<Mark>>,
}

impl Lease {
    pub(crate) fn new(open: Arc<Open>) -> Lease {
        Lease { open, held: Mutex::default() }
    }

    /// Adds blobs; tells of each whether it is durable and here.
    pub fn add(&self, addresses: &[Address]) -> Result<Vec<bool>, LeaseError> {
        let mut held = lock(&self.held);
        if held.len() + addresses.len() > MAX_LEASED {
            return Err(LeaseError::TooMany);
        }
        // First the lease, then the question: or else it could be collected in between.
        self.open.stage.lease(addresses);
        held.extend(addresses.iter().map(Address::mark));
        drop(held);
        Ok(self.open.here(addresses)?)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.open.stage.end_lease(&lock(&self.held));
    }
}
