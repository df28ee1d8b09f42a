//! Where the chunks of a file are.

use std::collections::HashMap;

use stash_crypto::{Key, NodeId, Role};

use crate::operations::get::GetError;
use crate::vault::Vault;

/// The members that have a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locations {
    /// The file.
    pub key: Key,
    /// Its chunks; 0 when the content stands in the record.
    pub chunks: u64,
    /// True if the content stands in the record, which every member holds.
    pub inline: bool,
    /// The members, this node included.
    pub nodes: Vec<Location>,
}

/// The part of a file that one member has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The member.
    pub node: NodeId,
    /// Its display name, if it has one.
    pub name: Option<String>,
    /// Its role.
    pub role: Role,
    /// The number of chunks it says to hold; `None` if it could not be asked.
    pub chunks: Option<u64>,
    /// The same in a word.
    pub state: LocationState,
}

/// The share of a file that a member says to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocationState {
    /// Every chunk.
    Complete,
    /// Some chunks.
    Partial,
    /// Some chunks or all, and it is in doubt: it did not show what it said it had.
    InDoubt,
    /// No chunk.
    None,
    /// It could not be asked.
    Unreachable,
}

impl LocationState {
    /// The word for machines.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            LocationState::Complete => "complete",
            LocationState::Partial => "partial",
            LocationState::InDoubt => "in_doubt",
            LocationState::None => "none",
            LocationState::Unreachable => "unreachable",
        }
    }

    fn of(held: usize, chunks: usize) -> LocationState {
        match held {
            held if held == chunks => LocationState::Complete,
            0 => LocationState::None,
            _ => LocationState::Partial,
        }
    }
}

impl Vault {
    /// Asks every member which chunks of the file it holds. What a member says is not proven:
    /// evicting asks for proof.
    pub async fn locations(&self, key: &Key) -> Result<Locations, GetError> {
        let head = self.inner.head(key).await?;
        if head.is_directory() {
            return Err(GetError::IsTree { key: key.clone() });
        }
        let manifest = &head.record.clear().manifest;
        let unfetched = |source| GetError::Fetch { key: key.clone(), source };
        let refs = self.inner.chunks(manifest).await.map_err(unfetched)?;
        let addresses: Vec<_> = refs.iter().map(|chunk| chunk.address).collect();
        let answers: HashMap<_, _> =
            self.inner.engine.locate(&addresses).await.into_iter().collect();
        let members = self.inner.engine.members().into_iter();
        let nodes = members.map(|member| {
            let held = match answers.get(&member.node) {
                Some(Ok(held)) => Some(held.iter().filter(|held| **held).count()),
                Some(Err(_)) | None => None,
            };
            let state = held.map_or(LocationState::Unreachable, |held| {
                match LocationState::of(held, addresses.len()) {
                    state if held == 0 || member.trial.doubted.is_none() => state,
                    _ => LocationState::InDoubt,
                }
            });
            Location {
                node: member.node,
                name: self.display_name(&member.label, &member.node),
                role: member.role,
                chunks: held.map(|held| held as u64),
                state,
            }
        });
        Ok(Locations {
            key: key.clone(),
            chunks: manifest.file_chunks(),
            inline: head.meta.inline.is_some(),
            nodes: nodes.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_with_every_chunk_is_complete_even_of_a_file_without_chunks() {
        assert_eq!(LocationState::of(0, 0), LocationState::Complete);
        assert_eq!(LocationState::of(0, 2), LocationState::None);
        assert_eq!(LocationState::of(1, 2), LocationState::Partial);
        assert_eq!(LocationState::of(2, 2), LocationState::Complete);
    }
}
