//! Strangers: zero bytes back, connections closed, live ones untouched.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use super::node::{Node, ask, echo, networks, test_limits, within};
use super::pair::{offer, realm};
use crate::handshake::{Dial, SUITE};
use crate::preamble::{self, MSG2_LEN, Offer, PREAMBLE_LEN, TAG_LEN};
use crate::resolver::Resolver;
use crate::{
    Class, Entropy, Limits, MemoryGate, Network, Purpose, Realm, StaticSecret, SystemEntropy,
};

/// Says something, hangs up if `hang_up`, and returns all that comes back until the end.
async fn say(network: &Arc<dyn Network>, addr: SocketAddr, bytes: &[u8], hang_up: bool) -> Vec<u8> {
    let mut wire = network.dial(addr).await.unwrap();
    // The node may close before it has read everything.
    let _may_break = wire.write.write_all(bytes).await;
    if hang_up {
        let _may_break = wire.write.shutdown().await;
    }
    let mut back = Vec::new();
    let _reset_or_end = within(wire.read.read_to_end(&mut back)).await;
    back
}

/// Sends a first message and reads message 2, as a legitimate initiator that then goes away.
async fn shake(network: &Arc<dyn Network>, addr: SocketAddr, preamble: &[u8]) -> bool {
    let mut wire = network.dial(addr).await.unwrap();
    wire.write.write_all(preamble).await.unwrap();
    within(wire.read.read_exact(&mut [0; MSG2_LEN])).await.is_ok()
}

fn first_message(
    secret: &StaticSecret,
    to: &crate::PublicKey,
    realm: &Realm,
    offer: &Offer,
) -> Vec<u8> {
    let mut ephemeral = Zeroizing::new([0; 32]);
    SystemEntropy.fill(ephemeral.as_mut_slice());
    Dial::start(secret, to, realm, offer, ephemeral).unwrap().0.to_vec()
}

/// True if a node answers a first message under a realm with a counter.
pub(super) async fn shakes(
    network: &Arc<dyn Network>,
    node: &Node,
    realm: &Realm,
    counter: u64,
) -> bool {
    let secret = StaticSecret::from_bytes([56; 32]);
    shake(network, node.addr, &first_message(&secret, &node.key, realm, &offer(counter))).await
}

/// An initiator whose static key is 32 zeros, and who computes with it as anybody can.
struct ZeroStatic(Resolver, std::sync::atomic::AtomicBool);

struct ZeroDh;

impl Dh for ZeroDh {
    fn name(&self) -> &'static str {
        "25519"
    }
    fn pub_len(&self) -> usize {
        32
    }
    fn priv_len(&self) -> usize {
        32
    }
    fn set(&mut self, _: &[u8]) {}
    fn generate(&mut self, _: &mut dyn Random) -> Result<(), snow::Error> {
        Ok(())
    }
    fn pubkey(&self) -> &[u8] {
        &[0; 32]
    }
    fn privkey(&self) -> &[u8] {
        &[0; 32]
    }
    fn dh(&self, _: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        out[..32].fill(0);
        Ok(())
    }
}

impl CryptoResolver for ZeroStatic {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        self.0.resolve_rng()
    }
    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        // The builder asks for the static key's first.
        if self.1.swap(true, std::sync::atomic::Ordering::Relaxed) {
            return self.0.resolve_dh(choice);
        }
        Some(Box::new(ZeroDh))
    }
    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        self.0.resolve_hash(choice)
    }
    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        self.0.resolve_cipher(choice)
    }
}

fn all_zero_static(to: &crate::PublicKey) -> Vec<u8> {
    let resolver = ZeroStatic(Resolver::new(Zeroizing::new([5; 32])), false.into());
    let realm = realm();
    let mut noise = snow::Builder::with_resolver(SUITE.parse().unwrap(), Box::new(resolver))
        .local_private_key(&[0; 32])
        .unwrap()
        .remote_public_key(to.as_bytes())
        .unwrap()
        .prologue(&realm.prologue)
        .unwrap()
        .psk(1, &realm.psk)
        .unwrap()
        .build_initiator()
        .unwrap();
    let mut bytes = vec![0; PREAMBLE_LEN];
    noise.write_message(&offer(1).encode(), &mut bytes[TAG_LEN..]).unwrap();
    let tag = preamble::tag(&realm, to, &bytes[TAG_LEN..]);
    bytes[..TAG_LEN].copy_from_slice(&tag);
    bytes
}

// Fault cases 1, 2, 3, 5 and 8.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_get_zero_bytes_and_live_connections_are_untouched() {
    for (name, network) in networks() {
        let [mut node, member] = Node::two(&network, &test_limits());
        let live = member.dial(&node).await;
        echo(node.up().await);
        let secret = || StaticSecret::from_bytes([55; 32]);
        node.gate.add(secret().public());
        let whole =
            |realm: &Realm, offer: &Offer| first_message(&secret(), &node.key, realm, offer);
        let changed = |f: fn(&mut Realm)| {
            let mut other = realm();
            f(&mut other);
            whole(&other, &offer(1))
        };
        let unknown = StaticSecret::from_bytes([66; 32]);
        let mut malformed = whole(&realm(), &offer(1));
        malformed[PREAMBLE_LEN - 1] ^= 1;
        let cases: Vec<(&str, Vec<u8>)> = vec![
            ("a port scan", vec![]),
            ("an HTTP request", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
            ("a TLS hello", [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 506]].concat()),
            (
                "random bytes",
                (0..2000_u32)
                    .flat_map(|n| blake3::hash(&n.to_le_bytes()).as_bytes()[..8].to_vec())
                    .collect(),
            ),
            ("a wrong network key", changed(|realm| realm.tag_key = [0; 32])),
            ("a wrong pre-shared key", changed(|realm| realm.psk = [0; 32])),
            ("another prologue", changed(|realm| realm.prologue = b"another".to_vec())),
            ("an unknown static key", first_message(&unknown, &node.key, &realm(), &offer(1))),
            ("an all-zero static key", all_zero_static(&node.key)),
            ("a tag for another node", first_message(&secret(), &member.key, &realm(), &offer(1))),
            ("a changed last byte", malformed),
            (
                "an earlier version only",
                whole(&realm(), &Offer { lowest: 1, highest: 1, ..offer(1) }),
            ),
            ("a later version only", whole(&realm(), &Offer { lowest: 3, highest: 9, ..offer(1) })),
            (
                "a bulk token nobody gave",
                whole(&realm(), &Offer { purpose: Purpose::Bulk, token: [9; 32], ..offer(1) }),
            ),
            (
                "our own key",
                first_message(
                    &StaticSecret::from_bytes(secret_of(&node)),
                    &node.key,
                    &realm(),
                    &offer(1),
                ),
            ),
        ];
        for (case, bytes) in cases {
            let hang_up = bytes.len() < PREAMBLE_LEN;
            let back = say(&network, node.addr, &bytes, hang_up).await;
            assert_eq!(back.len(), 0, "{name}: {case}");
            ask(&live, Class::Control, case.as_bytes()).await;
        }
        assert_eq!(node.endpoint.peers().len(), 1);
        // Nothing above used the counter up: the same member with the same counter gets in.
        assert!(shake(&network, node.addr, &whole(&realm(), &offer(1))).await, "{name}");
    }
}

fn secret_of(node: &Node) -> [u8; 32] {
    let seeds = [21, 22].map(|seed| [seed; 32]);
    seeds.into_iter().find(|seed| StaticSecret::from_bytes(*seed).public() == node.key).unwrap()
}

// Fault case 6.
#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_first_message_is_silence_at_once_later_and_after_a_restart() {
    for (name, network) in networks() {
        let node = Node::new(&network, 21, test_limits());
        let secret = StaticSecret::from_bytes([55; 32]);
        node.gate.add(secret.public());
        let message = |counter| first_message(&secret, &node.key, &realm(), &offer(counter));
        let recorded = message(500);
        assert!(shake(&network, node.addr, &recorded).await);
        assert_eq!(say(&network, node.addr, &recorded, false).await.len(), 0, "{name}: at once");
        // Overtaken, but never seen: answered once.
        let slow = message(400);
        assert!(shake(&network, node.addr, &slow).await);
        assert_eq!(say(&network, node.addr, &slow, false).await.len(), 0);
        for counter in 1001..=2100 {
            assert!(shake(&network, node.addr, &message(counter)).await, "{name} {counter}");
        }
        for old in [&recorded, &slow] {
            assert_eq!(say(&network, node.addr, old, false).await.len(), 0, "{name}: much later");
        }
        let gate = Arc::new(MemoryGate::new(vec![realm()]));
        gate.add(secret.public());
        gate.set_floors(node.gate.floors());
        let again = Node::with_gate(&network, 21, test_limits(), gate);
        for old in [&recorded, &slow, &message(2100)] {
            let back = say(&network, again.addr, old, false).await;
            assert_eq!(back.len(), 0, "{name}: after a restart");
        }
        assert!(shake(&network, again.addr, &message(2101)).await);
        assert!(again.endpoint.peers().is_empty(), "an unconfirmed initiator is no peer");
    }
}

// Fault case 9.
#[tokio::test(flavor = "multi_thread")]
async fn slow_strangers_are_closed_at_the_deadline_and_members_get_in_beside_them() {
    for (name, network) in networks() {
        let limits = Limits {
            handshake: Duration::from_millis(500),
            unauthenticated: 64,
            unauthenticated_per_ip: 8,
            ..Limits::default()
        };
        let [mut node, member] = Node::two(&network, &limits);
        let mut slow = Vec::new();
        for _ in 0..7 {
            let mut wire = network.dial(node.addr).await.unwrap();
            wire.write.write_all(&[1; 100]).await.unwrap();
            slow.push(wire);
        }
        let live = member.dial(&node).await;
        echo(node.up().await);
        for mut wire in slow {
            let mut back = Vec::new();
            let _reset_or_end = within(wire.read.read_to_end(&mut back)).await;
            assert_eq!(back.len(), 0, "{name}");
        }
        ask(&live, Class::Control, b"still here").await;
    }
}

// Fault case 41.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_one_address_is_bounded() {
    for (name, network) in networks() {
        let limits = Limits { unauthenticated_per_ip: 3, ..Limits::default() };
        let node = Node::new(&network, 21, limits);
        let mut held = Vec::new();
        let mut turned_away = 0;
        for _ in 0..20 {
            let mut wire = network.dial(node.addr).await.unwrap();
            let mut byte = [0];
            let end = tokio::time::timeout(Duration::from_millis(200), wire.read.read(&mut byte));
            match end.await {
                Ok(_) => turned_away += 1,
                Err(_) => held.push(wire),
            }
        }
        assert_eq!((held.len(), turned_away), (3, 17), "{name}");
    }
}
