//! Races among the addresses of one remote.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::time::{Instant, sleep};

use super::node::{Node, ask, echo, test_limits};
use super::pair::realm;
use crate::{
    Candidate, Claim, Class, DialError, Endpoint, Environment, Events, Gate, GateError, Listen,
    MemoryGate, MemoryNetwork, Network, PublicKey, Realm, Source, StaticSecret, Way, Wire,
};

/// The fate of a dial at an address.
#[derive(Clone, Copy)]
enum End {
    /// It leads to this address, after a time.
    Leads(SocketAddr, Duration),
    /// Nobody ever answers.
    Void,
    /// Something accepts the connection and says nothing.
    Silent,
    /// There is nobody.
    Refused,
}

/// A network with addresses of many kinds, and with names.
#[derive(Clone, Default)]
struct Map {
    under: MemoryNetwork,
    ends: Arc<Mutex<BTreeMap<SocketAddr, End>>>,
    names: Arc<Mutex<BTreeMap<String, Vec<SocketAddr>>>>,
    /// Dials, in their order.
    dialled: Arc<Mutex<Vec<(SocketAddr, Instant)>>>,
    silent: Arc<Mutex<Vec<Wire>>>,
}

impl Map {
    fn set(&self, last: u8, end: End) -> SocketAddr {
        let addr = at(last);
        self.ends.lock().unwrap().insert(addr, end);
        addr
    }

    fn dials_of(&self, addr: SocketAddr) -> usize {
        self.dialled.lock().unwrap().iter().filter(|(other, _)| *other == addr).count()
    }

    fn order(&self) -> Vec<SocketAddr> {
        self.dialled.lock().unwrap().iter().map(|(addr, _)| *addr).collect()
    }
}

fn at(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 7979))
}

impl Network for Map {
    fn listen(&self, addr: SocketAddr) -> io::Result<Box<dyn Listen>> {
        self.under.listen(addr)
    }

    fn dial(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Wire>> {
        Box::pin(async move {
            self.dialled.lock().unwrap().push((addr, Instant::now()));
            let end = self.ends.lock().unwrap().get(&addr).copied();
            match end {
                None => self.under.dial(addr).await,
                Some(End::Leads(to, after)) => {
                    sleep(after).await;
                    self.under.dial(to).await
                }
                Some(End::Void) => std::future::pending().await,
                Some(End::Refused) => Err(io::ErrorKind::ConnectionRefused.into()),
                Some(End::Silent) => {
                    let (near, far) = tokio::io::duplex(4096);
                    let wire = |stream| {
                        let (read, write) = tokio::io::split(stream);
                        Wire { read: Box::new(read), write: Box::new(write), remote: addr }
                    };
                    self.silent.lock().unwrap().push(wire(far));
                    Ok(wire(near))
                }
            }
        })
    }

    fn look_up<'a>(
        &'a self,
        host: &'a str,
        _port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let found = self.names.lock().unwrap().get(host).cloned();
        Box::pin(async move {
            if host == "slow.example" {
                std::future::pending::<()>().await;
            }
            found.ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }
}

/// A gate that counts, and that knows which addresses are near and which are nobody's.
#[derive(Default)]
struct Picky {
    gate: MemoryGate,
    near: Vec<SocketAddr>,
    forbidden: Vec<SocketAddr>,
    counters: Mutex<usize>,
}

impl Gate for Picky {
    fn realms(&self) -> Arc<[Realm]> {
        self.gate.realms()
    }

    fn admit(&self, claim: Claim) -> BoxFuture<'_, bool> {
        self.gate.admit(claim)
    }

    fn floor(&self, remote: &PublicKey) -> u64 {
        self.gate.floor(remote)
    }

    fn raise(&self, remote: PublicKey, counter: u64) -> BoxFuture<'_, Result<(), GateError>> {
        *self.counters.lock().unwrap() += 1;
        self.gate.raise(remote, counter)
    }

    fn next_counter(&self, remote: PublicKey, now: u64) -> BoxFuture<'_, Result<u64, GateError>> {
        *self.counters.lock().unwrap() += 1;
        self.gate.next_counter(remote, now)
    }

    fn hello(&self, remote: &PublicKey, seen: SocketAddr) -> Bytes {
        self.gate.hello(remote, seen)
    }

    fn may_dial(&self, addr: &SocketAddr) -> bool {
        !self.forbidden.contains(addr)
    }

    fn is_near(&self, addr: &SocketAddr) -> bool {
        self.near.contains(addr)
    }
}

/// A node that listens, and one that dials it.
fn two(map: &Map, gate: Picky) -> (Node, Endpoint, Events, Arc<Picky>) {
    let network: Arc<dyn Network> = Arc::new(map.clone());
    let host = Node::new(&network, 21, test_limits());
    let secret = StaticSecret::from_bytes([22; 32]);
    host.gate.add(secret.public());
    let gate = Arc::new(gate);
    let (endpoint, events) = Endpoint::bind_on(
        Environment::on(network),
        &[],
        secret,
        Arc::clone(&gate) as Arc<dyn Gate>,
        test_limits(),
    )
    .unwrap();
    (host, endpoint, events, gate)
}

fn told(addr: SocketAddr) -> Candidate {
    Candidate::new(Way::Address(addr), Source::Told)
}

fn name(host: &str) -> Candidate {
    Candidate::new(Way::Name { host: host.to_owned(), port: 7979 }, Source::Told)
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn seven_dead_addresses_cost_a_quarter_of_a_second_each() {
    let map = Map::default();
    let (mut host, endpoint, ..) = two(&map, Picky::default());
    let mut addresses: Vec<_> = (1..8).map(|last| map.set(last, End::Void)).collect();
    addresses.push(host.addr);
    let start = Instant::now();
    let peer = endpoint.dial_once(addresses, host.key, realm(), MINUTE).await.unwrap();
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(1_750), "they do not begin at once: {took:?}");
    assert!(took < Duration::from_millis(2_000), "{took:?}");
    echo(host.up_slowly().await);
    ask(&peer, Class::Control, b"there").await;
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_does_not_make_the_next_one_wait() {
    let map = Map::default();
    let (host, endpoint, ..) = two(&map, Picky::default());
    let mut addresses: Vec<_> = (1..8).map(|last| map.set(last, End::Refused)).collect();
    addresses.push(host.addr);
    let start = Instant::now();
    endpoint.dial_once(addresses, host.key, realm(), MINUTE).await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(10), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn something_silent_holds_a_race_up_for_a_second() {
    let map = Map::default();
    let (host, endpoint, ..) = two(&map, Picky::default());
    let addresses = [map.set(1, End::Silent), map.set(2, End::Silent), host.addr];
    let start = Instant::now();
    endpoint.dial_once(addresses, host.key, realm(), MINUTE).await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(1_600), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_race_is_one_handshake_for_the_other_side_however_many_ways_lead_there() {
    let map = Map::default();
    let (mut host, endpoint, _events, gate) = two(&map, Picky::default());
    let mut addresses = Vec::new();
    for last in 1..=8 {
        // All are connected before the first one is answered.
        let after = Duration::from_millis(u64::from(9 - last) * 250);
        addresses.push(map.set(last, End::Leads(host.addr, after)));
    }
    let before = host.gate.floors();
    let peer = endpoint.dial_once(addresses, host.key, realm(), MINUTE).await.unwrap();
    echo(host.up_slowly().await);
    ask(&peer, Class::Control, b"there").await;
    sleep(MINUTE).await;
    assert_eq!(*gate.counters.lock().unwrap(), 1, "counters of the dialling side");
    assert_ne!(host.gate.floors(), before);
    let [there] = host.endpoint.peers().try_into().unwrap();
    assert_eq!((peer.connections(), there.connections()), (1, 1));
    ask(&peer, Class::Control, b"still there").await;
    let windows = host.endpoint.inner().budget.windows();
    assert_eq!(windows, test_limits().first_window as usize, "places of the other side");
}

#[tokio::test(start_paused = true)]
async fn near_addresses_go_first() {
    let map = Map::default();
    let near = vec![at(3), at(4)];
    let (host, endpoint, ..) = two(&map, Picky { near, ..Picky::default() });
    let addresses: Vec<_> = (1..=4).map(|last| map.set(last, End::Refused)).collect();
    let failed = endpoint.dial_once(addresses, host.key, realm(), MINUTE).await;
    assert!(matches!(failed, Err(DialError::Unreachable { .. })), "{failed:?}");
    assert_eq!(map.order(), [at(3), at(4), at(1), at(2)]);
}

#[tokio::test(start_paused = true)]
async fn a_name_is_looked_up_at_each_dial_and_each_of_its_addresses_is_asked_about() {
    let map = Map::default();
    let (host, endpoint, ..) = two(&map, Picky { forbidden: vec![at(9)], ..Picky::default() });
    map.set(1, End::Refused);
    map.set(9, End::Refused);
    let dial = async |at: &[SocketAddr]| {
        map.names.lock().unwrap().insert("home.example".to_owned(), at.to_vec());
        let places = [name("slow.example"), name("nowhere.example"), name("home.example")];
        let start = Instant::now();
        let dialled = endpoint.dial_once(places, host.key, realm(), MINUTE).await;
        (dialled.map(drop), start.elapsed())
    };
    let (failed, took) = dial(&[at(9)]).await;
    assert!(matches!(failed, Err(DialError::TimedOut)), "{failed:?}");
    assert_eq!(took, Duration::from_secs(5), "the name that nobody answers for has a deadline");
    assert_eq!(map.dials_of(at(9)), 0, "an address that must not be dialled, by name");
    let (done, took) = dial(&[at(9), at(1), host.addr]).await;
    done.unwrap();
    assert!(took < Duration::from_millis(10), "{took:?}");
    let failed = endpoint.dial_once([name("nowhere.example")], host.key, realm(), MINUTE).await;
    assert!(matches!(failed, Err(DialError::NoSuchName { .. })), "{failed:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_heard_is_dialled_only_if_it_is_near() {
    let map = Map::default();
    let (host, endpoint, ..) = two(&map, Picky { near: vec![at(2)], ..Picky::default() });
    let heard = |addr| Candidate::new(Way::Address(addr), Source::Heard);
    let places = [heard(map.set(1, End::Refused)), heard(map.set(2, End::Refused))];
    let _unreachable = endpoint.dial_once(places, host.key, realm(), MINUTE).await.unwrap_err();
    assert_eq!(map.order(), [at(2)]);
}

#[tokio::test(start_paused = true)]
async fn a_remote_that_is_heard_nearby_is_dialled_at_once_while_another_place_is_silent() {
    let map = Map::default();
    let (mut host, endpoint, mut events, _) =
        two(&map, Picky { near: vec![at(1)], ..Picky::default() });
    map.set(1, End::Leads(host.addr, Duration::ZERO));
    let far = Candidate::from(map.set(2, End::Void));
    endpoint.keep(host.key, [far.clone()], realm());
    sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    // One of the internet waits for its turn.
    endpoint.keep(host.key, [far.clone(), told(map.set(3, End::Refused))], realm());
    sleep(Duration::from_secs(1)).await;
    assert_eq!(map.dials_of(at(3)), 0);
    let heard = Candidate::new(Way::Address(at(1)), Source::Heard);
    endpoint.keep(host.key, [far, heard], realm());
    let (_there, _here) = (host.up_slowly().await, events.next().await);
    assert!(start.elapsed() < Duration::from_millis(1_100), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_third_party_that_a_remote_names_hears_a_few_knocks_and_then_two_a_minute() {
    let map = Map::default();
    let (mut host, endpoint, mut events, _) = two(&map, Picky::default());
    let victims: Vec<_> = (1..=8).map(|last| map.set(last, End::Silent)).collect();
    let places = |victims: &[SocketAddr]| victims.iter().copied().map(told).collect::<Vec<_>>();
    endpoint.keep(host.key, places(&victims), realm());
    sleep(MINUTE * 60).await;
    let knocks = |victims: &[SocketAddr]| victims.iter().map(|addr| map.dials_of(*addr)).sum();
    let hour: usize = knocks(&victims);
    assert!((60..=32 + 120).contains(&hour), "{hour} in the first hour");
    let each: Vec<_> = victims.iter().map(|addr| map.dials_of(*addr)).collect();
    assert!(each.iter().all(|count| *count >= 10), "each has its turn: {each:?}");
    // Others in their place do not begin anew.
    for round in 0..60_u8 {
        let others: Vec<_> = (0..8).map(|i| map.set(20 + i + round % 2 * 8, End::Silent)).collect();
        endpoint.keep(host.key, places(&others), realm());
        sleep(MINUTE).await;
    }
    let others: Vec<_> = (20..36).map(at).collect();
    let hour: usize = knocks(&others);
    assert!(hour <= 121, "{hour} in the second hour");
    // What the user named, and where it answered before, is not limited.
    endpoint.keep(host.key, [Candidate::from(host.addr)], realm());
    let (_there, _here) = (host.up_slowly().await, events.next().await);
}
