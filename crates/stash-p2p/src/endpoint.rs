//! The endpoint: one node's identity, its listeners and its peers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout_at;

use crate::accept::accept_loop;
use crate::candidate::Candidate;
use crate::dial::{dial, keep_loop};
use crate::environment::Environment;
use crate::error::{BindError, CloseReason, DialError};
use crate::events::Events;
use crate::gate::{Gate, Realm};
use crate::inner::{Inner, Keep, Target};
use crate::knocks::Knocks;
use crate::limits::{
    Bandwidth, Limits, MAX_ADDRESSES, MAX_BULK, MAX_MESSAGE, MIN_CONNECTION_WINDOW,
    MIN_STREAM_WINDOW, Subnet,
};
use crate::peer::{Peer, PeerStats};
use crate::tasks::deadline;
use crate::{PublicKey, StaticSecret};

/// The network end of one node. Cheap to clone. When the last clone is dropped without
/// [`shutdown`](Self::shutdown), every connection is cut off.
#[derive(Clone, Debug)]
pub struct Endpoint(Arc<Handle>);

#[derive(Debug)]
struct Handle(Arc<Inner>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.stop.cancel();
        self.0.kill.cancel();
        self.0.events.close();
    }
}

impl Endpoint {
    /// Listens on TCP addresses (none: only dials) and starts to serve. Must be called inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// An address is taken or not ours, or a limit is out of range. Nothing is left open.
    pub fn bind(
        listen: &[SocketAddr],
        secret: StaticSecret,
        gate: Arc<dyn Gate>,
        limits: Limits,
    ) -> Result<(Self, Events), BindError> {
        Self::bind_on(Environment::default(), listen, secret, gate, limits)
    }

    /// The same in any environment.
    ///
    /// # Errors
    /// As for [`bind`](Self::bind).
    pub fn bind_on(
        environment: Environment,
        listen: &[SocketAddr],
        secret: StaticSecret,
        gate: Arc<dyn Gate>,
        limits: Limits,
    ) -> Result<(Self, Events), BindError> {
        check(&limits)?;
        let (mut listeners, mut local) = (Vec::new(), Vec::new());
        for addr in listen.iter().copied() {
            let failed = |source| BindError::Listen { addr, source };
            let listener = environment.network.listen(addr).map_err(failed)?;
            local.push(listener.local().map_err(failed)?);
            listeners.push(listener);
        }
        let inner = Inner::new(secret, gate, limits, environment, local);
        for listener in listeners {
            inner.tasks.spawn(accept_loop(Arc::clone(&inner), listener));
        }
        let events = Events(Arc::clone(&inner.events));
        Ok((Self(Arc::new(Handle(inner))), events))
    }

    /// The addresses listened on, with the ports that were picked.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.0.0.local.clone()
    }

    #[cfg(test)]
    pub(crate) fn inner(&self) -> &Inner {
        &self.0.0
    }

    /// This node's own key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.0.0.public
    }

    /// Keeps a connection to `remote` up: dials, with jittered pauses after failures, and dials
    /// again when it is lost. Called again, it replaces addresses and realm (a connection under
    /// the same realm stays). At most 16 places, and as many addresses, are used: those that are near first
    /// ([`Gate::is_near`]), then the others in their order, a quarter of a second apart. The first
    /// handshake that succeeds wins.
    pub fn keep<C: Into<Candidate>>(
        &self,
        remote: PublicKey,
        places: impl IntoIterator<Item = C>,
        realm: Realm,
    ) {
        self.keep_under_any(remote, places, vec![realm]);
    }

    /// As [`keep`](Self::keep), for a peer that may not know the first of these realms yet. As long
    /// as no dial is answered, every other one is under one of the other realms, in turn. All have
    /// one label. Does nothing without a realm.
    pub fn keep_under_any<C: Into<Candidate>>(
        &self,
        remote: PublicKey,
        places: impl IntoIterator<Item = C>,
        realms: Vec<Realm>,
    ) {
        let candidates = places.into_iter().take(MAX_ADDRESSES).map(Into::into).collect();
        let inner = &self.0.0;
        if remote == inner.public || inner.stop.is_cancelled() || realms.is_empty() {
            return;
        }
        let target = Target { candidates, realms: realms.into_iter().map(Arc::new).collect() };
        let mut table = inner.table();
        if let Some(keep) = table.keeps.get(&remote) {
            keep.target.send_replace(target);
            return;
        }
        let (sender, receiver) = watch::channel(target);
        let now = Arc::new(Notify::new());
        table.keeps.insert(remote, Keep { target: sender, now: Arc::clone(&now) });
        inner.tasks.spawn(keep_loop(Arc::clone(inner), remote, receiver, now));
    }

    /// Stops keeping. A connection that is up stays up: close its [`Peer`] to end it.
    pub fn forget(&self, remote: &PublicKey) {
        self.0.0.table().keeps.remove(remote);
    }

    /// Dials a kept peer now, if it is not up, and starts again with the shortest pause.
    pub fn redial(&self, remote: &PublicKey) {
        if let Some(keep) = self.0.0.table().keeps.get(remote) {
            keep.now.notify_one();
        }
    }

    /// The peers now up.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        self.0.0.peers().into_iter().map(Peer).collect()
    }

    /// Dials without keeping, at places as [`keep`](Self::keep) takes them, and without an event on this side. If both sides dialled at once the
    /// peer that is already there may be returned.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn dial_once<C: Into<Candidate>>(
        &self,
        places: impl IntoIterator<Item = C>,
        remote: PublicKey,
        realm: Realm,
        deadline: Duration,
    ) -> Result<Peer, DialError> {
        let candidates = places.into_iter().take(MAX_ADDRESSES).map(Into::into).collect();
        let target = Target { candidates, realms: vec![Arc::new(realm)] };
        let mut knocks = Knocks::default();
        let dial = Box::pin(dial(&self.0.0, remote, &target, &mut knocks, 0, false));
        let peer = tokio::time::timeout(deadline, dial).await;
        peer.unwrap_or(Err(DialError::TimedOut)).map(Peer)
    }

    /// The rates now in force.
    #[must_use]
    pub fn bandwidth(&self) -> Bandwidth {
        self.0.0.throttle.bandwidth()
    }

    /// Bytes over the wire since this endpoint was bound, on all confirmed connections that there were.
    #[must_use]
    pub fn stats(&self) -> PeerStats {
        let throttle = &self.0.0.throttle;
        PeerStats { bytes_in: throttle.down.total(), bytes_out: throttle.up.total() }
    }

    /// Limits the bytes that all peers together send and receive from now on: every byte of every
    /// confirmed connection counts. Streams of [`Class::Control`](crate::Class::Control) do not
    /// wait for those of [`Class::Bulk`](crate::Class::Bulk). Windows of open connections may be
    /// larger already than the rate asks for. So on a slow link, requests are answered sooner if
    /// the rate was set before the connections were opened.
    pub fn set_bandwidth(&self, bandwidth: Bandwidth) {
        self.0.0.throttle.set(bandwidth);
    }

    /// Lets connections with these addresses go as fast as they can, whatever [`Endpoint::set_bandwidth`] says, from now on;
    /// what they carry takes nothing of its rates.
    pub fn spare(&self, subnets: Vec<Subnet>) {
        self.0.0.throttle.spared.set(subnets);
    }

    /// Takes no new connections or streams, tells every peer, lets streams end until the deadline,
    /// then closes what is left. A peer from which nothing comes for two seconds meanwhile is not
    /// waited for. Events end with it.
    pub async fn shutdown(&self, deadline_after: Duration) {
        let inner = &self.0.0;
        let limit = deadline(deadline_after);
        inner.stop.cancel();
        inner.table().keeps.clear();
        inner.tasks.close();
        for peer in inner.peers() {
            peer.drain(&CloseReason::Shutdown);
        }
        if timeout_at(limit, inner.tasks.wait()).await.is_err() {
            inner.kill.cancel();
            inner.tasks.wait().await;
        }
        inner.kill.cancel();
        inner.events.close();
    }
}

/// The limits without which nothing can work.
fn check(limits: &Limits) -> Result<(), BindError> {
    let checks = [
        (limits.first_stream_window >= MIN_STREAM_WINDOW, "first_stream_window"),
        (limits.first_window >= MIN_CONNECTION_WINDOW, "first_window"),
        (limits.stream_window >= limits.first_stream_window, "stream_window"),
        (limits.connection_window >= limits.first_window, "connection_window"),
        (limits.process_budget >= limits.first_window as usize, "process_budget"),
        (limits.streams > 0, "streams"),
        (limits.send_queue > 0, "send_queue"),
        (limits.connection_queue >= MAX_MESSAGE, "connection_queue"),
        (limits.send_budget >= MAX_MESSAGE, "send_budget"),
        (limits.rekey_after > 0, "rekey_after"),
        (limits.bulk_connections <= MAX_BULK, "bulk_connections"),
        (limits.backoff_min <= limits.backoff_max, "backoff_min"),
        (limits.ping_interval < limits.dead_after, "ping_interval"),
    ];
    match checks.iter().find(|(holds, _)| !holds) {
        Some((_, name)) => Err(BindError::Limit(name)),
        None => Ok(()),
    }
}
