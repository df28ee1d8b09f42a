//! Learning from others what has changed among members, and following it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use serde_bytes::ByteBuf;
use stash_crypto::{Identity, MemberEntry, MemberError, NodeId};
use stash_p2p::{CloseReason, Peer};
use stash_store::{Batch, Store};

use crate::core::Core;
use crate::door::public;
use crate::ledger::{Aside, FORK, LedgerError, RosterError, cut_lists, progress};
use crate::lock::lock;
use crate::membership::announce::News;
use crate::membership::{addresses, announce, departed, guests, root_holders, standing};
use crate::message::Request;
use crate::rpc::ask;
use crate::transfer::under_replicated;
use crate::{core, ledger};

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
        && cut_lists::missing(error).is_none()
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
        announce::dial_members(core);
        let news = if new > 0 { News::Log } else { News::Addresses(moved) };
        announce::spread(core, &news);
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
    core::compare_with_all(core);
}

/// Sets aside what was cut. False if something is left, for the next call.
async fn set_aside(core: &Arc<Core>) -> bool {
    let shared = Arc::clone(core);
    let work = move |store: &Store| {
        let mut aside = Aside::default();
        let locks = &shared.name_locks;
        let done = ledger::set_aside(locks, store, &shared.roster, progress::doubt, &mut aside);
        (aside, done)
    };
    let (aside, done) = core.disk.run(work).await;
    shown_otherwise(core, aside);
    if let Err(error) = &done {
        tracing::error!(%error, "records past a cut are still shown here");
    }
    done.is_ok()
}

/// Takes back what was set aside and counts by the log as it is now.
async fn take_back(core: &Arc<Core>) {
    let shared = Arc::clone(core);
    let work = move |store: &Store| {
        let mut back = Aside::default();
        let done = ledger::take_back(&shared.name_locks, store, &shared.roster, &mut back);
        (back, done)
    };
    let (back, done) = core.disk.run(work).await;
    if !back.records.is_empty() {
        shown_otherwise(core, back);
        core.wanted.notify_one();
    }
    if let Err(error) = done {
        tracing::error!(%error, "records that count again are still set aside");
    }
}

/// Does again what a failure of the store has left undone of [`follow`], and takes back what there was
/// no room for.
pub(crate) async fn follow_again(core: &Arc<Core>) {
    if core.unfollowed.swap(false, Ordering::Relaxed) {
        follow(core).await;
    } else {
        take_back(core).await;
    }
}

/// Does what the member log says by now: parts with whoever was removed, speaks under the newest
/// network key, counts no copies of members that have lapsed, sets aside what was cut, takes back what
/// counts again.
pub(crate) async fn follow(core: &Arc<Core>) {
    learn_keys(core);
    root_holders::look(core).await;
    if core.admission.is_some()
        && let Err(error) = guests::open_to_tickets(core)
    {
        tracing::warn!(%error, "tickets that were used in another life of this store are still open");
    }
    let removed = part(core);
    let lapsed = core.roster.members().into_iter().filter(|member| member.lapsed);
    let uncounted = removed.iter().copied().chain(lapsed.map(|member| member.node)).collect();
    if let Err(error) = under_replicated::part(core, uncounted).await {
        tracing::warn!(%error, "copies that a member lacks who does not count are still counted");
        core.unfollowed.store(true, Ordering::Relaxed);
    }
    departed::clear_away(core);
    if !set_aside(core).await {
        core.unfollowed.store(true, Ordering::Relaxed);
    }
    take_back(core).await;
    if core.admission.is_some() {
        stand(core, standing::log_changed).await;
    }
    if core.roster.was_refused() {
        core::compare_with_all(core);
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
