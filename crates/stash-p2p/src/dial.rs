//! The initiator: dialling once, keeping a connection up, and opening bulk connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use crate::PublicKey;
use crate::backoff::Backoff;
use crate::candidate::{Candidate, Source};
use crate::error::{CloseReason, DialError};
use crate::established::Established;
use crate::inner::{Inner, Target};
use crate::knocks::Knocks;
use crate::peer::PeerInner;
use crate::race::{Course, race};

/// A peer that was up for less than this is dialled again with a pause.
const STABLE: Duration = Duration::from_secs(5);

/// Dials a remote at all its places. `unanswered` is the number of such dials in a row, before this
/// one, that had no answer.
pub(crate) async fn dial(
    inner: &Arc<Inner>,
    remote: PublicKey,
    target: &Target,
    knocks: &mut Knocks,
    unanswered: usize,
    announce: bool,
) -> Result<Arc<PeerInner>, DialError> {
    if remote == inner.public {
        return Err(DialError::SelfDial);
    }
    let realm = target.realm(unanswered);
    let course = Course::new(inner, remote, realm, None);
    let established = in_turn(inner, race(&course, &target.candidates, knocks)).await?;
    knocks.answered(established.link.info.addr);
    let (label, realm) = (realm.label, Some(Arc::clone(realm)));
    Ok(inner.register(established, label, realm, announce))
}

/// Dials when it is this dial's turn, until the endpoint stops.
async fn in_turn(
    inner: &Inner,
    dial: impl Future<Output = Result<Established, DialError>>,
) -> Result<Established, DialError> {
    let _permit = inner.dials.acquire().await.map_err(|_| DialError::Refused)?;
    tokio::select! {
        biased;
        () = inner.stop.cancelled() => Err(DialError::Refused),
        dialled = dial => dialled,
    }
}

/// Keeps one connection up until the endpoint stops or the target's sender is dropped.
pub(crate) async fn keep_loop(
    inner: Arc<Inner>,
    remote: PublicKey,
    mut target: watch::Receiver<Target>,
    now: Arc<Notify>,
) {
    let mut backoff = Backoff::new(inner.limits.backoff_min, inner.limits.backoff_max);
    let (mut unanswered, mut turned_away) = (0, false);
    let mut knocks = Knocks::default();
    loop {
        let current = target.borrow_and_update().clone();
        let peer = match inner.peer(&(remote, current.realms[0].label)) {
            Some(peer) => Ok(peer),
            None => tokio::select! {
                biased;
                dialled = dial(&inner, remote, &current, &mut knocks, unanswered, true) => dialled,
                is_kept = overtaken(target.clone(), &current) => match is_kept {
                    true => continue,
                    false => return,
                },
            },
        };
        let wait = match peer {
            Ok(peer) => {
                (unanswered, turned_away) = (0, false);
                let up = tokio::time::Instant::now();
                let peer = crate::Peer(peer);
                tokio::select! {
                    biased;
                    () = inner.stop.cancelled() => return,
                    changed = target.changed() => match changed {
                        Ok(()) => continue,
                        Err(_) => return,
                    },
                    _ = peer.closed() => {}
                }
                if up.elapsed() >= STABLE {
                    backoff.reset();
                    continue;
                }
                backoff.pause(&mut inner.environment.rng())
            }
            Err(error) => {
                let full = matches!(error, DialError::Closed(CloseReason::NoRoom));
                if full && !turned_away {
                    tracing::warn!(peer = %remote.short(), "it has no room for another connection: it is tried again");
                } else {
                    tracing::debug!(peer = %remote.short(), %error, "dial failed");
                }
                turned_away = full;
                // Whoever does not know a realm is silent.
                let silent =
                    matches!(error, DialError::NoSuchIdentity { .. } | DialError::TimedOut);
                unanswered = if silent { unanswered.wrapping_add(1) } else { 0 };
                backoff.pause(&mut inner.environment.rng())
            }
        };
        tokio::select! {
            biased;
            () = inner.stop.cancelled() => return,
            () = sleep(wait) => {}
            () = now.notified() => backoff.reset(),
            changed = target.changed() => match changed {
                Ok(()) => backoff.reset(),
                Err(_) => return,
            },
        }
    }
}

/// Waits for what ends a dial before it has an answer: `true` if the remote was heard on the local network at an address that
/// is not dialled yet, which is to be found at once and not after a place in the internet has timed out; `false` if it is not kept
/// any more.
async fn overtaken(mut target: watch::Receiver<Target>, dialled: &Target) -> bool {
    loop {
        if target.changed().await.is_err() {
            return false;
        }
        let is_new =
            |one: &Candidate| one.source == Source::Heard && !dialled.candidates.contains(one);
        if target.borrow().candidates.iter().any(is_new) {
            return true;
        }
    }
}

impl Inner {
    /// Opens a bulk connection with a token; a failure is no more than a missed chance.
    pub(crate) fn spawn_bulk_dial(
        self: &Arc<Self>,
        peer: &Arc<PeerInner>,
        addr: SocketAddr,
        token: [u8; 32],
    ) {
        let Some(realm) = peer.realm.clone() else {
            return;
        };
        let (inner, peer) = (Arc::clone(self), Arc::clone(peer));
        self.tasks.spawn(async move {
            let course = Course::new(&inner, peer.remote, &realm, Some(token));
            match in_turn(&inner, course.dial(addr)).await {
                Ok(established) => inner.register_bulk(established, &peer),
                Err(error) => {
                    tracing::debug!(peer = %peer.remote.short(), %error, "no bulk connection");
                    peer.no_bulk();
                }
            }
        });
    }
}
