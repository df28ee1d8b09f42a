//! The state of a record at a node.

/// State of a record at a node, by its own word. The number is the byte on the wire, and in rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// It does not hold the record, or cannot read it.
    Absent = 0,
    /// It holds the record, and wants chunks that are not there.
    Incomplete = 1,
    /// It holds the record, and every chunk that the record names.
    Whole = 2,
    /// It holds the record, and has given up the bytes.
    GivenUp = 3,
}

impl Holding {
    pub(crate) fn of_byte(byte: u8) -> Option<Holding> {
        [Holding::Absent, Holding::Incomplete, Holding::Whole, Holding::GivenUp]
            .into_iter()
            .find(|holding| *holding as u8 == byte)
    }

    /// True if the node should have bytes that it does not have.
    pub(crate) fn is_lacking(self) -> bool {
        matches!(self, Holding::Absent | Holding::Incomplete)
    }
}
