//! Damage in the index.

use stash_runs::TreeError;

use crate::ReadError;

/// The index is damaged, or cannot be read: nothing it says can be used any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexError(pub(crate) String);

impl From<IndexError> for ReadError {
    fn from(error: IndexError) -> ReadError {
        ReadError::Index { what: error.0 }
    }
}

impl From<TreeError> for IndexError {
    fn from(error: TreeError) -> IndexError {
        IndexError(error.to_string())
    }
}

pub(super) fn bad_value(key: &[u8]) -> IndexError {
    let table = key.first().copied().unwrap_or(0);
    IndexError(format!("a value in table {table} of the index is not as this version writes it"))
}
