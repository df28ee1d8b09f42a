//! The rows of the index of names: a byte that says which table, then the key.

/// Kind of a row.
#[derive(Clone, Copy, Debug)]
pub(super) enum Table {
    /// Of a key, its entry.
    Names = 1,
    /// Of a name id, its key.
    Keys = 2,
    /// Of a name id, that some record of it was set aside.
    Alarms = 3,
    /// Of a key that is removed, one byte: 1 if it can be brought back, else 0.
    Removed = 4,
    /// Of the key of a file, that it has siblings.
    Conflicts = 5,
}

impl Table {
    /// The row of a key, or the beginning of the rows of all that begin so.
    pub(super) fn row(self, key: &[u8]) -> Vec<u8> {
        [&[self as u8][..], key].concat()
    }
}
