//! Operations of users and owners on one node, each as a task of its own beside everything else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stash_crypto::chunk::{CHUNK_OVERHEAD, padme};
use stash_crypto::record::{covered_vector, covers, dead_vector, leaves};
use stash_crypto::{
    Address, ChunkRef, Clear, ForgetKind, Key, Manifest, MemberLog, Meta, NameId, NodeKeys, Record,
    RecordDraft, RecordHash, RecordKind, Vector,
};
use stash_server::store::Store;
use stash_server::{Engine, Outcome, Position, Wait, Write};
use tokio::time::sleep;

use crate::check::may_be_gone;
use crate::machine::Common;
use crate::model::{Model, held, here};
use crate::network::{Life, lock};
use crate::trace::Trace;

/// Contents that files may have: few, so that versions and names share chunks.
const CONTENTS: u8 = 6;

/// Lengths of those contents before padding: in the log of the store, and in files.
const LENGTHS: [usize; 2] = [300, 5_000];

/// Nodes that run now, with the number of disks that each has had.
pub(crate) type Cluster = Arc<Mutex<BTreeMap<usize, Up>>>;

#[derive(Clone)]
pub(crate) struct Up {
    pub(crate) life: Life,
    pub(crate) store: Store,
    /// It says that it has what it drops.
    pub(crate) lies: bool,
    /// It has kept less than everything at some time: others may think that it does.
    pub(crate) was_cache: bool,
    pub(crate) disks: u32,
}

/// A record that is to be signed.
pub(crate) struct New {
    pub(crate) kind: RecordKind,
    pub(crate) refs: Vec<ChunkRef>,
    /// The records that it has seen; those held of its name if that is not said.
    pub(crate) seen: Option<Seen>,
    pub(crate) height: Option<u64>,
}

/// The records that a record has seen: as it says it, and as the model does.
pub(crate) struct Seen {
    pub(crate) vector: Vector,
    pub(crate) past: BTreeSet<RecordHash>,
}

impl New {
    pub(crate) fn of(kind: RecordKind, refs: Vec<ChunkRef>) -> New {
        New { kind, refs, seen: None, height: None }
    }
}

/// A node in the hand of a user.
#[derive(Clone)]
pub(crate) struct Hand {
    pub(crate) common: Arc<Common>,
    pub(crate) index: usize,
    pub(crate) life: Life,
    pub(crate) engine: Engine,
    pub(crate) store: Store,
    /// The member log, as the node knows it when the user begins.
    pub(crate) log: MemberLog,
    pub(crate) keys: Arc<NodeKeys>,
    pub(crate) model: Arc<Mutex<Model>>,
    pub(crate) cluster: Cluster,
    pub(crate) trace: Trace,
    pub(crate) seed: u64,
}

/// Content of a put.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content {
    /// A few bytes in the record.
    Inline,
    /// A chunk that is sealed and sent.
    Chunk(u8),
    /// A chunk that the node believes to have, named after a pause.
    Known(u8),
}

impl Content {
    pub(crate) fn draw(random: &mut StdRng) -> Content {
        let which = random.random_range(0..CONTENTS);
        match random.random_range(0..4) {
            0 => Content::Inline,
            1 => Content::Known(which),
            _ => Content::Chunk(which),
        }
    }
}

impl Hand {
    fn random(&self) -> StdRng {
        StdRng::seed_from_u64(self.seed)
    }

    pub(crate) fn say(&self, text: &str) {
        if self.life.is_on() {
            self.trace.line(&format!("node {}: {text}", self.index));
        }
    }

    pub(crate) fn name(&self, key: &str) -> NameId {
        self.common.stash.name(key)
    }

    /// Puts a version of a name that covers all that is held of it.
    pub(crate) async fn put(self, key: String, content: Content, wait: Wait) {
        let upload = self.engine.upload(wait);
        let refs = match content {
            Content::Inline => vec![],
            Content::Chunk(which) => {
                let (chunk, sealed) = self.sealed(which).await;
                if let Err(error) = upload.chunk(chunk.address, sealed).await {
                    return self.say(&format!("put {key}: {error}"));
                }
                vec![chunk]
            }
            Content::Known(which) => {
                let (chunk, _) = self.sealed(which).await;
                match upload.known(chunk).await {
                    Ok(true) => {}
                    _ => return,
                }
                // A walk through a large tree may take so long, and somebody gives the bytes up.
                let pause = Duration::from_millis(self.random().random_range(0..2_000));
                tokio::join!(sleep(pause), self.clone().evict(key.clone()));
                vec![chunk]
            }
        };
        let (write, signed) = self.write(&key, New::of(RecordKind::Put, refs));
        self.commit(upload, write, signed, format!("put {key}"), wait).await;
    }

    pub(crate) async fn remove(self, key: String, wait: Wait) {
        let (write, signed) = self.write(&key, New::of(RecordKind::Tombstone, vec![]));
        let upload = self.engine.upload(wait);
        self.commit(upload, write, signed, format!("remove {key}"), wait).await;
    }

    /// Forgets everything that is held of a name.
    pub(crate) async fn purge(self, key: String, wait: Wait) {
        let dead = RecordKind::Forget(ForgetKind::Dead);
        let (write, signed) = self.write(&key, New::of(dead, vec![]));
        let upload = self.engine.upload(wait);
        self.commit(upload, write, signed, format!("purge {key}"), wait).await;
    }

    /// Work of retention: a removed name ends, old versions go.
    pub(crate) async fn retain(self, key: String) {
        let Ok(records) = held(&self.store, &self.name(&key)) else { return };
        let top = leaves(&records);
        let (kind, named, vector) = match top[..] {
            [leaf] if leaf.clear().kind == RecordKind::Tombstone => {
                (ForgetKind::Dead, leaf.clone(), dead_vector(leaf.clear()))
            }
            _ => {
                let is_old = |record: &&Record| {
                    record.clear().kind.is_version()
                        && top.iter().any(|leaf| covers(leaf.clear(), record.clear()))
                };
                let old: Vec<_> = records.iter().filter(is_old).collect();
                let Some(last) = old.get(self.random().random_range(0..old.len().max(1))) else {
                    return;
                };
                (ForgetKind::Covered, (*last).clone(), covered_vector([last.clear()]))
            }
        };
        let Ok(vector) = vector else { return };
        let mut past = lock(&self.model).past(&named.hash());
        past.insert(named.hash());
        let seen = Some(Seen { vector, past });
        let new = New { seen, ..New::of(RecordKind::Forget(kind), vec![]) };
        let (write, signed) = self.write(&key, new);
        let upload = self.engine.upload(Wait::Local);
        self.commit(upload, write, signed, format!("retain {key}"), Wait::Local).await;
    }

    pub(crate) async fn commit(
        &self,
        upload: stash_server::Upload,
        write: Write,
        signed: Arc<Mutex<Option<RecordHash>>>,
        what: String,
        wait: Wait,
    ) {
        let known = |at: &usize| self.log.member(&self.common.nodes[*at]).is_some();
        let up = lock(&self.cluster).clone().into_iter().filter(|(at, _)| known(at));
        let disks: BTreeMap<usize, u32> = up.map(|(at, up)| (at, up.disks)).collect();
        let pending = match upload.commit(vec![write]).await {
            Ok(pending) => pending,
            Err(error) => return self.say(&format!("{what}: {error}")),
        };
        let Some(hash) = *lock(&signed) else { return };
        if !self.life.is_on() {
            return;
        }
        if !self.stored(&hash) {
            return self.say(&format!("{what}: nothing new"));
        }
        let title = lock(&self.model).title(&hash);
        self.say(&format!("{what}: {title} is durable here"));
        let outcome = pending.wait().await;
        if self.life.is_on() {
            self.say(&format!("{title}: {} of {} copies", outcome.copies, outcome.wanted));
            self.check_copies(&hash, &outcome, wait, &disks);
        }
    }

    /// Notes the acknowledgement; a version must be here now, with its chunks.
    fn stored(&self, hash: &RecordHash) -> bool {
        let mut model = lock(&self.model);
        let Some(known) = model.records.get(hash).cloned() else { return false };
        let has = self.store.has_records(&[*hash.as_bytes()]).is_ok_and(|has| has[0]);
        if !known.kind().is_version() {
            if has {
                model.acknowledge(hash);
            }
            return has;
        }
        model.acknowledge(hash);
        let title = &known.title;
        if !has && !known.is_past() {
            model.violation(format!("{title} was acknowledged and is not held"));
        }
        let chunks: Vec<Address> =
            known.record.clear().manifest.refs().iter().map(|chunk| chunk.address).collect();
        if here(&self.store, &chunks).contains(&false) {
            model.violation(format!("{title} was acknowledged without its chunk"));
        }
        true
    }

    /// Everybody who is counted as a copy holds the record.
    fn check_copies(
        &self,
        hash: &RecordHash,
        outcome: &Outcome,
        wait: Wait,
        disks: &BTreeMap<usize, u32>,
    ) {
        let mut model = lock(&self.model);
        let title = model.title(hash);
        let is_cache = self.engine.cache().is_some();
        if !is_cache && !outcome.short && outcome.copies < wait.copies(outcome.wanted) {
            model.violation(format!("{title}: {} copies are called enough", outcome.copies));
        }
        for (at, up) in lock(&self.cluster).iter() {
            let node = self.common.nodes[*at];
            let missing = outcome.missing.iter().any(|(without, _)| *without == node);
            let same = disks.get(at) == Some(&up.disks);
            let removed = model.removed.contains(at);
            // Of two machines with the same keys, either may have said so.
            let twin = model.is_twin(*at);
            let no_target = up.was_cache;
            if missing || removed || twin || up.lies || no_target || !same || !up.life.is_on() {
                continue;
            }
            let name = model.records[hash].record.clear().name;
            let Ok(held) = held(&up.store, &name) else { continue };
            if !held.iter().any(|record| record.hash() == *hash)
                && !may_be_gone(&model, &held, hash)
            {
                model.violation(format!("{title} is counted as a copy on node {at}, and is not"));
            }
        }
    }

    /// Gives up the local bytes of the head.
    pub(crate) async fn evict(self, key: String) {
        let name = self.name(&key);
        let Ok(records) = held(&self.store, &name) else { return };
        let Some(head) = leaves(&records).first().map(|head| (*head).clone()) else { return };
        let chunks: Vec<Address> =
            head.clear().manifest.refs().iter().map(|chunk| chunk.address).collect();
        if chunks.is_empty() {
            return;
        }
        for chunk in &chunks {
            *lock(&self.model).evicting.entry(*chunk).or_default() += 1;
        }
        let evicted = self.engine.evict_version(name, head.hash(), chunks.clone(), Some(1)).await;
        for chunk in &chunks {
            *lock(&self.model).evicting.entry(*chunk).or_default() -= 1;
        }
        let mut model = lock(&self.model);
        if self.engine.member_log().len() < model.log_len {
            // Whoever proved them may have been removed, and this node has not heard of it.
            model.lost_chunks.extend(&chunks);
        }
        drop(model);
        let what = match evicted {
            Ok(evicted) => format!("{} chunks dropped", evicted.chunks),
            Err(error) => error.to_string(),
        };
        self.say(&format!("evict {key}: {what}"));
    }

    /// Reads the head, and keeps it.
    pub(crate) async fn get(self, key: String) {
        let Ok(records) = held(&self.store, &self.name(&key)) else { return };
        let Some(head) = leaves(&records).first().map(|head| (*head).clone()) else { return };
        let mut fetch = self.engine.fetch(head.clear().manifest.refs().to_vec(), true);
        while let Some(chunk) = fetch.next().await {
            if let Err(error) = chunk {
                return self.say(&format!("get {key}: {error}"));
            }
        }
        self.say(&format!("get {key}: whole"));
    }

    /// Collects what nothing names, without any grace.
    pub(crate) async fn collect(self) {
        match self.engine.collect(true, |_| true).await {
            Ok(done) => self.say(&format!("gc: {} chunks", done.chunks)),
            Err(error) => self.say(&format!("gc: {error}")),
        }
    }

    async fn sealed(&self, which: u8) -> (ChunkRef, stash_server::buffers::Shared) {
        let plain = LENGTHS[usize::from(which) % LENGTHS.len()];
        let plain = usize::try_from(padme(plain as u64)).expect("a small length");
        let mut buffer = self.engine.buffer(CHUNK_OVERHEAD + plain).await;
        let mut bytes = blake3::Hasher::new().update(&[which]).finalize_xof();
        bytes.fill(&mut buffer[CHUNK_OVERHEAD..]);
        let keys = self.common.stash.root().read_root().chunk_keys();
        let sealed = keys.seal_in_place(&mut buffer).expect("a whole chunk");
        let sealed_len = u32::try_from(buffer.len()).expect("a small length");
        let chunk = ChunkRef { address: sealed.address, sealed_len };
        lock(&self.model).chunks.insert(chunk.address, chunk);
        (chunk, buffer.freeze())
    }

    /// The order to sign a record. The model hears of it when it is signed.
    pub(crate) fn write(&self, key: &str, new: New) -> (Write, Arc<Mutex<Option<RecordHash>>>) {
        let New { kind, refs, seen: named, height } = new;
        let (name, key) = (self.name(key), Key::new(key).expect("a good key"));
        let signed = Arc::new(Mutex::new(None));
        let (hand, told) = (self.clone(), Arc::clone(&signed));
        let meta = match kind {
            RecordKind::Put => Some(meta(key, &refs)),
            RecordKind::Tombstone => Some(Meta::new(key, 0)),
            RecordKind::Forget(_) => None,
        };
        let draft = move |position: Position| {
            let seen = named.as_ref().map_or(position.seen, |seen| seen.vector.clone());
            let clear = Clear {
                stash: position.stash,
                kind,
                name,
                dot: position.dot,
                previous: position.previous,
                height: height.unwrap_or(position.height),
                // Of the first read root: any that has begun will do.
                epoch: 0,
                seen,
                manifest: Manifest::Direct(refs.clone()),
            };
            let keys = hand.common.stash.root().read_root().meta_keys();
            let draft = RecordDraft { clear, meta: meta.clone() };
            let record = draft.sign(hand.keys.signer(), &keys)?;
            let mut model = lock(&hand.model);
            let past = match &named {
                Some(seen) => seen.past.clone(),
                None => model.seen_with(&held(&hand.store, &name).unwrap_or_default()),
            };
            model.signed(&record, hand.index, past);
            *lock(&told) = Some(record.hash());
            Ok(record)
        };
        (Write { name, draft: Box::new(draft) }, signed)
    }
}

fn meta(key: Key, refs: &[ChunkRef]) -> Meta {
    let plain = |chunk: &ChunkRef| u64::from(chunk.sealed_len) - CHUNK_OVERHEAD as u64;
    Meta {
        chunk_size: 1 << 20,
        inline: refs.is_empty().then(Vec::new),
        ..Meta::new(key, refs.iter().map(plain).sum())
    }
}
