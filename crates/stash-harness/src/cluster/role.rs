//! The role of a node, as the command line spells it.

use std::fmt;

/// The role of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads and writes.
    Owner,
    /// Reads.
    Reader,
    /// Holds ciphertext.
    Keeper,
}

impl Role {
    /// True if it has names and contents.
    pub fn reads(self) -> bool {
        self != Self::Keeper
    }

    /// The roles of a cluster of `count` nodes: the founder is an owner, then keeper, owner, and on as keeper, reader, owner.
    pub fn of_cluster(count: usize) -> Vec<Self> {
        let first = [Self::Owner, Self::Keeper, Self::Owner];
        let rest = [Self::Keeper, Self::Reader, Self::Owner];
        first.into_iter().chain(rest.into_iter().cycle()).take(count).collect()
    }
}

impl fmt::Display for Role {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Owner => "owner",
            Self::Reader => "reader",
            Self::Keeper => "keeper",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_nodes_have_every_role_and_the_first_three_are_the_tours() {
        use Role::{Keeper, Owner, Reader};
        let roles = Role::of_cluster(9);
        assert_eq!(roles, [Owner, Keeper, Owner, Keeper, Reader, Owner, Keeper, Reader, Owner]);
        assert_eq!(Role::of_cluster(2), [Owner, Keeper]);
    }
}
