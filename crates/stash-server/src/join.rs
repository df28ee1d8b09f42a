//! How nodes become members: tickets, admission, and the spread of the member log.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use rand::RngExt;
use serde_bytes::ByteBuf;
use stash_crypto::{
    Confirmation, JoinRequest, LabelError, MAX_WRAPS, MemberChange, MemberEntry, MemberError,
    MemberLog, NodeId, NodeKeys, NoisePublic, NoiseSecret, Role, SignedAddresses, StashId, Ticket,
    TicketId, TicketSecret,
};
use stash_p2p::{
    Claim, CloseReason, DialError, Endpoint, Environment, Gate, GateError, Limits, Peer, PublicKey,
    Realm, StaticSecret,
};
use stash_store::{Batch, CommitError, Store};

use crate::core::{AskError, Core, ask, unexpected};
use crate::door::{self, join_realm, public};
use crate::ledger::LedgerError;
use crate::message::{Refusal, Reply, Request};
use crate::roster;
use crate::serve::{self, MAX_CLAIM_BYTES, page, refused};
use crate::standing::{self, NotMet};
use crate::tickets::{self, MAX_TICKETS, Now, Row, Used, Verdict};
use crate::{catchup, cuts, freshness, sync};

/// How long a join may take to reach the inviter.
const REACH: Duration = Duration::from_secs(20);

/// Dials of a stranger under way at once: of a large stash, most members may be silent for ten seconds.
const DIALS: usize = 64;

/// Bytes that all members together may send to a stranger at once, who holds a connection to each that
/// answers: there is room for 819, which begin with 320 KiB each, and a log names fewer.
const BUDGET: usize = 256 << 20;

/// Bytes that the member log may have for a join. A joiner keeps it in one batch, and every node in
/// memory. Room for a removal a week for a year in the largest stash, and for 19 years among 16 members.
const MAX_LOG_BYTES: usize = 8 << 20;

/// Bytes of the member log in a welcome: beside them, the grant and the addresses fit into a message.
/// The rest is asked for.
const WELCOME: usize = 96 << 10;

/// Longest life of a ticket: a day is the default, 30 days the limit.
pub const MAX_TICKET_LIFE: Duration = Duration::from_secs(30 * 24 * 3_600);

/// What a joiner receives, not yet written anywhere.
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
    /// The inviter cannot be reached, or no node with its identity answers, or the ticket was used by
    /// another node, has expired or was taken back: whoever holds such a ticket gets no answer, so
    /// these cannot be told apart.
    #[error("the inviter does not answer: {0}")]
    NoAnswer(#[from] DialError),
    /// The inviter answered something else than a welcome.
    #[error("the inviter did not admit this node: {0}")]
    Refused(#[from] AskError),
    /// The display name is not allowed.
    #[error(transparent)]
    Name(#[from] LabelError),
    /// What the inviter sent does not verify. The inviter is at fault.
    #[error("the inviter's member log is not valid: {0}")]
    Log(String),
    /// The local network could not be used.
    #[error("this node cannot use the network: {0}")]
    Bind(#[from] stash_p2p::BindError),
}

/// Inviting failed; no ticket was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InviteError {
    /// Only the node that holds the root secret signs the member log.
    #[error("only the node that founded the stash can invite: it alone holds the root secret")]
    NotFounder,
    /// Another member may know more of the member log. Connect one, or vouch for this node's.
    #[error(transparent)]
    NotMet(#[from] NotMet),
    /// One more member would be one too many.
    #[error(transparent)]
    Full(#[from] Full),
    /// Too many tickets are open or remembered.
    #[error("{MAX_TICKETS} tickets are open or remembered; wait for some to lapse")]
    TooMany,
    /// The ticket would live longer than [`MAX_TICKET_LIFE`], or not at all.
    #[error("a ticket lives for a second to 30 days")]
    Lifetime,
    /// The node does not know an address at which others can reach it.
    #[error("this node has no address to put into a ticket; set one with --advertise")]
    NoAddress,
    /// The store failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The stash has as many members as the keys of one epoch can be given to. Nothing changed; there is
/// room again when members are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the stash is full: it has room for {} owners and readers, two keepers in the place of one",
    MAX_WRAPS / 2 - 1
)]
pub struct Full;

/// Signs the member log. Implemented where the root secret is, which is not in this crate.
pub trait Admission: Send + Sync {
    /// The entry that admits the joiner at the end of `log`, and the keys of `role` wrapped to it.
    ///
    /// # Errors
    ///
    /// A sentence for people, when the entry cannot be made.
    fn admit(
        &self,
        log: &MemberLog,
        request: &JoinRequest,
        role: Role,
    ) -> Result<(MemberEntry, Vec<u8>), String>;

    /// The entry that makes a change at the end of `log`, and the one that begins the next epoch of
    /// keys if the change calls for it ([`stash_crypto::change_members`]).
    ///
    /// # Errors
    ///
    /// A sentence for people, when an entry cannot be made.
    fn change(&self, log: &MemberLog, change: MemberChange) -> Result<Vec<MemberEntry>, String>;

    /// The root's word that the log goes as far as this one, with a counter and a time in seconds since
    /// 1970. `None` from whoever gives no such word.
    fn confirm(&self, _: &MemberLog, _counter: u64, _time: u64) -> Option<Confirmation> {
        None
    }

    /// The root's Noise secret, whom members answer that are silent to this node. `None` from whoever
    /// does not ask them.
    fn root_noise(&self) -> Option<NoiseSecret> {
        None
    }
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
            log.know(cuts::fetch(peer, list, count).await?);
        }
        log.push(entry).map_err(|error| wrong(&error))?;
    }
    Ok(())
}

/// Reads what a member has more of the log; where members can be reached, as it says.
async fn read_on(peer: &Peer, log: &mut MemberLog) -> Result<Vec<ByteBuf>, JoinError> {
    let reply = ask(peer, &Request::Members { from: log.len() }).await?;
    let Reply::Members { entries, addresses } = reply else {
        return Err(unexpected(&reply).into());
    };
    extend(peer, log, &entries).await?;
    Ok(addresses)
}

/// Reads a member's log from where the given one ends to its own end; where members can be reached, as it
/// says.
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
        addresses: &[SocketAddr],
        remote: &NoisePublic,
        realm: Realm,
        within: Duration,
    ) -> Result<Peer, DialError> {
        self.endpoint.dial_once(addresses.to_vec(), public(remote), realm, within).await
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

    fn hello(&self, _: &PublicKey) -> Bytes {
        Bytes::new()
    }
}

/// Writes a member log and addresses into a new store.
///
/// `synchronised` is for the founder, whose empty store is all there is.
///
/// # Errors
///
/// What the store says.
pub fn found(
    store: &Store,
    log: &MemberLog,
    addresses: &[Vec<u8>],
    synchronised: bool,
) -> Result<(), CommitError> {
    // An entry is no good without the list that it names.
    for list in log.lists() {
        store.commit(cuts::keep(Batch::new(), list))?;
    }
    let mut batch = Batch::new();
    for entry in log.entries() {
        batch = roster::keep(batch, entry.index(), entry.bytes());
    }
    for bytes in addresses {
        if let Ok(claim) = SignedAddresses::decode(bytes) {
            batch = batch.row(&roster::address_row(&claim.node), Some(bytes));
        }
    }
    if synchronised {
        batch = batch.row(catchup::COMPLETE, Some(b"1"));
    }
    store.commit(batch).map(drop)
}

/// Opens the door to whoever may still come by a ticket in the table.
pub(crate) fn open_to_tickets(core: &Core) -> Result<(), LedgerError> {
    let tickets = tickets::all(core.disk.store())?;
    let open = core.roster.log(|log| {
        let guest = |row: &Row| {
            let ticket = row.ticket.parse::<Ticket>().ok()?;
            Some((join_realm(&ticket), row.guest(admitted_with(log, &ticket.id))))
        };
        tickets.iter().filter_map(guest).collect()
    });
    core.door.open_to(open);
    Ok(())
}

/// The node that was admitted with a ticket.
fn admitted_with(log: &MemberLog, id: &TicketId) -> Option<NodeId> {
    log.entries().iter().find_map(|entry| match entry.change() {
        MemberChange::Admit { identity, ticket, .. } if ticket == id => Some(identity.node),
        _ => None,
    })
}

/// Makes a ticket.
pub(crate) async fn invite(
    core: &Arc<Core>,
    role: Role,
    lifetime: Duration,
    addresses: Vec<SocketAddr>,
) -> Result<Ticket, InviteError> {
    if core.admission.is_none() {
        return Err(InviteError::NotFounder);
    }
    standing::assure(core, None).await?;
    if !core.roster.log(|log| log.has_room_for(role)) {
        return Err(Full.into());
    }
    if lifetime < Duration::from_secs(1) || lifetime > MAX_TICKET_LIFE {
        return Err(InviteError::Lifetime);
    }
    if addresses.is_empty() {
        return Err(InviteError::NoAddress);
    }
    let now = core.environment.seconds();
    let ticket = Ticket {
        stash: core.stash,
        inviter: core.keys.noise_public(),
        addresses: addresses.into_iter().take(stash_crypto::MAX_ADDRESSES).collect(),
        id: TicketId::from_bytes(core.environment.rng().random()),
        secret: TicketSecret::generate(&mut core.environment.rng()),
        expires: now + lifetime.as_secs(),
    };
    let row = Row {
        id: *ticket.id.as_bytes(),
        ticket: ticket.to_string(),
        role: role.to_string(),
        expires: ticket.expires,
        used: None,
        made: now,
        made_at_uptime: Some(core.disk.store().stats().uptime),
        struck: false,
    };
    let guard = core.admitting.lock().await;
    let work = move |store: &Store| {
        let rows = tickets::all(store)?;
        let (old, kept): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.forgotten(now));
        if kept.len() >= MAX_TICKETS {
            return Ok(false);
        }
        let batch = old.iter().fold(Batch::new(), |batch, row| tickets::remove(batch, &row.id));
        store.commit(row.put(batch))?;
        Ok::<bool, LedgerError>(true)
    };
    let made = core.disk.run(work).await?;
    drop(guard);
    if !made {
        return Err(InviteError::TooMany);
    }
    open_to_tickets(core)?;
    Ok(ticket)
}

/// Serves one connection of a ticket's realm: one join request, and what follows from it.
pub(crate) async fn serve(core: Arc<Core>, ticket: TicketId, peer: Peer) {
    let Ok(Some(stream)) = tokio::time::timeout(REACH, peer.accept()).await else {
        // At once: guests have few places.
        return peer.close(CloseReason::Lost);
    };
    let (mut send, mut recv) = stream.split();
    let reply = match serve::opening(&mut recv).await {
        Ok(Some(Request::Join { request })) => match admit(&core, ticket, &peer, &request).await {
            Some(reply) => reply,
            // Somebody else was quicker.
            None => return peer.close(CloseReason::Lost),
        },
        Ok(_) => refused(Refusal::Unknown, "a ticket is good for a join request alone"),
        Err(_) => return peer.close(CloseReason::Shutdown),
    };
    if send.message(crate::message::encode(&reply)).await.is_ok() {
        send.finish();
        let admitted = matches!(reply, Reply::Welcome { .. });
        // The joiner closes once it has read the answer, and the rest of the log.
        let rest =
            async { if admitted { give_log(&core, &peer).await } else { peer.closed().await } };
        if tokio::time::timeout(REACH, rest).await.is_err() {
            return peer.close(CloseReason::Lost);
        }
    }
    peer.close(CloseReason::Shutdown);
}

/// Gives a node that has just been admitted the part of the member log for which its welcome had no
/// room, until it closes.
async fn give_log(core: &Core, peer: &Peer) -> CloseReason {
    while let Some(stream) = peer.accept().await {
        let (mut send, mut recv) = stream.split();
        let reply = match serve::opening(&mut recv).await {
            Ok(Some(Request::Members { from })) => serve::member_log(core, from),
            Ok(Some(Request::Cuts { list, from })) => cuts::answer(core, list, from),
            Ok(_) => refused(Refusal::Unknown, "a ticket is good for a join request alone"),
            Err(_) => continue,
        };
        if send.message(crate::message::encode(&reply)).await.is_ok() {
            send.finish();
        }
    }
    peer.closed().await
}

/// Answers a join request; `None` to a node whose ticket another one has used.
async fn admit(core: &Arc<Core>, ticket: TicketId, peer: &Peer, request: &[u8]) -> Option<Reply> {
    let request = match JoinRequest::decode(request) {
        Ok(request) => request,
        Err(error) => return Some(refused(Refusal::Malformed, &error.to_string())),
    };
    let own = request.ticket == ticket && request.identity.noise == door::noise(&peer.remote());
    if !own || request.verify(&core.stash).is_err() {
        let reason = "the join request is not signed by this node";
        return Some(refused(Refusal::Malformed, reason));
    }
    // Whoever was admitted before is answered in any case.
    let _ = standing::assure(core, None).await;
    let guard = core.admitting.lock().await;
    let shared = Arc::clone(core);
    let outcome = core.disk.run(move |store| decide(&shared, store, ticket, &request)).await;
    drop(guard);
    match outcome {
        Ok((grant, new)) => {
            if new {
                sync::spread(core, &sync::News::Log);
                freshness::look(core).await;
            }
            Some(Reply::Welcome {
                entries: page(core.roster.entries(0), WELCOME),
                grant: ByteBuf::from(grant),
                addresses: page(core.roster.claims(), MAX_CLAIM_BYTES),
            })
        }
        Err(reply) => reply,
    }
}

/// Burns the ticket and admits the joiner in one durable step; from then on the ticket opens the door
/// to nobody else. Returns the grant, and whether the member is new; the error is the answer.
fn decide(
    core: &Core,
    store: &Store,
    ticket: TicketId,
    request: &JoinRequest,
) -> Result<(Vec<u8>, bool), Option<Reply>> {
    let failed = |reason: String| Some(refused(Refusal::Failed, &reason));
    let rows = tickets::all(store).map_err(|error| failed(error.to_string()))?;
    let row = rows.into_iter().find(|row| row.id == *ticket.as_bytes());
    let mut row = row.ok_or_else(|| failed("the ticket is not known any more".to_owned()))?;
    let now = core.environment.seconds();
    let seen = Now::of(store, now).map_err(|error| failed(error.to_string()))?;
    if row.strike(&seen) {
        store.commit(row.put(Batch::new())).map_err(|error| failed(error.to_string()))?;
    }
    let admission = core.admission.as_ref();
    let admission = admission.ok_or_else(|| failed("the root secret is not here".to_owned()))?;
    let me = request.identity.node;
    let admitted = core.roster.log(|log| admitted_with(log, &ticket));
    let role = match row.judge(&me, admitted, &seen) {
        Verdict::Repeat(grant) => return Ok((grant, false)),
        Verdict::Anew => {
            let role = core.roster.log(|log| log.member(&me).map(|member| member.role));
            let role = role.ok_or(None)?;
            let granted = core.roster.log(|log| admission.admit(log, request, role));
            let (_, grant) = granted.map_err(failed)?;
            row.used =
                Some(Used { node: *me.as_bytes(), grant: ByteBuf::from(grant.clone()), at: now });
            store.commit(row.put(Batch::new())).map_err(|error| failed(error.to_string()))?;
            return Ok((grant, false));
        }
        Verdict::Used => return Err(None),
        Verdict::Expired => {
            return Err(Some(refused(Refusal::TicketExpired, "the ticket has expired")));
        }
        Verdict::Admit(role) => role,
    };
    // It may have been started anew since the ticket was made.
    standing::check(core).map_err(|error| failed(error.to_string()))?;
    if core.roster.log_bytes() > MAX_LOG_BYTES {
        return Err(failed("the member log is as long as that of a stash can be".to_owned()));
    }
    if !core.roster.log(|log| log.has_room_for(role)) {
        return Err(failed(Full.to_string()));
    }
    let (entry, grant) =
        core.roster.log(|log| admission.admit(log, request, role)).map_err(failed)?;
    row.used = Some(Used { node: *me.as_bytes(), grant: ByteBuf::from(grant.clone()), at: now });
    let batch = roster::keep(row.put(Batch::new()), entry.index(), entry.bytes());
    core.roster.check(&entry).map_err(|error| failed(error.to_string()))?;
    store.commit(batch).map_err(|error| failed(error.to_string()))?;
    core.roster.admitted(&entry).map_err(|error| failed(error.to_string()))?;
    open_to_tickets(core).map_err(|error| failed(error.to_string()))?;
    Ok((grant, true))
}
