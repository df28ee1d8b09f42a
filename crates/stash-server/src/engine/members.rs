//! Members as the engine shows them, and changes of them.

use std::sync::Arc;

use stash_crypto::member::Place;
use stash_crypto::{NodeId, Role};
use stash_p2p::{Attached, Peer};

use crate::door::PROGRAM;
use crate::engine::Engine;
use crate::engine::view::{MemberView, Path, RemovedView};
use crate::founder::change::{self, ChangeMemberError, Fate, MembersChanged};
use crate::keeps::ALL;
use crate::layers::Layers;
use crate::ledger::{LedgerError, roster, sums};
use crate::membership::discovery::Discovery;
use crate::membership::{announce, root_holders};
use crate::message::MemberRoom;
use crate::reach;
use crate::replication::statement_news;
use crate::replication::statements::Stated;
use crate::transfer::lacking;
use crate::upkeep::safety;

/// The connection to a member.
fn path(peer: &Peer, attached: &[Attached], discovery: &Discovery, node: &NodeId) -> Path {
    let address = peer.addr();
    let local = reach::is_near(&address.ip(), attached);
    Path { address, dialled: peer.dialled(), local, heard: discovery.is_at(node, &address.ip()) }
}

impl Engine {
    /// Sets the places at which this node dials a member because its user says so, beside those that
    /// the member names; none takes them back. Of more than 8, the first are taken.
    ///
    /// # Errors
    ///
    /// [`LedgerError`]; nothing has changed.
    pub async fn give_places(&self, node: NodeId, places: Vec<Place>) -> Result<(), LedgerError> {
        announce::give(&self.layers.membership, node, places).await
    }

    /// Every member, in order of admission.
    #[must_use]
    pub fn members(&self) -> Vec<MemberView> {
        let Layers { core, transfer, membership, replication, .. } = &self.layers;
        let connected = core.connected();
        let attached = core.door.attached();
        let founders = core.roster.log(root_holders::holders);
        let (now, held) = (core.environment.seconds(), sums::held(core.disk.store()));
        let view = |known: roster::Known| {
            let node = known.node;
            let this = node == core.me;
            let peer = connected.iter().find(|(other, _)| *other == node).map(|(_, peer)| peer);
            let connected = this || peer.is_some();
            let stated = match this {
                true => Some(statement_news::stated(core)),
                false => replication.statements.of(&node, now),
            };
            let (percent, to_go) =
                stated.map_or((None, None), |stated| safety::part(&held, &stated));
            let met = membership.last_met.seen(&node).filter(|_| !this);
            let heard = stated.map(|stated| now.saturating_sub(stated.age));
            MemberView {
                this,
                connected,
                trial: transfer.suspects.of(&node),
                room: match this {
                    true => Some(core.door.room()),
                    false => transfer.rooms.of(&node),
                },
                founder: founders.contains(&node),
                seen: match connected {
                    true => Some(now),
                    false => met.as_ref().map(|met| met.at).max(heard),
                },
                program: match this {
                    true => Some(PROGRAM.to_owned()),
                    false => met.and_then(|met| met.program),
                },
                percent,
                to_go,
                stated_room: stated.map(|Stated { figures, .. }| MemberRoom {
                    used: figures.used,
                    limit: figures.limit,
                    full: figures.full,
                    lacks: 0,
                }),
                keep: stated.map(|stated| stated.figures.keep).filter(|keep| *keep != ALL),
                node,
                noise: known.noise,
                role: known.role,
                label: known.label,
                given: membership.ways.given(&node),
                path: peer.map(|peer| path(peer, &attached, &membership.discovery, &node)),
                addresses: known.addresses,
                lapsed: known.lapsed,
            }
        };
        core.roster.members().into_iter().map(view).collect()
    }

    /// The members that say that they are full, or have refused something for want of room, with
    /// how many records have no whole copy there, by their own word or as it is known here.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when the store cannot be read.
    pub async fn full_members(&self) -> Result<Vec<(MemberView, MemberRoom)>, LedgerError> {
        let lacking = lacking::counts(&self.layers.transfer).await?.by_member();
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
