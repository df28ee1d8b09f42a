//! The responder: from a stranger's bytes to a confirmed connection, or to silence.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::PublicKey;
use crate::budget::Holder;
use crate::error::CloseReason;
use crate::establish::{establish, turn_away};
use crate::gate::{Claim, GateError, Purpose, SharedRealm};
use crate::handshake::{Asked, HandshakeError};
use crate::inner::Inner;
use crate::net::{Listen, Wire};
use crate::preamble::PREAMBLE_LEN;

/// First and longest pause after accept fails (as a rule: no file descriptors left).
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Why an incoming connection was given up. The remote sees the same silence for all but the last.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    #[error("it sent no whole first message: {0}")]
    Read(#[from] io::Error),
    #[error("no member, or not for this realm")]
    NotAdmitted,
    #[error("its first message was seen before")]
    Replayed,
    #[error("its bulk token is not good")]
    Token,
    #[error("{0}")]
    Gate(#[from] GateError),
    #[error("it was never confirmed: {0}")]
    Unconfirmed(CloseReason),
    #[error("too slow")]
    TooSlow,
    #[error("the application does not keep up with events")]
    Busy,
    #[error("there is no room for another connection")]
    NoRoom,
}

/// Accepts until the endpoint stops.
pub(crate) async fn accept_loop(inner: Arc<Inner>, mut listener: Box<dyn Listen>) {
    let mut pause = ACCEPT_PAUSE.0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = inner.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(wire) => {
                pause = ACCEPT_PAUSE.0;
                if let Some(slot) = Slot::take(&inner, wire.remote.ip()) {
                    inner.tasks.spawn(serve(Arc::clone(&inner), wire, slot));
                }
            }
            Err(error) => {
                if let Some(more) = inner.log.allow() {
                    tracing::warn!(%error, more, "cannot accept connections, pausing");
                }
                tokio::select! {
                    biased;
                    () = inner.stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(ACCEPT_PAUSE.1);
            }
        }
    }
}

async fn serve(inner: Arc<Inner>, wire: Wire, slot: Slot) {
    let addr = wire.remote;
    let handshake = timeout(inner.limits.handshake, respond(&inner, wire));
    let result = tokio::select! {
        biased;
        () = inner.stop.cancelled() => return,
        result = handshake => result.unwrap_or(Err(Refusal::TooSlow)),
    };
    drop(slot);
    if let Err(refusal) = result
        && let Some(more) = inner.log.allow()
    {
        tracing::info!(%addr, %refusal, more, "turned a connection away");
    }
}

async fn respond(inner: &Arc<Inner>, mut wire: Wire) -> Result<(), Refusal> {
    let mut preamble = Box::new([0; PREAMBLE_LEN]);
    wire.read.read_exact(preamble.as_mut_slice()).await?;
    let realms = inner.gate.realms();
    let shared = inner.gate.shared();
    let shared = shared.filter(|shared| shared.is_meant(&preamble));
    let asked = match shared.as_deref() {
        None => Asked::read(&inner.secret, &inner.public, &realms, &preamble, inner.ephemeral())?,
        Some(SharedRealm { realm, secret, public }) => {
            let realms = std::slice::from_ref(realm);
            Asked::read(secret, public, realms, &preamble, inner.ephemeral())?
        }
    };
    drop((realms, shared, preamble));
    let (remote, realm, offer) = (asked.remote, asked.realm, asked.offer.clone());
    let claim =
        Claim { realm, remote, purpose: offer.purpose, counter: offer.counter, addr: wire.remote };
    if !inner.gate.admit(claim).await {
        return Err(Refusal::NotAdmitted);
    }
    let bulk_peer = match offer.purpose {
        Purpose::Control => None,
        Purpose::Bulk => {
            Some(inner.token_peer(&offer.token, &(remote, realm)).ok_or(Refusal::Token)?)
        }
    };
    if bulk_peer.is_none() && inner.events.full() {
        return Err(Refusal::Busy);
    }
    let holder =
        if inner.gate.is_for_guests(&realm) { Holder::Guest(realm) } else { Holder::Peer(remote) };
    use_counter(inner, holder, &remote, offer.counter).await?;
    let (msg2, session) = asked.answer(inner.limits.rekey_after)?;
    let Some(place) = inner.place(holder, offer.purpose) else {
        turn_away(wire, session, &msg2).await;
        return Err(Refusal::NoRoom);
    };
    let established = establish(inner, wire, session, (offer.purpose, place), &msg2).await;
    let established = established.map_err(Refusal::Unconfirmed)?;
    match bulk_peer {
        None => {
            inner.register(established, realm, None, true);
        }
        Some(peer) if inner.burn_token(&offer.token) => inner.register_bulk(established, &peer),
        Some(_) => return Err(Refusal::Token),
    }
    Ok(())
}

/// Marks the counter of a first message as used, before the answer leaves.
async fn use_counter(
    inner: &Inner,
    holder: Holder,
    remote: &PublicKey,
    counter: u64,
) -> Result<(), Refusal> {
    let fresh = match holder {
        Holder::Peer(_) => inner.accept_counter(remote, counter),
        Holder::Guest(_) => inner.accept_guest(remote, counter),
    };
    match holder {
        _ if !fresh => Err(Refusal::Replayed),
        Holder::Peer(_) => Ok(inner.gate.raise(*remote, counter).await?),
        Holder::Guest(_) => Ok(()),
    }
}

/// A place among the connections that have not proven themselves; given back on drop.
struct Slot {
    inner: Arc<Inner>,
    ip: IpAddr,
}

impl Slot {
    /// `None`: no place is left, in total or for this address.
    fn take(inner: &Arc<Inner>, ip: IpAddr) -> Option<Self> {
        let mut table = inner.table();
        if table.stranger_count >= inner.limits.unauthenticated {
            return None;
        }
        let of_ip = table.strangers.entry(ip).or_default();
        if *of_ip >= inner.limits.unauthenticated_per_ip {
            return None;
        }
        *of_ip += 1;
        table.stranger_count += 1;
        Some(Self { inner: Arc::clone(inner), ip })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut table = self.inner.table();
        table.stranger_count -= 1;
        if let Some(of_ip) = table.strangers.get_mut(&self.ip) {
            *of_ip -= 1;
            if *of_ip == 0 {
                table.strangers.remove(&self.ip);
            }
        }
    }
}
