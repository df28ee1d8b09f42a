//! Members that are removed, whose roles change, and that were away meanwhile.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::client::{
    Act, Answer, Ask, Client, Fate, Script, clear, put_of, script, signed, within,
};
use crate::support::{Node, Stash, all_connected, now, until};
use futures::future::BoxFuture;
use serde_bytes::ByteBuf;
use stash_crypto::{
    Clear, ForgetKind, MemberChange, MemberEntry, NodeId, NodeKeys, Record, RecordKind, Role,
    Vector,
};
use stash_p2p::{Attached, Listen, Network, TcpNetwork, Wire};
use stash_server::members::ChangeMemberError;
use stash_server::{Environment, PutError, Wait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn stopped(node: &Node) {
    node.engine.shutdown(Duration::from_secs(5)).await;
}

/// The founder again, where the others saw it last.
async fn founder_again(stash: &Stash, node: Node) -> Node {
    let there = node.engine.listen()[0];
    let Node { engine, keys, store, dir } = node;
    drop(engine);
    let keys = Arc::into_inner(keys).expect("the engine is gone");
    stash.run_as(store, keys, Role::Owner, dir, true, false, there).await
}

async fn held(node: &Node, stash: &Stash, key: &str) -> Vec<Record> {
    node.engine.records_of(stash.name(key)).await.unwrap()
}

fn holds(node: &Node, stash: &Stash, key: &str, record: &Record) -> bool {
    now(held(node, stash, key)).contains(record)
}

fn is_connected(node: &Node, to: &NodeId) -> bool {
    node.engine.members().iter().any(|member| member.node == *to && member.connected)
}

fn forget_of(stash: &Stash, keys: &NodeKeys, key: &str, n: u64, of: &Record) -> Record {
    let mut seen = Vector::new();
    seen.insert(of.clear().dot).unwrap();
    let kind = RecordKind::Forget(ForgetKind::Dead);
    signed(stash, keys, key, Clear { kind, seen, ..clear(stash, keys, key, n) })
}

/// A way to a node that counts the bytes which come back.
async fn counted(to: SocketAddr) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (addr, count) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(to).await.unwrap();
            let (mut from_near, mut to_near) = near.into_split();
            let (mut from_far, mut to_far) = far.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_near, &mut to_far).await.ok() });
            let mut bytes = [0; 4096];
            while let Ok(len @ 1..) = from_far.read(&mut bytes).await {
                counter.fetch_add(len as u64, Ordering::Relaxed);
                if to_near.write_all(&bytes[..len]).await.is_err() {
                    break;
                }
            }
        }
    });
    (addr, count)
}

// Fault case 3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_member_is_cut_off_everywhere_and_gets_not_a_byte_any_more() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    let owner = Client::member(&stash, &founder, Role::Owner).await;
    let id = owner.keys.node_id();
    let sessions = [owner.connect(&founder).await, owner.connect(&keeper).await];
    let (way, bytes) = counted(founder.engine.listen()[0]).await;
    let again = owner.try_connect(&founder, way).await;
    assert!(again.is_ok() && bytes.load(Ordering::Relaxed) > 0, "the way leads there");
    drop(again);

    let changed = founder.engine.remove_member(id).await.unwrap();
    assert_eq!((changed.asked, changed.silent), (vec![keeper.engine.node_id()], vec![]));
    for session in &sessions {
        within("the connection is cut", session.peer.closed()).await;
    }
    for node in [&founder, &keeper] {
        until("the epoch has begun", || node.engine.epoch() == 1).await;
        let (way, bytes) = counted(node.engine.listen()[0]).await;
        assert!(owner.try_connect(node, way).await.is_err());
        assert_eq!(bytes.load(Ordering::Relaxed), 0, "silence");
        assert!(node.engine.members().iter().all(|member| member.node != id));
        assert_eq!(node.engine.removed().iter().map(|gone| gone.node).collect::<Vec<_>>(), [id]);
    }
    let ticket = founder.engine.invite(Role::Owner, Duration::from_secs(60)).await.unwrap();
    let (way, bytes) = counted(founder.engine.listen()[0]).await;
    assert!(owner.try_knock(&ticket, way).await.is_err());
    assert_eq!(bytes.load(Ordering::Relaxed), 0, "with a ticket, too");
    let twice = founder.engine.remove_member(id).await;
    assert!(matches!(twice, Err(ChangeMemberError::NotAMember(node)) if node == id));
    assert!(is_connected(&founder, &keeper.engine.node_id()), "the rest go on as they were");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_founder_removes_and_not_itself() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let owner = stash.joined(&founder, Role::Owner).await;
    let (of_founder, of_owner) = (founder.engine.node_id(), owner.engine.node_id());
    let refused = owner.engine.remove_member(of_founder).await;
    assert!(matches!(refused, Err(ChangeMemberError::NotFounder)));
    let refused = owner.engine.set_role(of_founder, Role::Keeper).await;
    assert!(matches!(refused, Err(ChangeMemberError::NotFounder)));
    for refused in [
        founder.engine.remove_member(of_founder).await,
        founder.engine.set_role(of_founder, Role::Reader).await,
    ] {
        assert!(matches!(refused, Err(ChangeMemberError::Founder)));
    }
    let same = founder.engine.set_role(of_owner, Role::Owner).await;
    assert!(matches!(same, Err(ChangeMemberError::SameRole { role: Role::Owner, .. })));
    assert_eq!(founder.engine.epoch(), 0);
}

/// A founder that knows one record of an owner, and a keeper that was given two more of it while
/// the founder was away, the second of which forgets what the founder had written. Both are
/// stopped.
struct Diverged {
    stash: Stash,
    owner: Client,
    founder: Node,
    keeper: Node,
    mine: Record,
    early: Record,
    late: [Record; 2],
}

async fn diverged() -> Diverged {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    let owner = Client::member(&stash, &founder, Role::Owner).await;
    let (_, outcome) = stash.put(&founder, "mine", &[5_000], Wait::Local).await;
    let mine = outcome.records[0].clone();
    let early = put_of(&stash, &owner.keys, "early", 1, &[]);
    let late = put_of(&stash, &owner.keys, "late", 2, &[]);
    let forget = forget_of(&stash, &owner.keys, "mine", 3, &mine);
    let session = owner.connect(&founder).await;
    assert_eq!(session.give(&[], &[early.bytes()]).await, [Fate::Stored {}]);
    until("the keeper has both", || {
        holds(&keeper, &stash, "early", &early) && holds(&keeper, &stash, "mine", &mine)
    })
    .await;
    stopped(&founder).await;
    let session = owner.connect(&keeper).await;
    let fates = session.give(&[], &[late.bytes(), forget.bytes()]).await;
    assert_eq!(fates, [Fate::Stored {}, Fate::Stored {}]);
    assert!(!holds(&keeper, &stash, "mine", &mine), "forgotten at the keeper");
    stopped(&keeper).await;
    let founder = founder_again(&stash, founder).await;
    Diverged { stash, owner, founder, keeper, mine, early, late: [late, forget] }
}

// Fault cases 23 and 96.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_past_the_cut_is_set_aside_and_what_it_forgot_comes_back() {
    let Diverged { stash, owner, founder, keeper, mine, early, late } = diverged().await;
    founder.engine.vouch();
    let changed = founder.engine.remove_member(owner.keys.node_id()).await.unwrap();
    assert_eq!(changed.silent, [keeper.engine.node_id()]);
    let keeper = stash.restarted(keeper, Role::Keeper).await;
    until("what was forgotten is back", || holds(&keeper, &stash, "mine", &mine)).await;
    assert!(holds(&keeper, &stash, "early", &early), "what lies before the cut stays");
    assert_eq!(held(&keeper, &stash, "late").await, []);
    assert_eq!(keeper.engine.set_aside_count().unwrap(), 2);
    assert_eq!(founder.engine.set_aside_count().unwrap(), 0);
    until("both hold the same", || keeper.store.record_totals() == founder.store.record_totals())
        .await;
    until("and its chunks", || now(keeper.engine.status()).unwrap().incomplete == 0).await;
    until("it is synchronised again", || now(keeper.engine.status()).unwrap().synchronised).await;

    // A member that still has them passes them on.
    let other = Client::member(&stash, &founder, Role::Owner).await;
    until("the keeper knows the other", || keeper.engine.members().len() == 3).await;
    let session = other.connect(&keeper).await;
    for record in late {
        let fate = session.give(&[], &[record.bytes()]).await.remove(0);
        assert!(fate.refusal().contains("past that cut"));
    }
    assert_eq!(session.give(&[], &[early.bytes()]).await, [Fate::Stored {}]);
    let keeper = {
        stopped(&keeper).await;
        stash.restarted(keeper, Role::Keeper).await
    };
    assert_eq!(keeper.engine.set_aside_count().unwrap(), 2);
    assert_eq!(held(&keeper, &stash, "late").await, []);
}

/// The simulator's seed 9,720.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_counts_no_copy_once_its_node_hears_that_it_was_no_owner() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let owner = stash.joined(&founder, Role::Owner).await;
    all_connected(&[&founder, &owner]).await;
    stopped(&owner).await;
    founder.engine.set_role(owner.engine.node_id(), Role::Keeper).await.unwrap();
    stopped(&founder).await;
    let owner = stash.restarted(owner, Role::Owner).await;
    let upload = owner.engine.upload(Wait::One);
    let write = stash.write(&owner.keys, "late", vec![]);
    let pending = upload.commit(vec![write]).await.unwrap();
    let founder = founder_again(&stash, founder).await;
    until("it hears what it is", || owner.engine.role() == Role::Keeper).await;
    let outcome = pending.wait().await;
    assert_eq!((outcome.copies, outcome.short, outcome.missing.len()), (0, true, 2), "{outcome:?}");
    assert!(outcome.missing.iter().all(|(_, why)| why.contains("set aside")), "{outcome:?}");
    drop(founder);
}

/// A member that says, of whoever is asked about, that it has this as its last record.
fn claims(n: u64, record: &Record, gives: bool) -> Script {
    let incarnation = record.clear().dot.writer.incarnation;
    let hash = record.hash();
    let last = [&incarnation.as_bytes()[..], &n.to_le_bytes(), hash.as_bytes()].concat();
    let bytes = ByteBuf::from(record.bytes().to_vec());
    script(move |ask, _| match ask {
        Ask::Writers { from, .. } if from[..] == [0; 8] => {
            Act::Say(Answer::Writers { last: ByteBuf::from(last.clone()) })
        }
        Ask::Find { hashes } if gives && hashes[..] == hash.as_bytes()[..] => {
            Act::Say(Answer::Records { records: vec![bytes.clone()] })
        }
        _ => Act::Default,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cut_is_at_what_a_member_holds_and_not_at_what_one_claims() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let owner = Client::member(&stash, &founder, Role::Owner).await;
    let honest = Client::member(&stash, &founder, Role::Keeper).await;
    let liar = Client::member(&stash, &founder, Role::Keeper).await;
    let record = |n| put_of(&stash, &owner.keys, &format!("file {n}"), n, &[]);
    let session = owner.connect(&founder).await;
    assert_eq!(session.give(&[], &[record(1).bytes()]).await, [Fate::Stored {}]);
    let _honest = honest.connect_with(&founder, claims(5, &record(5), true)).await;
    let _liar = liar.connect_with(&founder, claims(1 << 62, &record(9), false)).await;
    let changed = founder.engine.remove_member(owner.keys.node_id()).await.unwrap();
    assert_eq!((changed.asked.len(), changed.silent.len()), (2, 0));
    assert!(changed.new_epoch);
    assert!(holds(&founder, &stash, "file 5", &record(5)), "taken over");
    let other = Client::member(&stash, &founder, Role::Owner).await;
    let session = other.connect(&founder).await;
    let fates = session.give(&[], &[record(3).bytes(), record(6).bytes()]).await;
    assert_eq!(fates[0], Fate::Stored {}, "in a gap before the cut");
    assert!(fates[1].clone().refusal().contains("past that cut"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_away_for_two_epochs_is_let_in_and_brought_up_to_date() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    let gone = [
        Client::member(&stash, &founder, Role::Owner).await,
        Client::member(&stash, &founder, Role::Reader).await,
    ];
    stopped(&keeper).await;
    until("the keeper is gone", || !is_connected(&founder, &keeper.engine.node_id())).await;
    for (client, epoch) in gone.iter().zip(1..) {
        founder.engine.remove_member(client.keys.node_id()).await.unwrap();
        assert_eq!(founder.engine.epoch(), epoch);
    }
    let keeper = stash.restarted(keeper, Role::Keeper).await;
    until("the keeper is in the second epoch", || keeper.engine.epoch() == 2).await;
    let (_, outcome) = stash.put(&founder, "after", &[], Wait::Local).await;
    let after = &outcome.records[0];
    until("it gets what is new", || holds(&keeper, &stash, "after", after)).await;
    // From the store alone: it knows the newest key at its next start.
    stopped(&keeper).await;
    let keeper = stash.restarted(keeper, Role::Keeper).await;
    assert_eq!(keeper.engine.epoch(), 2);
    all_connected(&[&founder, &keeper]).await;
}

// Fault case 23.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demoted_owner_writes_no_more_and_a_promoted_one_under_a_new_incarnation() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let owner = stash.joined(&founder, Role::Owner).await;
    let id = owner.engine.node_id();
    all_connected(&[&founder, &owner]).await;
    let (_, outcome) = stash.put(&owner, "before", &[], Wait::All).await;
    let before = outcome.records[0].clone();
    assert_eq!(outcome.copies, 2);

    let changed = founder.engine.set_role(id, Role::Reader).await.unwrap();
    assert_eq!((changed.asked, changed.new_epoch), (vec![], false), "it reads as before");
    until("it knows", || owner.engine.role() == Role::Reader).await;
    let upload = owner.engine.upload(Wait::Local);
    let refused = upload.commit(vec![stash.write(&owner.keys, "after", vec![])]).await;
    assert!(matches!(refused, Err(PutError::Role(Role::Reader))), "{refused:?}");
    assert!(holds(&founder, &stash, "before", &before), "what it wrote stays");
    assert!(is_connected(&founder, &id), "and it is a member as before");

    founder.engine.set_role(id, Role::Keeper).await.unwrap();
    assert_eq!(founder.engine.epoch(), 1, "it reads nothing new");
    founder.engine.set_role(id, Role::Owner).await.unwrap();
    until("it knows", || owner.engine.role() == Role::Owner).await;
    let (_, outcome) = stash.put(&owner, "again", &[], Wait::All).await;
    assert_eq!(outcome.copies, 2, "{:?}", outcome.missing);
    let (old, new) = (before.clear().dot, outcome.records[0].clear().dot);
    assert_ne!(old.writer.incarnation, new.writer.incarnation);
    assert_eq!(new.n, 1);
    assert_eq!(founder.engine.epoch(), 2);
}

// Fault case 17: each side follows what it had, and both say so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_members_with_logs_that_part_raise_an_alarm_on_both() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    let owner = Client::member(&stash, &founder, Role::Owner).await;
    until("the keeper knows the owner", || keeper.engine.members().len() == 3).await;
    stopped(&founder).await;
    let root = stash.root();
    let log = keeper.engine.member_log();
    let change =
        MemberChange::SetRole { node: owner.keys.node_id(), role: Role::Reader, cuts: vec![] };
    let entry = MemberEntry::sign(&root.root_signer(), log.len(), log.head(), change).unwrap();
    let session = owner.connect(&keeper).await;
    let entries = vec![ByteBuf::from(entry.bytes().to_vec())];
    let told = session.ask(&Ask::Announce { entries, addresses: vec![] }).await;
    assert_eq!(told, Answer::Done {});
    let founder = founder_again(&stash, founder).await;
    // At the same place of the founder's log, and one more after it.
    founder.engine.vouch();
    founder.engine.set_role(owner.keys.node_id(), Role::Keeper).await.unwrap();
    let branches = [founder.engine.member_log(), keeper.engine.member_log()];
    for (node, mine) in [&founder, &keeper].into_iter().zip(&branches) {
        until("the alarm is raised", || {
            let alarms = now(node.engine.status()).unwrap().alarms;
            alarms.iter().any(|alarm| alarm.contains("forks at entry 4"))
        })
        .await;
        assert_eq!(node.engine.member_log().entries()[4], mine.entries()[4], "nothing is replaced");
    }
    assert_ne!(branches[0].entries()[4], branches[1].entries()[4]);
}

const NINETY_DAYS: Duration = Duration::from_secs(90 * 24 * 3_600);

fn has_lapsed(node: &Node, member: &NodeId) -> bool {
    node.engine.members().iter().any(|one| one.node == *member && one.lapsed)
}

fn missing_copies(node: &Node) -> u64 {
    now(node.engine.status()).unwrap().missing_copies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_away_for_90_days_counts_no_more_and_does_again_when_it_is_back() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    let owner = stash.joined(&founder, Role::Owner).await;
    all_connected(&[&founder, &keeper, &owner]).await;
    let away = owner.keys.node_id();
    // Everybody is noted as met.
    founder.engine.repair(false, |_| true).await.unwrap();
    stopped(&owner).await;
    until("its connections are gone", || {
        !is_connected(&founder, &away) && !is_connected(&keeper, &away)
    })
    .await;
    let (_, outcome) = stash.put(&founder, "a", &[5_000], Wait::All).await;
    assert_eq!((outcome.copies, outcome.wanted, outcome.short), (2, 3, true));
    until("a copy is missing", || missing_copies(&founder) == 1).await;

    founder.store.add_uptime(NINETY_DAYS - Duration::from_secs(3_600)).unwrap();
    founder.engine.repair(false, |_| true).await.unwrap();
    assert!(!has_lapsed(&founder, &away), "an hour early");
    founder.store.add_uptime(Duration::from_secs(3_600)).unwrap();
    let found = founder.engine.repair(false, |_| true).await.unwrap().found;
    assert_eq!((found.below, found.members.len()), (0, 1), "{found:?}");
    for node in [&founder, &keeper] {
        until("all know that it has lapsed", || has_lapsed(node, &away)).await;
        assert_eq!(missing_copies(node), 0);
    }
    assert!(!has_lapsed(&founder, &keeper.keys.node_id()), "it was met all the time");
    let (_, outcome) = stash.put(&founder, "b", &[5_000], Wait::All).await;
    assert_eq!((outcome.copies, outcome.wanted, outcome.short), (2, 2, false));

    let owner = stash.restarted(owner, Role::Owner).await;
    all_connected(&[&founder, &keeper, &owner]).await;
    let (_, outcome) = stash.put(&owner, "c", &[5_000], Wait::All).await;
    assert!(!outcome.short, "what it writes is taken: {outcome:?}");
    for key in ["a", "b"] {
        until("it has what it missed", || !now(held(&owner, &stash, key)).is_empty()).await;
    }
    founder.engine.repair(false, |_| true).await.unwrap();
    for node in [&founder, &keeper, &owner] {
        until("all know that it is back", || !has_lapsed(node, &away)).await;
    }
    stopped(&owner).await;
    until("it is away again", || !is_connected(&founder, &away)).await;
    let (_, outcome) = stash.put(&founder, "d", &[5_000], Wait::All).await;
    assert_eq!((outcome.wanted, outcome.short), (3, true), "it counts again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_away_for_two_epochs_and_can_only_be_dialled_is_reached() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    stopped(&keeper).await;
    for _ in 0..2 {
        let guest = Client::member(&stash, &founder, Role::Owner).await;
        founder.engine.remove_member(guest.keys.node_id()).await.unwrap();
    }
    assert_eq!(founder.engine.epoch(), 2);
    // Where the keeper knows it, the founder is not any more.
    stopped(&founder).await;
    let founder = {
        let Node { engine, keys, store, dir } = founder;
        drop(engine);
        let keys = Arc::into_inner(keys).expect("the engine is gone");
        stash.run(store, keys, Role::Owner, dir, true).await
    };
    let keeper = stash.restarted_there(keeper, Role::Keeper).await;
    until("it is on the newest epoch", || keeper.engine.epoch() == 2).await;
    all_connected(&[&founder, &keeper]).await;
    let (_, outcome) = stash.put(&founder, "a", &[5_000], Wait::All).await;
    assert!(!outcome.short, "{outcome:?}");
}

/// The network of this machine, with addresses of the machine that a test sets.
struct Movable {
    attached: Mutex<Vec<Attached>>,
}

impl Movable {
    fn is_at(&self, ip: &str) {
        let at = |ip: &str, prefix| Attached { ip: ip.parse().unwrap(), prefix };
        *self.attached.lock().unwrap() = vec![at("127.0.0.1", 8), at(ip, 24)];
    }
}

impl Network for Movable {
    fn listen(&self, addr: SocketAddr) -> std::io::Result<Box<dyn Listen>> {
        TcpNetwork.listen(addr)
    }

    fn dial(&self, addr: SocketAddr) -> BoxFuture<'_, std::io::Result<Wire>> {
        Box::pin(async move { TcpNetwork.dial(addr).await })
    }

    fn interfaces(&self) -> std::io::Result<Vec<Attached>> {
        Ok(self.attached.lock().unwrap().clone())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_machine_moves_tells_so_without_a_restart() {
    let mut stash = Stash::new();
    let founder = stash.founder().await;
    let machine = Arc::new(Movable { attached: Mutex::default() });
    machine.is_at("192.168.77.20");
    stash.environment = Environment::on(Arc::clone(&machine) as Arc<dyn Network>);
    let everywhere = "0.0.0.0:0".parse().unwrap();
    let keeper = stash.joined_at(&founder, Role::Keeper, everywhere).await;
    // It has no loopback address to tell, so it dials one only if its user says so.
    let there = vec![founder.engine.listen()[0].into()];
    keeper.engine.give_places(founder.engine.node_id(), there).await.unwrap();
    all_connected(&[&founder, &keeper]).await;
    let (node, port) = (keeper.engine.node_id(), keeper.engine.listen()[0].port());
    let told = |ip: &str| {
        let place = format!("lan {ip}:{port}");
        let members = founder.engine.members();
        let member = members.into_iter().find(|member| member.node == node).unwrap();
        member.addresses.iter().any(|one| format!("{} {}", one.kind, one.place) == place)
    };
    until("where it is", || told("192.168.77.20")).await;
    machine.is_at("10.77.77.7");
    until("where it is now", || told("10.77.77.7")).await;
    assert!(!told("192.168.77.20"), "where it was is not told any more");
    assert!(!told("127.0.0.1"));
}
