//! Whether the founder may add to the member log.
//!
//! An entry goes to the end of the log as this node knows it. A founder that was brought back from a
//! copy, or whose store was made anew, may know less of it than others do, and would give a second
//! meaning to a place that has one: a fork, which nothing mends. So it signs nothing before a full
//! exchange with another member has ended since its start; and where its store is not the one that it
//! left, with more than half of them, as a recovery does, since one may be behind as well. From then on
//! nobody is known to know more: this node alone adds to the log.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use stash_crypto::{MemberLog, NodeId};
use stash_store::{Batch, ReadError, Store};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::core::{self, Core};
use crate::ledger::roster::Roster;
use crate::ledger::{LedgerError, progress, rows};
use crate::lock::lock;

/// Another member may know more of the member log than this node. Nothing changed. Connect those that
/// were not met, and try again; or call [`Engine::vouch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotMet {
    /// This node has ended no full exchange with another member since its start.
    #[error(
        "this node has not met another member since it was started, and another one may know of changes \
         among members that are not known here"
    )]
    Nobody,
    /// The store of this node is not the one that it left, and it has not met most members since.
    #[error(
        "this node was put back from a copy, or its store is new, and it has met {met} of {others} other \
         members since: only when it has met more than half of them does it know of all changes among \
         members"
    )]
    Few {
        /// How many of them it has met.
        met: usize,
        /// Other members that count: those that have not lapsed.
        others: usize,
    },
    /// The root secret has confirmed more of the member log than is here.
    #[error(
        "changes among members were signed that are not known here (entries of the member log: {0}): whoever \
         knows them has not been met"
    )]
    Behind(u64),
}

/// How long a change waits for exchanges with members that are connected already.
const EXCHANGE: Duration = Duration::from_secs(10);

/// What speaks for it that nobody knows more of the member log than this node.
#[derive(Clone, Debug, Default)]
struct Known {
    /// The operator has said so.
    pub(crate) is_vouched: bool,
    /// There was nobody to ask at the start, by a store that this node left.
    is_alone: bool,
    /// With whom a full exchange has ended since the start.
    met: BTreeSet<NodeId>,
    /// The store may not be the one that this node left.
    doubt: Option<Doubt>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Doubt {
    /// The uptime when it began, in seconds.
    since: u64,
    /// With whom a full exchange has ended since then.
    met: BTreeSet<NodeId>,
}

impl Doubt {
    fn encode(&self) -> Vec<u8> {
        let met = self.met.iter().flat_map(|node| *node.as_bytes());
        self.since.to_le_bytes().into_iter().chain(met).collect()
    }

    /// What cannot be read is a doubt since ever.
    fn decode(bytes: &[u8]) -> Doubt {
        let Some((since, met)) = bytes.split_first_chunk::<8>() else {
            return Doubt::default();
        };
        let met = met.as_chunks::<32>().0.iter().map(|node| NodeId::from_bytes(*node)).collect();
        Doubt { since: u64::from_le_bytes(*since), met }
    }
}

impl Known {
    /// Whether that is enough, if these are the other members that count.
    fn judge(&self, others: &BTreeSet<NodeId>) -> Result<(), NotMet> {
        if let Some(doubt) = self.doubt.as_ref().filter(|_| !others.is_empty()) {
            let met = doubt.met.intersection(others).count();
            if met * 2 <= others.len() {
                return Err(NotMet::Few { met, others: others.len() });
            }
        }
        if self.is_alone || !self.met.is_empty() { Ok(()) } else { Err(NotMet::Nobody) }
    }

    /// Whether this node may sign, of the members that `counts` lets count.
    fn check(&self, core: &Core, counts: impl Fn(&NodeId) -> bool) -> Result<(), NotMet> {
        let others = core
            .roster
            .members()
            .into_iter()
            .filter(|member| member.node != core.me && !member.lapsed && counts(&member.node));
        self.judge(&others.map(|member| member.node).collect())?;
        match missing(core) {
            0 => Ok(()),
            missing => Err(NotMet::Behind(missing)),
        }
    }
}

/// Entries of the log that the root secret has confirmed and that are not here.
fn missing(core: &Core) -> u64 {
    let confirmed = core.roster.confirmed().map_or(0, |told| told.length);
    confirmed.saturating_sub(core.roster.log(MemberLog::len))
}

/// Whether nobody knows more of the member log than this node.
#[derive(Debug)]
pub(crate) struct Standing {
    known: watch::Sender<Known>,
    /// Held while what is known is written down.
    keeping: Mutex<()>,
}

impl Standing {
    /// A stash of one has nobody to ask, unless its store is not the one that the node left.
    pub(crate) fn at_start(roster: &Roster, store: &Store) -> Result<Standing, ReadError> {
        let doubt = store.row(rows::STANDING)?.map(|row| Doubt::decode(&row));
        let is_left = doubt.is_none() && progress::is_complete(store);
        let is_alone = roster.members().len() == 1 && is_left;
        let known = Known { is_vouched: false, is_alone, met: BTreeSet::new(), doubt };
        Ok(Standing { known: watch::Sender::new(known), keeping: Mutex::default() })
    }

    /// The operator says that this node may sign, whoever it has met, until it stops.
    pub(crate) fn vouch(&self) {
        self.known.send_modify(|known| known.is_vouched = true);
    }

    fn known(&self) -> Known {
        self.known.borrow().clone()
    }
}

/// The store may not be the one that this node left: it has met nobody since.
pub(crate) fn doubt(store: &Store) -> Result<(), LedgerError> {
    let doubt = Doubt { since: store.stats().uptime, met: BTreeSet::new() };
    store.commit(Batch::new().row(rows::STANDING, Some(&doubt.encode())).even_if_full())?;
    Ok(())
}

/// Somebody shows what the root secret has signed and this node, which holds it, did not know: it was
/// put back and could not notice, or another one signs. It is in doubt from then on, also if that cannot
/// be written. Blocking.
pub(crate) fn was_put_back(core: &Core, store: &Store) -> Result<(), LedgerError> {
    let _one_at_a_time = lock(&core.standing.keeping);
    let known = core.standing.known();
    if known.doubt.is_some() {
        return Ok(());
    }
    tracing::warn!("the root secret has signed what was not known here: this node was put back");
    // Whom it has met since its start, it has met since it was put back.
    let doubt = Doubt { since: store.stats().uptime, met: known.met };
    core.standing.known.send_modify(|known| {
        (known.doubt, known.is_alone) = (Some(doubt.clone()), false);
    });
    core::compare_with_all(core);
    store.commit(Batch::new().row(rows::STANDING, Some(&doubt.encode())).even_if_full())?;
    settle(core, store)
}

/// A full exchange has ended with a member whose log is the same or a part of this node's. Blocking.
pub(crate) fn met(core: &Core, store: &Store, node: NodeId) -> Result<(), LedgerError> {
    let _one_at_a_time = lock(&core.standing.keeping);
    let mut doubt = core.standing.known().doubt;
    if let Some(doubt) = &mut doubt
        && doubt.met.insert(node)
    {
        store.commit(Batch::new().row(rows::STANDING, Some(&doubt.encode())).even_if_full())?;
    }
    core.standing.known.send_modify(|known| {
        known.met.insert(node);
        known.doubt = doubt;
    });
    settle(core, store)
}

/// Who is a member has changed, or what is known of the log: that may end the doubt. Blocking.
pub(crate) fn log_changed(core: &Core, store: &Store) -> Result<(), LedgerError> {
    let _one_at_a_time = lock(&core.standing.keeping);
    settle(core, store)
}

/// Ends the doubt if this node has met enough members. Called by whoever keeps.
fn settle(core: &Core, store: &Store) -> Result<(), LedgerError> {
    let known = core.standing.known();
    if known.doubt.is_some() && known.check(core, |_| true).is_ok() {
        store.commit(Batch::new().row(rows::STANDING, None).even_if_full())?;
        core.standing.known.send_modify(|known| known.doubt = None);
    }
    Ok(())
}

/// Whether the operator says that this node may sign, whoever it has met.
pub(crate) fn is_vouched(core: &Core) -> bool {
    core.standing.known.borrow().is_vouched
}

/// Whether this node may sign now.
pub(crate) fn check(core: &Core) -> Result<(), NotMet> {
    check_without(core, None)
}

/// The same for an entry that removes a member. Nobody waits for one that is `leaving`: what it alone
/// knows goes with it.
pub(crate) fn check_without(core: &Core, leaving: Option<NodeId>) -> Result<(), NotMet> {
    let known = core.standing.known();
    if known.is_vouched { Ok(()) } else { known.check(core, |node| Some(*node) != leaving) }
}

/// The same, a little later if a member has just come.
pub(crate) async fn assure(core: &Core, leaving: Option<NodeId>) -> Result<(), NotMet> {
    let mut changes = core.standing.known.subscribe();
    let may_change = || {
        let Known { met, doubt, .. } = core.standing.known();
        let is_met = |node| {
            met.contains(node) && doubt.as_ref().is_none_or(|doubt| doubt.met.contains(node))
        };
        let is_expected = core.connected().iter().any(|(node, _)| !is_met(node));
        is_expected && check_without(core, leaving).is_err()
    };
    let wait = async { while may_change() && changes.changed().await.is_ok() {} };
    // However the wait ends, what counts is how it stands then.
    let _ = timeout(EXCHANGE, wait).await;
    check_without(core, leaving)
}

/// Whether a lapse may be said: as any change, but nobody waits for members that are away for as long as
/// that takes. Waiting for them would mean that nobody ever lapses.
pub(crate) fn may_lapse(core: &Core, is_away: impl Fn(&NodeId) -> bool) -> bool {
    let known = core.standing.known();
    let mut others = core.roster.members().into_iter().filter(|member| member.node != core.me);
    let nobody_is_left = others.all(|member| is_away(&member.node));
    let is_left = known.doubt.is_none() && missing(core) == 0 && core::synchronised(core);
    check(core).is_ok()
        || known.check(core, |node| !is_away(node)).is_ok()
        || nobody_is_left && is_left
}

/// Since which uptime this node knows for itself who was away: what the store says of before may be of
/// another life.
pub(crate) fn knows_since(core: &Core) -> u64 {
    core.standing.known().doubt.map_or(0, |doubt| doubt.since)
}
