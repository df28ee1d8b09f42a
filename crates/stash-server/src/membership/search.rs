//! Finding members on the local network by multicast DNS, with nothing configured.
//!
//! Each node says there, under names that change every hour, a tag that only members of its stash can tell from chance
//! (`lan/announcement.rs`). Where a member was heard it is dialled; the handshake decides whether it is there. What was heard is
//! neither written down nor passed on.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use stash_crypto::{NetworkKey, NodeId};
use stash_p2p::{Datagrams, Link, MULTICAST_PORT};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::door::public;
use crate::lan::announcement::{Announcement, question};
use crate::lan::datagram::{Datagram, Instance, MAX_DATAGRAM, Question, read};
use crate::lan::heard::News;
use crate::lan::schedule::{Say, Schedule};
use crate::lan::tags::{Of, Tags};
use crate::lan::{hour, may_be_found, port_at};
use crate::lock::lock;
use crate::membership::discovery::DiscoveryState;
use crate::membership::{Membership, announce};
use crate::reach;
use crate::tasks::ListedTask;

/// Datagrams of a link that are read in a row, and the time that these take at least: a flood costs a thousandth of a processor,
/// and what is beyond is lost.
const BATCH: usize = 128;
const PACE: Duration = Duration::from_millis(250);

/// Datagrams that wait to be looked at.
const WAITING: usize = 64;

/// Time for a datagram to leave.
const SEND: Duration = Duration::from_secs(1);

/// The longest between two looks at the clock, the members and the keys.
const LOOK: Duration = Duration::from_secs(10);

/// From a link that cannot be used to the next try: first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// Looks for members and is found by them, as long as that is wanted, until the engine stops.
pub(crate) async fn run(membership: Arc<Membership>) {
    let discovery = &membership.discovery;
    let mut wanted = discovery.wanted();
    let listen = membership.core.endpoint.local_addresses();
    let task = membership.core.tasks.list("discovery");
    loop {
        let is_wanted = *wanted.borrow_and_update();
        let state = match (is_wanted, may_be_found(&listen)) {
            (false, _) => DiscoveryState::Off,
            (true, false) => DiscoveryState::Loopback,
            (true, true) => match search(&membership, &listen, &mut wanted, &task).await {
                End::Stopped => return,
                End::Unwanted => {
                    // Of no use without hearing when it ends.
                    lock(&discovery.heard).clear();
                    announce::dial_members(&membership);
                    continue;
                }
            },
        };
        discovery.set_state(state);
        task.ends(None);
        tokio::select! {
            biased;
            () = membership.core.tasks.stopped() => return,
            changed = wanted.changed() => if changed.is_err() { return },
        }
    }
}

/// Why a search ended.
enum End {
    Stopped,
    Unwanted,
}

/// Speaks and listens until it is not wanted any more, or the engine stops.
async fn search(
    membership: &Arc<Membership>,
    listen: &[SocketAddr],
    wanted: &mut watch::Receiver<bool>,
    task: &ListedTask,
) -> End {
    let (sender, mut datagrams) = mpsc::channel(WAITING);
    let mut search = Search {
        membership: Arc::clone(membership),
        listen: listen.to_vec(),
        sender,
        open: Vec::new(),
        said: None,
        tags: Tags::default(),
        links_at: None,
        pause: AGAIN.0,
    };
    let end = loop {
        search.look().await;
        let due = search.speak().await;
        task.ends(Some(due.saturating_duration_since(Instant::now())));
        tokio::select! {
            biased;
            () = membership.core.tasks.stopped() => break End::Stopped,
            changed = wanted.changed() => if changed.is_err() || !*wanted.borrow() {
                break End::Unwanted;
            },
            () = membership.discovery.moved.notified() => search.links_at = None,
            Some((link, datagram, from)) = datagrams.recv() => {
                task.begins();
                search.hear(&link, &datagram, from);
            }
            () = sleep_until(due) => task.begins(),
        }
    };
    search.take_back().await;
    end
}

/// A datagram that arrived on a link, and who sent it.
type Arrived = (Link, Vec<u8>, SocketAddr);

struct Search {
    membership: Arc<Membership>,
    listen: Vec<SocketAddr>,
    sender: mpsc::Sender<Arrived>,
    open: Vec<Open>,
    /// What this node says now; `None` if it is no member.
    said: Option<Announcement>,
    tags: Tags,
    /// When the links are to be looked at next; `None`: now.
    links_at: Option<Instant>,
    /// Pause before links that cannot be opened are tried again.
    pause: Duration,
}

/// A link that is listened to.
struct Open {
    link: Link,
    group: Arc<dyn Datagrams>,
    schedule: Schedule,
    /// Ends the task that reads.
    _reads: DropGuard,
}

impl Search {
    /// Opens the links that are there now, and closes those that are gone.
    fn open_links(&mut self) {
        let network = &self.membership.core.environment.network;
        let opened = network.links().and_then(|links| self.become_as(&links));
        let pause = match opened {
            Ok(()) => {
                self.pause = AGAIN.0;
                LOOK
            }
            Err(_) => {
                let pause = self.pause;
                self.pause = (pause * 2).min(AGAIN.1);
                pause
            }
        };
        self.links_at = Some(Instant::now() + pause);
        let state = match opened {
            Err(error) if self.open.is_empty() => DiscoveryState::Failing(reason(&error)),
            _ => DiscoveryState::On(self.open.len()),
        };
        self.membership.discovery.set_state(state);
    }

    /// Says the first error, after all links were tried.
    fn become_as(&mut self, links: &[Link]) -> io::Result<()> {
        self.open.retain(|open| links.contains(&open.link));
        let mut outcome = Ok(());
        for link in links {
            if self.open.iter().any(|open| open.link == *link) {
                continue;
            }
            match self.membership.core.environment.network.join(link) {
                Ok(group) => self.add(*link, Arc::from(group)),
                Err(error) => {
                    tracing::debug!(%error, ip = %link.ip, "a link cannot be listened to");
                    outcome = outcome.and(Err(error));
                }
            }
        }
        outcome
    }

    fn add(&mut self, link: Link, group: Arc<dyn Datagrams>) {
        let ends = CancellationToken::new();
        let (reads, sender, token) = (Arc::clone(&group), self.sender.clone(), ends.clone());
        self.membership.core.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = token.cancelled() => {}
                () = receive(link, reads, sender) => {}
            }
        });
        let schedule = Schedule::begin(Instant::now());
        self.open.push(Open { link, group, schedule, _reads: ends.drop_guard() });
    }

    /// Sees to it that the links, what is said, and whom this node knows are those of now.
    async fn look(&mut self) {
        if self.links_at.is_none_or(|at| at <= Instant::now()) {
            self.open_links();
        }
        let membership = Arc::clone(&self.membership);
        let (core, door) = (&membership.core, &membership.core.door);
        let now = hour(core.environment.seconds());
        let entries = core.roster.log(|log| log.len());
        let of = Of { hour: now, entries, keys: door.with_network(<[_]>::len) };
        if !self.tags.is_of(&of) {
            let members = core.roster.members().into_iter();
            let members: Vec<NodeId> = members.map(|member| member.node).collect();
            self.tags = door.with_network(|keys| Tags::new(of, &members, keys));
        }
        let is_member = core.role_in_log().is_some();
        let epoch = door.with_network(|keys| keys.last().map(NetworkKey::epoch));
        let epoch = epoch.filter(|_| is_member);
        if self.said.as_ref().map(Announcement::of) != epoch.map(|epoch| (now, epoch)) {
            let new = door.with_network(|keys| {
                let key = keys.last().filter(|_| is_member)?;
                Some(Announcement::new(&core.me, key, now, &mut core.environment.rng()))
            });
            let old = std::mem::replace(&mut self.said, new);
            self.say_anew(old).await;
        }
        if lock(&membership.discovery.heard).age(Instant::now()) {
            announce::dial_members(&membership);
        }
    }

    /// What is said has changed: it is said at once, and what was said before is taken back. In that order, so that nobody takes this
    /// node for gone.
    async fn say_anew(&mut self, old: Option<Announcement>) {
        let now = Instant::now();
        self.open.iter_mut().for_each(|open| open.schedule.speak_anew(now));
        self.speak().await;
        if let Some(old) = old {
            for open in &self.open {
                self.goodbye(open, &old).await;
            }
        }
    }

    /// Sends what is due; returns when something is due next.
    async fn speak(&mut self) -> Instant {
        let now = Instant::now();
        let mut due = [self.links_at, lock(&self.membership.discovery.heard).next_end()]
            .into_iter()
            .flatten()
            .fold(now + LOOK, Instant::min);
        for at in 0..self.open.len() {
            loop {
                let jitter = self.jitter();
                let Some(say) = self.open[at].schedule.poll(now, jitter) else { break };
                let open = &self.open[at];
                let datagram = match say {
                    Say::Question => Some(question()),
                    Say::Announcement => port_at(&open.link, &self.listen)
                        .zip(self.said.as_ref())
                        .map(|(port, said)| said.encode(open.link.ip, port)),
                };
                if let Some(datagram) = datagram
                    && !send(open, &datagram).await
                {
                    self.open[at].schedule.failed(say, now);
                }
            }
            due = self.open[at].schedule.next().map_or(due, |next| next.min(due));
        }
        due
    }

    /// Tells everybody that this node is not there any more.
    async fn take_back(&self) {
        if let Some(said) = &self.said {
            for open in &self.open {
                self.goodbye(open, said).await;
            }
        }
    }

    async fn goodbye(&self, open: &Open, said: &Announcement) {
        if let Some(port) = port_at(&open.link, &self.listen) {
            send(open, &said.goodbye(open.link.ip, port)).await;
        }
    }

    /// From 20 to 120 ms, as RFC 6762 has it.
    fn jitter(&self) -> Duration {
        let milliseconds = self.membership.core.environment.rng().random_range(20..120);
        Duration::from_millis(milliseconds)
    }

    /// Takes in a datagram. It may come from anybody.
    fn hear(&mut self, link: &Link, datagram: &[u8], from: SocketAddr) {
        let attached = self.membership.core.door.attached();
        if from.port() != MULTICAST_PORT || !reach::is_near(&from.ip(), &attached) {
            return;
        }
        match read(datagram, self.said.as_ref()) {
            Some(Datagram::Question(Question { who, mine, knows })) => {
                let jitter = self.jitter();
                if let Some(open) = self.open.iter_mut().find(|open| open.link == *link) {
                    let own_machine = from.ip() == link.ip;
                    let now = Instant::now();
                    open.schedule.handle_question(now, (who, mine, knows), own_machine, jitter);
                }
            }
            Some(Datagram::Instances(instances)) => {
                for instance in instances {
                    self.hear_of(instance, from);
                }
            }
            None => {}
        }
    }

    fn hear_of(&self, instance: Instance, from: SocketAddr) {
        let (core, discovery) = (&self.membership.core, &self.membership.discovery);
        let Some(node) = self.tags.member(&instance.tag).filter(|node| *node != core.me) else {
            return;
        };
        let mut address = from;
        address.set_port(instance.port);
        if instance.life == 0 {
            lock(&discovery.heard).goodbye(&node, address, &instance.name);
            return;
        }
        let (now, life) = (Instant::now(), Duration::from_secs(instance.life.into()));
        let news = lock(&discovery.heard).learn(node, (address, instance.name), life, now);
        if news == News::None || !discovery.may_dial(node) {
            return;
        }
        tracing::debug!(peer = %node.short(), %address, "a member is heard on the local network");
        announce::dial_members(&self.membership);
        // It has been started again where it was: the pause between dials would be a waste.
        if news == News::Name && core.peer(&node).is_none() {
            let noise = core.roster.log(|log| Some(log.member(&node)?.identity.noise));
            if let Some(noise) = noise {
                core.endpoint.redial(&public(&noise));
            }
        }
    }
}

/// Sends a datagram; true if it left.
async fn send(open: &Open, datagram: &[u8]) -> bool {
    let sent = timeout(SEND, open.group.send(datagram)).await;
    let error = match sent {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => error,
        Err(_) => io::ErrorKind::TimedOut.into(),
    };
    // A card without an address yet, or one that is just going.
    tracing::debug!(%error, ip = %open.link.ip, "nothing can be said on a link");
    false
}

/// Reads what arrives on a link, at a pace.
async fn receive(link: Link, group: Arc<dyn Datagrams>, sender: mpsc::Sender<Arrived>) {
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let begun = Instant::now();
        for _ in 0..BATCH {
            match group.receive(&mut buffer).await {
                Ok((length, from)) => {
                    // What finds no room is lost, as on any network.
                    let _lost = sender.try_send((link, buffer[..length].to_vec(), from));
                }
                Err(error) => {
                    tracing::debug!(%error, ip = %link.ip, "nothing can be heard on a link");
                    sleep(PACE).await;
                }
            }
        }
        sleep_until(begun + PACE).await;
    }
}

/// The reason for which nothing can be heard, with what to do about it.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("another program keeps UDP port {MULTICAST_PORT} for itself")
        }
        io::ErrorKind::PermissionDenied => {
            format!("this machine does not let it listen on UDP port {MULTICAST_PORT}")
        }
        _ => format!("multicast cannot be used here ({error})"),
    }
}
