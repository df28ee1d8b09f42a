//! Members that take what others need as well: places, turns, patience. After each of them, and
//! while it is at it, another member asks everything that a member can ask. All of them speak
//! `docs/protocol.md` by an implementation of their own.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::client::{
    Act, Answer, Ask, Client, Fate, Hello, NamedBy, Session, Together, joined_up, put_of, script,
    sealed,
};
use crate::support::{Node, Stash, until};
use serde_bytes::ByteBuf;
use stash_crypto::member::{AddressKind, Announced, Confirmation, SignedAddresses};
use stash_crypto::{ChunkRef, EntryHash, NodeKeys, RecordHash, Role};
use stash_p2p::{Bandwidth, CloseReason, Limits, Rate};
use stash_server::{JoinError, TicketView, join};
use tokio::time::timeout;

/// Whoever is served beside others waits no longer than this for an answer, on a busy machine: a
/// hundred times what one takes alone.
const SOON: Duration = Duration::from_secs(10);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.unwrap_or_else(|_| panic!("not within {SOON:?}: {what}"))
}

/// A founder with chunks of some sizes, a member of the second implementation beside it, and the
/// record that names the chunks.
struct Scene {
    stash: Stash,
    node: Node,
    other: Client,
    session: Session,
    chunks: Vec<(ChunkRef, Vec<u8>)>,
    record: RecordHash,
    /// Records that the other one has put since.
    puts: AtomicU64,
}

async fn scene(lens: &[usize]) -> Scene {
    let stash = Stash::new();
    let node = stash.founder().await;
    let other = Client::member(&stash, &node, Role::Owner).await;
    let session = other.connect(&node).await;
    let seed = |(at, len): (usize, &usize)| sealed(&stash, &format!("chunk {at}"), *len);
    let chunks: Vec<_> = lens.iter().enumerate().map(seed).collect();
    let refs: Vec<_> = chunks.iter().map(|(chunk, _)| *chunk).collect();
    let record = put_of(&stash, &other.keys, "file", 1, &refs);
    let fates = session.give(&chunks, &[record.bytes()]).await;
    assert_eq!(fates, [Fate::Stored {}]);
    let record = record.hash();
    Scene { stash, node, other, session, chunks, record, puts: AtomicU64::new(0) }
}

/// As little as a member may have under way, and one connection.
fn narrow() -> Limits {
    Limits {
        stream_window: 320 << 10,
        connection_window: 640 << 10,
        bulk_connections: 0,
        ..Limits::default()
    }
}

impl Scene {
    /// A further member with these limits, connected.
    async fn member(&self, role: Role, limits: Limits) -> (Client, Session) {
        let keys = NodeKeys::generate(&mut rand::rng());
        let member = Client::with(&self.stash, keys, limits, Hello::default());
        member.join(&self.node, role).await;
        let session = member.connect(&self.node).await;
        (member, session)
    }

    fn get(&self, chunk: usize) -> Ask {
        let address = self.chunks[chunk].0.address;
        Ask::Get { address: ByteBuf::from(address.as_bytes().to_vec()) }
    }

    /// Asks everything that a member can ask, with the identity of the other one.
    async fn everything(&self) {
        let session = &self.session;
        for (chunk, bytes) in &self.chunks {
            let got = soon("a chunk", session.get(chunk.address)).await;
            assert!(got.is_some_and(|got| got == *bytes), "the chunk, whole");
        }
        let addresses: Vec<_> =
            self.chunks.iter().map(|(chunk, _)| chunk.address).take(16).collect();
        let (chunks, nonce) = (joined_up(&addresses), ByteBuf::from(vec![7; 32]));
        let hash = ByteBuf::from(self.record.as_bytes().to_vec());
        let named = NamedBy::Records { hashes: hash.clone() };
        let prefix = ByteBuf::from(self.record.as_bytes()[..1].to_vec());
        let part = ByteBuf::from(self.record.as_bytes()[..2].to_vec());
        let half = ByteBuf::from(self.record.as_bytes()[..16].to_vec());
        let node = ByteBuf::from(self.other.keys.node_id().as_bytes().to_vec());
        let drawn = addresses.iter().flat_map(|one| [&one.as_bytes()[..], &[7; 4]].concat());
        let drawn = ByteBuf::from(drawn.collect::<Vec<u8>>());
        for ask in [
            Ask::Leaves { drawn },
            Ask::Have { chunks: chunks.clone() },
            Ask::Prove { nonce: nonce.clone(), chunks: chunks.clone() },
            Ask::Evict { nonce, groups: vec![Together { chunks, named }] },
            Ask::Members { from: 0 },
            Ask::Announce { entries: vec![], addresses: vec![] },
            Ask::Log { log: ByteBuf::from(vec![0; 16]), after: 0 },
            Ask::Find { hashes: hash.clone() },
            Ask::All {},
            Ask::Sums { prefixes: ByteBuf::new(), length: 0, which: None },
            Ask::Turned { run: 0, after: 0 },
            Ask::Sums { prefixes: prefix, length: 1, which: None },
            Ask::Ids { parts: part, size: 32, which: None },
            Ask::Match { halves: half },
            Ask::News {},
            Ask::Lack { hashes: ByteBuf::new() },
            Ask::Holding { hashes: hash },
            Ask::Writers { node, from: ByteBuf::from(vec![0; 8]) },
            Ask::Cuts { list: ByteBuf::from(vec![0; 32]), from: 0 },
        ] {
            let answer = soon(&format!("an answer to {ask:?}"), session.ask(&ask)).await;
            assert!(!matches!(answer, Answer::Refused { .. }), "{ask:?}: {answer:?}");
        }
        let n = 100 + self.puts.fetch_add(1, Ordering::Relaxed);
        let record = put_of(&self.stash, &self.other.keys, &format!("put {n}"), n, &[]);
        let fates = soon("a put", session.give(&[], &[record.bytes()])).await;
        assert_eq!(fates, [Fate::Stored {}]);
    }

    async fn is_gone(&self, client: &Client) {
        let node = client.keys.node_id();
        until("it is gone", || {
            let members = self.node.engine.members();
            members.iter().any(|member| member.node == node && !member.connected)
        })
        .await;
    }
}

/// Asks and never reads; the streams stay open as long as they are kept.
async fn ask_and_leave(
    session: &Session,
    ask: &Ask,
    times: usize,
) -> Vec<crate::client::PutStream> {
    let mut open = Vec::new();
    for _ in 0..times {
        let mut stream = session.open().await;
        stream.send.message(crate::client::pack(ask)).await.unwrap();
        open.push(stream);
    }
    open
}

/// Small answers fill the first window of a connection (320 KiB); large ones, of which a member is
/// given two at first, the first windows of two streams (64 KiB each).
const SMALL_ANSWERS: u64 = 300 << 10;
const LARGE_ANSWERS: u64 = 120 << 10;

/// Waits until a member that reads nothing has been sent all that its windows allow.
async fn full(session: &Session, bytes: u64) {
    until("its window is full", || session.peer.stats().bytes_in > bytes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_member_never_takes_keeps_nothing_from_others_and_ends_with_its_connection() {
    let scene = scene(&[1 << 20, 4_100]).await;
    for (chunk, times, bytes) in [(1, 256, SMALL_ANSWERS), (0, 64, LARGE_ANSWERS)] {
        let (greedy, session) = scene.member(Role::Keeper, narrow()).await;
        let open = ask_and_leave(&session, &scene.get(chunk), times).await;
        full(&session, bytes).await;
        scene.everything().await;
        session.peer.close(CloseReason::Lost);
        scene.is_gone(&greedy).await;
        drop(open);
        scene.everything().await;
    }
    // Nothing of it is left: the next one finds the places that the first one found.
    let (next, session) = scene.member(Role::Keeper, Limits::default()).await;
    for _ in 0..16 {
        assert!(soon("a chunk", session.get(scene.chunks[0].0.address)).await.is_some());
    }
    drop((next, session));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_members_that_take_nothing_keep_nothing_from_others() {
    let scene = scene(&[1 << 20]).await;
    let mut greedy = Vec::new();
    for _ in 0..12 {
        let (client, session) = scene.member(Role::Keeper, narrow()).await;
        let open = ask_and_leave(&session, &scene.get(0), 16).await;
        full(&session, LARGE_ANSWERS).await;
        greedy.push((client, session, open));
    }
    scene.everything().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_on_a_slow_line_holds_up_nobody() {
    let scene = scene(&[1 << 20; 8]).await;
    let down = Rate::new(128 << 10).ok();
    let limits = Limits { bandwidth: Bandwidth { up: None, down }, ..narrow() };
    let (slow, session) = scene.member(Role::Keeper, limits).await;
    let session = Arc::new(session);
    let asked: Vec<_> = scene.chunks.iter().map(|(chunk, _)| chunk.address).collect();
    let gets = asked.iter().map(|address| {
        let (session, address) = (Arc::clone(&session), *address);
        tokio::spawn(async move { session.get(address).await })
    });
    let gets: Vec<_> = gets.collect();
    full(&session, LARGE_ANSWERS).await;
    // Each chunk takes the slow one eight seconds.
    let begun = Instant::now();
    for _ in 0..40 {
        let got = soon("a chunk", scene.session.get(scene.chunks[0].0.address)).await;
        assert!(got.is_some());
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(8), "40 gets beside a slow member took {took:?}");
    scene.everything().await;
    assert!(gets.iter().any(|get| !get.is_finished()), "the slow one is not through");
    gets.iter().for_each(tokio::task::JoinHandle::abort);
    session.peer.close(CloseReason::Lost);
    scene.is_gone(&slow).await;
    scene.everything().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_that_begin_chunks_and_do_not_go_on_keep_no_other_from_putting() {
    let scene = scene(&[1 << 20]).await;
    let (mut begun, mut owners) = (Vec::new(), Vec::new());
    for owner in 0..2 {
        let (client, session) = scene.member(Role::Owner, Limits::default()).await;
        for stream in 0..16 {
            let seed = format!("begun {owner} {stream}");
            let (chunk, bytes) = sealed(&scene.stash, &seed, 1 << 20);
            let mut put = session.put().await;
            assert_eq!(put.offer(&[chunk]).await, [true]);
            put.data(bytes[..10_000].to_vec()).await.unwrap();
            begun.push(put);
        }
        owners.push((client, session));
    }
    for n in 2..6 {
        let (chunk, bytes) = sealed(&scene.stash, &format!("whole {n}"), 1 << 20);
        let record = put_of(&scene.stash, &scene.other.keys, &format!("whole {n}"), n, &[chunk]);
        let given = [(chunk, bytes)];
        let fates = soon("a put", scene.session.give(&given, &[record.bytes()])).await;
        assert_eq!(fates, [Fate::Stored {}]);
    }
    scene.everything().await;
    drop((begun, owners));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_without_pause_holds_up_nobody_who_asks_once() {
    let scene = scene(&[4 << 20, 1 << 20]).await;
    let (_greedy, session) = scene.member(Role::Keeper, Limits::default()).await;
    // 64 MiB to read and hash.
    let chunks = joined_up(&[scene.chunks[0].0.address; 16]);
    let prove = Ask::Prove { nonce: ByteBuf::from(vec![1; 32]), chunks };
    let proven = async || {
        let begun = Instant::now();
        let answer = soon("proofs", scene.session.ask(&prove)).await;
        assert!(matches!(answer, Answer::Proofs { .. }), "{answer:?}");
        begun.elapsed()
    };
    let alone = proven().await;
    let open = ask_and_leave(&session, &prove, 256).await;
    let beside = proven().await;
    // 64 of them are answered at once, and the other one's waits for two of them, not for all.
    assert!(beside < alone * 20, "{beside:?} beside 256 of another member's, {alone:?} alone");
    scene.everything().await;
    drop(open);
    let sums =
        Ask::Sums { prefixes: ByteBuf::from((0..64).collect::<Vec<u8>>()), length: 1, which: None };
    let open = ask_and_leave(&session, &sums, 256).await;
    scene.everything().await;
    drop(open);
}

/// A member whose answers are what `act` says of a question and of how many it got for its order
/// and its member log before; and that number.
async fn scripted(
    scene: &Scene,
    hello: Hello,
    act: impl Fn(usize, Ask) -> Act + Send + Sync + 'static,
) -> (Client, Session, Arc<AtomicUsize>) {
    let keys = NodeKeys::generate(&mut rand::rng());
    let liar = Client::with(&scene.stash, keys, Limits::default(), hello);
    liar.join(&scene.node, Role::Keeper).await;
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let script = script(move |ask, _| {
        let is_counted = matches!(ask, Ask::Log { .. } | Ask::Members { .. });
        act(counted.fetch_add(usize::from(is_counted), Ordering::Relaxed), ask)
    });
    let session = liar.connect_with(&scene.node, script).await;
    (liar, session, count)
}

/// Waits until the node has turned to the question after those that could go on for ever: what both
/// hold, or, if that is the endless one, what is new once more.
async fn turned_to(asked: &AtomicUsize) {
    until("the node goes on to something else", || asked.load(Ordering::Relaxed) > 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_grows_and_names_nothing_new_is_not_read_for_ever() {
    let scene = scene(&[100]).await;
    let held = ByteBuf::from(scene.record.as_bytes().to_vec());
    for hashes in [ByteBuf::new(), held.clone(), ByteBuf::from(held.repeat(4_096))] {
        let turned = Arc::new(AtomicUsize::new(0));
        let noted = Arc::clone(&turned);
        let (_liar, _session, count) =
            scripted(&scene, Hello::default(), move |n, ask| match ask {
                Ask::Log { log, .. } => Act::Say(Answer::Log {
                    known: true,
                    hashes: hashes.clone(),
                    log,
                    last: n as u64 + 1,
                }),
                Ask::All {} => {
                    noted.fetch_add(1, Ordering::Relaxed);
                    Act::Default
                }
                _ => Act::Default,
            })
            .await;
        turned_to(&turned).await;
        assert!(count.load(Ordering::Relaxed) <= 64, "questions: {count:?}");
        scene.everything().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_never_knows_its_own_position_is_compared_with_once() {
    let scene = scene(&[100]).await;
    let compared = Arc::new(AtomicUsize::new(0));
    let noted = Arc::clone(&compared);
    let (_liar, _session, count) = scripted(&scene, Hello::default(), move |n, ask| match ask {
        Ask::Log { after: 0, .. } if n == 0 => Act::Say(Answer::Log {
            known: true,
            hashes: ByteBuf::new(),
            log: ByteBuf::from(vec![1; 16]),
            last: 1,
        }),
        Ask::Log { .. } => Act::Say(Answer::Log {
            known: false,
            hashes: ByteBuf::new(),
            log: ByteBuf::from(vec![2; 16]),
            last: n as u64 + 10,
        }),
        Ask::Sums { length: 0, which: None, .. } => {
            noted.fetch_add(1, Ordering::Relaxed);
            Act::Default
        }
        _ => Act::Default,
    })
    .await;
    until("it was compared", || compared.load(Ordering::Relaxed) > 0).await;
    scene.everything().await;
    // A walk asks three times, and compares once; the next walk begins after a second, then two.
    let (asked, compared) = (count.load(Ordering::Relaxed), compared.load(Ordering::Relaxed));
    assert!(
        asked <= 3 * compared + 3 && compared <= 12,
        "{asked} questions, compared {compared} times"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_log_that_shows_old_entries_again_and_again_is_not_read_for_ever() {
    let scene = scene(&[100]).await;
    let log = scene.node.engine.member_log();
    let first = ByteBuf::from(log.entries()[0].bytes().to_vec());
    let turned = Arc::new(AtomicUsize::new(0));
    let noted = Arc::clone(&turned);
    let hello = Hello { members: 1, head: ByteBuf::from(vec![9; 32]), ..Hello::default() };
    let (_liar, _session, count) = scripted(&scene, hello, move |_, ask| match ask {
        Ask::Members { .. } => {
            Act::Say(Answer::Members { entries: vec![first.clone()], addresses: vec![] })
        }
        Ask::Log { log, after, .. } => {
            noted.fetch_add(1, Ordering::Relaxed);
            Act::Say(Answer::Log { known: true, hashes: ByteBuf::new(), log, last: after })
        }
        _ => Act::Default,
    })
    .await;
    turned_to(&turned).await;
    assert!(count.load(Ordering::Relaxed) <= 4, "questions: {count:?}");
    scene.everything().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn differences_that_are_told_one_by_one_or_never_shown_are_not_compared_for_ever() {
    let scene = scene(&[100]).await;
    // A walk ends after 64 answers that teach nothing; one of 12,288 names is asked about in three.
    for (is_named, questions) in [(false, 64), (true, 22)] {
        let (again, ids) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (noted, count) = (Arc::clone(&again), Arc::clone(&ids));
        let (_liar, session, _) = scripted(&scene, Hello::default(), move |_, ask| match ask {
            Ask::All {} => Act::Say(Answer::All { n: 9, sum: ByteBuf::from(vec![3; 32]), log: 0 }),
            Ask::Sums { prefixes, length, which: None } => {
                let parts = if length == 0 { 1 } else { prefixes.len() };
                Act::Say(Answer::Sums { sums: ByteBuf::from(vec![5; parts * 256 * 8]) })
            }
            Ask::Ids { parts, size, which: None } => {
                count.fetch_add(1, Ordering::Relaxed);
                // Of the first part alone: that there is nothing; or as many as an answer has room
                // for, which nobody has.
                let count = if is_named { 12_288_u16 } else { 0 };
                let rest = vec![0x77; usize::from(size) - 4];
                let name = |n: u16| [&parts[..2], &n.to_be_bytes(), &rest].concat();
                let ids = [count.to_le_bytes().to_vec(), (0..count).flat_map(name).collect()];
                Act::Say(Answer::Ids { ids: ByteBuf::from(ids.concat()), parts: 1 })
            }
            Ask::Log { log, after, .. } => {
                noted.fetch_add(1, Ordering::Relaxed);
                Act::Say(Answer::Log { known: true, hashes: ByteBuf::new(), log, last: after })
            }
            _ => Act::Default,
        })
        .await;
        // Whoever follows it listens to its news once it is through with the comparison.
        until("the node is through", || {
            crate::support::now(session.ask(&Ask::News {}));
            again.load(Ordering::Relaxed) > 1
        })
        .await;
        let asked = ids.load(Ordering::Relaxed);
        assert!((questions..=2 * questions).contains(&asked), "questions: {asked}");
        scene.everything().await;
    }
}

fn lan(text: &str) -> Announced {
    Announced { kind: AddressKind::Lan, place: text.parse().unwrap() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_moves_without_end_is_followed_a_few_times() {
    let scene = scene(&[100]).await;
    let (mover, session) = scene.member(Role::Keeper, Limits::default()).await;
    let changes = scene.node.engine.membership();
    let before = *changes.borrow();
    let begun = Instant::now();
    for sequence in 1..=200 {
        let there = vec![lan(&format!("192.0.2.1:{sequence}"))];
        let signer = mover.keys.signer();
        let claim = SignedAddresses::sign(signer, &scene.stash.id(), sequence, 7, there).unwrap();
        let addresses = vec![ByteBuf::from(claim.encode())];
        let answer = session.ask(&Ask::Announce { entries: vec![], addresses }).await;
        assert_eq!(answer, Answer::Done {});
    }
    let moved = *changes.borrow() - before;
    let more = begun.elapsed().as_secs() / 60;
    assert!((1..=8 + more).contains(&moved), "{moved} of 200 moves were taken");
    assert!(begun.elapsed() > Duration::from_secs(10), "announcements were not slowed down");
    scene.everything().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_a_clock_ahead_has_signed_is_replaced_at_the_next_start() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    crate::support::all_connected(&[&founder, &keeper]).await;
    // What a clock of the year 2100 made an older program sign.
    let (node, far) = (keeper.engine.node_id(), 4_102_444_800_000_000);
    let there = vec![lan("127.0.0.1:9")];
    let ahead = SignedAddresses::sign(keeper.keys.signer(), &stash.id(), far, 7, there).unwrap();
    let other = Client::member(&stash, &founder, Role::Keeper).await;
    let session = other.connect(&founder).await;
    let addresses = vec![ByteBuf::from(ahead.encode())];
    session.ask(&Ask::Announce { entries: vec![], addresses }).await;
    let listens = keeper.engine.listen();
    let seen = |by: &Node| {
        let members = by.engine.members();
        let member = members.into_iter().find(|member| member.node == node)?;
        Some(member.addresses.iter().filter_map(|one| one.place.address()).collect::<Vec<_>>())
    };
    until("it says again where it is", || seen(&founder).is_some_and(|at| at == listens)).await;
    until("it knows so itself", || seen(&keeper).is_some_and(|at| at == listens)).await;
    keeper.engine.shutdown(Duration::from_secs(5)).await;
    let keeper = stash.restarted(keeper, Role::Keeper).await;
    let listens = keeper.engine.listen();
    until("where it is after a start", || seen(&founder).is_some_and(|at| at == listens)).await;

    // Another life of it uses the number that this one has used last.
    let signed = founder.engine.signed_addresses().into_iter();
    let signed = signed.map(|bytes| SignedAddresses::decode(&bytes).unwrap());
    let last = signed.filter(|claim| claim.node == node).map(|claim| claim.sequence).max().unwrap();
    let there = vec![lan("127.0.0.1:9")];
    let signer = keeper.keys.signer();
    let other_life = SignedAddresses::sign(signer, &stash.id(), last, u64::MAX, there).unwrap();
    let addresses = vec![ByteBuf::from(other_life.encode())];
    session.ask(&Ask::Announce { entries: vec![], addresses }).await;
    let newest = || {
        let signed = founder.engine.signed_addresses().into_iter();
        let signed = signed.map(|bytes| SignedAddresses::decode(&bytes).unwrap());
        signed.filter(|claim| claim.node == node).map(|claim| claim.sequence).max().unwrap()
    };
    until("it signs with the next one", || newest() == last + 1).await;
    assert_eq!(seen(&founder), Some(listens));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_used_ticket_opens_the_door_to_whoever_used_it_as_long_as_it_is_a_member() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let ticket = founder.engine.invite(Role::Reader, Duration::from_secs(600)).await.unwrap();
    let view = |tickets: Vec<TicketView>| {
        let shown = tickets.into_iter().find(|shown| shown.id == ticket.id).unwrap();
        (shown.is_open(), shown.used.map(|(node, _)| node))
    };
    assert_eq!(view(founder.engine.tickets().await.unwrap()), (true, None));
    let keys = NodeKeys::generate(&mut rand::rng());
    join(&ticket, &keys, "first").await.unwrap();
    let node = keys.node_id();
    assert_eq!(view(founder.engine.tickets().await.unwrap()), (false, Some(node)));
    join(&ticket, &keys, "first").await.expect("it may not have heard the answer");

    let fresh = Client::new(&stash, NodeKeys::generate(&mut rand::rng()));
    let knocked = fresh.try_knock(&ticket, ticket.addresses[0].address().unwrap()).await;
    assert!(knocked.is_err(), "a used ticket is answered to nobody else");
    let refused = join(&ticket, &NodeKeys::generate(&mut rand::rng()), "second").await;
    assert!(matches!(refused, Err(JoinError::NoAnswer(_))), "{:?}", refused.err());
    // A member by another ticket is somebody else, too.
    let member = Client::member(&stash, &founder, Role::Keeper).await;
    assert!(member.try_knock(&ticket, ticket.addresses[0].address().unwrap()).await.is_err());

    founder.engine.remove_member(node).await.unwrap();
    let gone = join(&ticket, &keys, "first").await;
    assert!(matches!(gone, Err(JoinError::NoAnswer(_))), "{:?}", gone.err());
    assert_eq!(view(founder.engine.tickets().await.unwrap()), (false, Some(node)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_confirmed_beyond_the_log_is_missing_and_another_end_is_an_alarm() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = Client::member(&stash, &founder, Role::Keeper).await;
    let session = keeper.connect(&founder).await;
    let length = founder.engine.member_log().len();
    let tell = async |length, counter| {
        let whole = (length, EntryHash::from_bytes([7; 32]));
        let told = Confirmation::sign(&stash.root().root_signer(), whole, counter, 5);
        let confirmation = ByteBuf::from(told.encode());
        let answer = soon("an answer", session.ask(&Ask::Confirmed { confirmation })).await;
        assert_eq!(answer, Answer::Done {});
    };
    assert_eq!(founder.engine.confirmed(), None);
    tell(length, 1).await;
    let alarms = founder.engine.status().await.unwrap().alarms;
    let text = format!("has confirmed a member log of {length} entries");
    assert!(alarms.iter().any(|alarm| alarm.contains(&text)), "{alarms:?}");
    assert_eq!(founder.engine.confirmed().unwrap().missing, 0);
    // The keeper has no entry that it could show.
    tell(length + 2, 1).await;
    let confirmed = founder.engine.confirmed().unwrap();
    assert_eq!((confirmed.missing, confirmed.at), (2, 5));
    tell(length + 1, 9).await;
    assert_eq!(founder.engine.confirmed(), Some(confirmed), "an older one changes nothing");
}
