//! The state that all tasks of an endpoint share: the table of peers, and the connections that come
//! and go.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rand::RngExt;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use crate::backlog::SendBudget;
use crate::budget::{Budget, Holder, Place};
use crate::candidate::Candidate;
use crate::environment::Environment;
use crate::error::CloseReason;
use crate::established::Established;
use crate::events::{Event, Queue};
use crate::frame::Class;
use crate::gate::{Gate, Purpose, Realm};
use crate::limits::{MAX_BULK, REPLAY_MEMBERS, TOKEN_LIFE};
use crate::link::Link;
use crate::log::LogLimit;
use crate::mux::{Mux, MuxEvent};
use crate::pace::Throttle;
use crate::peer::{Aftermath, Peer, PeerInner};
use crate::replay::Windows;
use crate::tasks::{LAST_WORD, deadline, read_loop, write_loop};
use crate::tiebreak::{Verdict, tie_break};
use crate::{Limits, PublicKey, StaticSecret};

/// Time for which a remote may be silent while this endpoint shuts down: one that is there answers
/// a ping long before.
const SILENCE: Duration = Duration::from_secs(2);

pub(crate) type PeerId = (PublicKey, [u8; 32]);

pub(crate) struct Inner {
    pub(crate) secret: StaticSecret,
    pub(crate) public: PublicKey,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) limits: Limits,
    /// Random, new at each start.
    pub(crate) run: u64,
    pub(crate) environment: Environment,
    pub(crate) budget: Arc<Budget>,
    pub(crate) send_budget: Arc<SendBudget>,
    pub(crate) throttle: Throttle,
    pub(crate) events: Arc<Queue>,
    pub(crate) local: Vec<SocketAddr>,
    /// Ends what accepts and dials.
    pub(crate) stop: CancellationToken,
    /// Ends every connection as well.
    pub(crate) kill: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) dials: Semaphore,
    pub(crate) log: LogLimit,
    table: Mutex<Table>,
    /// The table of peers changed.
    pub(crate) changed: Notify,
}

pub(crate) struct Table {
    peers: BTreeMap<PeerId, Arc<PeerInner>>,
    pub(crate) keeps: HashMap<PublicKey, Keep>,
    windows: Windows,
    guest_windows: Windows,
    tokens: HashMap<[u8; 32], Token>,
    pub(crate) strangers: HashMap<IpAddr, usize>,
    pub(crate) stranger_count: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            peers: BTreeMap::new(),
            keeps: HashMap::new(),
            windows: Windows::new(REPLAY_MEMBERS),
            guest_windows: Windows::new(REPLAY_MEMBERS),
            tokens: HashMap::new(),
            strangers: HashMap::new(),
            stranger_count: 0,
        }
    }
}

/// A connection to be maintained.
pub(crate) struct Keep {
    pub(crate) target: watch::Sender<Target>,
    pub(crate) now: Arc<Notify>,
}

/// The places and realms of a peer to dial.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) candidates: Vec<Candidate>,
    /// At least one; all have one label.
    pub(crate) realms: Vec<Arc<Realm>>,
}

impl Target {
    /// The realm to dial under, after `unanswered` dials in a row without an answer: the first
    /// realm every other time, the others in turn between.
    pub(crate) fn realm(&self, unanswered: usize) -> &Arc<Realm> {
        let others = self.realms.len() - 1;
        match unanswered % 2 {
            1 if others > 0 => &self.realms[1 + unanswered / 2 % others],
            _ => &self.realms[0],
        }
    }
}

struct Token {
    peer: Weak<PeerInner>,
    until: tokio::time::Instant,
}

impl Inner {
    pub(crate) fn new(
        secret: StaticSecret,
        gate: Arc<dyn Gate>,
        limits: Limits,
        environment: Environment,
        local: Vec<SocketAddr>,
    ) -> Arc<Self> {
        let stop = CancellationToken::new();
        Arc::new(Self {
            public: secret.public(),
            secret,
            gate,
            run: environment.rng().random(),
            environment,
            budget: Budget::new(&limits),
            send_budget: SendBudget::new(limits.send_budget),
            throttle: Throttle::new(limits.bandwidth),
            events: Arc::default(),
            local,
            stop,
            kill: CancellationToken::new(),
            tasks: TaskTracker::new(),
            dials: Semaphore::new(limits.dials.max(1)),
            log: LogLimit::default(),
            limits,
            table: Mutex::default(),
            changed: Notify::new(),
        })
    }

    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more connection; `None`: there is no room.
    pub(crate) fn place(&self, holder: Holder, purpose: Purpose) -> Option<Place> {
        self.budget.take(holder, purpose, self.limits.window(self.throttle.down.rate()))
    }

    /// A fresh ephemeral key.
    pub(crate) fn ephemeral(&self) -> Zeroizing<[u8; 32]> {
        let mut bytes = Zeroizing::new([0; 32]);
        self.environment.entropy.fill(bytes.as_mut_slice());
        bytes
    }

    /// Marks a counter as used; `false` if it may have been used before.
    pub(crate) fn accept_counter(&self, remote: &PublicKey, counter: u64) -> bool {
        let known = self.table().windows.knows(remote);
        let floor = if known { 0 } else { self.gate.floor(remote) };
        self.table().windows.accept(remote, counter, floor)
    }

    /// The same for a guest, of whom nothing is kept: a start of the endpoint forgets it, and so do many
    /// other guests.
    pub(crate) fn accept_guest(&self, remote: &PublicKey, counter: u64) -> bool {
        self.table().guest_windows.accept(remote, counter, 0)
    }

    pub(crate) fn peer(&self, id: &PeerId) -> Option<Arc<PeerInner>> {
        self.table().peers.get(id).cloned()
    }

    pub(crate) fn peers(&self) -> Vec<Arc<PeerInner>> {
        self.table().peers.values().cloned().collect()
    }

    fn new_token(&self, peer: &Arc<PeerInner>) -> Option<[u8; 32]> {
        if self.gate.is_for_guests(&peer.label) || !self.budget.has_room_for_bulk() {
            return None;
        }
        let now = tokio::time::Instant::now();
        let mut table = self.table();
        table.tokens.retain(|_, token| token.until > now && token.peer.strong_count() > 0);
        let mine = |token: &&Token| token.peer.as_ptr() == Arc::as_ptr(peer);
        if table.tokens.values().filter(mine).count() >= MAX_BULK {
            return None;
        }
        let token = *self.ephemeral();
        let until = now + TOKEN_LIFE;
        table.tokens.insert(token, Token { peer: Arc::downgrade(peer), until });
        Some(token)
    }

    /// The peer for which a bulk token was issued, if this remote may use it now.
    pub(crate) fn token_peer(&self, token: &[u8; 32], id: &PeerId) -> Option<Arc<PeerInner>> {
        let table = self.table();
        let token = table.tokens.get(token)?;
        let peer = token.peer.upgrade()?;
        let fits = (peer.remote, peer.label) == *id && token.until > tokio::time::Instant::now();
        fits.then_some(peer)
    }

    /// Uses a token up.
    pub(crate) fn burn_token(&self, token: &[u8; 32]) -> bool {
        self.table().tokens.remove(token).is_some()
    }

    /// Puts a confirmed control connection into the table and starts its tasks.
    pub(crate) fn register(
        self: &Arc<Self>,
        established: Established,
        label: [u8; 32],
        realm: Option<Arc<Realm>>,
        announce: bool,
    ) -> Arc<PeerInner> {
        let link = Arc::clone(&established.link);
        let id = (established.remote, label);
        let mut table = self.table();
        let old = table.peers.get(&id).cloned();
        let verdict = old.as_ref().filter(|peer| peer.may_merge()).map(|peer| {
            let control = peer.control().filter(|control| control.draining().is_none());
            control.map_or(Verdict::DrainOld, |control| {
                tie_break(&control.info.contender, &link.info.contender)
            })
        });
        let (peer, replaced) = match (verdict, old) {
            (Some(Verdict::DrainOld), Some(peer)) => {
                peer.replace_control(Arc::clone(&link));
                (peer, None)
            }
            (Some(Verdict::DrainNew), Some(peer)) => {
                peer.add_draining(Arc::clone(&link));
                (peer, None)
            }
            (_, old) => {
                let app = established.hello.app.clone();
                let (remote, control) = (established.remote, Arc::clone(&link));
                let peer = PeerInner::new(remote, label, app, realm, control, &self.limits);
                table.peers.insert(id, Arc::clone(&peer));
                (peer, old)
            }
        };
        if let Some(old) = replaced {
            let reason = old.down_reason().unwrap_or(CloseReason::Lost);
            self.emit_down(&old, &reason);
        }
        if announce && peer.announce() {
            self.events.push(Event::Up(Peer(Arc::clone(&peer))));
        }
        drop(table);
        self.spawn_link(established, &peer);
        self.changed.notify_waiters();
        peer
    }

    /// Ends a peer for its holders and, if it was announced, for the application. Called with the
    /// table locked, so that Up and Down of one remote keep their order.
    fn emit_down(&self, peer: &Arc<PeerInner>, reason: &CloseReason) {
        peer.set_down(reason);
        if peer.withdraw() {
            self.events.push(Event::Down { peer: Peer(Arc::clone(peer)), reason: reason.clone() });
        }
    }

    /// Adds a confirmed bulk connection to its peer.
    pub(crate) fn register_bulk(self: &Arc<Self>, done: Established, peer: &Arc<PeerInner>) {
        if peer.add_bulk(Arc::clone(&done.link)) {
            self.spawn_link(done, peer);
        }
    }

    fn spawn_link(self: &Arc<Self>, established: Established, peer: &Arc<PeerInner>) {
        let (inner, peer) = (Arc::clone(self), Arc::clone(peer));
        let _only_once = established.link.incoming.set(Arc::clone(&peer.incoming));
        self.tasks.spawn(async move {
            let link = Arc::clone(&established.link);
            let reason = inner.drive(established, &peer).await;
            inner.link_closed(&peer, &link, &reason);
        });
    }

    /// Runs both tasks of a connection to their end.
    async fn drive(
        self: &Arc<Self>,
        established: Established,
        peer: &Arc<PeerInner>,
    ) -> CloseReason {
        let Established { link, purpose, mut read, mut write, mut sealer, mut intake, .. } =
            established;
        let stall = self.limits.write_stall;
        let [mut sending, mut receiving] = self.throttle.paces(link.info.addr.ip());
        let writer_link = Arc::clone(&link);
        let mut writer = tokio::spawn(async move {
            write_loop(&writer_link, &mut write, &mut sealer, &mut sending, stall).await
        });
        let upward = |event| self.link_event(peer, &link, event);
        let class = match purpose {
            Purpose::Control => Class::Control,
            Purpose::Bulk => Class::Bulk,
        };
        let pace = (&mut receiving, class);
        let mut reader = pin!(read_loop(&link, &mut read, &mut intake, pace, upward));
        tokio::select! {
            biased;
            reason = &mut reader => {
                let reason = link.shut(&reason);
                if broke(&reason) {
                    link.cancel.cancel();
                } else {
                    // The writer says why, and ends.
                    link.close(&reason);
                }
                if tokio::time::timeout(LAST_WORD, &mut writer).await.is_err() {
                    link.cancel.cancel();
                    let _its_reason_is_later = writer.await;
                }
                reason
            }
            reason = &mut writer => {
                let mut reason = reason.unwrap_or(CloseReason::Lost);
                if broke(&reason) {
                    // A remote that closed takes nothing more, and may have said why before.
                    let said = tokio::time::timeout(LAST_WORD, &mut reader).await;
                    reason = said.ok().filter(|said| !broke(said)).unwrap_or(reason);
                }
                let reason = link.shut(&reason);
                link.cancel.cancel();
                reason
            }
            () = self.given_up(&link) => {
                link.cancel.cancel();
                let reason = link.shut(&CloseReason::Shutdown);
                let _its_reason_is_later = writer.await;
                reason
            }
        }
    }

    /// Waits until the connection is to be cut: the endpoint's time is over, or it shuts down and the
    /// remote gives no sign of life.
    async fn given_up(&self, link: &Link) {
        let silent = async {
            self.stop.cancelled().await;
            loop {
                let heard = link.bytes_in.load(Ordering::Relaxed);
                link.run(Mux::ask_for_life);
                sleep(SILENCE).await;
                if link.bytes_in.load(Ordering::Relaxed) == heard {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = self.kill.cancelled() => {}
            () = silent => {
                tracing::info!(addr = %link.info.addr, "no sign of life during the shutdown: cut off");
            }
        }
    }

    fn link_event(self: &Arc<Self>, peer: &Arc<PeerInner>, link: &Arc<Link>, event: MuxEvent) {
        match event {
            MuxEvent::Opened(key) => peer.add_stream(link, key),
            MuxEvent::Draining(reason) => peer.link_draining(link, &reason),
            MuxEvent::BulkWanted => link.run(|mux, _| mux.want_bulk()),
            MuxEvent::BulkAsked => {
                if let Some(token) = self.new_token(peer) {
                    link.run(|mux, _| mux.give_token(&token));
                }
            }
            MuxEvent::BulkToken(token) => self.spawn_bulk_dial(peer, link.info.addr, token),
            // Handled by the tasks and by the link itself.
            MuxEvent::Readable(_)
            | MuxEvent::Writable(_)
            | MuxEvent::Slot
            | MuxEvent::Finished(_) => {}
        }
    }

    fn link_closed(
        self: &Arc<Self>,
        peer: &Arc<PeerInner>,
        link: &Arc<Link>,
        reason: &CloseReason,
    ) {
        tracing::debug!(peer = %peer.remote.short(), %reason, "connection closed");
        match peer.link_closed(link, reason) {
            Aftermath::Up => {}
            Aftermath::Down(reason) => self.peer_down(peer, &reason),
            Aftermath::Waiting => {
                let (inner, peer) = (Arc::clone(self), Arc::clone(peer));
                self.tasks.spawn(async move {
                    let limit = deadline(inner.limits.handshake.min(Duration::from_secs(10)));
                    tokio::select! {
                        biased;
                        () = tokio::time::sleep_until(limit) => {}
                        () = inner.stop.cancelled() => {}
                    }
                    if peer.control().is_none() {
                        inner.peer_down(&peer, &CloseReason::Duplicate);
                    }
                });
            }
        }
        self.changed.notify_waiters();
    }

    fn peer_down(&self, peer: &Arc<PeerInner>, reason: &CloseReason) {
        let mut table = self.table();
        let id = (peer.remote, peer.label);
        if table.peers.get(&id).is_some_and(|current| Arc::ptr_eq(current, peer)) {
            table.peers.remove(&id);
        }
        self.emit_down(peer, reason);
        drop(table);
        self.changed.notify_waiters();
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("public", &self.public).finish_non_exhaustive()
    }
}

/// True if the transport broke, and nobody said why.
fn broke(reason: &CloseReason) -> bool {
    matches!(reason, CloseReason::Lost | CloseReason::Io(_))
}
