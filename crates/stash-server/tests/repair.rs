//! Copies that are lost, and members that lie about theirs: found, counted as they are, and made
//! good with no owner online.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::client::{Act, Answer, Ask, Client, script};
use crate::support::{Node, Stash, addresses, all_connected, now, until};
use serde_bytes::ByteBuf;
use stash_crypto::{ChunkRef, Role};
use stash_server::housekeeping::Copies;
use stash_server::store::{Options, Store};
use stash_server::{Wait, found};

/// A stash whose members challenge each other all the time.
fn distrustful() -> Stash {
    let mut stash = Stash::new();
    stash.housekeeping.challenge_interval = Duration::from_millis(50);
    stash
}

async fn stopped(node: &Node) {
    node.engine.shutdown(Duration::from_secs(5)).await;
}

async fn copies(node: &Node) -> Copies {
    node.engine.repair(true, |_| true).await.unwrap().found
}

fn whole(node: &Node, chunks: &[ChunkRef]) -> bool {
    now(node.engine.chunks_here(&addresses(chunks))).unwrap().iter().all(|here| *here)
}

fn alarms(node: &Node) -> Vec<String> {
    now(node.engine.status()).unwrap().alarms
}

/// A member that says that it has everything, and has nothing; how often it was challenged.
async fn liar(stash: &Stash, node: &Node) -> (Client, crate::client::Session, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let store = node.store.clone();
    let act = move |ask, _| match ask {
        Ask::Put {} => Act::Acknowledge,
        Ask::Turned { .. } => {
            let totals = store.record_totals();
            let (records, sum) = (ByteBuf::new(), ByteBuf::from(totals.sum.to_vec()));
            Act::Say(Answer::Turned {
                known: false,
                records,
                run: 1,
                last: 0,
                n: totals.count,
                sum,
            })
        }
        Ask::Holding { hashes } => {
            Act::Say(Answer::Holding { states: ByteBuf::from(vec![2; hashes.len() / 32]) })
        }
        Ask::Prove { chunks, .. } => {
            count.fetch_add(1, Ordering::SeqCst);
            Act::Say(Answer::Proofs { proofs: ByteBuf::from(vec![7; chunks.len()]) })
        }
        _ => Act::Default,
    };
    let liar = Client::member(stash, node, Role::Keeper).await;
    let session = liar.connect_with(node, script(act)).await;
    (liar, session, asked)
}

// Fault case 19: it acknowledges, and stores nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_cannot_show_what_it_says_it_has_is_in_doubt_and_no_copy() {
    let stash = distrustful();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    for key in ["a", "b", "c"] {
        stash.put(&founder, key, &[1 << 20, 5_000], Wait::All).await;
    }
    let (liar, _session, asked) = liar(&stash, &founder).await;
    until("the liar is found", || !alarms(&founder).is_empty()).await;
    // Who says that it has what it did not show is asked once more.
    let challenges = asked.load(Ordering::SeqCst).div_ceil(2);
    println!("the liar was found in challenge {challenges}");
    assert!(challenges <= 2, "{challenges} challenges");
    assert!(alarms(&founder)[0].contains("did not show"), "{:?}", alarms(&founder));
    let member = |node| founder.engine.members().into_iter().find(|m| m.node == node).unwrap();
    assert!(member(liar.keys.node_id()).trial.doubted.is_some());
    until("the honest one has shown something", || member(keeper.keys.node_id()).trial.shown > 0)
        .await;
    assert_eq!(member(keeper.keys.node_id()).trial.doubted, None);
    let found = copies(&founder).await;
    assert_eq!(found.copies, [0, 0, 3, 0], "the founder's and the keeper's");
    assert_eq!(found.below, 3);
    let said = &found.members[&liar.keys.node_id()];
    assert_eq!((said.whole, said.counts, said.asked), (3, false, true));
    // What it acknowledges is no copy of a put.
    let (_, outcome) = stash.put(&founder, "d", &[5_000], Wait::Quorum).await;
    assert_eq!((outcome.copies, outcome.wanted, outcome.short), (2, 3, false));
    let (_, outcome) = stash.put(&founder, "e", &[5_000], Wait::All).await;
    assert_eq!((outcome.copies, outcome.wanted, outcome.short), (2, 3, true));
    let why = "in doubt: it did not show what it said it had".to_owned();
    assert_eq!(outcome.missing, [(liar.keys.node_id(), why)]);
    stopped(&keeper).await;
    let (_, outcome) = stash.put(&founder, "f", &[5_000], Wait::Quorum).await;
    assert_eq!((outcome.copies, outcome.wanted, outcome.short), (1, 3, true), "nor of a quorum");
    // It stays in doubt when the founder starts again.
    stopped(&founder).await;
    let founder = stash.restarted(founder, Role::Owner).await;
    assert!(alarms(&founder)[0].contains("did not show"));
}

/// The files of chunks in a store.
fn chunk_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.join("store/chunks")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if !path.ends_with("store-id") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

// Fault cases 18 and 21: a disk that loses a tenth of its files, which nobody reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_whose_disk_lost_chunks_is_made_whole_by_another_keeper() {
    let stash = distrustful();
    let founder = stash.founder().await;
    let keepers =
        [stash.joined(&founder, Role::Keeper).await, stash.joined(&founder, Role::Keeper).await];
    all_connected(&[&founder, &keepers[0], &keepers[1]]).await;
    stash.put(&founder, "a", &[1 << 20; 20], Wait::All).await;
    stopped(&founder).await;
    let files = chunk_files(keepers[0].dir.path());
    assert_eq!(files.len(), 20);
    for file in files.iter().step_by(10) {
        std::fs::remove_file(file).unwrap();
    }
    until("all files are back", || chunk_files(keepers[0].dir.path()) == files).await;
    assert_eq!(alarms(&keepers[1]), Vec::<String>::new(), "it did not lie");
    let lost = keepers[0].keys.node_id();
    until("they count", || now(copies(&keepers[1])).members[&lost].whole == 1).await;
}

// Fault case 21: a disk that is away for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_chunk_files_are_away_is_not_in_doubt_and_fetches_nothing() {
    let stash = distrustful();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    let (chunks, outcome) = stash.put(&founder, "a", &[1 << 20; 4], Wait::All).await;
    assert!(!outcome.short);
    let store = keeper.dir.path().join("store");
    let member = |node: &Node| {
        let (node, founder) = (node.keys.node_id(), &founder);
        founder.engine.members().into_iter().find(|member| member.node == node).unwrap()
    };
    until("it has shown something", || member(&keeper).trial.shown > 0).await;
    std::fs::rename(store.join("chunks"), store.join("elsewhere")).unwrap();
    std::fs::create_dir(store.join("chunks")).unwrap();
    keeper.store.look().unwrap_err();
    // More than one challenge goes by.
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(member(&keeper).trial.doubted, None);
    }
    assert!(now(keeper.engine.chunks_here(&addresses(&chunks))).is_err(), "it does not know");
    let away = now(keeper.engine.status()).unwrap();
    assert!(away.store.away.unwrap().to_string().contains("chunks"), "it names the directory");
    assert_eq!((away.quarantined, away.incomplete), (0, 0));
    // Its copies are believed until the grace is over, and nothing is evicted by its word.
    let found = copies(&founder).await;
    assert!(!found.members[&keeper.keys.node_id()].asked);
    let version = outcome.records[0].hash();
    let evicted =
        founder.engine.evict_version(stash.name("a"), version, addresses(&chunks), Some(1)).await;
    assert!(evicted.is_err(), "{evicted:?}");
    assert!(whole(&founder, &chunks));
    // What is in records alone goes on.
    let (_, inline) = stash.put(&founder, "inline", &[], Wait::All).await;
    assert!(!inline.short, "{inline:?}");
    let received = away.transferred.bytes_in;
    let held = |node: &Node| node.store.record_totals().count;
    until("the keeper has the record", || held(&keeper) == held(&founder)).await;
    std::fs::remove_dir(store.join("chunks")).unwrap();
    std::fs::rename(store.join("elsewhere"), store.join("chunks")).unwrap();
    assert!(whole(&keeper, &chunks), "with the first who asks");
    let back = now(keeper.engine.status()).unwrap();
    assert_eq!((back.store.away, back.quarantined, back.incomplete), (None, 0, 0));
    assert!(back.transferred.bytes_in - received < 1 << 20, "no chunk was fetched");
    let shown = member(&keeper).trial.shown;
    until("it shows more", || member(&keeper).trial.shown > shown).await;
    let found = copies(&founder).await;
    assert_eq!(found.members[&keeper.keys.node_id()].whole, 2);
    assert_eq!(alarms(&founder), Vec::<String>::new());
}

// Fault case 20: the store is gone, the keys are not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_that_lost_its_store_gets_everything_back_with_no_owner_online() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let (lost, other) =
        (stash.joined(&founder, Role::Keeper).await, stash.joined(&founder, Role::Keeper).await);
    all_connected(&[&founder, &lost, &other]).await;
    let (chunks, _) = stash.put(&founder, "a", &[1 << 20, 5_000], Wait::All).await;
    stash.put(&founder, "b", &[], Wait::All).await;
    stopped(&founder).await;
    stopped(&lost).await;
    let Node { engine, keys, store, .. } = lost;
    drop((engine, store));
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(&dir.path().join("store"), &Options::default()).unwrap();
    let log = other.engine.member_log();
    found(&store, &log, &other.engine.signed_addresses(), false).unwrap();
    let keys = Arc::into_inner(keys).unwrap();
    let back = stash.run(store, keys, Role::Keeper, dir, false).await;
    until("the records are back", || {
        back.store.record_totals() == other.store.record_totals() && whole(&back, &chunks)
    })
    .await;
    until("it calls itself synchronised", || now(back.engine.status()).unwrap().synchronised).await;
    let found = copies(&other).await;
    assert_eq!((found.records, found.members[&back.keys.node_id()].whole), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_were_given_up_come_back_when_fewer_than_two_others_have_them() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keepers =
        [stash.joined(&founder, Role::Keeper).await, stash.joined(&founder, Role::Keeper).await];
    all_connected(&[&founder, &keepers[0], &keepers[1]]).await;
    let (chunks, outcome) = stash.put(&founder, "a", &[1 << 20], Wait::All).await;
    let version = outcome.records[0].hash();
    let all = addresses(&chunks);
    founder.engine.evict_version(stash.name("a"), version, all, None).await.unwrap();
    let repaired = founder.engine.repair(false, |_| true).await.unwrap();
    assert_eq!((repaired.found.brought_back, repaired.found.copies), (0, [0, 0, 1, 0]));
    assert!(!whole(&founder, &chunks));
    stopped(&keepers[0]).await;
    until("it is gone", || founder.engine.members().iter().any(|member| !member.connected)).await;
    let repaired = founder.engine.repair(false, |_| true).await.unwrap();
    assert_eq!(repaired.found.copies, [0, 0, 1, 0], "one that has just gone counts");
    founder.store.add_uptime(Duration::from_secs(25 * 3_600)).unwrap();
    let dry = copies(&founder).await;
    assert_eq!((dry.brought_back, dry.copies, dry.below), (1, [0, 1, 0, 0], 1));
    assert!(!whole(&founder, &chunks), "it was dry");
    let repaired = founder.engine.repair(false, |_| true).await.unwrap();
    assert_eq!((repaired.found.brought_back, repaired.left), (1, 0));
    assert!(whole(&founder, &chunks));
    let settled = copies(&founder).await;
    assert_eq!((settled.copies, settled.brought_back), ([0, 0, 1, 0], 0), "and stays here");
}
