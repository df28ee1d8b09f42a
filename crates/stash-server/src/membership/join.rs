//! The joiner's side of a join: it dials the inviter, asks, and reads the member log that it is
//! given.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_bytes::ByteBuf;
use stash_crypto::keys::NoiseSecret;
use stash_crypto::member::{LabelError, MemberError, Place, SignedAddresses};
use stash_crypto::{
    JoinRequest, MemberEntry, MemberLog, NodeKeys, NoisePublic, Role, StashId, Ticket,
};
use stash_p2p::{
    Claim, DialError, Endpoint, Environment, Gate, GateError, Limits, Peer, PublicKey, Realm,
    Source, StaticSecret,
};
use stash_store::{Batch, CommitError, Store};

use crate::door::{join_realm, public};
use crate::ledger::{cut_lists, roster, rows};
use crate::membership::cut_exchange;
use crate::message::{Refusal, Reply, Request};
use crate::reach::candidate;
use crate::rpc::{AskError, ask, unexpected};

/// Longest time for a join to reach the inviter.
pub(crate) const REACH: Duration = Duration::from_secs(20);

/// Dials of a stranger under way at once: of a large stash, most members may be silent for ten
/// seconds.
const DIALS: usize = 64;

/// Bytes that all members together may send to a stranger at once, who holds a connection to each
/// that answers: there is room for 819, which begin with 320 KiB each, and a log names fewer.
const BUDGET: usize = 256 << 20;

/// Bytes that the member log may have for a join. A joiner keeps it in one batch, and every node in
/// memory. Room for a removal a week for a year in the largest stash, and for 19 years among 16
/// members.
pub(crate) const MAX_LOG_BYTES: usize = 8 << 20;

/// Bytes of the member log in a welcome: beside them, the grant and the addresses fit into a
/// message. The rest is asked for.
pub(crate) const WELCOME: usize = 96 << 10;

/// Data that a joiner receives, not yet written anywhere.
pub struct Joined {
    /// The stash.
    pub stash: StashId,
    /// The role that the inviter chose.
    pub role: Role,
    /// The verified member log.
    pub log: MemberLog,
    /// The keys of the role, wrapped to the joiner.
    pub grant: Vec<u8>,
    /// Signed addresses of members, encoded.
    pub addresses: Vec<Vec<u8>>,
}

impl fmt::Debug for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Joined({} as {})", self.stash.short(), self.role)
    }
}

/// A join failed; nothing was written on this side.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The ticket's time is over.
    #[error("the ticket has expired")]
    Expired,
    /// The inviter cannot be reached, or no node with its identity answers, or the ticket was used
    /// by another node, has expired or was taken back: the holder of such a ticket gets no answer,
    /// so these cannot be told apart.
    #[error("the inviter does not answer: {0}")]
    NoAnswer(#[from] DialError),
    /// The inviter answered something else than a welcome.
    #[error("the inviter did not admit this node: {0}")]
    Refused(#[from] AskError),
    /// The display name is not allowed.
    #[error(transparent)]
    Name(#[from] LabelError),
    /// The inviter's member log is not valid. The inviter is at fault.
    #[error("the inviter's member log is not valid: {0}")]
    Log(String),
    /// The local network could not be used.
    #[error("this node cannot use the network: {0}")]
    Bind(#[from] stash_p2p::BindError),
}

/// Asks the inviter of a ticket for admission.
///
/// # Errors
///
/// [`JoinError`]; nothing was written on this side. The same keys may try again until the ticket
/// expires.
pub async fn join(ticket: &Ticket, keys: &NodeKeys, name: &str) -> Result<Joined, JoinError> {
    join_on(Environment::default(), ticket, keys, name).await
}

/// As [`join`], on a machine that is not the one that it runs on.
///
/// # Errors
///
/// Those of [`join`].
pub async fn join_on(
    environment: Environment,
    ticket: &Ticket,
    keys: &NodeKeys,
    name: &str,
) -> Result<Joined, JoinError> {
    let request = JoinRequest::sign(keys, &ticket.stash, ticket.id, name)?;
    let now = environment.seconds();
    let stranger = Stranger::bind(environment, keys.noise_secret())?;
    let joined = stranger.join(ticket, &request).await;
    stranger.close().await;
    joined.map_err(|error| match error {
        JoinError::Refused(AskError::Refused { code: Refusal::TicketExpired, .. }) => {
            JoinError::Expired
        }
        JoinError::NoAnswer(_) if now >= ticket.expires => JoinError::Expired,
        error => error,
    })
}

fn raw(list: Vec<ByteBuf>) -> Vec<Vec<u8>> {
    list.into_iter().map(ByteBuf::into_vec).collect()
}

/// Adds entries to a log, each verified, with the lists that they name.
async fn extend(peer: &Peer, log: &mut MemberLog, entries: &[ByteBuf]) -> Result<(), JoinError> {
    let wrong = |error: &dyn fmt::Display| JoinError::Log(error.to_string());
    for bytes in entries {
        let entry = MemberEntry::decode(bytes).map_err(|error| wrong(&error))?;
        if let Err(MemberError::ListMissing { list, count }) = log.push(entry.clone()) {
            log.know(cut_exchange::fetch(peer, list, count).await?);
        }
        log.push(entry).map_err(|error| wrong(&error))?;
    }
    Ok(())
}

/// Reads what a member has more of the log. Returns the addresses of members, as it says.
async fn read_on(peer: &Peer, log: &mut MemberLog) -> Result<Vec<ByteBuf>, JoinError> {
    let reply = ask(peer, &Request::Members { from: log.len() }).await?;
    let Reply::Members { entries, addresses } = reply else {
        return Err(unexpected(&reply).into());
    };
    extend(peer, log, &entries).await?;
    Ok(addresses)
}

/// Reads a member's log from where the given one ends to its own end. Returns the addresses of
/// members, as it says.
pub(crate) async fn read_log(peer: &Peer, log: &mut MemberLog) -> Result<Vec<ByteBuf>, JoinError> {
    loop {
        let known = log.len();
        let addresses = read_on(peer, log).await?;
        if log.len() == known {
            return Ok(addresses);
        }
    }
}

/// An endpoint that dials and admits nobody.
pub(crate) struct Stranger {
    endpoint: Endpoint,
    _events: stash_p2p::Events,
}

impl Stranger {
    pub(crate) fn bind(
        environment: Environment,
        secret: &NoiseSecret,
    ) -> Result<Stranger, JoinError> {
        let secret = StaticSecret::from_bytes(*secret.expose());
        let limits = Limits { dials: DIALS, process_budget: BUDGET, ..Limits::default() };
        let (endpoint, events) =
            Endpoint::bind_on(environment, &[], secret, Arc::new(Shut), limits)?;
        Ok(Stranger { endpoint, _events: events })
    }

    pub(crate) async fn dial(
        &self,
        places: &[Place],
        remote: &NoisePublic,
        realm: Realm,
        within: Duration,
    ) -> Result<Peer, DialError> {
        let places = places.iter().map(|place| candidate(place, Source::Given));
        self.endpoint.dial_once(places, public(remote), realm, within).await
    }

    pub(crate) async fn close(&self) {
        self.endpoint.shutdown(Duration::from_secs(1)).await;
    }

    async fn join(&self, ticket: &Ticket, request: &JoinRequest) -> Result<Joined, JoinError> {
        let (stash, me) = (ticket.stash, request.identity.node);
        let peer = self.dial(&ticket.addresses, &ticket.inviter, join_realm(ticket), REACH).await?;
        let request = Request::Join { request: ByteBuf::from(request.encode()) };
        let reply = ask(&peer, &request).await?;
        let Reply::Welcome { entries, grant, addresses } = reply else {
            return Err(unexpected(&reply).into());
        };
        let mut log = MemberLog::new(stash);
        extend(&peer, &mut log, &entries).await?;
        let role = loop {
            if let Some(member) = log.member(&me) {
                break member.role;
            }
            let known = log.len();
            read_on(&peer, &mut log).await?;
            if log.len() == known {
                return Err(JoinError::Log("this node is not in it".to_owned()));
            }
        };
        let (grant, addresses) = (grant.into_vec(), raw(addresses));
        Ok(Joined { stash, role, log, grant, addresses })
    }
}

/// The gate of an endpoint without members.
struct Shut;

impl Gate for Shut {
    fn realms(&self) -> Arc<[Realm]> {
        Arc::from([])
    }

    fn admit(&self, _: Claim) -> BoxFuture<'_, bool> {
        std::future::ready(false).boxed()
    }

    fn floor(&self, _: &PublicKey) -> u64 {
        u64::MAX
    }

    fn raise(&self, _: PublicKey, _: u64) -> BoxFuture<'_, Result<(), GateError>> {
        std::future::ready(Ok(())).boxed()
    }

    /// The clock alone: the key is fresh, or (the root's) used from one place after a loss.
    fn next_counter(&self, _: PublicKey, now: u64) -> BoxFuture<'_, Result<u64, GateError>> {
        std::future::ready(Ok(now)).boxed()
    }

    fn hello(&self, _: &PublicKey, _: SocketAddr) -> Bytes {
        Bytes::new()
    }
}

/// Writes a member log and addresses into a new store.
///
/// `synchronised` is for the founder, whose empty store is all there is.
///
/// # Errors
///
/// The error of the store.
pub fn found(
    store: &Store,
    log: &MemberLog,
    addresses: &[Vec<u8>],
    synchronised: bool,
) -> Result<(), CommitError> {
    // An entry is no good without the list that it names.
    for list in log.lists() {
        store.commit(cut_lists::keep(Batch::new(), list))?;
    }
    let mut batch = Batch::new();
    for entry in log.entries() {
        batch = roster::keep(batch, entry.index(), entry.bytes());
    }
    for bytes in addresses {
        if let Ok(claim) = SignedAddresses::decode(bytes) {
            batch = batch.row(&rows::address(&claim.node), Some(bytes));
        }
    }
    if synchronised {
        batch = batch.row(rows::COMPLETE, Some(b"1"));
    }
    store.commit(batch).map(drop)
}
