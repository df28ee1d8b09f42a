//! News of members: entries of the member log, and addresses.

use std::net::SocketAddr;

use serde_bytes::ByteBuf;
use stash_crypto::member::{AddressKind, Announced, SignedAddresses};
use stash_crypto::{JoinRequest, MemberChange, MemberEntry, MemberLog, NodeKeys, Role, TicketId};
use stash_p2p::{DialError, PublicKey};

use crate::client::{Answer, Ask, Client, Fate, Session, members_realm, prologue, put_of};
use crate::scene::{Scene, scene};
use crate::support::{PATIENCE, Stash, admit_entry};

/// The encoded member log from an index on.
pub(crate) async fn log_of(session: &Session, from: u64) -> Vec<ByteBuf> {
    match session.ask(&Ask::Members { from }).await {
        Answer::Members { entries, .. } => entries,
        other => panic!("answered members with {other:?}"),
    }
}

fn folded(stash: &Stash, entries: &[ByteBuf]) -> MemberLog {
    let mut log = MemberLog::new(stash.id());
    entries.iter().for_each(|bytes| log.push(MemberEntry::decode(bytes).unwrap()).unwrap());
    log
}

async fn announce(session: &Session, entries: &[&MemberEntry]) -> Answer {
    let entries = entries.iter().map(|entry| ByteBuf::from(entry.bytes().to_vec())).collect();
    session.ask(&Ask::Announce { entries, addresses: vec![] }).await
}

/// An admission of fresh keys at the end of `log`, signed by `root`.
fn admission(root: &Stash, of: &Stash, log: &MemberLog) -> MemberEntry {
    let keys = NodeKeys::generate(&mut rand::rng());
    let ticket = TicketId::from_bytes(rand::random());
    let request = JoinRequest::sign(&keys, &of.id(), ticket, "x").unwrap();
    admit_entry(&root.root(), log, &request, Role::Owner)
}

// Fault cases 23 and 30: only the root's signature makes members.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_member_entry_is_refused_and_the_log_is_as_it_was() {
    let scene = scene().await;
    let before = log_of(&scene.session, 0).await;
    let log = folded(&scene.stash, &before);
    let good = admission(&scene.stash, &scene.stash, &log);

    let foreign = admission(&Stash::new(), &scene.stash, &log);
    assert_eq!(announce(&scene.session, &[&foreign]).await.refusal(), "failed");
    for back in [1, 64] {
        let mut bytes = good.bytes().to_vec();
        let at = bytes.len() - back;
        bytes[at] ^= 1;
        let forged = MemberEntry::decode(&bytes).unwrap();
        assert_eq!(announce(&scene.session, &[&forged]).await.refusal(), "failed");
        let pair = announce(&scene.session, &[&good, &forged]).await;
        assert_eq!(pair.refusal(), "failed", "a good one before a forged one");
    }
    for bytes in [vec![], vec![0; 100], [good.bytes(), &[0]].concat()] {
        let entries = vec![ByteBuf::from(bytes)];
        let ask = Ask::Announce { entries, addresses: vec![] };
        assert_eq!(scene.session.ask(&ask).await.refusal(), "failed", "no entry at all");
    }
    assert_eq!(log_of(&scene.session, 0).await, before);
    assert_eq!(scene.node.engine.members().len(), 2);
    assert_eq!(announce(&scene.session, &[&good]).await, Answer::Done {}, "the good one alone");
    assert_eq!(scene.node.engine.members().len(), 3);
}

/// A scene and two entries by its root that cannot both be true: one for the place of the last
/// entry, one that follows it.
async fn forked() -> (Scene, [MemberEntry; 2]) {
    let scene = scene().await;
    let held = log_of(&scene.session, 0).await;
    let shorter = folded(&scene.stash, &held[..held.len() - 1]);
    let fork = admission(&scene.stash, &scene.stash, &shorter);
    let mut other = shorter.clone();
    other.push(fork.clone()).unwrap();
    let after = admission(&scene.stash, &scene.stash, &other);
    (scene, [fork, after])
}

// Fault case 17.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_of_the_member_log_is_refused_and_the_log_is_as_it_was() {
    let (scene, [fork, after]) = forked().await;
    let before = log_of(&scene.session, 0).await;
    assert_eq!(announce(&scene.session, &[&fork]).await.refusal(), "failed");
    assert_eq!(announce(&scene.session, &[&after]).await.refusal(), "failed");
    assert_eq!(announce(&scene.session, &[&fork, &after]).await.refusal(), "failed");
    let (node, role) = (scene.owner.keys.node_id(), Role::Keeper);
    let gap = MemberChange::SetRole { node, role, cuts: vec![] };
    let signer = scene.stash.root().root_signer();
    let gap = MemberEntry::sign(&signer, 9, fork.hash(), gap).unwrap();
    assert_eq!(announce(&scene.session, &[&gap]).await.refusal(), "failed", "a gap");
    assert_eq!(log_of(&scene.session, 0).await, before);
    scene.works_on(0).await;
}

// Fault case 17; B.6: two different entries at one index are an alarm.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_of_the_member_log_raises_an_alarm() {
    let (scene, [fork, _]) = forked().await;
    assert_eq!(announce(&scene.session, &[&fork]).await.refusal(), "failed");
    let alarms = scene.node.engine.status().await.unwrap().alarms;
    assert_eq!(alarms.len(), 1, "both were signed by the root: {alarms:?}");
}

// Fault case 23: a role that was taken away ends what it allowed, on open connections too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_became_a_keeper_is_refused_from_then_on() {
    let scene = scene().await;
    let mut put = scene.session.put().await;
    let first = put_of(&scene.stash, &scene.owner.keys, "first", 1, &[]);
    assert_eq!(put.records(&[first.bytes()]).await, [Fate::Stored {}]);
    let log = folded(&scene.stash, &log_of(&scene.session, 0).await);
    let (node, role) = (scene.owner.keys.node_id(), Role::Keeper);
    let change = MemberChange::SetRole { node, role, cuts: vec![] };
    let signer = scene.stash.root().root_signer();
    let entry = MemberEntry::sign(&signer, log.len(), log.head(), change).unwrap();
    assert_eq!(announce(&scene.session, &[&entry]).await, Answer::Done {});
    let second = put_of(&scene.stash, &scene.owner.keys, "second", 2, &[]);
    // The stream may have ended already.
    let _ = put.say_records(&[second.bytes()]).await;
    put.must_be_reset("records of one who is an owner no more").await;
    assert_eq!(scene.session.ask(&Ask::Put {}).await.refusal(), "role", "on the same connection");
}

// Fault case 27: claims about addresses count only from members, signed by themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_no_member_signed_change_nothing() {
    let scene = scene().await;
    let claim = |keys: &NodeKeys, sequence| {
        let place = "127.0.0.1:9".parse().unwrap();
        let there = vec![Announced { kind: AddressKind::Lan, place }];
        let claim = SignedAddresses::sign(keys.signer(), &scene.stash.id(), sequence, 7, there);
        claim.unwrap().encode()
    };
    let stranger = claim(&NodeKeys::generate(&mut rand::rng()), 1);
    let mut forged = claim(&scene.owner.keys, 1);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let before = scene.node.engine.members();
    let addresses = vec![stranger, forged, vec![], vec![0; 60]];
    let addresses = addresses.into_iter().map(ByteBuf::from).collect();
    let told = Ask::Announce { entries: vec![], addresses };
    assert_eq!(scene.session.ask(&told).await, Answer::Done {});
    assert_eq!(scene.node.engine.members(), before);
    let newest = vec![ByteBuf::from(claim(&scene.owner.keys, 5))];
    let told = Ask::Announce { entries: vec![], addresses: newest };
    assert_eq!(scene.session.ask(&told).await, Answer::Done {});
    assert_ne!(scene.node.engine.members(), before, "the member's own claim counts");
}

/// B.1: knocks once in the meeting realm, as one who knows an address and not whose it is.
async fn meet(client: &Client, stash: &Stash, addr: SocketAddr) -> Result<Session, DialError> {
    let shared = stash.root().network_key().meeting_static().public();
    let shared = PublicKey::from_bytes(*shared.as_bytes());
    let mut realm = members_realm(stash);
    realm.prologue = prologue(&stash.id(), "meet");
    let peer = client.endpoint.dial_once(vec![addr], shared, realm, PATIENCE).await?;
    Ok(Session { peer })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_the_key_that_all_share_the_root_is_shown_the_log_and_nobody_else_a_byte() {
    let scene = scene().await;
    let addr = scene.node.engine.listen()[0];
    // A member that knows every key of the network, and a stranger that does.
    assert!(meet(&scene.owner, &scene.stash, addr).await.is_err(), "a member");
    let fresh = || NodeKeys::generate(&mut rand::rng());
    assert!(meet(&Client::new(&scene.stash, fresh()), &scene.stash, addr).await.is_err());
    let root = Client::new(&scene.stash, scene.stash.root().visitor(fresh()));
    let session = meet(&root, &scene.stash, addr).await.unwrap();
    assert_eq!(log_of(&session, 0).await, log_of(&scene.session, 0).await);
    assert_eq!(session.ask(&Ask::All {}).await.refusal(), "unknown", "no record is shown");
    let announced = Ask::Announce { entries: vec![], addresses: vec![] };
    assert_eq!(session.ask(&announced).await.refusal(), "unknown");
    scene.works_on(0).await;
}
