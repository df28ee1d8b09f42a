//! A peer: one remote node, whatever connections lead to it.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::error::{CloseReason, PeerError};
use crate::frame::{Class, StreamKey};
use crate::gate::Realm;
use crate::link::Link;
use crate::stream::Stream;
use crate::{Limits, PublicKey};

/// Bytes that went over the wire, encryption included: with a peer, on the connections now open; or
/// with all, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerStats {
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
}

/// A remote node that has proven its identity. Cheap to clone; all clones are the same peer.
///
/// If both sides dial at once, the peer stays while one connection takes the place of the other. In
/// every other case, such as a restart of the remote or a dial after a loss, the remote is a new
/// `Peer`.
#[derive(Clone)]
pub struct Peer(pub(crate) Arc<PeerInner>);

/// Pause before a bulk connection is asked for again, if none came.
const BULK_PAUSE: Duration = Duration::from_secs(10);
/// Time that a large stream waits for a bulk connection that was asked for, before it travels on
/// the control connection: three round trips of half the way around the world.
const BULK_WAIT: Duration = Duration::from_secs(1);

pub(crate) struct PeerInner {
    pub(crate) remote: PublicKey,
    pub(crate) label: [u8; 32],
    pub(crate) hello: Bytes,
    /// The realm's keys, on the side that may dial bulk connections with them.
    pub(crate) realm: Option<Arc<Realm>>,
    bulk_wanted: usize,
    state: Mutex<State>,
    /// Told of every change of connections or streams, and of the end.
    changed: Notify,
    pub(crate) incoming: Arc<Notify>,
}

struct State {
    control: Option<Arc<Link>>,
    last_control: Arc<Link>,
    bulk: Vec<Arc<Link>>,
    draining: Vec<Arc<Link>>,
    bulk_asked: Option<Instant>,
    /// The time until which large streams wait for a bulk connection.
    bulk_due: Option<Instant>,
    incoming: VecDeque<Incoming>,
    closing: Option<CloseReason>,
    down: Option<CloseReason>,
    announced: bool,
    /// True if the application has closed it: no connection brings it back.
    given_up: bool,
}

/// A stream that the remote opened and nobody took yet.
struct Incoming {
    link: Arc<Link>,
    class: Class,
    stream: Stream,
}

/// The way of a new stream.
enum Choice {
    Go(Arc<Link>),
    /// Something is about to change, at the latest then.
    Wait(Option<Instant>),
}

/// The consequence, for a peer, of the end of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Aftermath {
    /// The peer stays up.
    Up,
    /// The peer is up only if the connection that won a simultaneous dial comes soon.
    Waiting,
    /// The peer is down.
    Down(CloseReason),
}

impl PeerInner {
    pub(crate) fn new(
        remote: PublicKey,
        label: [u8; 32],
        hello: Bytes,
        realm: Option<Arc<Realm>>,
        control: Arc<Link>,
        limits: &Limits,
    ) -> Arc<Self> {
        let state = State {
            control: Some(Arc::clone(&control)),
            last_control: control,
            bulk: Vec::new(),
            draining: Vec::new(),
            bulk_asked: None,
            bulk_due: None,
            incoming: VecDeque::new(),
            closing: None,
            down: None,
            announced: false,
            given_up: false,
        };
        Arc::new(Self {
            remote,
            label,
            hello,
            realm,
            bulk_wanted: limits.bulk_connections,
            state: Mutex::new(state),
            changed: Notify::new(),
            incoming: Arc::new(Notify::new()),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn control(&self) -> Option<Arc<Link>> {
        self.lock().control.clone()
    }

    pub(crate) fn down_reason(&self) -> Option<CloseReason> {
        self.lock().down.clone()
    }

    /// True if a further confirmed connection may join this peer instead of following it.
    pub(crate) fn may_merge(&self) -> bool {
        let state = self.lock();
        if state.given_up {
            return false;
        }
        let Some(control) = &state.control else {
            return state.down.is_none() && state.closing == Some(CloseReason::Duplicate);
        };
        // A connection that lost a simultaneous dial may have closed before the winner came.
        let over = control.closed().or_else(|| control.draining());
        state.down.is_none() && over.is_none_or(|reason| reason == CloseReason::Duplicate)
    }

    /// The new connection takes over; the old one drains.
    pub(crate) fn replace_control(&self, new: Arc<Link>) {
        let mut state = self.lock();
        state.closing = None;
        state.last_control = Arc::clone(&new);
        let old = state.control.replace(new);
        state.draining.extend(old.clone());
        drop(state);
        if let Some(old) = old {
            old.start_drain(&CloseReason::Duplicate);
        }
        self.changed.notify_waiters();
    }

    /// Drains the new connection, which lost against the old one.
    pub(crate) fn add_draining(&self, new: Arc<Link>) {
        new.start_drain(&CloseReason::Duplicate);
        self.lock().draining.push(new);
    }

    /// Takes in a bulk connection; `false` if the peer cannot use it.
    pub(crate) fn add_bulk(&self, link: Arc<Link>) -> bool {
        let mut state = self.lock();
        state.bulk_asked = None;
        state.bulk_due = None;
        let over = state.down.is_some() || state.closing.is_some() || state.given_up;
        if over || state.control.is_none() {
            return false;
        }
        if state.bulk.len() >= crate::MAX_BULK {
            return false;
        }
        state.bulk.push(link);
        drop(state);
        self.changed.notify_waiters();
        true
    }

    /// No bulk connection comes: nobody waits for it any more.
    pub(crate) fn no_bulk(&self) {
        self.lock().bulk_due = None;
        self.changed.notify_waiters();
    }

    /// Takes in a stream that the remote opened.
    pub(crate) fn add_stream(&self, link: &Arc<Link>, key: StreamKey) {
        let class = link.run(|mux, _| mux.class(key));
        let (link, stream) = (Arc::clone(link), Stream::new(Arc::clone(link), key));
        let mut state = self.lock();
        if state.down.is_none() {
            state.incoming.push_back(Incoming { link, class, stream });
        }
        drop(state);
        self.incoming.notify_one();
    }

    /// Marks the peer as told of; `true` the first time.
    pub(crate) fn announce(&self) -> bool {
        !std::mem::replace(&mut self.lock().announced, true)
    }

    /// Takes the mark back; `true` if it was there.
    pub(crate) fn withdraw(&self) -> bool {
        std::mem::take(&mut self.lock().announced)
    }

    /// Takes note that a connection began to drain: with the control connection all do.
    pub(crate) fn link_draining(&self, link: &Arc<Link>, reason: &CloseReason) {
        let mut state = self.lock();
        let is_control = state.control.as_ref() == Some(link);
        if let Some(at) = state.bulk.iter().position(|other| other == link) {
            let bulk = state.bulk.swap_remove(at);
            state.draining.push(bulk);
        }
        drop(state);
        if is_control && *reason != CloseReason::Duplicate {
            self.drain(reason);
        }
        self.changed.notify_waiters();
    }

    /// Takes note that a connection is over.
    pub(crate) fn link_closed(&self, link: &Arc<Link>, reason: &CloseReason) -> Aftermath {
        let mut state = self.lock();
        state.bulk.retain(|other| other != link);
        state.draining.retain(|other| other != link);
        let mut abandoned = Vec::new();
        if state.control.as_ref() == Some(link) {
            state.control = None;
            let graceful = matches!(
                reason,
                CloseReason::Shutdown | CloseReason::Aged | CloseReason::Duplicate
            );
            state.closing.get_or_insert_with(|| reason.clone());
            if !graceful {
                abandoned.append(&mut state.bulk);
                abandoned.append(&mut state.draining);
            }
        }
        let rest: Vec<_> = state.bulk.iter().chain(&state.draining).cloned().collect();
        let aftermath = match (&state.control, &state.closing) {
            (None, Some(CloseReason::Duplicate)) => Aftermath::Waiting,
            (None, Some(closing)) if rest.is_empty() => Aftermath::Down(closing.clone()),
            _ => Aftermath::Up,
        };
        let closing = state.closing.clone();
        drop(state);
        for link in abandoned {
            link.close(reason);
        }
        if let (Some(closing), Aftermath::Up) = (closing, &aftermath) {
            rest.iter().for_each(|link| link.start_drain(&closing));
        }
        self.changed.notify_waiters();
        aftermath
    }

    /// Ends the peer for those who hold it.
    pub(crate) fn set_down(&self, reason: &CloseReason) {
        let mut state = self.lock();
        state.down.get_or_insert_with(|| reason.clone());
        let links: Vec<_> = state.control.iter().chain(&state.bulk).cloned().collect();
        drop(state);
        links.iter().for_each(|link| link.close(reason));
        self.changed.notify_waiters();
        self.incoming.notify_waiters();
        self.incoming.notify_one();
    }

    fn links(&self) -> Vec<Arc<Link>> {
        let state = self.lock();
        state.control.iter().chain(&state.bulk).chain(&state.draining).cloned().collect()
    }

    /// Lets streams end, then closes.
    pub(crate) fn drain(&self, reason: &CloseReason) {
        self.links().iter().for_each(|link| link.start_drain(reason));
    }

    fn close(&self, reason: &CloseReason) {
        self.links().iter().for_each(|link| link.close(reason));
    }

    /// The connection for a new stream. Asks for a bulk connection if short.
    fn choose(&self, class: Class) -> Result<Choice, PeerError> {
        let mut state = self.lock();
        if let Some(reason) = &state.down {
            return Err(PeerError::Closed(reason.clone()));
        }
        let control = state.control.clone();
        let over = match &control {
            Some(link) => link.closed().or_else(|| link.draining()),
            None => state.closing.clone(),
        };
        let control = match (control, over) {
            (Some(control), None) => control,
            // The connection that won a simultaneous dial is about to take its place.
            (_, Some(CloseReason::Duplicate) | None) => return Ok(Choice::Wait(None)),
            (_, Some(reason)) => return Err(PeerError::Closed(reason)),
        };
        if class == Class::Control {
            return Ok(Choice::Go(control));
        }
        let now = Instant::now();
        let short = state.bulk.len() < self.bulk_wanted;
        let asked = state.bulk_asked.is_some_and(|at| now < at + BULK_PAUSE);
        if short && !asked {
            state.bulk_asked = Some(now);
            state.bulk_due = Some(now + BULK_WAIT);
            control.run(|mux, _| mux.want_bulk());
        }
        let usable = state.bulk.iter().filter(|link| link.accepts_streams());
        let least = usable.min_by_key(|link| link.load()).cloned();
        let due = state.bulk_due.filter(|due| now < *due);
        Ok(match (least, due) {
            (Some(least), _) => Choice::Go(least),
            (None, Some(due)) => Choice::Wait(Some(due)),
            (None, None) => Choice::Go(control),
        })
    }
}

impl Peer {
    /// The remote's static key.
    #[must_use]
    pub fn remote(&self) -> PublicKey {
        self.0.remote
    }

    /// Label of the realm under which the two met.
    #[must_use]
    pub fn realm(&self) -> [u8; 32] {
        self.0.label
    }

    /// Handshake hash of the control connection, the same on both sides: binds a statement to
    /// this session. When both sides dialled at once it settles with the winning connection.
    #[must_use]
    pub fn handshake_hash(&self) -> [u8; 32] {
        self.0.lock().last_control.info.hash
    }

    /// The application's part of the remote's hello.
    #[must_use]
    pub fn hello(&self) -> Bytes {
        self.0.hello.clone()
    }

    /// The remote end of the control connection.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.0.lock().last_control.info.addr
    }

    /// True if this side opened the control connection: then [`addr`](Self::addr) is where the remote listens.
    #[must_use]
    pub fn dialled(&self) -> bool {
        self.0.lock().last_control.info.contender.dialler != self.0.remote
    }

    /// Opens a stream; waits while the remote allows no more. Nothing leaves before the first
    /// frame.
    ///
    /// # Errors
    /// The peer is down.
    pub async fn open(&self, class: Class) -> Result<Stream, PeerError> {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let link = match self.0.choose(class)? {
                Choice::Go(link) => link,
                Choice::Wait(None) => {
                    changed.await;
                    continue;
                }
                Choice::Wait(Some(due)) => {
                    let _one_way_or_another = timeout_at(due, changed).await;
                    continue;
                }
            };
            let slot = link.slots.notified();
            tokio::pin!(slot);
            slot.as_mut().enable();
            if let Some(key) = link.open(class) {
                return Ok(Stream::new(link.clone(), key));
            }
            tokio::select! {
                biased;
                () = &mut slot => {}
                () = &mut changed => {}
            }
        }
    }

    /// The next stream that the remote opened, on whatever connection; `None` when the peer is
    /// down. For one caller. While the remote does not take its answers
    /// ([`Limits::connection_queue`]), its further streams on that connection wait.
    pub async fn accept(&self) -> Option<Stream> {
        loop {
            {
                let mut state = self.0.lock();
                let next = state.incoming.iter().position(|next| !next.link.is_clogged(next.class));
                if let Some(next) = next.and_then(|at| state.incoming.remove(at)) {
                    return Some(next.stream);
                }
                if state.down.is_some() {
                    return None;
                }
            }
            self.0.incoming.notified().await;
        }
    }

    /// Ends the peer: what comes later is a new one. With [`CloseReason::Shutdown`] streams under way
    /// may still end (within [`Limits::drain`]); with any other reason everything ends at once and
    /// the remote is told why, as far as the reason has a code.
    pub fn close(&self, reason: CloseReason) {
        // The connection that won a simultaneous dial may be on its way.
        self.0.lock().given_up = true;
        if reason == CloseReason::Shutdown {
            self.0.drain(&reason);
        } else {
            self.0.close(&reason);
        }
    }

    /// Waits until the peer is down.
    pub async fn closed(&self) -> CloseReason {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(reason) = self.0.down_reason() {
                return reason;
            }
            changed.await;
        }
    }

    /// Round-trip time of the last ping, if one was answered.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        self.0.control().and_then(|link| link.rtt())
    }

    /// Bytes over the wire.
    #[must_use]
    pub fn stats(&self) -> PeerStats {
        let mut stats = PeerStats::default();
        for link in self.0.links() {
            stats.bytes_in += link.bytes_in.load(Ordering::Relaxed);
            stats.bytes_out += link.bytes_out.load(Ordering::Relaxed);
        }
        stats
    }

    /// Connections now open, draining ones included.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.links().len()
    }
}

/// Two are equal if they are the same peer, not only the same node.
impl PartialEq for Peer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Peer {}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({})", self.0.remote.short())
    }
}
