//! Members as the engine shows them, and changes of them.

use std::sync::Arc;

use stash_crypto::{NodeId, Role};

use crate::engine::Engine;
use crate::engine::view::{MemberView, RemovedView};
use crate::founder::change::{self, ChangeMemberError, Fate, MembersChanged};
use crate::ledger::{LedgerError, roster};
use crate::message::MemberRoom;
use crate::transfer::under_replicated;

impl Engine {
    /// Every member, in order of admission.
    #[must_use]
    pub fn members(&self) -> Vec<MemberView> {
        let connected = self.layers.core.connected();
        let view = |known: roster::Known| MemberView {
            this: known.node == self.layers.core.me,
            connected: known.node == self.layers.core.me
                || connected.iter().any(|(node, _)| *node == known.node),
            trial: self.layers.transfer.suspects.of(&known.node),
            room: match known.node == self.layers.core.me {
                true => Some(self.layers.core.door.room()),
                false => self.layers.transfer.rooms.of(&known.node),
            },
            node: known.node,
            noise: known.noise,
            role: known.role,
            label: known.label,
            addresses: known.addresses,
            lapsed: known.lapsed,
        };
        self.layers.core.roster.members().into_iter().map(view).collect()
    }

    /// The members that say that they are full, or have refused something for want of room, with
    /// how many records have no whole copy there, by their own word or as it is known here.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when the store cannot be read.
    pub async fn full_members(&self) -> Result<Vec<(MemberView, MemberRoom)>, LedgerError> {
        let lacking = self.layers.core.disk.run(under_replicated::count_by_member).await?;
        let full = self.members().into_iter().filter(|member| !member.this).filter_map(|member| {
            let mut room = member.room.filter(|room| room.full)?;
            room.lacks = room.lacks.max(lacking.get(&member.node).copied().unwrap_or(0));
            Some((member, room))
        });
        Ok(full.collect())
    }

    /// Removes a member, for good: its connections are cut, its records end at the last that a
    /// member which can be reached holds, and a new epoch of keys begins for the rest. Takes up to
    /// 10 s.
    ///
    /// # Errors
    ///
    /// [`ChangeMemberError`]; the member is one as before.
    pub async fn remove_member(&self, node: NodeId) -> Result<MembersChanged, ChangeMemberError> {
        self.change(node, Fate::Removed).await
    }

    /// Gives a member another role. If it was an owner and is one no more, its records end as those
    /// of a removed one. Takes up to 10 s.
    ///
    /// # Errors
    ///
    /// [`ChangeMemberError`]; its role is as before.
    pub async fn set_role(
        &self,
        node: NodeId,
        role: Role,
    ) -> Result<MembersChanged, ChangeMemberError> {
        self.change(node, Fate::Becomes(role)).await
    }

    async fn change(&self, node: NodeId, fate: Fate) -> Result<MembersChanged, ChangeMemberError> {
        let founder = Arc::clone(&self.layers.founder);
        // Once the entry is in the log, what follows from it has to follow.
        let change = async move { change::change(&founder, node, fate).await };
        self.layers.core.tasks.finish(change).await
    }

    /// The nodes that were removed, in that order.
    #[must_use]
    pub fn removed(&self) -> Vec<RemovedView> {
        let view = |gone: &stash_crypto::member::Removal| RemovedView {
            node: gone.member.identity.node,
            role: gone.member.role,
            label: gone.member.label.clone(),
        };
        self.layers.core.roster.log(|log| log.removals().map(view).collect())
    }
}
