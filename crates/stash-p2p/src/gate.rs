//! The decisions of the layer above (under which networks to speak, and with whom) and its memory.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{PublicKey, StaticSecret};

/// A network under which peers may speak: constants that the layer above derives.
///
/// Two nodes meet only if prologue, tag key and pre-shared key are equal on both sides.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Realm {
    /// The name by which the layer above knows this realm; never sent, told back on accept.
    pub label: [u8; 32],
    /// Noise prologue: what both sides must agree on, such as protocol name and network.
    pub prologue: Vec<u8>,
    /// Keys the 16-byte tag that stands before the first message.
    pub tag_key: [u8; 32],
    /// The pre-shared key mixed into the handshake.
    pub psk: [u8; 32],
}

impl fmt::Debug for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Realm(..)")
    }
}

/// A realm in which every node answers under one shared key pair instead of its own: the dialling
/// side need not know which node listens at an address. Every holder of the realm can answer in it,
/// so a connection proves no more than that.
pub struct SharedRealm {
    pub(crate) realm: Realm,
    pub(crate) secret: StaticSecret,
    pub(crate) public: PublicKey,
}

impl SharedRealm {
    /// The realm in which nodes answer under this key.
    #[must_use]
    pub fn new(realm: Realm, secret: StaticSecret) -> Self {
        Self { realm, public: secret.public(), secret }
    }
}

impl fmt::Debug for SharedRealm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedRealm({})", self.public.short())
    }
}

/// The purpose of a connection; stands in the first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The connection that makes two nodes peers; carries everything until a bulk one is up.
    Control,
    /// A further connection of the same peers for large transfers, bound by a one-time token.
    Bulk,
}

/// The key that an initiator has proven, and the fields of its first message.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Label of the realm whose keys opened the message.
    pub realm: [u8; 32],
    /// The initiator's static key, proven by the handshake.
    pub remote: PublicKey,
    /// The purpose of the connection.
    pub purpose: Purpose,
    /// The initiator's counter. Checked against the replay window after [`Gate::admit`].
    pub counter: u64,
    /// The address that it came from.
    pub addr: SocketAddr,
}

/// The layer above could not keep or produce what the handshake needs; the handshake is abandoned
/// in silence. Our side's fault (as a rule the disk's), nothing changed, retrying is sound.
#[derive(Debug, thiserror::Error)]
#[error("the gate failed: {0}")]
pub struct GateError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

impl GateError {
    /// Wraps what went wrong.
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}

/// The decisions and the durable memory of the layer above.
///
/// For an incoming connection the calls come in this order: [`realms`](Gate::realms),
/// [`admit`](Gate::admit), [`is_for_guests`](Gate::is_for_guests), [`floor`](Gate::floor) (the
/// first time a remote is seen), [`raise`](Gate::raise), [`hello`](Gate::hello). The second message
/// leaves only when `raise` has succeeded. So a first message that was answered once is refused for
/// ever, restarts included; that of a guest until a restart.
pub trait Gate: Send + Sync + 'static {
    /// The realms under which an incoming first message may be tagged. A handful at most: each
    /// costs one keyed hash per stranger.
    fn realms(&self) -> Arc<[Realm]>;

    /// The realm, if any, in which this node answers under a key that it shares with others.
    fn shared(&self) -> Option<Arc<SharedRealm>> {
        None
    }

    /// True if this initiator may speak under this realm. `false` gives it silence.
    fn admit(&self, claim: Claim) -> BoxFuture<'_, bool>;

    /// True if initiators under this realm are guests, let in for one exchange, as with an
    /// invitation. Guests have a few places of their own ([`Limits::guests`]) and no bulk
    /// connection. Nothing is kept of them: neither [`floor`](Gate::floor) nor
    /// [`raise`](Gate::raise) is asked. They are told nothing in the hello. A request of a guest
    /// must be harmless when it comes twice.
    ///
    /// [`Limits::guests`]: crate::Limits::guests
    fn is_for_guests(&self, _realm: &[u8; 32]) -> bool {
        false
    }

    /// The highest counter ever raised for this remote, 0 if none.
    fn floor(&self, remote: &PublicKey) -> u64;

    /// Makes `counter` durable for this remote; keeps the larger of it and what is stored.
    fn raise(&self, remote: PublicKey, counter: u64) -> BoxFuture<'_, Result<(), GateError>>;

    /// The counter for our next first message to `remote`: max(last + 1, `now_micros`), made
    /// durable before it is returned. Never the same value twice for one remote.
    fn next_counter(
        &self,
        remote: PublicKey,
        now_micros: u64,
    ) -> BoxFuture<'_, Result<u64, GateError>>;

    /// True if a place may be dialled that the user of this node did not name
    /// ([`Source::Given`](crate::Source::Given)). It is asked for each address that a name leads to.
    fn may_dial(&self, _addr: &SocketAddr) -> bool {
        true
    }

    /// True if an address is in a network that this machine is attached to: such a one is dialled
    /// before others.
    fn is_near(&self, _addr: &SocketAddr) -> bool {
        false
    }

    /// The application's part of the hello to `remote`, which is seen at an address: opaque here, at most
    /// [`MAX_HELLO_APP`](crate::MAX_HELLO_APP) bytes (more is cut to nothing).
    fn hello(&self, remote: &PublicKey, seen: SocketAddr) -> Bytes;
}
