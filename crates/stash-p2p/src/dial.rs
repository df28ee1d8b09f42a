//! The initiator: dialling once, keeping a connection up, and opening bulk connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use crate::PublicKey;
use crate::backoff::Backoff;
use crate::budget::Holder;
use crate::error::{CloseReason, DialError};
use crate::establish::establish;
use crate::established::Established;
use crate::gate::{Purpose, Realm};
use crate::handshake::Dial;
use crate::inner::{Inner, Target};
use crate::limits::MAX_ADDRESSES;
use crate::peer::PeerInner;
use crate::preamble::{MSG2_LEN, Offer, VERSION};

/// A peer that was up for less than this is dialled again with a pause.
const STABLE: Duration = Duration::from_secs(5);

/// Tries the addresses in turn until one answers as `remote`. `unanswered` is the number of such
/// dials in a row, before this one, that had no answer.
pub(crate) async fn dial(
    inner: &Arc<Inner>,
    remote: PublicKey,
    target: &Target,
    unanswered: usize,
    announce: bool,
) -> Result<Arc<PeerInner>, DialError> {
    if remote == inner.public {
        return Err(DialError::SelfDial);
    }
    let mut result = Err(DialError::NoAddress);
    let realm = target.realm(unanswered);
    for addr in target.addresses.iter().take(MAX_ADDRESSES) {
        let attempt = dial_addr(inner, remote, realm, *addr, None);
        match attempt.await {
            Ok(established) => {
                let realm = Arc::clone(realm);
                let label = realm.label;
                return Ok(inner.register(established, label, Some(realm), announce));
            }
            Err(error) => result = Err(error),
        }
    }
    result
}

/// Tries one address, within the handshake's deadline.
async fn dial_addr(
    inner: &Inner,
    remote: PublicKey,
    realm: &Realm,
    addr: SocketAddr,
    token: Option<[u8; 32]>,
) -> Result<Established, DialError> {
    let _permit = inner.dials.acquire().await.map_err(|_| DialError::Refused)?;
    let attempt = timeout(inner.limits.handshake, shake(inner, remote, realm, addr, token));
    tokio::select! {
        biased;
        () = inner.stop.cancelled() => Err(DialError::Refused),
        attempt = attempt => attempt.unwrap_or(Err(DialError::TimedOut)),
    }
}

async fn shake(
    inner: &Inner,
    remote: PublicKey,
    realm: &Realm,
    addr: SocketAddr,
    token: Option<[u8; 32]>,
) -> Result<Established, DialError> {
    let dialled = inner.environment.network.dial(addr).await;
    let mut wire = dialled.map_err(|source| DialError::Unreachable { addr, source })?;
    let purpose = if token.is_some() { Purpose::Bulk } else { Purpose::Control };
    let place = inner.place(Holder::Peer(remote), purpose).ok_or(DialError::Refused)?;
    // The gate makes it rise even if the clock does not.
    let counter = inner.gate.next_counter(remote, inner.environment.micros()).await?;
    let token = token.unwrap_or_default();
    let offer = Offer { lowest: VERSION, highest: VERSION, purpose, counter, token };
    let silence = |_| DialError::NoSuchIdentity { addr };
    let started = Dial::start(&inner.secret, &remote, realm, &offer, inner.ephemeral());
    // A key of low order cannot be anybody's.
    let (preamble, dial) = started.map_err(|_| DialError::NoSuchIdentity { addr })?;
    wire.write.write_all(preamble.as_slice()).await.map_err(silence)?;
    let mut msg2 = [0; MSG2_LEN];
    wire.read.read_exact(&mut msg2).await.map_err(silence)?;
    let session = dial.finish(&msg2, inner.limits.rekey_after);
    let session = session.map_err(|_| DialError::NoSuchIdentity { addr })?;
    establish(inner, wire, session, (purpose, place), &[]).await.map_err(DialError::Closed)
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
    loop {
        let current = target.borrow_and_update().clone();
        let peer = match inner.peer(&(remote, current.realms[0].label)) {
            Some(peer) => Ok(peer),
            None => {
                let mut kept = target.clone();
                let forgotten = async { while kept.changed().await.is_ok() {} };
                tokio::select! {
                    biased;
                    dialled = dial(&inner, remote, &current, unanswered, true) => dialled,
                    () = forgotten => return,
                }
            }
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
            match dial_addr(&inner, peer.remote, &realm, addr, Some(token)).await {
                Ok(established) => inner.register_bulk(established, &peer),
                Err(error) => {
                    tracing::debug!(peer = %peer.remote.short(), %error, "no bulk connection");
                    peer.no_bulk();
                }
            }
        });
    }
}
