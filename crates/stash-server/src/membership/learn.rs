//! Learning from others about changes among members, and following these changes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_bytes::ByteBuf;
use stash_crypto::member::MemberError;
use stash_crypto::{Identity, MemberEntry, NodeId};
use stash_p2p::{CloseReason, Peer};
use stash_store::{Batch, Store};
use tokio::time::timeout;

use crate::door::public;
use crate::ledger::{self, Aside, FORK, LedgerError, RosterError, cut_lists, progress};
use crate::membership::announce::News;
use crate::membership::{Membership, announce, departed, guests, may_sign, root_holders};
use crate::message::Request;
use crate::rpc::ask;
use crate::transfer::lacking;

/// Takes member entries and addresses that another node tells.
pub(crate) async fn learn(
    membership: &Arc<Membership>,
    entries: Vec<Vec<u8>>,
    claims: Vec<Vec<u8>>,
) -> Result<(), RosterError> {
    let shared = Arc::clone(membership);
    let work = move |store: &Store| {
        let new = shared.core.roster.extend(store, &entries);
        if let Err(RosterError::Entry {
            source: MemberError::Fork { index, held, offered }, ..
        }) = new
        {
            let is_it = |bytes: &&Vec<u8>| {
                MemberEntry::decode(bytes).is_ok_and(|entry| entry.index() == index)
            };
            if let Some(other) = entries.iter().find(is_it)
                && shared.core.roster.note_fork(index, other)
            {
                for (_, peer) in shared.core.connected() {
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
        let learn = || {
            let moved = shared.core.roster.learn(store, &claims, may_move)?;
            if moved.contains(&shared.core.me) {
                announce::sign_again(&shared, store)?;
            }
            Ok::<_, RosterError>(moved)
        };
        // What the log says is done, whatever becomes of the addresses.
        Ok::<_, RosterError>((new, learn()))
    };
    let (extended, moved) = membership.core.disk.run(work).await?;
    for error in [extended.as_ref().err(), moved.as_ref().err()].into_iter().flatten() {
        if cut_lists::missing(error).is_none() {
            tracing::error!(%error, "news about members were refused");
        }
    }
    let new = *extended.as_ref().unwrap_or(&0);
    if new > 0 {
        if membership.admission.is_some() {
            // What this node did not sign in this life.
            stand(membership, may_sign::was_put_back).await;
        }
        follow(membership).await;
    }
    let elsewhere = moved.as_deref().unwrap_or_default();
    if new > 0 || !elsewhere.is_empty() {
        announce::dial_members(membership);
        let news = if new > 0 { News::Log } else { News::Addresses(elsewhere.to_vec()) };
        announce::spread(membership, &news);
    }
    extended?;
    moved.map(drop)
}

/// Writes down facts for and against this node's knowing the end of the log.
async fn stand(
    membership: &Arc<Membership>,
    write: fn(&Membership, &Store) -> Result<(), LedgerError>,
) {
    let shared = Arc::clone(membership);
    if let Err(error) = membership.core.disk.run(move |store| write(&shared, store)).await {
        tracing::error!(%error, "whether this node may sign is not kept");
    }
}

/// Shows a node the entry from which on a log parts from the one here, so that it raises the alarm,
/// too, whichever log it follows.
fn show_fork(membership: &Arc<Membership>, peer: &Peer, entry: Vec<u8>) {
    let entries = vec![ByteBuf::from(entry)];
    let (request, peer) = (Request::Announce { entries, addresses: Vec::new() }, peer.clone());
    membership.core.tasks.spawn(async move {
        // Whoever follows the same log refuses it, and that is what it is for.
        if let Err(error) = ask(&peer, &request).await {
            tracing::debug!(%error, "a member was shown a fork");
        }
    });
}

/// Shows a member that has come the entries, shown here before, that part from the log.
pub(crate) fn show_forks(membership: &Arc<Membership>, peer: &Peer) {
    for entry in membership.core.roster.forks() {
        show_fork(membership, peer, entry);
    }
}

/// Records left the order, or came into it.
fn shown_otherwise(membership: &Arc<Membership>, aside: Aside) {
    if aside.records.is_empty() {
        return;
    }
    membership.core.applied();
    for name in aside.names {
        // Nobody listens on a keeper.
        let _ = membership.transfer.damage.mended.send(name);
    }
    membership.core.peers.compare_with_all();
}

/// Sets aside what was cut. False if something is left, for the next call.
async fn set_aside(membership: &Arc<Membership>) -> bool {
    let shared = Arc::clone(membership);
    let work = move |store: &Store| {
        let mut aside = Aside::default();
        let locks = &shared.core.name_locks;
        let done =
            ledger::set_aside(locks, store, &shared.core.roster, progress::with_doubt, &mut aside);
        (aside, done)
    };
    let (aside, done) = membership.core.disk.run(work).await;
    shown_otherwise(membership, aside);
    if let Err(error) = &done {
        tracing::error!(%error, "records past a cut are still shown here");
    }
    done.is_ok()
}

/// Takes back what was set aside and counts by the log as it is now.
async fn take_back(membership: &Arc<Membership>) {
    let shared = Arc::clone(membership);
    let work = move |store: &Store| {
        let mut back = Aside::default();
        let done =
            ledger::take_back(&shared.core.name_locks, store, &shared.core.roster, &mut back);
        (back, done)
    };
    let (back, done) = membership.core.disk.run(work).await;
    if !back.records.is_empty() {
        shown_otherwise(membership, back);
        membership.transfer.restored.regained();
        membership.transfer.wanted.notify_one();
    }
    if let Err(error) = done {
        tracing::error!(%error, "records that count again are still set aside");
    }
}

/// Does again what a failure of the store has left undone of [`follow`], and takes back what there
/// was no room for.
pub(crate) async fn follow_again(membership: &Arc<Membership>) {
    if membership.unfollowed.swap(false, Ordering::Relaxed) {
        follow(membership).await;
    } else {
        take_back(membership).await;
    }
}

/// Does what the member log says by now: cuts off removed members, speaks under the newest network
/// key, counts no copies of members that have lapsed, sets aside what was cut, takes back what
/// counts again.
pub(crate) async fn follow(membership: &Arc<Membership>) {
    learn_keys(membership);
    root_holders::look(membership).await;
    if membership.admission.is_some()
        && let Err(error) = guests::open_to_tickets(membership)
    {
        tracing::warn!(%error, "tickets that were used in another life of this store are still open");
    }
    let removed = part(membership);
    let lapsed = membership.core.roster.members().into_iter().filter(|member| member.lapsed);
    let uncounted = removed.iter().copied().chain(lapsed.map(|member| member.node)).collect();
    if let Err(error) = lacking::part(&membership.transfer, uncounted).await {
        tracing::warn!(%error, "copies that a member lacks who does not count are still counted");
        membership.unfollowed.store(true, Ordering::Relaxed);
    }
    departed::clear_away(membership);
    if !set_aside(membership).await {
        membership.unfollowed.store(true, Ordering::Relaxed);
    }
    take_back(membership).await;
    if membership.admission.is_some() {
        stand(membership, may_sign::log_changed).await;
    }
    if membership.core.roster.was_refused() {
        membership.core.peers.compare_with_all();
    }
}

/// Takes the network keys of new epochs from the log.
pub(crate) fn learn_keys(membership: &Membership) {
    let secret = membership.core.keys.wrap_secret();
    membership.core.door.learn(
        membership.core.roster.log(|log| log.network_keys(membership.core.recipient(), secret)),
    );
}

/// Time for a removed node to hear that it was.
const LAST_WORD: Duration = Duration::from_secs(2);

/// Shows a node the entry that removed it, which is the last that it is told, and cuts it off. It is served nothing meanwhile.
/// One that is not connected when a member learns of its removal hears nothing: from then on it knocks at closed doors.
fn show_removal(membership: &Arc<Membership>, node: &NodeId, peer: Peer) {
    let entry = membership.core.roster.log(|log| {
        let at = log.removal(node).and_then(|removal| usize::try_from(removal.removed_at).ok());
        at.and_then(|at| log.entries().get(at)).map(|entry| ByteBuf::from(entry.bytes().to_vec()))
    });
    // Nothing of what came later, which is none of its business.
    let entries = entry.into_iter().collect();
    let request = Request::Announce { entries, addresses: Vec::new() };
    membership.core.tasks.spawn(async move {
        match timeout(LAST_WORD, ask(&peer, &request)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a removed node was not told"),
            Err(_) => tracing::debug!("a removed node did not listen"),
        }
        peer.close(CloseReason::Lost);
    });
}

/// Cuts every connection to nodes that were removed, and names those. The gate lets no new one in,
/// and nobody dials.
fn part(membership: &Arc<Membership>) -> Vec<NodeId> {
    let removed: Vec<Identity> =
        membership.core.roster.log(|log| log.removals().map(|gone| gone.member.identity).collect());
    for identity in &removed {
        let remote = public(&identity.noise);
        membership.core.endpoint.forget(&remote);
        membership.core.peers.forget(&identity.node);
        for peer in
            membership.core.endpoint.peers().into_iter().filter(|peer| peer.remote() == remote)
        {
            tracing::info!(peer = %identity.node.short(), "a removed node is cut off");
            show_removal(membership, &identity.node, peer);
        }
    }
    removed.iter().map(|identity| identity.node).collect()
}
