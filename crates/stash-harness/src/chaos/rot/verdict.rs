//! Ends of damage.

/// The end of a flip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Found, and everything came back by itself.
    Healed,
    /// Found and named; what this node alone had was quarantined, and came back by putting it again.
    Named,
    /// The node did not start, named the file, and what it said to do helped.
    Refused,
    /// Nobody said anything, and everything was right.
    Unnoticed,
}

impl Verdict {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Healed => "healed",
            Self::Named => "named, and healed by a put",
            Self::Refused => "refused and named, and mended as it said",
            Self::Unnoticed => "without effect",
        }
    }
}
