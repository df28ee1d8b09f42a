//! Guests: few, apart from the members, and forgotten.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::node::{Node, ask, echo, networks, test_limits, within};
use super::pair::realm;
use crate::limits::{GUESTS_OF_A_REALM, MIN_CONNECTION_WINDOW};
use crate::{Class, CloseReason, DialError, Event, Limits, MemoryGate, Network, Peer, Realm};

/// An invitation.
fn invitation(n: u8) -> Realm {
    let mut realm = realm();
    (realm.label, realm.tag_key) = ([100 + n; 32], [100 + n; 32]);
    realm
}

/// A node that invites under so many realms, and a node that it knows.
fn host(network: &Arc<dyn Network>, invitations: u8, limits: &Limits) -> [Node; 2] {
    let [host, member] = Node::two(network, limits);
    (1..=invitations).for_each(|n| host.gate.invite(invitation(n)));
    [host, member]
}

async fn come(guest: &Node, host: &Node, realm: Realm) -> Result<Peer, DialError> {
    let dial = guest.endpoint.dial_once(vec![host.addr], host.key, realm, Duration::from_secs(20));
    within(dial).await
}

fn guest(network: &Arc<dyn Network>, n: u8) -> Node {
    Node::new(network, 150 + n, test_limits())
}

fn no_room(came: &Result<Peer, DialError>) -> bool {
    matches!(came, Err(DialError::Closed(CloseReason::NoRoom)))
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_that_stay_keep_out_no_member_and_no_guest_with_another_invitation() {
    for (name, network) in networks() {
        // Room for one member, and for one guest more than one invitation may bring.
        let limits = Limits {
            guests: GUESTS_OF_A_REALM + 1,
            process_budget: MIN_CONNECTION_WINDOW as usize,
            ..test_limits()
        };
        let [mut host, member] = host(&network, 2, &limits);
        let mut guests = Vec::from_iter((0..5).map(|n| guest(&network, n)));
        let mut here = Vec::new();
        for (n, guest) in guests.iter().enumerate() {
            let came = come(guest, &host, invitation(1)).await;
            assert_eq!(no_room(&came), n >= GUESTS_OF_A_REALM, "{name}: guest {n}: {came:?}");
            here.extend(came);
        }
        guests.push(guest(&network, 5));
        here.push(come(&guests[5], &host, invitation(2)).await.unwrap());
        let full = come(&guests[4], &host, invitation(2)).await;
        assert!(no_room(&full), "{name}: {full:?}");
        for _ in &here {
            host.up().await;
        }
        let live = member.dial(&host).await;
        echo(host.up().await);
        ask(&live, Class::Control, b"a member").await;
        // A place ends with its connection.
        here.remove(0).close(CloseReason::Lost);
        within(async {
            while come(&guests[4], &host, invitation(1)).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_of_a_guest_and_it_is_told_nothing() {
    for (name, network) in networks() {
        let [host, member] = host(&network, 1, &test_limits());
        host.gate.set_hello(Bytes::from_static(b"for members"));
        let guest = guest(&network, 0);
        guest.gate.set_hello(Bytes::from_static(b"a guest"));
        let there = come(&guest, &host, invitation(1)).await.unwrap();
        assert_eq!(there.hello().len(), 0, "{name}");
        assert_eq!(&member.dial(&host).await.hello()[..], b"for members");
        let kept = Vec::from_iter(host.gate.floors().into_keys());
        assert_eq!(kept, [member.key], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_another_peer_as_a_guest_than_as_a_member() {
    for (name, network) in networks() {
        let [mut host, member] = host(&network, 1, &test_limits());
        let as_guest = come(&member, &host, invitation(1)).await.unwrap();
        let guest = host.up().await;
        let as_member = member.dial(&host).await;
        let here = host.up().await;
        assert_eq!((guest.remote(), guest == here), (here.remote(), false), "{name}");
        as_guest.close(CloseReason::Shutdown);
        let down = within(host.events.next()).await;
        assert!(
            matches!(&down, Some(Event::Down { peer, .. }) if *peer == guest),
            "{name}: {down:?}"
        );
        echo(here);
        ask(&as_member, Class::Control, b"a member still").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_guest_gets_no_bulk_connection() {
    let network: Arc<dyn Network> = Arc::new(crate::MemoryNetwork::new());
    let [mut host, _] = host(&network, 1, &test_limits());
    let guest = guest(&network, 0);
    let there = come(&guest, &host, invitation(1)).await.unwrap();
    let here = host.up_slowly().await;
    [&here, &there].into_iter().cloned().for_each(echo);
    for peer in [&here, &there] {
        ask(peer, Class::Bulk, b"much").await;
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((here.connections(), there.connections()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_a_place_is_told_so_and_comes_when_one_is_free() {
    for (name, network) in networks() {
        let limits = Limits {
            process_budget: MIN_CONNECTION_WINDOW as usize,
            backoff_max: Duration::from_millis(300),
            ..test_limits()
        };
        let [mut host, first] = host(&network, 0, &limits);
        let mut second = Node::new(&network, 23, limits);
        host.gate.add(second.key);
        second.gate.add(host.key);
        let there = first.dial(&host).await;
        host.up().await;
        let full = come(&second, &host, realm()).await;
        assert!(no_room(&full), "{name}: {full:?}");
        second.keep(&host);
        there.close(CloseReason::Lost);
        let there = second.up().await;
        host.down().await;
        echo(host.up().await);
        ask(&there, Class::Control, b"now there is room").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_message_of_a_guest_is_answered_once() {
    let (_, network) = networks().into_iter().next().unwrap();
    let node = Node::with_gate(&network, 21, test_limits(), Arc::new(MemoryGate::new(vec![])));
    node.gate.invite(invitation(1));
    let counter = 7;
    assert!(super::strangers::shakes(&network, &node, &invitation(1), counter).await);
    assert!(!super::strangers::shakes(&network, &node, &invitation(1), counter).await);
    assert!(node.gate.floors().is_empty());
}
