//! Changing members, where the root secret is.

use std::sync::Arc;

use stash_crypto::member::{CutList, MAX_CUTS, MAX_LISTED};
use stash_crypto::{Cut, MemberChange, MemberEntry, MemberLog, NodeId, Role};
use stash_store::{Batch, Store};

use crate::admission::{Admission, SignFailure};
use crate::founder::Founder;
use crate::founder::writers::{Gathered, gather};
use crate::ledger::cut_lists::keep;
use crate::ledger::{LedgerError, RosterError, cut_lists};
use crate::membership::announce::News;
use crate::membership::learn::follow;
use crate::membership::standing::NotMet;
use crate::membership::{announce, confirmation, may_sign};

/// Outcome of a change among members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MembersChanged {
    /// Members that said what they have of the node, of which this one has the most recent now.
    pub asked: Vec<NodeId>,
    /// Members that could not be asked: what only they have lies past the cut.
    pub silent: Vec<NodeId>,
    /// True if a new epoch of keys began.
    pub new_epoch: bool,
}

/// A change among members was not made. Nothing changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeMemberError {
    /// Only the node that holds the root secret signs the member log. Ask there.
    #[error(
        "only the node that founded the stash can change who its members are: it alone holds the root secret"
    )]
    NotFounder,
    /// The founder would lose what it needs to change anything.
    #[error("the founding node can neither remove itself nor give up its own role")]
    Founder,
    /// Another member may know more of the member log. Connect one, or vouch for this node's.
    #[error(transparent)]
    NotMet(#[from] NotMet),
    /// The node is no member. The caller's fault.
    #[error("{} is no member", .0.short())]
    NotAMember(NodeId),
    /// The member has that role already.
    #[error("{} is {role} already", .node.short())]
    SameRole {
        /// The member.
        node: NodeId,
        /// Its role.
        role: Role,
    },
    /// The change cannot be signed.
    #[error("the change cannot be signed: {0}")]
    Sign(SignFailure),
    /// The log did not take the entry, or could not be written.
    #[error(transparent)]
    Roster(#[from] RosterError),
    /// The store failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Change to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Removed,
    Becomes(Role),
    Lapses,
    Returns,
}

/// Changes a member, where the root secret is. Asks connected members first for what they have of
/// an owner that is to write no more.
pub(crate) async fn change(
    founder: &Arc<Founder>,
    node: NodeId,
    fate: Fate,
) -> Result<MembersChanged, ChangeMemberError> {
    let Some(admission) = founder.membership.admission.clone() else {
        return Err(ChangeMemberError::NotFounder);
    };
    let _one_at_a_time = founder.admitting.lock().await;
    let role = founder.core.roster.role(&node).ok_or(ChangeMemberError::NotAMember(node))?;
    if node == founder.core.me {
        return Err(ChangeMemberError::Founder);
    }
    if fate == Fate::Becomes(role) {
        return Err(ChangeMemberError::SameRole { node, role });
    }
    let leaving = (fate == Fate::Removed).then_some(node);
    // Who lapses is looked at by a rule of its own.
    if matches!(fate, Fate::Removed | Fate::Becomes(_)) {
        may_sign::assure(&founder.membership, leaving).await?;
    }
    let ends = match fate {
        Fate::Removed => role.writes(),
        Fate::Becomes(new) => role.writes() && !new.writes(),
        Fate::Lapses | Fate::Returns => false,
    };
    let Gathered { asked, silent } =
        if ends { gather(founder, node).await } else { Gathered::default() };
    let before = founder.core.roster.log(MemberLog::epoch);
    let shared = Arc::clone(founder);
    let work = move |store: &Store| {
        shared.core.roster.append(store, |log| {
            // Meanwhile somebody may have shown that there is more.
            if matches!(fate, Fate::Removed | Fate::Becomes(_)) {
                may_sign::check_without(&shared.membership, leaving)?;
            }
            let cuts = if ends { cut_lists::ends(log, store, &node)? } else { Vec::new() };
            let change = |cuts| match fate {
                Fate::Removed => MemberChange::Remove { node, cuts },
                Fate::Becomes(role) => MemberChange::SetRole { node, role, cuts },
                Fate::Lapses => MemberChange::Lapse { node, lapsed: true },
                Fate::Returns => MemberChange::Lapse { node, lapsed: false },
            };
            entries(&*admission, log, store, cuts, node, change)
        })
    };
    founder.core.disk.run(work).await?;
    let new_epoch = founder.core.roster.log(MemberLog::epoch) > before;
    follow(&founder.membership).await;
    announce::dial_members(&founder.membership);
    announce::spread(&founder.membership, &News::Log);
    confirmation::look(&founder.membership).await;
    Ok(MembersChanged { asked, silent, new_epoch })
}

/// The entries that end a member's incarnations here, with the change that ends its writing as the
/// last. What does not fit into that is durable, as lists, when this returns.
pub(crate) fn entries(
    admission: &dyn Admission,
    log: &MemberLog,
    store: &Store,
    cuts: Vec<Cut>,
    node: NodeId,
    change: impl Fn(Vec<Cut>) -> MemberChange,
) -> Result<Vec<MemberEntry>, ChangeMemberError> {
    let sign =
        |log: &MemberLog, change| admission.change(log, change).map_err(ChangeMemberError::Sign);
    if cuts.len() <= MAX_CUTS {
        return sign(log, change(cuts));
    }
    let (mut log, mut made) = (log.clone(), Vec::new());
    for part in cuts.chunks(MAX_LISTED) {
        let list = CutList::new(part.to_vec());
        let list = list.map_err(|error| ChangeMemberError::Sign(error.into()))?;
        store.commit(keep(Batch::new(), &list).even_if_full()).map_err(RosterError::from)?;
        let change = MemberChange::Cuts { node, count: list.count(), list: list.hash() };
        log.know(list);
        for entry in sign(&log, change)? {
            log.push(entry.clone()).map_err(|error| ChangeMemberError::Sign(error.into()))?;
            made.push(entry);
        }
    }
    made.extend(sign(&log, change(Vec::new()))?);
    Ok(made)
}
