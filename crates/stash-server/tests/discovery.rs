//! Members that know no address of each other, on a local network in memory.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use stash_crypto::member::{MemberChange, MemberEntry};
use stash_crypto::{JoinRequest, MemberLog, NodeKeys, Role, TicketId};
use stash_p2p::{
    Attached, Clock, Datagrams, Environment, Link, Listen, MemoryNetwork, Network, Wire,
};
use stash_server::members::DiscoveryState;
use stash_server::members::found;
use stash_server::store::{Options, Store};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{Node, Stash, admit_entry, all_connected, until};

/// The first hour of all clocks here, in hours since 1970.
const HOUR: u64 = 500_000;

/// The promise: so soon after the second of two has started.
const SOON: Duration = Duration::from_secs(2);

/// A local network, as one of its machines has it.
struct Card {
    network: MemoryNetwork,
    /// Dials at each address.
    dials: Mutex<BTreeMap<SocketAddr, usize>>,
    /// The port of multicast DNS is taken.
    taken: AtomicBool,
}

impl Network for Card {
    fn listen(&self, addr: SocketAddr) -> std::io::Result<Box<dyn Listen>> {
        self.network.listen(addr)
    }

    fn dial(&self, addr: SocketAddr) -> BoxFuture<'_, std::io::Result<Wire>> {
        *self.dials.lock().unwrap().entry(addr).or_default() += 1;
        self.network.dial(addr)
    }

    fn interfaces(&self) -> std::io::Result<Vec<Attached>> {
        self.network.interfaces()
    }

    fn links(&self) -> std::io::Result<Vec<Link>> {
        self.network.links()
    }

    fn join(&self, link: &Link) -> std::io::Result<Box<dyn Datagrams>> {
        match self.taken.load(Ordering::Relaxed) {
            true => Err(std::io::ErrorKind::AddrInUse.into()),
            false => self.network.join(link),
        }
    }
}

struct Hours(AtomicU64);

impl Clock for Hours {
    fn since_epoch(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed) * 3600 + 1)
    }
}

/// A stash whose members know of each other, and not where.
struct Home {
    stash: Stash,
    network: MemoryNetwork,
    members: Vec<Option<NodeKeys>>,
    log: MemberLog,
    clock: Arc<Hours>,
}

fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

impl Home {
    fn new(count: usize) -> Home {
        let mut stash = Stash::new();
        stash.discovery = true;
        let mut log = MemberLog::new(stash.id());
        let told = MemberChange::Root {
            noise: stash.root().noise_static().public(),
            wrap: stash.root().wrap_public(),
        };
        let told = MemberEntry::sign(&stash.root().root_signer(), 0, log.head(), told).unwrap();
        log.push(told).unwrap();
        let mut members = Vec::new();
        for _ in 0..count {
            let keys = NodeKeys::generate(&mut rand::rng());
            let ticket = TicketId::from_bytes([0; 16]);
            let request = JoinRequest::sign(&keys, &stash.id(), ticket, "member").unwrap();
            log.push(admit_entry(&stash.root(), &log, &request, Role::Keeper)).unwrap();
            members.push(Some(keys));
        }
        let clock = Arc::new(Hours(HOUR.into()));
        Home { stash, network: MemoryNetwork::new(), members, log, clock }
    }

    fn card(&self, last: u8) -> Arc<Card> {
        let (dials, taken) = (Mutex::default(), AtomicBool::new(false));
        Arc::new(Card { network: self.network.at(ip(last)), dials, taken })
    }

    /// Starts a member at an address of the network, or where it is told to listen.
    async fn start(&mut self, member: usize, card: &Arc<Card>, listen: SocketAddr) -> Node {
        let mut environment = Environment::on(Arc::clone(card) as Arc<dyn Network>);
        environment.clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        self.stash.environment = environment;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(&dir.path().join("store"), &Options::default()).unwrap();
        found(&store, &self.log, &[], false).unwrap();
        let keys = self.members[member].take().expect("it is started once");
        self.stash.run_as(store, keys, Role::Keeper, dir, false, false, listen).await
    }

    async fn start_at(&mut self, member: usize, last: u8) -> (Node, Arc<Card>) {
        let card = self.card(last);
        let listen = SocketAddr::new(ip(last), 7979);
        (self.start(member, &card, listen).await, card)
    }

    /// Somebody else on the network.
    fn stranger(&self, last: u8) -> Stranger {
        let network = self.network.at(ip(last));
        Stranger(network.join(&Link { interface: 1, ip: ip(last) }).unwrap())
    }
}

struct Stranger(Box<dyn Datagrams>);

/// An announcement as a stranger reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    from: SocketAddr,
    bytes: Vec<u8>,
}

impl Said {
    /// Seconds for which it holds; where `docs/protocol.md` says.
    fn life(&self) -> u32 {
        u32::from_be_bytes(self.bytes[35..39].try_into().unwrap())
    }

    /// Digits of the instance, the host and the tag.
    fn digits(&self) -> [&[u8]; 3] {
        let tag = self.bytes.windows(3).position(|three| three == b"\x22t=").unwrap() + 3;
        [&self.bytes[42..74], &self.bytes[162..194], &self.bytes[tag..tag + 32]]
    }
}

impl Stranger {
    /// The next announcement that says so, within a while.
    async fn hears(&self, wanted: impl Fn(&Said) -> bool) -> Option<Said> {
        let heard = async {
            loop {
                let mut into = [0; 9_000];
                let (length, from) = self.0.receive(&mut into).await.unwrap();
                let said = Said { from, bytes: into[..length].to_vec() };
                // Responses alone.
                if said.bytes[2] & 0x80 != 0 && wanted(&said) {
                    return said;
                }
            }
        };
        timeout(Duration::from_secs(60), heard).await.ok()
    }
}

async fn stopped(node: &Node) {
    node.engine.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn members_that_know_no_address_of_each_other_are_connected_in_two_seconds() {
    let mut home = Home::new(2);
    let (one, _) = home.start_at(0, 1).await;
    sleep(Duration::from_secs(1_000)).await;
    let start = Instant::now();
    let (other, _) = home.start_at(1, 2).await;
    all_connected(&[&one, &other]).await;
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    for node in [&one, &other] {
        let path = || node.engine.members().iter().find_map(|member| member.path);
        // Whoever was dialled may not have heard the other yet.
        until("it says how", || path().is_some_and(|path| path.local && path.heard)).await;
        assert_eq!(node.engine.status().await.unwrap().discovery, DiscoveryState::On(1));
    }
    stopped(&one).await;
    stopped(&other).await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_elsewhere_is_found_when_both_have_moved() {
    let mut home = Home::new(2);
    let (one, _) = home.start_at(0, 1).await;
    // It listens where nobody looks for it, and says so on the network.
    let card = home.card(99);
    let other = home.start(1, &card, SocketAddr::new(ip(99), 40_404)).await;
    all_connected(&[&one, &other]).await;
    stopped(&one).await;
    stopped(&other).await;
}

#[tokio::test(start_paused = true)]
async fn every_hour_all_names_are_new_and_the_old_ones_are_taken_back() {
    let mut home = Home::new(3);
    let stranger = home.stranger(200);
    let (one, _) = home.start_at(0, 1).await;
    let first = stranger.hears(|said| said.life() > 0).await.expect("it speaks");
    assert!(first.digits().iter().all(|digits| digits.iter().all(u8::is_ascii_hexdigit)));
    home.clock.0.store(HOUR + 1, Ordering::Relaxed);
    let new = |said: &Said| said.life() > 0 && said.digits()[2] != first.digits()[2];
    let second = stranger.hears(new).await.expect("it speaks anew");
    let gone = stranger.hears(|said| said.life() == 0).await.expect("it takes the old one back");
    assert_eq!(gone.digits(), first.digits());
    for (old, new) in first.digits().iter().zip(second.digits()) {
        assert_ne!(*old, new);
    }
    // Clocks that are an hour apart do not keep members from finding each other; two hours do.
    home.clock = Arc::new(Hours(HOUR.into()));
    let (behind, _) = home.start_at(1, 2).await;
    until("it is found", || one.engine.members()[1].connected).await;
    home.clock = Arc::new(Hours((HOUR + 3).into()));
    let (ahead, _) = home.start_at(2, 3).await;
    sleep(Duration::from_secs(300)).await;
    assert!(!ahead.engine.members()[0].connected && !ahead.engine.members()[1].connected);
    for node in [&one, &behind, &ahead] {
        stopped(node).await;
    }
    let gone = stranger.hears(|said| said.life() == 0 && said.digits() == second.digits()).await;
    assert!(gone.is_some(), "whoever stops takes back what it said");
}

#[tokio::test(start_paused = true)]
async fn a_flood_and_what_is_said_again_from_elsewhere_lead_to_a_few_dials() {
    let mut home = Home::new(2);
    let stranger = home.stranger(200);
    let (one, card) = home.start_at(0, 1).await;
    let (other, _) = home.start_at(1, 2).await;
    let said = stranger.hears(|said| said.from.ip() == ip(2) && said.life() > 0).await.unwrap();
    all_connected(&[&one, &other]).await;
    stopped(&other).await;
    until("it is gone", || !one.engine.members()[1].connected).await;
    card.dials.lock().unwrap().clear();
    // The tag of the member that is gone, from everywhere; and tags of nobody.
    let begun = Instant::now();
    for round in 0..2_000_u32 {
        let liar = home.stranger(100 + u8::try_from(round % 90).unwrap());
        liar.0.send(&said.bytes).await.unwrap();
        let mut nobody = said.bytes.clone();
        let tag = nobody.windows(3).position(|three| three == b"\x22t=").unwrap() + 3;
        nobody[tag..tag + 8].copy_from_slice(format!("{round:08x}").as_bytes());
        liar.0.send(&nobody).await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
    let dials = card.dials.lock().unwrap().clone();
    let liars: usize =
        dials.iter().filter(|(at, _)| at.ip() != ip(2)).map(|(_, count)| count).sum();
    let seconds = begun.elapsed().as_secs();
    let most = usize::try_from(32 + seconds / 30 + 1).unwrap();
    assert!((1..=most).contains(&liars), "{liars} dials in {seconds} s");
    // Where it answered before, the member may be dialled as often as one likes: that somebody speaks does not make it so.
    let known = dials.get(&SocketAddr::new(ip(2), 7979)).copied().unwrap_or_default();
    assert!(known < 300, "{known} dials in {seconds} s");
    // Nothing of it is told to others.
    let told = one.engine.signed_addresses();
    let of_liars = |claim: &Vec<u8>| {
        (100..190).any(|last| claim.windows(4).any(|four| four == [10, 0, 0, last]))
    };
    assert!(!told.iter().any(of_liars));
    stopped(&one).await;
}

#[tokio::test(start_paused = true)]
async fn it_is_turned_off_and_on_while_the_node_runs() {
    let mut home = Home::new(2);
    let stranger = home.stranger(200);
    home.stash.discovery = false;
    let (one, _) = home.start_at(0, 1).await;
    let (other, _) = home.start_at(1, 2).await;
    assert_eq!(stranger.hears(|_| true).await, None, "nothing is said");
    assert_eq!(one.engine.status().await.unwrap().discovery, DiscoveryState::Off);
    assert!(!one.engine.members()[1].connected);
    one.engine.set_discovery(true);
    other.engine.set_discovery(true);
    all_connected(&[&one, &other]).await;
    one.engine.set_discovery(false);
    let gone = stranger.hears(|said| said.from.ip() == ip(1) && said.life() == 0).await;
    assert!(gone.is_some(), "what was said is taken back");
    sleep(Duration::from_secs(60)).await;
    let more = stranger.hears(|said| said.from.ip() == ip(1) && said.life() > 0).await;
    assert_eq!(more, None, "and nothing is said any more");
    assert!(one.engine.members()[1].connected, "whoever is connected stays so");
    stopped(&one).await;
    stopped(&other).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_on_loopback_alone_says_nothing_and_members_of_another_stash_do_not_meet() {
    let mut home = Home::new(2);
    let stranger = home.stranger(200);
    let card = home.card(1);
    let one = home.start(0, &card, "127.0.0.1:7979".parse().unwrap()).await;
    assert_eq!(stranger.hears(|_| true).await, None, "nothing is said");
    assert_eq!(one.engine.status().await.unwrap().discovery, DiscoveryState::Loopback);
    let (other, _) = home.start_at(1, 2).await;
    let mut others = Home { network: home.network.clone(), ..Home::new(1) };
    let (foreign, card) = others.start_at(0, 3).await;
    let said = stranger.hears(|said| said.from.ip() == ip(3)).await;
    assert!(said.is_some(), "both speak on one network");
    sleep(Duration::from_secs(60)).await;
    assert!(card.dials.lock().unwrap().is_empty(), "nobody is taken for a member");
    for node in [&one, &other, &foreign] {
        stopped(node).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_port_that_is_taken_is_said_and_tried_again_and_the_node_runs() {
    let mut home = Home::new(2);
    let card = home.card(1);
    card.taken.store(true, Ordering::Relaxed);
    let one = home.start(0, &card, SocketAddr::new(ip(1), 7979)).await;
    sleep(Duration::from_secs(1)).await;
    let state = one.engine.status().await.unwrap().discovery;
    assert!(matches!(&state, DiscoveryState::Failing(why) if why.contains("5353")), "{state:?}");
    card.taken.store(false, Ordering::Relaxed);
    let (other, _) = home.start_at(1, 2).await;
    all_connected(&[&one, &other]).await;
    assert_eq!(one.engine.status().await.unwrap().discovery, DiscoveryState::On(1));
    stopped(&one).await;
    stopped(&other).await;
}
