//! Removing an owner that has written under more incarnations than one entry of the member log
//! names.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

use std::time::Duration;

use crate::client::{
    Act, Answer, Ask, Client, Fate, Script, Session, clear, put_of, script, signed,
};
use crate::support::{Node, Stash, admit_entry, all_connected, now, until};
use serde_bytes::ByteBuf;
use stash_crypto::member::{MAX_CUTS, MAX_LISTED};
use stash_crypto::{
    Clear, Cut, Dot, Incarnation, JoinRequest, MemberChange, MemberLog, NodeKeys, Record, Role,
    TicketId, Writer,
};
use stash_server::Environment;
use stash_server::members::{Sought, survey};

/// More than one entry names by itself, and more than one message of the wire tells at once.
const MANY: u64 = 4_096 + 77;

/// Numbers are the writer's to choose: these are above all that honest writers come to.
const HIGH: u64 = 1 << 62;

fn dot(keys: &NodeKeys, incarnation: u64, n: u64) -> Dot {
    let incarnation = Incarnation::from_bytes(incarnation.to_be_bytes());
    Dot { writer: Writer { node: keys.node_id(), incarnation }, n }
}

/// A put without chunks, under an incarnation of its own.
fn junk(stash: &Stash, keys: &NodeKeys, at: u64) -> Record {
    let key = format!("junk {}", at % 8);
    let dot = dot(keys, (7 << 56) + at, HIGH + at);
    signed(stash, keys, &key, Clear { dot, ..clear(stash, keys, &key, 1) })
}

async fn give(session: &Session, records: &[Record]) {
    for some in records.chunks(200) {
        let bytes: Vec<&[u8]> = some.iter().map(Record::bytes).collect();
        let fates = session.give(&[], &bytes).await;
        assert!(fates.iter().all(|fate| *fate == Fate::Stored {}), "{fates:?}");
    }
}

async fn stopped(node: &Node) {
    node.engine.shutdown(Duration::from_secs(5)).await;
}

fn holds(node: &Node, stash: &Stash, key: &str, record: &Record) -> bool {
    now(node.engine.records_of(stash.name(key))).unwrap().contains(record)
}

fn same(one: &Node, other: &Node) -> bool {
    one.store.record_totals() == other.store.record_totals()
}

/// The entries with lists, and how many cuts these have.
fn listed(node: &Node) -> Vec<u32> {
    let log = node.engine.member_log();
    let count = |change: &MemberChange| match change {
        MemberChange::Cuts { count, .. } => Some(*count),
        _ => None,
    };
    log.entries().iter().filter_map(|entry| count(entry.change())).collect()
}

// Fault case 23.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_keeps_what_was_written_however_many_incarnations_there_are() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    let away = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &keeper, &away]).await;
    let owner = Client::member(&stash, &founder, Role::Owner).await;
    let files: Vec<Record> =
        (1..=3).map(|n| put_of(&stash, &owner.keys, &format!("file {n}"), n, &[])).collect();
    let session = owner.connect(&founder).await;
    give(&session, &files).await;
    give(&session, &(0..MANY).map(|at| junk(&stash, &owner.keys, at)).collect::<Vec<_>>()).await;
    until("all have all of it", || same(&founder, &keeper) && same(&founder, &away)).await;
    let held = founder.store.record_totals();
    stopped(&away).await;

    founder.engine.remove_member(owner.keys.node_id()).await.unwrap();
    until("the keeper knows", || keeper.engine.epoch() == 1).await;
    let away = stash.restarted(away, Role::Keeper).await;
    until("and who was away", || away.engine.epoch() == 1).await;
    let late = stash.joined(&founder, Role::Keeper).await;
    until("and who comes later", || same(&founder, &late)).await;
    let keeper = {
        stopped(&keeper).await;
        stash.restarted(keeper, Role::Keeper).await
    };
    for (node, who) in
        [(&founder, "founder"), (&keeper, "keeper"), (&away, "away"), (&late, "late")]
    {
        assert_eq!(listed(node), [u32::try_from(MANY).unwrap() + 1], "{who}");
        for (record, n) in files.iter().zip(1..) {
            assert!(holds(node, &stash, &format!("file {n}"), record), "file {n} at the {who}");
        }
        assert_eq!(node.store.record_totals(), held, "{who}");
        assert_eq!(node.engine.set_aside_count().unwrap(), 0, "{who}");
    }

    // What was written later counts nowhere: past a cut that is listed, and where none is.
    let other = Client::member(&stash, &founder, Role::Owner).await;
    until("the one that was away knows it", || away.engine.members().len() == 5).await;
    let session = other.connect(&away).await;
    let past = Clear { dot: dot(&owner.keys, 7 << 56, HIGH + 1), ..files[0].clear().clone() };
    let past = signed(&stash, &owner.keys, "file 1", past);
    let fresh = junk(&stash, &owner.keys, MANY);
    let fates = session.give(&[], &[past.bytes(), fresh.bytes()]).await;
    let reasons: Vec<String> = fates.into_iter().map(Fate::refusal).collect();
    assert!(reasons[0].contains("past that cut") && reasons[1].contains("is no member"));
}

// Fault case 23.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demotion_cuts_every_incarnation_and_a_removal_after_it_none_again() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let owner = Client::member(&stash, &founder, Role::Owner).await;
    let session = owner.connect(&founder).await;
    let many = MAX_CUTS as u64 + 1;
    give(&session, &(0..many).map(|at| junk(&stash, &owner.keys, at)).collect::<Vec<_>>()).await;
    let held = founder.store.record_totals();
    founder.engine.set_role(owner.keys.node_id(), Role::Reader).await.unwrap();
    founder.engine.remove_member(owner.keys.node_id()).await.unwrap();
    assert_eq!(listed(&founder), [u32::try_from(many).unwrap()]);
    assert_eq!(founder.store.record_totals(), held);
    let log = founder.engine.member_log();
    for at in [0, many / 2, many - 1] {
        let record = junk(&stash, &owner.keys, at);
        assert_eq!(log.admits(&record.clear().dot, &record.hash()), Ok(()));
    }
}

// Fault case 23.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_loss_lists_are_read_where_a_member_listens_and_told_to_who_was_away() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    let away = stash.joined(&founder, Role::Keeper).await;
    let owner = Client::member(&stash, &founder, Role::Owner).await;
    until("all know the owner", || {
        [&keeper, &away].iter().all(|node| node.engine.members().len() == 4)
    })
    .await;
    stopped(&away).await;
    let session = owner.connect(&founder).await;
    let many = MAX_CUTS as u64 + 1;
    give(&session, &(0..many).map(|at| junk(&stash, &owner.keys, at)).collect::<Vec<_>>()).await;
    founder.engine.remove_member(owner.keys.node_id()).await.unwrap();
    until("the keeper knows", || keeper.engine.epoch() == 1).await;
    stopped(&founder).await;

    let (root, id) = (stash.root(), stash.id());
    let (secret, network) = (root.noise_static(), root.network_key());
    let ask = async |at: &Node, held| {
        let at = at.engine.listen();
        let (root, network) = (&secret, &network);
        let environment = Environment::default();
        let sought = Sought { environment, root, stash: id, network, members: &[], at: &at, held };
        survey(sought).await.unwrap()
    };
    let found = ask(&keeper, None).await.read().await.unwrap();
    assert_eq!((found.life.answered, found.life.counted), (1, 3));
    assert_eq!(found.log.head(), keeper.engine.member_log().head());
    stopped(&keeper).await;

    let away = stash.restarted(away, Role::Keeper).await;
    assert_eq!(listed(&away), [], "nobody is there who could tell it");
    let keys = NodeKeys::generate(&mut rand::rng());
    let request = JoinRequest::sign(&keys, &id, TicketId::from_bytes([0; 16]), "heir").unwrap();
    let admit = |log: &MemberLog| Ok(admit_entry(&root, log, &request, Role::Owner));
    let shown = ask(&away, Some(found.log.clone())).await;
    let signed = shown.sign(&keys.node_id(), true, admit).await.unwrap();
    assert_eq!(signed.log.len(), found.log.len() + 1);
    assert_eq!(listed(&away), [u32::try_from(many).unwrap()]);
    assert_eq!(away.engine.member_log().head(), signed.log.head());
}

/// A member that tells the last records of whoever is asked about, one an answer, and hands them
/// over.
fn tells(records: Vec<Record>) -> Script {
    script(move |ask, _| match ask {
        Ask::Writers { from, .. } => {
            let incarnation = |record: &Record| record.clear().dot.writer.incarnation;
            let next = records.iter().find(|record| incarnation(record).as_bytes()[..] >= from[..]);
            let cut = |record: &Record| {
                let (dot, hash) = (record.clear().dot, record.hash());
                Cut { incarnation: dot.writer.incarnation, n: dot.n, hash }.to_bytes().to_vec()
            };
            Act::Say(Answer::Writers { last: ByteBuf::from(next.map(cut).unwrap_or_default()) })
        }
        Ask::Find { hashes } => {
            let asked = |record: &&Record| record.hash().as_bytes()[..] == hashes[..32];
            let found = records.iter().filter(asked);
            let found = found.map(|record| ByteBuf::from(record.bytes().to_vec())).collect();
            Act::Say(Answer::Records { records: found })
        }
        _ => Act::Default,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_founder_reads_what_a_member_has_of_the_removed_one_to_its_end() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let owner = Client::member(&stash, &founder, Role::Owner).await;
    let told = Client::member(&stash, &founder, Role::Keeper).await;
    let records: Vec<Record> = (0..3).map(|at| junk(&stash, &owner.keys, at)).collect();
    let _told = told.connect_with(&founder, tells(records.clone())).await;
    let changed = founder.engine.remove_member(owner.keys.node_id()).await.unwrap();
    assert_eq!((changed.asked.len(), changed.silent.len()), (1, 0));
    for (at, record) in records.iter().enumerate() {
        assert!(holds(&founder, &stash, &format!("junk {at}"), record), "record {at}");
    }
}

// Fault case 23: pages that are not the list that the root signed make nobody count less.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_tells_another_list_is_not_believed() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    let owner = Client::member(&stash, &founder, Role::Owner).await;
    let liar = Client::member(&stash, &founder, Role::Keeper).await;
    let session = owner.connect(&founder).await;
    let many = MAX_CUTS as u64 + 1;
    give(&session, &(0..many).map(|at| junk(&stash, &owner.keys, at)).collect::<Vec<_>>()).await;
    until("the keeper has it", || same(&founder, &keeper)).await;
    stopped(&keeper).await;
    founder.engine.remove_member(owner.keys.node_id()).await.unwrap();
    let log = founder.engine.member_log();
    stopped(&founder).await;

    let keeper = stash.restarted(keeper, Role::Keeper).await;
    let entries: Vec<ByteBuf> =
        log.entries().iter().map(|entry| ByteBuf::from(entry.bytes().to_vec())).collect();
    let lists: Vec<Vec<u8>> = [1, 2, MAX_LISTED as u64, many]
        .into_iter()
        .map(|len| (0..len).flat_map(|at| cut_bytes(&junk(&stash, &owner.keys, at + 1))).collect())
        .collect();
    for list in lists {
        let told = list.clone();
        let tells = script(move |ask, _| match ask {
            Ask::Cuts { from, .. } => {
                let rest = &told[told.len().min(usize::try_from(from).unwrap() * 48)..];
                let page = rest[..rest.len().min(4_096 * 48)].to_vec();
                Act::Say(Answer::Cuts { cuts: ByteBuf::from(page) })
            }
            _ => Act::Default,
        });
        let session = liar.connect_with(&keeper, tells).await;
        let ask = Ask::Announce { entries: entries.clone(), addresses: vec![] };
        assert_eq!(session.ask(&ask).await.refusal(), "failed", "{} bytes", list.len());
        assert_eq!(keeper.engine.epoch(), 0, "no entry took effect");
        drop(session);
    }
    assert_eq!(keeper.engine.set_aside_count().unwrap(), 0);
}

fn cut_bytes(record: &Record) -> [u8; 48] {
    let (dot, hash) = (record.clear().dot, record.hash());
    Cut { incarnation: dot.writer.incarnation, n: dot.n, hash }.to_bytes()
}
