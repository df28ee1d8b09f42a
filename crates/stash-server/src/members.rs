//! What changes among members: learning it from others, and, where the root secret is, making it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use serde_bytes::ByteBuf;
use stash_crypto::{
    Cut, Identity, MemberChange, MemberEntry, MemberError, MemberLog, NodeId, Role,
};
use stash_p2p::{CloseReason, Peer};
use stash_store::{Batch, Store};
use tokio::time::timeout;

use crate::catchup;
use crate::core::{AskError, Core, ask, lock, unexpected};
use crate::door::public;
use crate::ledger::{self, Aside, LedgerError};
use crate::message::{Reply, Request};
use crate::roster::RosterError;
use crate::standing::{self, NotMet};
use crate::sync::News;
use crate::{addresses, cuts, founders, freshness, join, parted, short, sync};

/// How long a member may take to say what it has of one that is about to be cut, and to hand it
/// over. One that takes longer counts as not reachable.
const GATHER: Duration = Duration::from_secs(10);

/// Alarms about another continuation of the member log, by the entry from which on it is another one.
pub(crate) const FORK: &[u8] = b"fork/";

/// What became of a change among members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MembersChanged {
    /// Members that said what they have of the node, of which this one has the most recent now.
    pub asked: Vec<NodeId>,
    /// Members that could not be asked: what only they have lies past the cut.
    pub silent: Vec<NodeId>,
    /// Whether a new epoch of keys began.
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
    /// The change cannot be signed, in words for people.
    #[error("the change cannot be signed: {0}")]
    Sign(String),
    /// The log did not take the entry, or could not be written.
    #[error(transparent)]
    Roster(#[from] RosterError),
    /// The store failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// What is to become of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Removed,
    Becomes(Role),
    Lapses,
    Returns,
}

/// Takes member entries and addresses that another node tells.
pub(crate) async fn learn(
    core: &Arc<Core>,
    entries: Vec<Vec<u8>>,
    claims: Vec<Vec<u8>>,
) -> Result<(), RosterError> {
    let shared = Arc::clone(core);
    let work = move |store: &Store| {
        let new = shared.roster.extend(store, &entries);
        if let Err(RosterError::Entry {
            source: MemberError::Fork { index, held, offered }, ..
        }) = new
        {
            let is_it = |bytes: &&Vec<u8>| {
                MemberEntry::decode(bytes).is_ok_and(|entry| entry.index() == index)
            };
            if let Some(other) = entries.iter().find(is_it)
                && shared.roster.note_fork(index, other)
            {
                for (_, peer) in shared.connected() {
                    show_fork(&shared, &peer, other.clone());
                }
            }
            let text = format!(
                "the member log forks at entry {index}: this node follows {}, and was shown {}, \
                 both signed by the root secret",
                held.short(),
                offered.short()
            );
            let batch = Batch::new().even_if_full();
            store.commit(ledger::one_more(store, batch, FORK, &index.to_be_bytes(), &text)?)?;
        }
        let may_move = |node| shared.addresses.may_move(node);
        let moved = shared.roster.learn(store, &claims, may_move)?;
        if moved.contains(&shared.me) {
            addresses::sign_again(&shared, store)?;
        }
        Ok::<_, RosterError>((new?, moved))
    };
    let result = core.disk.run(work).await;
    if let Err(error) = &result
        && cuts::missing(error).is_none()
    {
        tracing::error!(%error, "news about members were refused");
    }
    let (new, moved) = result?;
    if new > 0 {
        if core.admission.is_some() {
            // What this node did not sign in this life.
            stand(core, standing::was_put_back).await;
        }
        follow(core).await;
    }
    if new > 0 || !moved.is_empty() {
        sync::dial_members(core);
        let news = if new > 0 { News::Log } else { News::Addresses(moved) };
        sync::spread(core, &news);
    }
    Ok(())
}

/// Writes down what speaks for or against this node's knowing the end of the log.
async fn stand(core: &Arc<Core>, write: fn(&Core, &Store) -> Result<(), LedgerError>) {
    let shared = Arc::clone(core);
    if let Err(error) = core.disk.run(move |store| write(&shared, store)).await {
        tracing::error!(%error, "whether this node may sign is not kept");
    }
}

/// Shows a node the entry from which on a log parts from the one here, so that it raises the alarm, too,
/// whichever log it follows.
fn show_fork(core: &Arc<Core>, peer: &Peer, entry: Vec<u8>) {
    let entries = vec![ByteBuf::from(entry)];
    let (request, peer) = (Request::Announce { entries, addresses: Vec::new() }, peer.clone());
    core.tasks.spawn(async move {
        // Whoever follows the same log refuses it, and that is what it is for.
        if let Err(error) = ask(&peer, &request).await {
            tracing::debug!(%error, "a member was shown a fork");
        }
    });
}

/// Shows a member that has come what was shown here before that parts from the log.
pub(crate) fn show_forks(core: &Arc<Core>, peer: &Peer) {
    for entry in core.roster.forks() {
        show_fork(core, peer, entry);
    }
}

/// Records left the order, or came into it.
fn shown_otherwise(core: &Arc<Core>, aside: Aside) {
    if aside.records.is_empty() {
        return;
    }
    core.applied();
    for name in aside.names {
        // Nobody listens on a keeper.
        let _ = core.mended.send(name);
    }
    catchup::compare_with_all(core);
}

/// Takes back what was set aside and counts by the log as it is now.
pub(crate) async fn take_back(core: &Arc<Core>) {
    let shared = Arc::clone(core);
    let work = move |store: &Store| ledger::take_back(&shared.turns, store, &shared.roster);
    match core.disk.run(work).await {
        Ok(back) if back.records.is_empty() => {}
        Ok(back) => {
            shown_otherwise(core, back);
            core.wanted.notify_one();
        }
        Err(error) => tracing::error!(%error, "records that count again are still set aside"),
    }
}

/// Does what the member log says by now: parts with whoever was removed, speaks under the newest
/// network key, counts no copies of members that have lapsed, sets aside what was cut, takes back what
/// counts again.
async fn follow(core: &Arc<Core>) {
    learn_keys(core);
    founders::look(core).await;
    if core.admission.is_some()
        && let Err(error) = join::open_to_tickets(core)
    {
        tracing::warn!(%error, "tickets that were used in another life of this store are still open");
    }
    let removed = part(core);
    let lapsed = core.roster.members().into_iter().filter(|member| member.lapsed);
    let uncounted = removed.iter().copied().chain(lapsed.map(|member| member.node)).collect();
    if let Err(error) = short::part(core, uncounted).await {
        tracing::warn!(%error, "copies that a member lacks who does not count are still counted");
    }
    parted::clear_away(core);
    let shared = Arc::clone(core);
    let work = move |store: &Store| {
        ledger::set_aside(&shared.turns, store, &shared.roster, catchup::doubt)
    };
    match core.disk.run(work).await {
        Ok(aside) => shown_otherwise(core, aside),
        Err(error) => tracing::error!(%error, "records past a cut are still shown here"),
    }
    take_back(core).await;
    if core.admission.is_some() {
        stand(core, standing::log_changed).await;
    }
    if core.roster.was_refused() {
        catchup::compare_with_all(core);
    }
}

/// Takes the network keys of new epochs from the log.
pub(crate) fn learn_keys(core: &Core) {
    let secret = core.keys.wrap_secret();
    core.door.learn(core.roster.log(|log| log.network_keys(core.recipient(), secret)));
}

/// Cuts every connection to nodes that were removed, and names those. The gate lets no new one in,
/// and nobody dials.
fn part(core: &Core) -> Vec<NodeId> {
    let removed: Vec<Identity> =
        core.roster.log(|log| log.removals().map(|gone| gone.member.identity).collect());
    for identity in &removed {
        let remote = public(&identity.noise);
        core.endpoint.forget(&remote);
        core.peers.write().unwrap_or_else(PoisonError::into_inner).remove(&identity.node);
        lock(&core.news).remove(&identity.node);
        for peer in core.endpoint.peers().into_iter().filter(|peer| peer.remote() == remote) {
            tracing::info!(peer = %identity.node.short(), "a removed node is cut off");
            peer.close(CloseReason::Lost);
        }
    }
    removed.iter().map(|identity| identity.node).collect()
}

/// Changes a member, where the root secret is. Asks connected members first for what they have of an
/// owner that is to write no more.
pub(crate) async fn change(
    core: &Arc<Core>,
    node: NodeId,
    fate: Fate,
) -> Result<MembersChanged, ChangeMemberError> {
    let Some(admission) = core.admission.clone() else {
        return Err(ChangeMemberError::NotFounder);
    };
    let _one_at_a_time = core.admitting.lock().await;
    let role = core.roster.role(&node).ok_or(ChangeMemberError::NotAMember(node))?;
    if node == core.me {
        return Err(ChangeMemberError::Founder);
    }
    if fate == Fate::Becomes(role) {
        return Err(ChangeMemberError::SameRole { node, role });
    }
    let leaving = (fate == Fate::Removed).then_some(node);
    // Who lapses is looked at by a rule of its own.
    if matches!(fate, Fate::Removed | Fate::Becomes(_)) {
        standing::assure(core, leaving).await?;
    }
    let ends = match fate {
        Fate::Removed => role.writes(),
        Fate::Becomes(new) => role.writes() && !new.writes(),
        Fate::Lapses | Fate::Returns => false,
    };
    let mut changed = MembersChanged::default();
    if ends {
        gather(core, node, &mut changed).await;
    }
    let before = core.roster.log(MemberLog::epoch);
    let shared = Arc::clone(core);
    let work = move |store: &Store| {
        shared.roster.append(store, |log| {
            // Meanwhile somebody may have shown that there is more.
            if matches!(fate, Fate::Removed | Fate::Becomes(_)) {
                standing::check_without(&shared, leaving)?;
            }
            let cuts = if ends { cuts::ends(log, store, &node)? } else { Vec::new() };
            let change = |cuts| match fate {
                Fate::Removed => MemberChange::Remove { node, cuts },
                Fate::Becomes(role) => MemberChange::SetRole { node, role, cuts },
                Fate::Lapses => MemberChange::Lapse { node, lapsed: true },
                Fate::Returns => MemberChange::Lapse { node, lapsed: false },
            };
            cuts::entries(&*admission, log, store, cuts, node, change)
        })
    };
    core.disk.run(work).await?;
    changed.new_epoch = core.roster.log(MemberLog::epoch) > before;
    follow(core).await;
    sync::dial_members(core);
    sync::spread(core, &News::Log);
    freshness::look(core).await;
    Ok(changed)
}

/// Answers which records of a node are the last that are held here, from an incarnation on.
pub(crate) async fn writers(
    core: &Core,
    node: [u8; 32],
    from: [u8; 8],
) -> Result<Reply, LedgerError> {
    let look = move |store: &Store| cuts::last(store, &NodeId::from_bytes(node));
    let last = core.disk.run(look).await?.into_iter();
    let last = last.skip_while(|cut| *cut.incarnation.as_bytes() < from).take(cuts::PAGE);
    let last: Vec<u8> = last.flat_map(|cut| cut.to_bytes()).collect();
    Ok(Reply::Writers { last: ByteBuf::from(last) })
}

/// Asks every other member that is connected for the last records of a node, and takes over those
/// that are not here: what a member claims to hold counts once it is.
async fn gather(core: &Arc<Core>, node: NodeId, changed: &mut MembersChanged) {
    let connected = core.connected();
    let others = core.roster.members().into_iter().map(|member| member.node);
    let others = others.filter(|other| *other != core.me && *other != node);
    let ask_one = |other: NodeId| {
        let peer = connected.iter().find(|(node, _)| *node == other).map(|(_, peer)| peer.clone());
        async move {
            let Some(peer) = peer else {
                return (other, false);
            };
            let told = timeout(GATHER, gather_from(core, other, &peer, node)).await;
            if let Ok(Err(error)) = &told {
                tracing::warn!(peer = %other.short(), %error, "a member was not asked");
            }
            (other, matches!(told, Ok(Ok(()))))
        }
    };
    for (other, told) in join_all(others.map(ask_one)).await {
        let list = if told { &mut changed.asked } else { &mut changed.silent };
        list.push(other);
    }
}

async fn gather_from(
    core: &Arc<Core>,
    other: NodeId,
    peer: &Peer,
    node: NodeId,
) -> Result<(), AskError> {
    let wrong = || AskError::Protocol("no list of last records".to_owned());
    let (mut from, mut no_room) = (Some([0; 8]), 0);
    while let Some(first) = from {
        let request = Request::Writers { node: *node.as_bytes(), from: first };
        let reply = ask(peer, &request).await?;
        let Reply::Writers { last } = reply else {
            return Err(unexpected(&reply));
        };
        let page = unpack_cuts(&last).ok_or_else(wrong)?;
        let Some(end) = page.last() else { break };
        // They ascend, so that an answer is a step forward.
        if page[0].incarnation.as_bytes() < &first {
            return Err(wrong());
        }
        from = u64::from_be_bytes(*end.incarnation.as_bytes()).checked_add(1).map(u64::to_be_bytes);
        let hashes = page.iter().map(|cut| cut.hash).collect();
        no_room += catchup::take_from(core, other, peer, hashes).await?.no_room.len();
    }
    match no_room {
        0 => Ok(()),
        // They would lie past the cut: whoever changes the member is told, and may make room first.
        n => Err(AskError::Gone(format!("there is no room here for {n} records that it holds"))),
    }
}

/// The last records that an answer names; `None` if it is none.
pub(crate) fn unpack_cuts(bytes: &[u8]) -> Option<Vec<Cut>> {
    let (cuts, []) = bytes.as_chunks::<{ Cut::ENCODED }>() else {
        return None;
    };
    let cuts: Vec<Cut> = cuts.iter().map(Cut::from_bytes).collect::<Option<_>>()?;
    let ascending = cuts.is_sorted_by(|one, next| one.incarnation < next.incarnation);
    (cuts.len() <= cuts::PAGE && ascending).then_some(cuts)
}
