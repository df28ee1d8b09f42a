//! Members that say that they have what was evicted here: they show leaves of it, or are found. The other side speaks
//! `docs/protocol.md` by an implementation of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::client::{Act, Answer, Ask, Client, Script, Session, leaf, proof, script, within};
use crate::support::{Node, Stash, addresses, all_connected, now, until};
use serde_bytes::ByteBuf;
use stash_crypto::{Address, ChunkRef, NodeId, Role};
use stash_server::housekeeping::{Has, Trial, Verdict};
use stash_server::transfers::EvictStop;
use stash_server::{Outcome, Wait};

/// What a keeper does with the bytes that it has proven.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mind {
    Honest,
    /// It deletes them all, and says that it has them.
    DropsAll,
    /// It deletes the second half of each chunk, keeps all chaining values, and says that it has them.
    DropsHalf,
    /// It shows a leaf of its choice.
    ShowsAnother,
    /// Its program does not know leaves; it sends chunks.
    Older,
    /// The same, and it deletes them all.
    OlderDropsAll,
    /// It has them no more, and says so.
    Admits,
    /// It has them no more, says so whenever it is to show them, and else that it has everything.
    AdmitsWhenAsked,
    /// It refuses to show anything.
    Refuses,
}

/// A founder that challenges all the time, and a scripted keeper.
struct Scene {
    stash: Stash,
    founder: Node,
    chunks: Vec<ChunkRef>,
    keeper: Client,
    mind: Arc<Mutex<Mind>>,
    /// Leaves, and chunks, that were asked for.
    asked: Arc<[AtomicUsize; 2]>,
    session: Session,
}

async fn read(node: &Node, chunks: &[ChunkRef]) -> Vec<Vec<u8>> {
    let mut fetch = node.engine.fetch(chunks.to_vec(), false);
    let mut read = Vec::new();
    while let Some(chunk) = within("a chunk", fetch.next()).await {
        read.push(chunk.unwrap().to_vec());
    }
    read
}

fn distrustful() -> Stash {
    let mut stash = Stash::new();
    stash.housekeeping.challenge_interval = Duration::from_millis(30);
    stash.housekeeping.repair_copies = 1;
    stash
}

fn trial(node: &Node, member: NodeId) -> Trial {
    node.engine.members().into_iter().find(|one| one.node == member).unwrap().trial
}

fn refuses(code: &str) -> Act {
    Act::Say(Answer::Refused { code: code.to_owned(), reason: "scripted".to_owned() })
}

/// The founder has put one file of two chunks, the keeper has proven it, and the founder has evicted it.
async fn evicted() -> Scene {
    let stash = distrustful();
    let founder = stash.founder().await;
    let (chunks, outcome) = stash.put(&founder, "a", &[1 << 20, 5_000], Wait::Local).await;
    let sealed = read(&founder, &chunks).await;
    let keeper = Client::member(&stash, &founder, Role::Keeper).await;
    let mind = Arc::new(Mutex::new(Mind::Honest));
    let asked: Arc<[AtomicUsize; 2]> = Arc::default();
    let script = keeps(&stash, &founder, &keeper, sealed, (Arc::clone(&mind), Arc::clone(&asked)));
    let session = keeper.connect_with(&founder, script).await;
    assert_eq!(evict(&stash, &founder, &chunks, &outcome).await, 2);
    Scene { stash, founder, chunks, keeper, mind, asked, session }
}

/// Gives up the only file; how many chunks were dropped.
async fn evict(stash: &Stash, node: &Node, chunks: &[ChunkRef], outcome: &Outcome) -> u64 {
    let (name, version) = (stash.name("a"), outcome.records[0].hash());
    let evicted = node.engine.evict_version(name, version, addresses(chunks), Some(1));
    within("an eviction", evicted).await.unwrap().chunks
}

/// The script of a keeper that says that it has everything whole.
fn keeps(
    stash: &Stash,
    founder: &Node,
    keeper: &Client,
    sealed: Vec<Vec<u8>>,
    (mind, asked): (Arc<Mutex<Mind>>, Arc<[AtomicUsize; 2]>),
) -> Script {
    let (store, id) = (founder.store.clone(), stash.id());
    let (verifier, me) = (founder.keys.node_id(), keeper.keys.node_id());
    let bytes_of = move |address: &[u8]| {
        sealed.iter().find(|sealed| Address::of(sealed).as_bytes() == address).cloned()
    };
    let bytes = |bytes: Vec<u8>| ByteBuf::from(bytes);
    script(move |ask, session| match (ask, *mind.lock().unwrap()) {
        (Ask::Put {}, _) => Act::Acknowledge,
        (Ask::Turned { .. }, Mind::Admits) => Act::Default,
        (Ask::Turned { .. }, _) => {
            let totals = store.record_totals();
            let (records, sum) = (ByteBuf::new(), bytes(totals.sum.to_vec()));
            let n = totals.count;
            Act::Say(Answer::Turned { known: false, records, run: 1, last: 0, n, sum })
        }
        (Ask::Holding { hashes }, mind) => {
            let admits = matches!(mind, Mind::Admits | Mind::AdmitsWhenAsked);
            let state = if admits { 1 } else { 2 };
            Act::Say(Answer::Holding { states: bytes(vec![state; hashes.len() / 32]) })
        }
        (Ask::Evict { nonce, groups }, _) => {
            let chunks = groups.iter().flat_map(|group| group.chunks.chunks(32));
            let prove = |chunk| {
                let sealed = bytes_of(chunk).unwrap_or_default();
                proof(&nonce, &id, &verifier, &me, &session, &sealed)
            };
            let proofs = chunks.flat_map(prove);
            let proofs = bytes(proofs.collect());
            Act::Say(Answer::Kept { proofs, reason: String::new() })
        }
        (Ask::Leaves { .. }, Mind::Older | Mind::OlderDropsAll) => refuses("unknown"),
        (Ask::Leaves { .. }, Mind::Refuses) => refuses("failed"),
        (Ask::Leaves { drawn }, mind) => {
            let show = |one: &[u8]| {
                asked[0].fetch_add(1, Ordering::SeqCst);
                let sealed = bytes_of(&one[..32])?;
                let draw = u32::from_le_bytes(one[32..].try_into().unwrap());
                let leaves = u32::try_from(sealed.len().div_ceil(1_024)).unwrap();
                match mind {
                    Mind::DropsAll | Mind::Admits | Mind::AdmitsWhenAsked => None,
                    Mind::DropsHalf if draw % leaves >= leaves / 2 => None,
                    Mind::ShowsAnother => Some(leaf(&sealed, draw.wrapping_add(1))),
                    _ => Some(leaf(&sealed, draw)),
                }
            };
            let leaves = drawn.chunks(36).map(|one| bytes(show(one).unwrap_or_default()));
            Act::Say(Answer::Leaves { leaves: leaves.collect() })
        }
        (Ask::Get { address }, mind) => {
            asked[1].fetch_add(1, Ordering::SeqCst);
            match bytes_of(&address).filter(|_| mind == Mind::Older) {
                Some(sealed) => Act::Send(u32::try_from(sealed.len()).unwrap(), sealed),
                None => Act::Say(Answer::NotHere {}),
            }
        }
        _ => Act::Default,
    })
}

impl Scene {
    fn turns(&self, mind: Mind) {
        *self.mind.lock().unwrap() = mind;
    }

    fn keeper(&self) -> NodeId {
        self.keeper.keys.node_id()
    }

    fn trial(&self) -> Trial {
        trial(&self.founder, self.keeper())
    }

    fn asked(&self) -> [usize; 2] {
        [0, 1].map(|at| self.asked[at].load(Ordering::SeqCst))
    }

    /// It has stood so many more challenges.
    async fn stands(&self) {
        let before = self.trial().shown;
        until("it shows more", || self.trial().shown > before + 50).await;
        assert_eq!((self.trial().failed, self.trial().doubted), (0, None));
    }

    async fn is_found(&self) {
        until("the liar is found", || self.trial().doubted.is_some()).await;
        let here = now(self.founder.engine.chunks_here(&addresses(&self.chunks))).unwrap();
        assert_eq!(here, [false, false], "nobody needed the bytes for it");
    }
}

// Fault case 19: it proves, and drops what it has proven.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_that_drops_what_was_evicted_here_is_found_and_counts_as_nobody() {
    let scene = evicted().await;
    scene.stands().await;
    scene.turns(Mind::DropsAll);
    scene.is_found().await;
    let Scene { stash, founder, .. } = &scene;
    let alarms = now(founder.engine.status()).unwrap().alarms;
    assert!(alarms[0].contains(scene.keeper().short().to_string().as_str()), "{alarms:?}");
    // No copy of a put.
    let (chunks, outcome) = stash.put(founder, "b", &[5_000], Wait::All).await;
    assert_eq!((outcome.copies, outcome.wanted, outcome.short), (1, 2, true));
    assert!(outcome.missing[0].1.starts_with("in doubt"), "{:?}", outcome.missing);
    // No prover.
    let refused = within("an eviction", founder.engine.evict(addresses(&chunks))).await;
    let EvictStop::NotProven { asked, .. } = refused.unwrap_err().why else { panic!("proven") };
    assert!(asked[0].1.starts_with("in doubt"), "{asked:?}");
    // No safety.
    let safety = founder.engine.safety();
    assert_eq!(safety.verdict, Verdict::NotSafe);
    assert_eq!((safety.members[0].0, safety.members[0].1), (scene.keeper(), Has::InDoubt));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_that_drops_half_of_each_chunk_is_found() {
    let scene = evicted().await;
    scene.stands().await;
    scene.turns(Mind::DropsHalf);
    scene.is_found().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_that_shows_leaves_of_its_choice_is_found() {
    let scene = evicted().await;
    scene.turns(Mind::ShowsAnother);
    scene.is_found().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_that_says_that_it_has_lost_something_is_not_in_doubt() {
    let scene = evicted().await;
    scene.turns(Mind::Admits);
    let [leaves, _] = scene.asked();
    until("it is asked again", || scene.asked()[0] > leaves).await;
    scene.session.ask(&Ask::News {}).await;
    // What it said is known now: nobody asks it to show that.
    until("it is not asked any more", || {
        let before = scene.asked();
        now(tokio::time::sleep(Duration::from_millis(300)));
        scene.asked() == before
    })
    .await;
    assert_eq!(scene.trial().doubted, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_that_admits_when_it_is_asked_and_else_says_that_it_has_all_is_found() {
    let scene = evicted().await;
    scene.stands().await;
    scene.turns(Mind::AdmitsWhenAsked);
    let asked = scene.asked();
    until("it is asked to show some", || scene.asked()[0] > asked[0]).await;
    for _ in 0..100 {
        if scene.trial().doubted.is_some() {
            break;
        }
        // What it has is compared.
        scene.session.ask(&Ask::News {}).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    scene.is_found().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_that_refuses_to_show_anything_is_found() {
    let scene = evicted().await;
    scene.turns(Mind::Refuses);
    scene.is_found().await;
    let alarms = now(scene.founder.engine.status()).unwrap().alarms;
    assert!(alarms[0].contains("does not answer"), "{alarms:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_whose_program_knows_no_leaves_sends_a_chunk_and_is_found_if_it_has_none() {
    let scene = evicted().await;
    scene.turns(Mind::Older);
    until("it has sent some", || scene.asked()[1] > 5).await;
    assert!(scene.trial().shown > 3, "{:?}", scene.trial());
    assert_eq!((scene.trial().failed, scene.trial().doubted), (0, None));
    scene.turns(Mind::OlderDropsAll);
    scene.is_found().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_shows_leaves_as_the_document_says_and_nothing_of_what_it_has_not() {
    let stash = Stash::new();
    let node = stash.founder().await;
    let (chunks, _) = stash.put(&node, "a", &[1 << 20, 5_000], Wait::Local).await;
    let sealed = read(&node, &chunks).await;
    let member = Client::member(&stash, &node, Role::Keeper).await;
    let session = member.connect(&node).await;
    let drawn = |chunk: &[u8], draw: u32| [chunk, &draw.to_le_bytes()].concat();
    for draw in [0, 1, 1_024, 1_025, u32::MAX] {
        let asked = [
            drawn(chunks[0].address.as_bytes(), draw),
            drawn(&[7; 32], draw),
            drawn(chunks[1].address.as_bytes(), draw),
        ];
        let answer = session.ask(&Ask::Leaves { drawn: ByteBuf::from(asked.concat()) }).await;
        let leaves = [leaf(&sealed[0], draw), Vec::new(), leaf(&sealed[1], draw)];
        assert_eq!(answer, Answer::Leaves { leaves: leaves.map(ByteBuf::from).into() });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_member_shows_what_was_evicted_here() {
    let stash = distrustful();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    let (chunks, outcome) = stash.put(&founder, "a", &[1 << 20, 5_000], Wait::All).await;
    assert_eq!(evict(&stash, &founder, &chunks, &outcome).await, 2);
    let shown = || trial(&founder, keeper.keys.node_id());
    let before = shown().shown;
    until("it has shown some", || shown().shown > before + 100).await;
    assert_eq!((shown().failed, shown().doubted), (0, None));
    let here = now(founder.engine.chunks_here(&addresses(&chunks))).unwrap();
    assert_eq!(here, [false, false]);
    assert_eq!(
        trial(&keeper, founder.keys.node_id()).doubted,
        None,
        "it said that it gave them up"
    );
}
