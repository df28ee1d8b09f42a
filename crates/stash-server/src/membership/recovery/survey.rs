//! Asking every member that can be found what it has of the member log, at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use serde_bytes::ByteBuf;
use stash_crypto::keys::NoiseSecret;
use stash_crypto::member::{Confirmation, Place, SignedAddresses};
use stash_crypto::{EntryHash, MemberEntry, MemberLog, NetworkKey, NodeId, NoisePublic, StashId};
use stash_p2p::{Environment, Peer};
use tokio::time::{Instant, sleep_until, timeout};

use crate::admission::SignFailure;
use crate::door::{Hello, member_realm};
use crate::lock::lock;
use crate::membership::cut_exchange;
use crate::membership::join::{JoinError, Stranger, read_log};
use crate::membership::recovery::meeting::who_is_at;
use crate::membership::recovery::{Life, Lives, RecoverError, Shown};
use crate::message::{self, MAX_CLAIM_BYTES, MAX_RECORD_BYTES, Reply, Request, page};
use crate::rpc::{AskError, ask, unexpected};

/// Longest time for all members together to answer.
const ANSWERS: Duration = Duration::from_secs(60);

/// Longest time for the members to hear of the entry that was signed.
const TELLING: Duration = Duration::from_secs(60);

/// Keys and addresses that are tried, at most: the largest stash with eight addresses a member.
const MAX_TARGETS: usize = 8_192;

/// Member logs that are read at once: each may have 8 MiB.
const READ_AT_ONCE: usize = 8;

/// Members to look for, and keys that they answer.
pub struct Sought<'a> {
    /// Network, clock and randomness.
    pub environment: Environment,
    /// The root's Noise secret, which members always answer.
    pub root: &'a NoiseSecret,
    /// The stash.
    pub stash: StashId,
    /// N_0, which every member knows.
    pub network: &'a NetworkKey,
    /// Members and where they were once.
    pub members: &'a [(NoisePublic, Vec<Place>)],
    /// Addresses at which some member listens, whichever it is.
    pub at: &'a [SocketAddr],
    /// The member log as it is known here already, if it is.
    pub held: Option<MemberLog>,
}

/// Answers of members, and the connections to tell them something.
pub struct Survey {
    stranger: Arc<Stranger>,
    lives: Lives,
    shown: Vec<Shown>,
    peers: BTreeMap<NoisePublic, Peer>,
    claims: BTreeMap<NodeId, SignedAddresses>,
}

/// A member log, and addresses of its members.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The log, verified.
    pub log: MemberLog,
    /// Signed addresses of members, encoded.
    pub addresses: Vec<Vec<u8>>,
    /// Counts of its members, and of those that agree.
    pub life: Life,
}

impl std::fmt::Debug for Survey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Survey({} members answered)", self.shown.len())
    }
}

/// Asks the members that are named, and those whom their logs name, for the member log. Takes 60 s
/// at most, and less once everybody has answered or cannot be reached.
///
/// # Errors
///
/// [`RecoverError::Bind`].
pub async fn survey(sought: Sought<'_>) -> Result<Survey, RecoverError> {
    let environment = sought.environment;
    let stranger = Stranger::bind(environment.clone(), sought.root);
    let stranger = Arc::new(stranger.map_err(|error| match error {
        JoinError::Bind(error) => RecoverError::Bind(error),
        other => RecoverError::Sign(other.into()),
    })?);
    let mut asking = Asking {
        environment,
        root: Arc::new(NoiseSecret::from_bytes(*sought.root.expose())),
        network: Arc::new(sought.network.duplicate()),
        stash: sought.stash,
        stranger,
        until: Instant::now() + ANSWERS,
        lives: Arc::default(),
        reading: Arc::new(tokio::sync::Semaphore::new(READ_AT_ONCE)),
        targets: BTreeSet::new(),
        busy: BTreeMap::new(),
        running: FuturesUnordered::new(),
        shown: Vec::new(),
        peers: BTreeMap::new(),
        claims: BTreeMap::new(),
    };
    if let Some(held) = sought.held {
        lock(&asking.lives).learn(held);
    }
    for addr in sought.at {
        asking.target(Target::Anybody(*addr));
    }
    for (noise, addresses) in sought.members {
        asking.target(Target::Member(*noise, addresses.clone()));
    }
    asking.run().await;
    let Asking { stranger, lives, shown, peers, claims, running, .. } = asking;
    drop(running);
    let lives = std::mem::take(&mut *lock(&lives));
    Ok(Survey { stranger, lives, shown, peers, claims })
}

/// Node to ask.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Member(NoisePublic, Vec<Place>),
    Anybody(SocketAddr),
}

/// Answer of a target.
enum Heard {
    /// This member showed what it follows.
    Showed { shown: Shown, peer: Peer, claims: Vec<ByteBuf>, confirmed: Option<Confirmation> },
    /// Somebody showed a log: the node `who`, if the log names it.
    Is { who: Option<NoisePublic>, addr: SocketAddr },
}

/// The target, if it is known who it is, and its answer.
type Asked = (Option<NoisePublic>, Result<Heard, JoinError>);

struct Asking {
    environment: Environment,
    root: Arc<NoiseSecret>,
    network: Arc<NetworkKey>,
    stash: StashId,
    stranger: Arc<Stranger>,
    until: Instant,
    lives: Arc<Mutex<Lives>>,
    reading: Arc<tokio::sync::Semaphore>,
    targets: BTreeSet<Target>,
    /// Members that are being asked, each with other addresses for it if that fails: of two
    /// connections to one member, the later one ends the earlier.
    busy: BTreeMap<NoisePublic, Vec<Vec<Place>>>,
    running: FuturesUnordered<BoxFuture<'static, Asked>>,
    shown: Vec<Shown>,
    peers: BTreeMap<NoisePublic, Peer>,
    claims: BTreeMap<NodeId, SignedAddresses>,
}

impl Asking {
    /// Asks, unless that is done already.
    fn target(&mut self, target: Target) {
        let answered = match &target {
            Target::Member(noise, addresses) => {
                self.peers.contains_key(noise) || addresses.is_empty()
            }
            Target::Anybody(_) => false,
        };
        if answered || self.targets.len() >= MAX_TARGETS || !self.targets.insert(target.clone()) {
            return;
        }
        if let Target::Member(noise, addresses) = &target {
            if let Some(later) = self.busy.get_mut(noise) {
                return later.push(addresses.clone());
            }
            self.busy.insert(*noise, Vec::new());
        }
        self.ask(target);
    }

    /// Asks in a task of its own.
    fn ask(&mut self, target: Target) {
        let of = match &target {
            Target::Member(noise, _) => Some(*noise),
            Target::Anybody(_) => None,
        };
        let (stranger, lives) = (Arc::clone(&self.stranger), Arc::clone(&self.lives));
        let (network, reading) = (Arc::clone(&self.network), Arc::clone(&self.reading));
        let (stash, within) = (self.stash, self.until.duration_since(Instant::now()));
        let (root, environment) = (Arc::clone(&self.root), self.environment.clone());
        let heard = async move {
            match target {
                Target::Anybody(addr) => {
                    // All that are asked so answer under one key, and a second connection to a key takes
                    // the place of the first.
                    let stranger = Stranger::bind(environment, &root)?;
                    let found = who_is_at(&stranger, (stash, &network), addr, within).await;
                    stranger.close().await;
                    let (log, who) = found?;
                    lock(&lives).learn(log);
                    Ok(Heard::Is { who, addr })
                }
                Target::Member(noise, addresses) => {
                    let realm = member_realm(&stash, &network);
                    let peer = stranger.dial(&addresses, &noise, realm, within).await?;
                    hear(stash, noise, peer, &lives, &reading).await
                }
            }
        };
        self.running.push(async move { (of, heard.await) }.boxed());
    }

    /// A member has been asked: somewhere else, if it did not answer.
    fn asked(&mut self, of: Option<NoisePublic>) {
        let Some((noise, mut later)) = of.and_then(|of| self.busy.remove_entry(&of)) else {
            return;
        };
        if self.peers.contains_key(&noise) {
            return;
        }
        if let Some(addresses) = later.pop() {
            self.busy.insert(noise, later);
            self.ask(Target::Member(noise, addresses));
        }
    }

    async fn run(&mut self) {
        loop {
            let heard = tokio::select! {
                biased;
                heard = self.running.next() => heard,
                () = sleep_until(self.until) => return,
            };
            let Some((of, heard)) = heard else {
                return;
            };
            match heard {
                Ok(heard) => self.heard(heard),
                Err(error) => tracing::debug!(%error, "a member showed nothing"),
            }
            self.asked(of);
        }
    }

    fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Is { who, addr } => {
                if let Some(who) = who {
                    self.target(Target::Member(who, vec![addr.into()]));
                }
            }
            Heard::Showed { shown, peer, claims, confirmed } => {
                self.shown.push(shown);
                self.peers.insert(shown.by, peer);
                if let Some(confirmed) = confirmed {
                    lock(&self.lives).confirm(confirmed);
                }
                self.learn(&claims);
            }
        }
        self.target_all();
    }

    fn learn(&mut self, claims: &[ByteBuf]) {
        for claim in claims.iter().filter_map(|bytes| SignedAddresses::decode(bytes).ok()) {
            let known = self.claims.get(&claim.node).map_or(0, |known| known.sequence);
            if claim.sequence > known && claim.verify(&self.stash).is_ok() {
                self.claims.insert(claim.node, claim);
            }
        }
    }

    /// Everybody whom a log names is asked at the addresses that it signed.
    fn target_all(&mut self) {
        let lives = Arc::clone(&self.lives);
        let named: Vec<(NodeId, NoisePublic)> = lock(&lives)
            .logs
            .iter()
            .flat_map(MemberLog::members)
            .map(|member| (member.identity.node, member.identity.noise))
            .collect();
        for (node, noise) in named {
            if let Some(claim) = self.claims.get(&node) {
                let places = claim.places.iter().map(|one| one.place.clone()).collect();
                self.target(Target::Member(noise, places));
            }
        }
    }
}

/// Hears what a member shows. A log that is known already is not read again: its hello says which
/// one it is.
async fn hear(
    stash: StashId,
    by: NoisePublic,
    peer: Peer,
    lives: &Mutex<Lives>,
    reading: &tokio::sync::Semaphore,
) -> Result<Heard, JoinError> {
    let hello: Hello =
        message::decode(&peer.hello()).map_err(|error| AskError::Protocol(error.to_string()))?;
    let confirmed = hello.confirmed(&stash);
    let said = hello.head.first_chunk::<32>().copied().map(EntryHash::from_bytes);
    let known = said.filter(|head| lock(lives).with(hello.members, head).is_some());
    if let Some(head) = known {
        let shown = Shown { by, length: hello.members, head };
        let claims = claims(&peer, hello.members).await?;
        return Ok(Heard::Showed { shown, peer, claims, confirmed });
    }
    let _place = reading.acquire().await.expect("the semaphore is never closed");
    let mut log = MemberLog::new(stash);
    let claims = read_log(&peer, &mut log).await?;
    let shown = Shown { by, length: log.len(), head: log.head() };
    if log.is_empty() {
        return Err(JoinError::Log("it has no entry".to_owned()));
    }
    lock(lives).learn(log);
    Ok(Heard::Showed { shown, peer, claims, confirmed })
}

/// Addresses of members, as one of them says.
async fn claims(peer: &Peer, from: u64) -> Result<Vec<ByteBuf>, AskError> {
    match ask(peer, &Request::Members { from }).await? {
        Reply::Members { addresses, .. } => Ok(addresses),
        reply => Err(unexpected(&reply)),
    }
}

impl Survey {
    /// The logs that were shown, the most shown first. More than one: the root secret has had two
    /// lives.
    #[must_use]
    pub fn lives(&self) -> Vec<Life> {
        self.lives.views(&self.shown).into_iter().map(|(life, _)| life).collect()
    }

    /// The log to read by. Signs nothing; of several, it is the one that most members follow.
    ///
    /// # Errors
    ///
    /// [`RecoverError::Nobody`].
    pub async fn read(self) -> Result<Recovered, RecoverError> {
        let mut views = self.lives.views(&self.shown).into_iter();
        let found = views.find(|(life, _)| life.answered > 0);
        let found = found.map(|(life, log)| (life, log.clone()));
        let addresses = self.addresses();
        self.close().await;
        let (life, log) = found.ok_or(RecoverError::Nobody)?;
        Ok(Recovered { log, addresses, life })
    }

    /// The log at whose end an entry may be signed: all that answered agree, and more than half of
    /// its members did or `alone` says that the others are gone for good.
    ///
    /// # Errors
    ///
    /// [`RecoverError`].
    pub fn agreed(&self, alone: bool) -> Result<Recovered, RecoverError> {
        let (life, log) = self.lives.agreed(&self.shown, alone)?;
        Ok(Recovered { log: log.clone(), addresses: self.addresses(), life })
    }

    /// Signs the entry that admits `node` at the end of the log that is [agreed](Survey::agreed)
    /// upon; nothing, if it stands there already: an earlier attempt was interrupted. The first
    /// member that hears of it decides: of two that sign at the same time, it takes one.
    ///
    /// # Errors
    ///
    /// [`RecoverError`]; no member is known to have taken the entry.
    pub async fn sign(
        self,
        node: &NodeId,
        alone: bool,
        admit: impl FnOnce(&MemberLog) -> Result<MemberEntry, SignFailure>,
    ) -> Result<Recovered, RecoverError> {
        let signed = match self.agreed(alone) {
            Ok(found) if found.log.member(node).is_some() => Ok(found),
            Ok(Recovered { life, log, .. }) => self.admit(life, log, admit).await,
            Err(error) => Err(error),
        };
        self.close().await;
        signed
    }

    async fn admit(
        &self,
        life: Life,
        mut log: MemberLog,
        admit: impl FnOnce(&MemberLog) -> Result<MemberEntry, SignFailure>,
    ) -> Result<Recovered, RecoverError> {
        // Members in the order of the log: whoever recovers beside this one begins with the same.
        let order: Vec<NoisePublic> = log.members().map(|member| member.identity.noise).collect();
        let entry = admit(&log).map_err(RecoverError::Sign)?;
        log.push(entry).map_err(|error| RecoverError::Sign(error.into()))?;
        let others = self.shown.iter().filter(|shown| !order.contains(&shown.by));
        let others = others.map(|shown| shown.by);
        let mut listeners: Vec<(Shown, &Peer)> = order
            .iter()
            .copied()
            .chain(others)
            .filter_map(|noise| {
                let shown = self.shown.iter().find(|shown| shown.by == noise)?;
                Some((*shown, self.peers.get(&noise)?))
            })
            .collect();
        let until = Instant::now() + TELLING;
        let mut taken = false;
        while !taken && !listeners.is_empty() {
            let (shown, peer) = listeners.remove(0);
            match self.tell(&shown, peer, &log, until).await {
                Ok(()) => taken = true,
                Err(AskError::Refused { reason, .. }) => {
                    return Err(RecoverError::Overtaken(reason));
                }
                Err(error) => {
                    tracing::warn!(member = %shown.by.short(), %error, "a member was not told");
                }
            }
        }
        if !taken {
            return Err(RecoverError::Nobody);
        }
        let rest = listeners.iter().map(|(shown, peer)| self.tell(shown, peer, &log, until));
        for ((shown, _), told) in listeners.iter().zip(join_all(rest).await) {
            if let Err(error) = told {
                tracing::warn!(member = %shown.by.short(), %error, "a member was not told");
            }
        }
        Ok(Recovered { log, addresses: self.addresses(), life })
    }

    /// Gives a member what it lacks of the log.
    async fn tell(
        &self,
        shown: &Shown,
        peer: &Peer,
        log: &MemberLog,
        until: Instant,
    ) -> Result<(), AskError> {
        let from = usize::try_from(shown.length).unwrap_or(usize::MAX);
        let lacks = log.entries().iter().skip(from).map(|entry| entry.bytes().to_vec());
        let mut lacks: Vec<Vec<u8>> = lacks.collect();
        while !lacks.is_empty() {
            let entries = page(lacks.clone(), MAX_RECORD_BYTES);
            lacks.drain(..entries.len());
            let addresses = page(self.addresses(), MAX_CLAIM_BYTES);
            let request = Request::Announce { entries, addresses };
            let left = until.duration_since(Instant::now());
            // It asks back for the lists that entries name.
            let told = tokio::select! {
                biased;
                told = timeout(left, ask(peer, &request)) => told.unwrap_or(Err(AskError::Late)),
                () = cut_exchange::serve(peer, log) => Err(AskError::Gone("it left".to_owned())),
            };
            match told? {
                Reply::Done {} => {}
                reply => return Err(unexpected(&reply)),
            }
        }
        Ok(())
    }

    fn addresses(&self) -> Vec<Vec<u8>> {
        self.claims.values().map(SignedAddresses::encode).collect()
    }

    async fn close(&self) {
        self.stranger.close().await;
    }
}
