//! Which records a node takes from a peer: each rule of `docs/protocol.md` B.3, 5, broken by a
//! second implementation of the protocol, and the records that look odd and are good.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

use crate::client::{Client, Fate, PutStream, clear, joined_up, put_of, sealed, signed};
use crate::scene::{Scene, scene, scene_of};
use crate::support::Stash;
use stash_crypto::record::{HEIGHT_MAX, N_MAX, covered_vector, dead_vector};
use stash_crypto::{
    ChunkRef, Clear, Dot, ForgetKind, Incarnation, Manifest, NodeId, NodeKeys, ReadRoot, Record,
    RecordDraft, RecordKind, Role, StashId, Vector, Writer,
};
use stash_server::Wait;

impl Scene {
    fn clear(&self, key: &str, n: u64) -> Clear {
        clear(&self.stash, &self.owner.keys, key, n)
    }

    fn signed(&self, key: &str, clear: Clear) -> Record {
        signed(&self.stash, &self.owner.keys, key, clear)
    }

    fn put_of(&self, key: &str, n: u64, chunks: &[ChunkRef]) -> Record {
        put_of(&self.stash, &self.owner.keys, key, n, chunks)
    }

    /// Sends one record on a put stream of its own.
    async fn send(&self, record: &[u8]) -> Fate {
        let mut put: PutStream = self.session.put().await;
        put.records(&[record]).await.remove(0)
    }

    /// Sends a record that must be refused, and checks that nothing was kept and that the next good
    /// record is taken.
    async fn refused(&self, record: &[u8]) -> String {
        let before = self.held().await;
        let reason = self.send(record).await.refusal();
        assert_eq!(self.held().await, before, "nothing was kept");
        let n = before + 1_000;
        let good = self.put_of(&format!("good {n}"), n, &[]);
        assert_eq!(self.send(good.bytes()).await, Fate::Stored {}, "the next one");
        assert_eq!(self.held().await, before + 1);
        reason
    }

    async fn held(&self) -> u64 {
        self.node.engine.status().await.unwrap().records
    }

    async fn records_of(&self, key: &str) -> Vec<Record> {
        self.node.engine.records_of(self.stash.name(key)).await.unwrap()
    }

    async fn alarms(&self) -> Vec<String> {
        self.node.engine.status().await.unwrap().alarms
    }
}

fn has(reason: &str, word: &str) {
    assert!(reason.contains(word), "{word:?} is not in {reason:?}");
}

/// Offset of the number of entries of `seen` in a record (`docs/format.md` A.7).
const ENTRIES: usize = 160;
/// Bytes of one entry of `seen`.
const ENTRY: usize = 48;

fn writer(node: NodeId, n: u8) -> Writer {
    Writer { node, incarnation: Incarnation::from_bytes([n; 8]) }
}

fn seen(node: NodeId, incarnations: impl IntoIterator<Item = u8>) -> Vector {
    let mut seen = Vector::new();
    for n in incarnations {
        seen.insert(Dot { writer: writer(node, n), n: 7 }).unwrap();
    }
    seen
}

// Fault cases 8 and 56.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_another_stash_is_refused() {
    let scene = scene().await;
    let mut clear = scene.clear("a", 1);
    clear.stash = StashId::from_bytes(*Stash::new().id().as_bytes());
    has(&scene.refused(scene.signed("a", clear).bytes()).await, "stash");
}

// Fault cases 23 and 25.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_a_reader_or_a_keeper_signed_are_refused() {
    let scene = scene().await;
    for role in [Role::Reader, Role::Keeper] {
        let member = Client::member(&scene.stash, &scene.node, role).await;
        let put = put_of(&scene.stash, &member.keys, "a", 1, &[]);
        has(&scene.refused(put.bytes()).await, &role.to_string());
        let gone =
            Clear { kind: RecordKind::Tombstone, ..clear(&scene.stash, &member.keys, "a", 2) };
        let gone = signed(&scene.stash, &member.keys, "a", gone);
        has(&scene.refused(gone.bytes()).await, &role.to_string());
    }
}

// Fault case 23.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_a_stranger_signed_is_refused() {
    let scene = scene().await;
    let stranger = NodeKeys::generate(&mut rand::rng());
    let put = put_of(&scene.stash, &stranger, "a", 1, &[]);
    has(&scene.refused(put.bytes()).await, "no member");
}

// Fault case 23: the writer is a member, the signature is not its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_whose_signature_is_wrong_in_any_byte_is_refused() {
    let scene = scene().await;
    let good = scene.put_of("a", 1, &[]).bytes().to_vec();
    for back in 1..=64 {
        let mut forged = good.clone();
        let at = forged.len() - back;
        forged[at] ^= 1;
        has(&scene.send(&forged).await.refusal(), "signature");
    }
    let mut altered = good.clone();
    altered[148] ^= 1; // the lowest byte of the height, which the signature covers
    has(&scene.refused(&altered).await, "signature");
    let other = scene.put_of("b", 2, &[]).bytes().to_vec();
    let borrowed = [&good[..good.len() - 64], &other[other.len() - 64..]].concat();
    has(&scene.refused(&borrowed).await, "signature");
    assert!(scene.records_of("a").await.is_empty());
}

// Fault cases 26 and 107: what is offered again after a dead forget is refused, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_forget_takes_what_it_names_and_lets_it_in_no_more() {
    let scene = scene().await;
    let put = scene.put_of("a", 1, &[]);
    let gone = clear_of(&scene, RecordKind::Tombstone, 2, covered_vector([put.clear()]).unwrap());
    let dead = RecordKind::Forget(ForgetKind::Dead);
    let dead = clear_of(&scene, dead, 3, dead_vector(gone.clear()).unwrap());
    let later = clear_of(&scene, RecordKind::Put, 4, dead.clear().seen.clone());
    for record in [&put, &gone] {
        assert_eq!(scene.send(record.bytes()).await, Fate::Stored {});
    }
    let other = scene.put_of("b", 5, &[]);
    assert_eq!(scene.send(other.bytes()).await, Fate::Stored {});
    assert_eq!(scene.send(dead.bytes()).await, Fate::Stored {});
    assert_eq!(scene.records_of("a").await, std::slice::from_ref(&dead));
    for record in [&put, &gone] {
        has(&scene.refused(record.bytes()).await, "dead forget");
    }
    assert_eq!(scene.send(dead.bytes()).await, Fate::Stored {}, "once more");
    assert_eq!(scene.send(later.bytes()).await, Fate::Stored {});
    assert_eq!(scene.records_of("a").await, [dead, later]);
    assert_eq!(scene.records_of("b").await, [other], "another name is another matter");
    assert!(scene.alarms().await.is_empty());
}

// The gate: what is named stays until what covers it has come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_covered_forget_takes_what_it_names_once_a_later_version_is_here() {
    let scene = scene().await;
    let put = scene.put_of("a", 1, &[]);
    let vector = covered_vector([put.clear()]).unwrap();
    let later = clear_of(&scene, RecordKind::Put, 2, vector.clone());
    let forget = RecordKind::Forget(ForgetKind::Covered);
    let forget = clear_of(&scene, forget, 3, vector);
    for record in [&forget, &put] {
        assert_eq!(scene.send(record.bytes()).await, Fate::Stored {});
    }
    assert_eq!(scene.records_of("a").await, [forget.clone(), put.clone()]);
    assert_eq!(scene.send(later.bytes()).await, Fate::Stored {});
    assert_eq!(scene.records_of("a").await, [forget, later]);
    has(&scene.refused(put.bytes()).await, "covered forget");
}

// Chunks for a record that is not let in are not asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forgotten_record_is_refused_though_its_chunks_are_not_here() {
    let scene = scene().await;
    let (chunk, _) = sealed(&scene.stash, "never sent", 1_000);
    let put = scene.put_of("a", 1, &[chunk]);
    let dead = RecordKind::Forget(ForgetKind::Dead);
    let dead = clear_of(&scene, dead, 2, dead_vector(put.clear()).unwrap());
    assert!(matches!(scene.send(put.bytes()).await, Fate::Need { .. }));
    assert_eq!(scene.send(dead.bytes()).await, Fate::Stored {});
    has(&scene.refused(put.bytes()).await, "dead forget");
}

// Fault case 26.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forget_that_a_keeper_signed_is_refused() {
    let scene = scene().await;
    let put = scene.put_of("a", 1, &[]);
    assert_eq!(scene.send(put.bytes()).await, Fate::Stored {});
    let keeper = Client::member(&scene.stash, &scene.node, Role::Keeper).await;
    let kind = RecordKind::Forget(ForgetKind::Dead);
    let seen = dead_vector(put.clear()).unwrap();
    let dead = Clear { kind, seen, ..clear(&scene.stash, &keeper.keys, "a", 1) };
    let dead = signed(&scene.stash, &keeper.keys, "a", dead);
    has(&scene.refused(dead.bytes()).await, "keeper");
    assert_eq!(scene.records_of("a").await, [put]);
}

fn clear_of(scene: &Scene, kind: RecordKind, n: u64, seen: Vector) -> Record {
    scene.signed("a", Clear { kind, seen, ..scene.clear("a", n) })
}

// Fault case 32.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trailing_byte_makes_a_record_malformed() {
    let scene = scene().await;
    let record = scene.put_of("a", 1, &[]);
    let trailing = [record.bytes(), &[0]].concat();
    has(&scene.refused(&trailing).await, "malformed");
    assert_eq!(scene.send(record.bytes()).await, Fate::Stored {}, "without it");
}

// Fault case 33.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_cut_at_any_byte_is_refused() {
    let scene = scene().await;
    let record = scene.put_of("a", 1, &[]);
    let cuts: Vec<&[u8]> = (0..record.bytes().len()).map(|at| &record.bytes()[..at]).collect();
    for page in cuts.chunks(100) {
        for fate in scene.session.put().await.records(page).await {
            has(&fate.refusal(), "malformed");
        }
    }
    assert_eq!(scene.held().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seen_out_of_order_or_doubled_makes_a_record_malformed() {
    let scene = scene().await;
    let clear = Clear { seen: seen(scene.node.keys.node_id(), [8, 9]), ..scene.clear("a", 1) };
    let good = scene.signed("a", clear);
    let (head, rest) = good.bytes().split_at(ENTRIES + 1);
    let (first, rest) = rest.split_at(ENTRY);
    let (second, rest) = rest.split_at(ENTRY);
    let swapped = [head, second, first, rest].concat();
    has(&scene.refused(&swapped).await, "malformed");
    let doubled = [head, first, first, rest].concat();
    has(&scene.refused(&doubled).await, "malformed");
    assert_eq!(scene.send(good.bytes()).await, Fate::Stored {}, "in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seen_of_64_entries_is_taken_and_of_65_malformed() {
    let scene = scene().await;
    let clear = Clear { seen: seen(scene.node.keys.node_id(), 1..=64), ..scene.clear("a", 1) };
    let most = scene.signed("a", clear);
    assert_eq!(most.bytes()[ENTRIES], 64);
    let (head, rest) = most.bytes().split_at(ENTRIES + 1 + 64 * ENTRY);
    let one_more =
        [&writer(scene.node.keys.node_id(), 65).to_bytes()[..], &7_u64.to_le_bytes()].concat();
    let mut beyond = [head, &one_more, rest].concat();
    beyond[ENTRIES] = 65;
    has(&scene.refused(&beyond).await, "malformed");
    assert_eq!(scene.send(most.bytes()).await, Fate::Stored {});
}

// Fault case 23.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_an_epoch_that_was_never_opened_is_refused() {
    let scene = scene().await;
    for epoch in [1, u32::MAX] {
        let clear = Clear { epoch, ..scene.clear("a", 1) };
        let meta = stash_crypto::Meta {
            inline: Some(Vec::new()),
            ..stash_crypto::Meta::new(stash_crypto::Key::new("a").unwrap(), 0)
        };
        let draft = RecordDraft { clear, meta: Some(meta) };
        let keys = ReadRoot::from_parts(epoch, [5; 32]).meta_keys();
        let record = draft.sign(scene.owner.keys.signer(), &keys).unwrap();
        has(&scene.refused(record.bytes()).await, "epoch");
    }
}

/// The signature under a record whose clear part is that of `alice`'s record and whose sealed part
/// is that of `bob`'s. Made outside this crate: Ed25519 with the seed
/// `DERIVE(NODE_SIGNING, 32 times 0x29)` over `"stash v2 record" padded to 32 ‖ stash id ‖ record hash`.
const TRANSPLANTED: &str = "43aa39f9878d574d30cb59e244c928db52865b45fe0cb5c2c9f291a4183d0d27\
    92bd0519455924294d2a86d7ac225341b0890d7f7008314a764edc0e9726760b";

// Fault cases 13 and 56. The server cannot open a meta, so to it the record is as good as any; the
// vault's open_meta fails, and the vault sets such a record aside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transplanted_meta_is_taken_as_opaque_and_never_opens() {
    let scene = scene_of(Stash::of([0x27; 32]), NodeKeys::from_seed([0x29; 32])).await;
    let alice = scene.put_of("alice", 1, &[]).bytes().to_vec();
    let bob = scene.put_of("bobby", 2, &[]).bytes().to_vec();
    assert_eq!(alice.len(), bob.len());
    let clear_len = ENTRIES + 1 + 2;
    let body = [&alice[..clear_len], &bob[clear_len..bob.len() - 64]].concat();
    let record = [&body[..], &unhex(TRANSPLANTED)].concat();
    assert_eq!(scene.send(&record).await, Fate::Stored {});
    let held = scene.records_of("alice").await;
    assert_eq!(held.len(), 1);
    let keys = scene.stash.root().read_root().meta_keys();
    assert!(held[0].open_meta(&keys).is_err(), "bob's meta opens under alice's clear part");
    assert_eq!(scene.send(&bob).await, Fate::Stored {});
    let bob = &scene.records_of("bobby").await[0];
    assert_eq!(bob.open_meta(&keys).unwrap().key.as_str(), "bobby");
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

// Fault cases 17 and 115.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_records_under_one_dot_are_both_kept_and_raise_an_alarm() {
    let scene = scene().await;
    let (one, two) = (scene.put_of("a", 5, &[]), scene.put_of("b", 5, &[]));
    assert_eq!(scene.send(one.bytes()).await, Fate::Stored {});
    assert_eq!(scene.alarms().await, Vec::<String>::new());
    assert_eq!(scene.send(two.bytes()).await, Fate::Stored {});
    assert_eq!(scene.records_of("a").await, [one]);
    assert_eq!(scene.records_of("b").await, [two]);
    let alarms = scene.alarms().await;
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    has(&alarms[0], "number 5");
    has(&alarms[0], &scene.owner.keys.node_id().to_string());
}

// Fault case 17: as above, for records that come in one message and so in one commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_records_under_one_dot_in_one_message_raise_an_alarm() {
    let scene = scene().await;
    let (one, two) = (scene.put_of("a", 5, &[]), scene.put_of("a", 5, &[]).hash());
    assert_eq!(one.hash(), two, "signing is deterministic");
    let two = scene.signed("a", Clear { height: 2, ..scene.clear("a", 5) });
    let mut put = scene.session.put().await;
    let fates = put.records(&[one.bytes(), two.bytes()]).await;
    assert_eq!(fates, [Fate::Stored {}, Fate::Stored {}]);
    let held = scene.records_of("a").await;
    assert!(held.len() == 2 && held.contains(&one) && held.contains(&two), "{held:?}");
    let alarms = scene.alarms().await;
    assert_eq!(alarms.len(), 1, "{alarms:?}");
}

// Fault case 24: a number at the cap freezes nobody but its own writer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_at_the_cap_is_taken_and_others_write_on() {
    let scene = scene().await;
    let last = scene.put_of("a", N_MAX, &[]);
    assert_eq!(scene.send(last.bytes()).await, Fate::Stored {});
    let (_, outcome) = scene.stash.put(&scene.node, "a", &[5_000], Wait::Local).await;
    let mine = outcome.records[0].clear();
    assert_eq!(mine.dot.n, 1, "the numbers of the writer here are its own");
    assert!(mine.seen.covers(&last.clear().dot));
    let held = scene.records_of("a").await;
    assert_eq!(held.len(), 2);
    assert_eq!(stash_crypto::record::leaves(&held).len(), 1, "it covers the one at the cap");
    let earlier = scene.put_of("b", 3, &[]);
    assert_eq!(scene.send(earlier.bytes()).await, Fate::Stored {}, "no frontier refuses");
    let mut beyond = last.bytes().to_vec();
    beyond[108..116].copy_from_slice(&(N_MAX + 1).to_le_bytes());
    has(&scene.refused(&beyond).await, "malformed");
}

// Fault case 24.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_height_after_one_at_the_cap_stays_at_the_cap() {
    let scene = scene().await;
    let high = Clear { height: HEIGHT_MAX, ..scene.clear("a", 1) };
    let high = scene.signed("a", high);
    assert_eq!(scene.send(high.bytes()).await, Fate::Stored {});
    for _ in 0..2 {
        let (_, outcome) = scene.stash.put(&scene.node, "a", &[5_000], Wait::Local).await;
        let mine = &outcome.records[0];
        assert_eq!(mine.clear().height, HEIGHT_MAX);
        let held = scene.records_of("a").await;
        assert_eq!(stash_crypto::record::head(&held).map(Record::hash), Some(mine.hash()));
    }
    let (_, outcome) = scene.stash.put(&scene.node, "b", &[5_000], Wait::Local).await;
    assert_eq!(outcome.records[0].clear().height, 1, "other names are not concerned");
}

// Fault case 102.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_record_twice_is_stored_and_kept_once() {
    let scene = scene().await;
    let record = scene.put_of("a", 1, &[]);
    let twice = [record.bytes(), record.bytes()];
    for _ in 0..2 {
        let fates = scene.session.put().await.records(&twice).await;
        assert_eq!(fates, [Fate::Stored {}, Fate::Stored {}]);
    }
    assert_eq!(scene.held().await, 1);
    assert_eq!(scene.records_of("a").await, [record]);
    assert_eq!(scene.node.engine.record_log(0, 10).await.unwrap().len(), 1);
    assert_eq!(scene.alarms().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_apply_out_of_order_and_with_gaps() {
    let scene = scene().await;
    for n in [9, 2, 7, 4_000_000_000_000, 1] {
        let record = scene.put_of("a", n, &[]);
        assert_eq!(scene.send(record.bytes()).await, Fate::Stored {}, "number {n}");
    }
    assert_eq!(scene.held().await, 5);
    assert_eq!(scene.alarms().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_needs_exactly_the_chunks_that_are_not_here() {
    let scene = scene().await;
    let chunks: Vec<_> = ["x", "y", "z"].map(|seed| sealed(&scene.stash, seed, 4_096)).into();
    let refs: Vec<ChunkRef> = chunks.iter().map(|(chunk, _)| *chunk).collect();
    let first = scene.put_of("first", 1, &refs[1..2]);
    assert_eq!(scene.session.give(&chunks[1..2], &[first.bytes()]).await, [Fate::Stored {}]);

    let record = scene.put_of("a", 2, &refs);
    let need = Fate::Need { chunks: joined_up(&[refs[0].address, refs[2].address]) };
    assert_eq!(scene.send(record.bytes()).await, need);
    assert!(scene.records_of("a").await.is_empty(), "nothing was kept");
    assert_eq!(scene.held().await, 1);
    // A good record beside one that lacks chunks is stored all the same.
    let beside = scene.put_of("beside", 3, &[]);
    let fates = scene.session.put().await.records(&[record.bytes(), beside.bytes()]).await;
    assert_eq!(fates, [need, Fate::Stored {}]);
    assert_eq!(scene.session.give(&chunks, &[record.bytes()]).await, [Fate::Stored {}]);
    assert_eq!(scene.records_of("a").await, [record]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_behind_a_manifest_chunk_are_needed_too() {
    let scene = scene().await;
    let chunks: Vec<_> = (0..65).map(|i| sealed(&scene.stash, &format!("m{i}"), 4_096)).collect();
    let refs: Vec<ChunkRef> = chunks.iter().map(|(chunk, _)| *chunk).collect();
    let manifest = stash_crypto::chunk::manifest_chunks(&refs);
    let outer: Vec<ChunkRef> = manifest.iter().map(|(chunk, _)| *chunk).collect();
    let clear = Clear {
        manifest: Manifest::Indirect { chunks: outer.clone(), total: 65 },
        ..scene.clear("a", 1)
    };
    let meta = stash_crypto::Meta {
        chunk_size: 4_096,
        ..stash_crypto::Meta::new(stash_crypto::Key::new("a").unwrap(), 65 * 4_096)
    };
    let draft = RecordDraft { clear, meta: Some(meta) };
    let keys = scene.stash.root().read_root().meta_keys();
    let record = draft.sign(scene.owner.keys.signer(), &keys).unwrap();

    let need = Fate::Need { chunks: joined_up(&[outer[0].address]) };
    assert_eq!(scene.send(record.bytes()).await, need);
    let addresses: Vec<_> = refs.iter().map(|chunk| chunk.address).collect();
    let need = Fate::Need { chunks: joined_up(&addresses) };
    assert_eq!(scene.session.give(&manifest, &[record.bytes()]).await, [need]);
    assert_eq!(scene.held().await, 0);
    let need = Fate::Need { chunks: joined_up(&addresses[64..]) };
    assert_eq!(scene.session.give(&chunks[..64], &[record.bytes()]).await, [need]);
    assert_eq!(scene.session.give(&chunks[64..], &[record.bytes()]).await, [Fate::Stored {}]);
}
