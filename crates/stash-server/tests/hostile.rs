//! Members that lie: what they serve for a get, what they claim to hold, and that no lie costs a
//! byte. The liars speak `docs/protocol.md` by an implementation of their own.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::client::{Act, Answer, Ask, Client, Script, Session, proof, script, sealed, within};
use crate::support::{Node, Stash, addresses, all_connected, until};
use futures::FutureExt;
use serde_bytes::ByteBuf;
use stash_crypto::{Address, ChunkRef, NodeId, NodeKeys, Role, StashId};
use stash_p2p::CloseReason;
use stash_server::transfers::EvictStop;
use stash_server::{EvictError, FetchError, Wait};

/// Sealed chunks by address.
type Bytes = BTreeMap<Address, Vec<u8>>;

/// A node that has evicted its chunks, and the honest keeper that has them.
struct Scene {
    stash: Stash,
    node: Node,
    keeper: Node,
    chunks: Vec<ChunkRef>,
    bytes: Bytes,
}

async fn scene(lens: &[usize]) -> Scene {
    let stash = Stash::new();
    let node = stash.founder().await;
    let keeper = stash.joined(&node, Role::Keeper).await;
    all_connected(&[&node, &keeper]).await;
    let (chunks, outcome) = stash.put(&node, "a", lens, Wait::All).await;
    assert_eq!(outcome.copies, 2);
    let bytes = chunks.iter().map(|chunk| chunk.address).zip(read(&node, &chunks).await).collect();
    node.engine.evict(addresses(&chunks)).await.unwrap();
    Scene { stash, node, keeper, chunks, bytes }
}

/// Reads chunks without keeping them.
async fn read(node: &Node, chunks: &[ChunkRef]) -> Vec<Vec<u8>> {
    let mut fetch = node.engine.fetch(chunks.to_vec(), false);
    let mut read = Vec::new();
    for chunk in chunks {
        let sealed = within("a chunk", fetch.next()).await.unwrap().unwrap();
        assert_eq!(Address::of(&sealed), chunk.address, "a wrong byte came out");
        read.push(sealed.to_vec());
    }
    assert!(fetch.next().await.is_none());
    read
}

impl Scene {
    /// A keeper of the second implementation that is asked before the honest one: among members of
    /// equal reputation and load, the one with the lowest id is.
    async fn liar(&self, script: Script) -> (Client, Session) {
        let keys = loop {
            let keys = NodeKeys::generate(&mut rand::rng());
            if keys.node_id() < self.keeper.keys.node_id() {
                break keys;
            }
        };
        let liar = Client::member_as(&self.stash, &self.node, Role::Keeper, keys).await;
        let session = liar.connect_with(&self.node, script).await;
        (liar, session)
    }

    /// Lets a fresh liar serve one chunk; how often it was asked in a first and in a second get.
    async fn lied_to(&self, lie: Lie) -> [usize; 2] {
        let asked = Arc::new(AtomicUsize::new(0));
        let (count, bytes) = (Arc::clone(&asked), self.bytes.clone());
        let act = move |ask, _| match ask {
            Ask::Get { address } => {
                count.fetch_add(1, Ordering::Relaxed);
                let address = Address::from_bytes(<[u8; 32]>::try_from(&address[..]).unwrap());
                lie(&bytes, address)
            }
            _ => Act::Default,
        };
        let (liar, session) = self.liar(script(act)).await;
        let mut counts = [0; 2];
        for count in &mut counts {
            let before = asked.load(Ordering::Relaxed);
            read(&self.node, &self.chunks).await;
            *count = asked.load(Ordering::Relaxed) - before;
        }
        session.peer.close(CloseReason::Shutdown);
        let gone = liar.keys.node_id();
        until("the liar is gone", || {
            let members = self.node.engine.members();
            members.iter().any(|member| member.node == gone && !member.connected)
        })
        .await;
        counts
    }
}

/// Answer for a chunk when all chunks are at hand.
type Lie = fn(&Bytes, Address) -> Act;

fn said(bytes: &Bytes, address: Address) -> u32 {
    u32::try_from(bytes[&address].len()).unwrap()
}

fn flip(bytes: &Bytes, address: Address, at: impl Fn(usize) -> usize) -> Act {
    let mut wrong = bytes[&address].clone();
    let at = at(wrong.len());
    wrong[at] ^= 0x80;
    Act::Send(said(bytes, address), wrong)
}

/// Fault cases 11 and 12: as many bytes as there should be, and not those.
const WRONG_BYTES: [(&str, Lie); 5] = [
    ("the first bit", |bytes, address| flip(bytes, address, |_| 0)),
    ("a bit in the middle", |bytes, address| flip(bytes, address, |len| len / 2)),
    ("the last bit", |bytes, address| flip(bytes, address, |len| len - 1)),
    ("zeros", |bytes, address| Act::Send(said(bytes, address), vec![0; bytes[&address].len()])),
    ("another valid chunk", |bytes, address| {
        let other = bytes.iter().find(|(other, _)| **other != address).unwrap().1.clone();
        Act::Send(u32::try_from(other.len()).unwrap(), other)
    }),
];

/// Fault cases 14, 35 and 36: another number of bytes than there should be or than was said.
const WRONG_LENGTHS: [(&str, Lie); 6] = [
    ("a byte short of what was said", |bytes, address| {
        let sealed = &bytes[&address];
        Act::Send(said(bytes, address), sealed[..sealed.len() - 1].to_vec())
    }),
    ("a byte more than was said", |bytes, address| {
        Act::Send(said(bytes, address), [&bytes[&address][..], &[0]].concat())
    }),
    ("nothing of what was said", |bytes, address| Act::Send(said(bytes, address), vec![])),
    ("honestly a byte short", |bytes, address| {
        let sealed = &bytes[&address];
        Act::Send(said(bytes, address) - 1, sealed[..sealed.len() - 1].to_vec())
    }),
    ("honestly a byte long", |bytes, address| {
        Act::Send(said(bytes, address) + 1, [&bytes[&address][..], &[0]].concat())
    }),
    ("a length beyond any chunk", |_, _| Act::Send(u32::MAX, vec![0; 100])),
];

/// Fault cases 18 and 35: no bytes at all.
const NO_BYTES: [(&str, Lie); 3] = [
    ("not here", |_, _| Act::Say(Answer::NotHere {})),
    ("an answer to something else", |_, _| Act::Say(Answer::Done {})),
    ("a refusal", |_, _| {
        Act::Say(Answer::Refused { code: "failed".to_owned(), reason: "no".to_owned() })
    }),
];

// Fault cases 11, 12, 14, 18 and 35.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wrong_byte_comes_out_whatever_a_member_serves() {
    // Two chunks of one length, so that one can be served for the other; only one is read.
    let mut scene = scene(&[1 << 20, 1 << 20]).await;
    scene.chunks.truncate(1);
    for (what, lie) in WRONG_BYTES.into_iter().chain(WRONG_LENGTHS).chain(NO_BYTES) {
        // That every byte is right is checked where it is read.
        let [first, _] = scene.lied_to(lie).await;
        assert_eq!(first, 1, "{what}: the liar is asked first, and once");
    }
}

// Fault case 11: a source that lied is used only when there is no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_served_wrong_bytes_is_asked_last() {
    let mut scene = scene(&[1 << 20, 1 << 20]).await;
    scene.chunks.truncate(1);
    for (what, lie) in WRONG_BYTES {
        assert_eq!(scene.lied_to(lie).await, [1, 0], "{what}");
    }
}

// Fault case 18.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_says_not_here_is_asked_after_those_who_deliver() {
    let scene = scene(&[40_000]).await;
    let (what, lie) = NO_BYTES[0];
    assert_eq!(scene.lied_to(lie).await, [1, 0], "{what}");
}

// Fault cases 14 and 36: bytes of a wrong length are wrong bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_served_a_wrong_length_is_asked_last() {
    let scene = scene(&[40_000]).await;
    for (what, lie) in WRONG_LENGTHS {
        assert_eq!(scene.lied_to(lie).await, [1, 0], "{what}");
    }
}

// Fault case 15: chunks served for one another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_many_chunks_is_whole_beside_a_member_that_swaps_them() {
    let scene = scene(&[1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 9_000]).await;
    let swap: Lie = |bytes, address| {
        let after = bytes.range(address..).nth(1).or_else(|| bytes.iter().next()).unwrap();
        Act::Send(u32::try_from(after.1.len()).unwrap(), after.1.clone())
    };
    scene.lied_to(swap).await;
}

// Fault cases 11 and 18: with nobody else to ask, a clear error and no byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_that_only_a_liar_has_is_an_error_that_names_it() {
    let stash = Stash::new();
    let node = stash.founder().await;
    let (chunk, mut bytes) = sealed(&stash, "a", 40_000);
    bytes[77] ^= 1;
    let liar = Client::member(&stash, &node, Role::Owner).await;
    let act = move |ask, _| match ask {
        Ask::Get { .. } => Act::Send(chunk.sealed_len, bytes.clone()),
        _ => Act::Default,
    };
    let _session = liar.connect_with(&node, script(act)).await;
    let mut fetch = node.engine.fetch(vec![chunk], true);
    let error = within("an error", fetch.next()).await.unwrap().unwrap_err();
    let FetchError::Missing { address, tried } = error else { panic!("{error}") };
    assert_eq!((address, tried.len(), tried[0].0), (chunk.address, 1, liar.keys.node_id()));
    assert!(tried[0].1.contains("do not match"), "{tried:?}");
    assert_eq!(node.engine.chunks_here(&[chunk.address]).await.unwrap(), [false]);
}

// Fault case 101.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_never_answers_delays_a_get_by_seconds_at_most() {
    let scene = scene(&[1 << 20]).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let act = move |ask, _| match ask {
        Ask::Get { .. } => {
            count.fetch_add(1, Ordering::Relaxed);
            Act::Nothing
        }
        _ => Act::Default,
    };
    let _liar = scene.liar(script(act)).await;
    let start = Instant::now();
    read(&scene.node, &scene.chunks).await;
    assert_eq!(asked.load(Ordering::Relaxed), 1, "the silent member was asked first");
    // Two seconds, however busy the machine is; without a second request it is the stall of 30 s.
    assert!(start.elapsed() < Duration::from_secs(25), "{:?}", start.elapsed());
}

// Fault case 101: nor do two of three.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_members_that_never_answer_delay_a_get_by_seconds_at_most() {
    let scene = scene(&[1 << 20]).await;
    let silent = || {
        script(|ask, _| match ask {
            Ask::Get { .. } => Act::Nothing,
            _ => Act::Default,
        })
    };
    let _one = scene.liar(silent()).await;
    let _two = scene.liar(silent()).await;
    let start = Instant::now();
    read(&scene.node, &scene.chunks).await;
    // Two seconds for each of them, and less than one stall on a machine that does other things.
    assert!(start.elapsed() < Duration::from_secs(25), "{:?}", start.elapsed());
}

// Fault case 101: the buffers for second requests are few. A get whose later chunks hold all of
// them, and whose first chunk is late everywhere, must still take the answer when it comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_first_chunk_does_not_wait_for_buffers_that_later_chunks_hold() {
    let stash = Stash::new();
    let node = stash.founder().await;
    let chunks: Vec<_> = (0..4).map(|i| sealed(&stash, &format!("c{i}"), 1 << 20)).collect();
    let refs: Vec<ChunkRef> = chunks.iter().map(|(chunk, _)| *chunk).collect();
    let first = refs[0].address;
    let bytes: Arc<Bytes> =
        Arc::new(chunks.into_iter().map(|(chunk, bytes)| (chunk.address, bytes)).collect());
    let asked: Arc<Mutex<BTreeMap<Address, u32>>> = Arc::default();
    let both: Script = Arc::new(move |ask, _| {
        let Ask::Get { address } = ask else { return std::future::ready(Act::Default).boxed() };
        let address = Address::from_bytes(<[u8; 32]>::try_from(&address[..]).unwrap());
        let (asked, bytes) = (Arc::clone(&asked), Arc::clone(&bytes));
        async move {
            let times = {
                let mut asked = asked.lock().unwrap();
                let times = asked.entry(address).or_default();
                *times += 1;
                *times
            };
            match (address == first, times) {
                // The delays are the fault: one member thinks for a second and has nothing, the
                // other one needs four for its answer.
                (true, 1) => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    Act::Say(Answer::NotHere {})
                }
                (true, _) => {
                    tokio::time::sleep(Duration::from_secs(4)).await;
                    Act::Send(said(&bytes, address), bytes[&address].clone())
                }
                (false, 1) => Act::Nothing,
                (false, _) => Act::Send(said(&bytes, address), bytes[&address].clone()),
            }
        }
        .boxed()
    });
    let (one, two) = tokio::join!(
        Client::member(&stash, &node, Role::Keeper),
        Client::member(&stash, &node, Role::Keeper),
    );
    let _one = one.connect_with(&node, Arc::clone(&both)).await;
    let _two = two.connect_with(&node, both).await;
    read(&node, &refs).await;
}

/// Knowledge of a scripted prover when it is asked.
struct Asked<'a> {
    nonce: &'a [u8],
    stash: StashId,
    verifier: NodeId,
    prover: NodeId,
    session: [u8; 32],
    sealed: &'a [u8],
}

impl Asked<'_> {
    fn honest(&self) -> [u8; 32] {
        let Asked { nonce, stash, verifier, prover, session, sealed } = self;
        proof(nonce, stash, verifier, prover, session, sealed)
    }
}

fn kept(proof: impl Into<Vec<u8>>) -> Answer {
    Answer::Kept { proofs: ByteBuf::from(proof.into()), reason: String::new() }
}

type Forgery = fn(&Asked<'_>) -> Answer;

/// Fault case 19: claims of possession that must not cost the verifier its copy.
const FORGERIES: [(&str, Forgery); 16] = [
    ("no proof", |_| kept([0; 32])),
    ("a made-up proof", |_| kept([0xa5; 32])),
    ("the address for a proof", |asked| kept(*Address::of(asked.sealed).as_bytes())),
    ("the proof without its last bit", |asked| {
        let mut proof = asked.honest();
        proof[31] ^= 1;
        kept(proof)
    }),
    ("half a proof", |asked| kept([&asked.honest()[..16], &[0; 16]].concat())),
    ("a proof of no bytes", |asked| kept(Asked { sealed: &[], ..*asked }.honest())),
    ("a proof of all but the last byte", |asked| {
        let sealed = &asked.sealed[..asked.sealed.len() - 1];
        kept(Asked { sealed, ..*asked }.honest())
    }),
    ("a proof of other bytes", |asked| {
        let mut sealed = asked.sealed.to_vec();
        sealed[100] ^= 1;
        kept(Asked { sealed: &sealed, ..*asked }.honest())
    }),
    ("a proof for another nonce", |asked| kept(Asked { nonce: &[9; 32], ..*asked }.honest())),
    ("a proof for another session", |asked| kept(Asked { session: [9; 32], ..*asked }.honest())),
    ("a proof for another stash", |asked| {
        kept(Asked { stash: StashId::from_bytes([9; 32]), ..*asked }.honest())
    }),
    ("the verifier's own proof", |asked| kept(Asked { prover: asked.verifier, ..*asked }.honest())),
    ("verifier and prover swapped", |asked| {
        let (verifier, prover) = (asked.prover, asked.verifier);
        kept(Asked { verifier, prover, ..*asked }.honest())
    }),
    ("a proof too few", |_| kept([])),
    ("a proof too many", |asked| kept([asked.honest(), asked.honest()].concat())),
    ("a byte too many", |asked| kept([&asked.honest()[..], &[0]].concat())),
];

/// A node with one chunk, and a scripted prover that is told how to answer.
struct Proving {
    node: Node,
    chunk: ChunkRef,
    forgery: Arc<Mutex<Forgery>>,
    /// The last proof that was given in earnest.
    given: Arc<Mutex<Option<Answer>>>,
    script: Script,
    prover: Client,
}

async fn proving() -> Proving {
    let stash = Stash::new();
    let node = stash.founder().await;
    let (chunks, _) = stash.put(&node, "a", &[300_000], Wait::Local).await;
    let sealed = read(&node, &chunks).await.remove(0);
    let prover = Client::member(&stash, &node, Role::Keeper).await;
    let forgery = Arc::new(Mutex::new(FORGERIES[0].1));
    let given: Arc<Mutex<Option<Answer>>> = Arc::default();
    let (id, verifier, me) = (stash.id(), node.keys.node_id(), prover.keys.node_id());
    let (forge, keep) = (Arc::clone(&forgery), Arc::clone(&given));
    let script = script(move |ask, session| match ask {
        Ask::Evict { nonce, .. } => {
            let asked =
                Asked { nonce: &nonce, stash: id, verifier, prover: me, session, sealed: &sealed };
            let answer = forge.lock().unwrap()(&asked);
            *keep.lock().unwrap() = Some(kept(asked.honest()));
            Act::Say(answer)
        }
        Ask::Get { .. } => Act::Send(u32::try_from(sealed.len()).unwrap(), sealed.clone()),
        _ => Act::Default,
    });
    Proving { node, chunk: chunks[0], forgery, given, script, prover }
}

impl Proving {
    async fn here(&self) -> bool {
        self.node.engine.chunks_here(&[self.chunk.address]).await.unwrap()[0]
    }

    async fn evict(&self) -> Result<stash_server::Evicted, EvictError> {
        within("an eviction", self.node.engine.evict(vec![self.chunk.address])).await
    }

    async fn refused(&self, what: &str) {
        let evicted = self.evict().await;
        assert!(
            matches!(evicted, Err(EvictError { why: EvictStop::NotProven { .. }, .. })),
            "{what}: {evicted:?}"
        );
        assert!(self.here().await, "{what}: the bytes are still here");
    }
}

// Fault cases 8, 19 and 55.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_proof_evicts_nothing_and_a_true_one_does() {
    let scene = proving().await;
    let _session = scene.prover.connect_with(&scene.node, Arc::clone(&scene.script)).await;
    for (what, forgery) in FORGERIES {
        *scene.forgery.lock().unwrap() = forgery;
        scene.refused(what).await;
    }
    *scene.forgery.lock().unwrap() = |asked| kept(asked.honest());
    let evicted = scene.evict().await.unwrap();
    assert_eq!((evicted.chunks, evicted.proven_by), (1, [scene.prover.keys.node_id()].into()));
    assert!(!scene.here().await);
}

// Fault cases 6 and 19: what proved possession once does not do so again, neither on the same
// connection nor on the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replayed_proof_evicts_nothing() {
    let scene = proving().await;
    let recorded: Arc<Mutex<Option<Answer>>> = Arc::default();
    let (inner, replay) = (Arc::clone(&scene.script), Arc::clone(&recorded));
    let mind: Script = Arc::new(move |ask, session| match (&ask, &*replay.lock().unwrap()) {
        (Ask::Evict { .. }, Some(answer)) => std::future::ready(Act::Say(answer.clone())).boxed(),
        _ => inner(ask, session),
    });
    let session = scene.prover.connect_with(&scene.node, Arc::clone(&mind)).await;
    *scene.forgery.lock().unwrap() = |asked| kept(asked.honest());
    scene.evict().await.unwrap();
    let mut back = scene.node.engine.fetch(vec![scene.chunk], true);
    within("the chunk", back.next()).await.unwrap().unwrap();
    until("the chunk is here again", || crate::support::now(scene.here())).await;
    let given = scene.given.lock().unwrap().take();
    assert!(given.is_some());
    *recorded.lock().unwrap() = given;
    scene.refused("on the same connection").await;
    session.peer.close(CloseReason::Shutdown);
    session.peer.closed().await;
    let me = scene.prover.keys.node_id();
    until("the prover is gone", || {
        scene.node.engine.members().iter().any(|member| member.node == me && !member.connected)
    })
    .await;
    let _session = scene.prover.connect_with(&scene.node, mind).await;
    scene.refused("on the next connection").await;
}

// Fault cases 18 and 35: a member that takes no puts costs a copy and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_beside_a_member_that_answers_nonsense_is_short_and_ends() {
    let stash = Stash::new();
    let node = stash.founder().await;
    let keeper = stash.joined(&node, Role::Keeper).await;
    all_connected(&[&node, &keeper]).await;
    let liar = Client::member(&stash, &node, Role::Keeper).await;
    let answers = [
        Answer::Refused { code: "role".to_owned(), reason: "no".to_owned() },
        Answer::Results { results: vec![crate::client::Fate::Stored {}] },
        Answer::Want { chunks: ByteBuf::from(vec![0xff; 9]) },
        Answer::Done {},
    ];
    let turn = AtomicUsize::new(0);
    let nonsense = answers.clone();
    let act = move |ask, _| match ask {
        Ask::Put {} => Act::Say(nonsense[turn.fetch_add(1, Ordering::Relaxed) % 4].clone()),
        _ => Act::Default,
    };
    let _session = liar.connect_with(&node, script(act)).await;
    for (i, answer) in answers.iter().enumerate() {
        let key = format!("{i}");
        let put = stash.put(&node, &key, &[1 << 20, 5_000], Wait::All);
        let (_, outcome) = within("the end of a put", put).await;
        assert_eq!((outcome.copies, outcome.wanted, outcome.short), (2, 3, true), "{answer:?}");
        assert_eq!(outcome.missing[0].0, liar.keys.node_id());
    }
}
