//! Rules for when the founder may add to the member log, by its
//! [`Standing`](super::standing::Standing).

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stash_crypto::{MemberLog, NodeId};
use stash_store::{Batch, Store};
use tokio::time::timeout;

use crate::ledger::{LedgerError, rows};
use crate::lock::lock;
use crate::membership::Membership;
use crate::membership::standing::{Doubt, Known, NotMet};

/// Longest wait of a change for exchanges with members that are connected already.
const EXCHANGE: Duration = Duration::from_secs(10);

/// Checks that this is enough to sign, of the members that `counts` lets count.
fn suffices(
    known: &Known,
    membership: &Membership,
    counts: impl Fn(&NodeId) -> bool,
) -> Result<(), NotMet> {
    let others = membership.core.roster.members().into_iter().filter(|member| {
        member.node != membership.core.me && !member.lapsed && counts(&member.node)
    });
    known.judge(&others.map(|member| member.node).collect())?;
    match missing(membership) {
        0 => Ok(()),
        missing => Err(NotMet::Behind(missing)),
    }
}

/// Entries of the log that the root secret has confirmed and that are not here.
fn missing(membership: &Membership) -> u64 {
    let confirmed = membership.core.roster.confirmed().map_or(0, |told| told.length);
    confirmed.saturating_sub(membership.core.roster.log(MemberLog::len))
}

/// The store may not be the one that this node left: it has met nobody since.
pub(crate) fn doubt(store: &Store) -> Result<(), LedgerError> {
    let doubt = Doubt { since: store.stats().uptime, met: BTreeSet::new() };
    store.commit(Batch::new().row(rows::STANDING, Some(&doubt.encode())).even_if_full())?;
    Ok(())
}

/// Notes that somebody shows what the root secret has signed and this node, which holds it, did not
/// know: it was put back and could not notice, or another one signs. It is in doubt from then on,
/// also if that cannot be written. Blocking.
pub(crate) fn was_put_back(membership: &Membership, store: &Store) -> Result<(), LedgerError> {
    let _one_at_a_time = lock(&membership.standing.keeping);
    let known = membership.standing.known();
    if let Some(doubt) = &known.doubt {
        return keep(membership, store, doubt);
    }
    tracing::warn!("the root secret has signed what was not known here: this node was put back");
    // Whom it has met since its start, it has met since it was put back.
    let doubt = Doubt { since: store.stats().uptime, met: known.met };
    membership.standing.known.send_modify(|known| {
        (known.doubt, known.is_alone) = (Some(doubt.clone()), false);
    });
    membership.core.peers.compare_with_all();
    membership.standing.is_unwritten.store(true, Ordering::Relaxed);
    keep(membership, store, &doubt)?;
    settle(membership, store)
}

/// Writes a doubt down that the store did not take before.
fn keep(membership: &Membership, store: &Store, doubt: &Doubt) -> Result<(), LedgerError> {
    if membership.standing.is_unwritten.load(Ordering::Relaxed) {
        store.commit(Batch::new().row(rows::STANDING, Some(&doubt.encode())).even_if_full())?;
        membership.standing.is_unwritten.store(false, Ordering::Relaxed);
    }
    Ok(())
}

/// A full exchange has ended with a member whose log is the same or a part of this node's.
/// Blocking.
pub(crate) fn met(membership: &Membership, store: &Store, node: NodeId) -> Result<(), LedgerError> {
    let _one_at_a_time = lock(&membership.standing.keeping);
    let mut doubt = membership.standing.known().doubt;
    if let Some(doubt) = &mut doubt
        && doubt.met.insert(node)
    {
        store.commit(Batch::new().row(rows::STANDING, Some(&doubt.encode())).even_if_full())?;
        membership.standing.is_unwritten.store(false, Ordering::Relaxed);
    }
    membership.standing.known.send_modify(|known| {
        known.met.insert(node);
        known.doubt = doubt;
    });
    settle(membership, store)
}

/// The members have changed, or what is known of the log: that may end the doubt. Blocking.
pub(crate) fn log_changed(membership: &Membership, store: &Store) -> Result<(), LedgerError> {
    let _one_at_a_time = lock(&membership.standing.keeping);
    settle(membership, store)
}

/// Ends the doubt if this node has met enough members. The caller holds `keeping`.
fn settle(membership: &Membership, store: &Store) -> Result<(), LedgerError> {
    let known = membership.standing.known();
    if known.doubt.is_some() && suffices(&known, membership, |_| true).is_ok() {
        store.commit(Batch::new().row(rows::STANDING, None).even_if_full())?;
        membership.standing.known.send_modify(|known| known.doubt = None);
    }
    Ok(())
}

/// True if the log here may be confirmed in place of another one that was.
pub(crate) fn may_confirm_over(membership: &Membership) -> bool {
    membership.standing.known.borrow().may_confirm_over
}

/// Checks that this node may sign now.
pub(crate) fn check(membership: &Membership) -> Result<(), NotMet> {
    check_without(membership, None)
}

/// The same for an entry that removes a member. Nobody waits for one that is `leaving`: what it
/// alone knows goes with it.
pub(crate) fn check_without(
    membership: &Membership,
    leaving: Option<NodeId>,
) -> Result<(), NotMet> {
    let known = membership.standing.known();
    if known.is_vouched {
        Ok(())
    } else {
        suffices(&known, membership, |node| Some(*node) != leaving)
    }
}

/// The same, a little later if a member has just come.
pub(crate) async fn assure(membership: &Membership, leaving: Option<NodeId>) -> Result<(), NotMet> {
    let mut changes = membership.standing.known.subscribe();
    let may_change = || {
        let Known { met, doubt, .. } = membership.standing.known();
        let is_met = |node| {
            met.contains(node) && doubt.as_ref().is_none_or(|doubt| doubt.met.contains(node))
        };
        let is_expected = membership.core.connected().iter().any(|(node, _)| !is_met(node));
        is_expected && check_without(membership, leaving).is_err()
    };
    let wait = async { while may_change() && changes.changed().await.is_ok() {} };
    // However the wait ends, what counts is how it stands then.
    let _ = timeout(EXCHANGE, wait).await;
    check_without(membership, leaving)
}

/// True if a lapse may be said: as any change, but nobody waits for members that are away for as
/// long as that takes. Waiting for them would mean that nobody ever lapses.
pub(crate) fn may_lapse(membership: &Membership, is_away: impl Fn(&NodeId) -> bool) -> bool {
    let known = membership.standing.known();
    let mut others = membership
        .core
        .roster
        .members()
        .into_iter()
        .filter(|member| member.node != membership.core.me);
    let nobody_is_left = others.all(|member| is_away(&member.node));
    let is_left =
        known.doubt.is_none() && missing(membership) == 0 && membership.core.synchronised();
    check(membership).is_ok()
        || suffices(&known, membership, |node| !is_away(node)).is_ok()
        || nobody_is_left && is_left
}

/// The uptime since which this node knows for itself who was away: what the store says of before
/// may be of another life.
pub(crate) fn knows_since(membership: &Membership) -> u64 {
    membership.standing.known().doubt.map_or(0, |doubt| doubt.since)
}
