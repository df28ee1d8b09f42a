//! Blobs that were lost on their way in.

use std::collections::{HashMap, HashSet};

use crate::{Address, Batch, IoError};

/// Lost blobs remembered by address, some 300 bytes each; of those beyond, only flushes are told.
const LOST: usize = 1024;

/// Blobs that were taken and could not be kept, for those who have not been told.
#[derive(Debug, Default)]
pub(super) struct Lost {
    blobs: HashMap<Address, IoError>,
    /// Of those, the ones that no flush has told of.
    unflushed: HashSet<Address>,
    /// More were lost than are remembered.
    more: Option<IoError>,
}

impl Lost {
    pub(super) fn add(&mut self, address: Address, error: &IoError) {
        if self.blobs.len() >= LOST {
            self.more = Some(error.again());
            return;
        }
        self.blobs.insert(address, error.again());
        self.unflushed.insert(address);
    }

    pub(super) fn forget(&mut self, address: &Address) -> Option<IoError> {
        self.unflushed.remove(address);
        self.blobs.remove(address)
    }

    pub(super) fn tell(&mut self, batch: &Batch) -> Option<IoError> {
        if self.blobs.is_empty() && self.more.is_none() {
            return None;
        }
        if !batch.is_empty() {
            return batch.names().filter_map(|address| self.forget(&address)).last();
        }
        let unflushed = std::mem::take(&mut self.unflushed);
        let error = unflushed.iter().find_map(|address| self.blobs.get(address));
        let error = error.map(IoError::again);
        self.more.take().or(error)
    }
}
