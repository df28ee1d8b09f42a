//! All machines of one schedule, and what happens to them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stash_crypto::member::{AddressKind, Announced, SignedAddresses};
use stash_crypto::{
    Address, JoinRequest, MemberChange, MemberEntry, MemberLog, NameId, NodeKeys, RecordHash, Role,
    Ticket, TicketId,
};
use stash_server::store::disk::Fault;
use stash_server::store::{Batch, Disk};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::away::Thief;
use crate::backup::Backup;
use crate::caches::Caches;
use crate::check::may_be_gone;
use crate::clones::Twins;
use crate::full::Full;
use crate::joining::Invited;
use crate::machine::{Common, FOUNDER, Machine, Stop};
use crate::model::{Model, held, here};
use crate::network::{Switch, address, lock};
use crate::operation::{Cluster, Content, Hand, Up};
use crate::profile::{Guest, Profile};
use crate::recovery::Loss;
use crate::support::{Stash, admit_entry};
use crate::trace::Trace;

/// Time until records that a node has set aside come back, once it knows the log by which they
/// count.
const TAKEN_BACK: Duration = Duration::from_secs(30);

pub(crate) struct World {
    pub(crate) common: Arc<Common>,
    pub(crate) machines: Vec<Machine>,
    pub(crate) profile: Profile,
    pub(crate) random: StdRng,
    pub(crate) model: Arc<Mutex<Model>>,
    pub(crate) cluster: Cluster,
    pub(crate) trace: Trace,
    pub(crate) tasks: Vec<JoinHandle<()>>,
    pub(crate) begun: Instant,
    /// Records that each machine held when it was looked at last.
    pub(crate) seen: BTreeMap<(usize, NameId), BTreeSet<RecordHash>>,
    /// Since when each machine has known the whole member log, and how many entries that were.
    pub(crate) current_since: BTreeMap<usize, (u64, Instant)>,
    pub(crate) backups: BTreeMap<usize, Backup>,
    /// Number of disks that each machine has had.
    pub(crate) disks: Vec<u32>,
    /// The log of members as the founder has made it.
    pub(crate) log: MemberLog,
    /// The machine that signs changes of members, or did until it was lost.
    pub(crate) founder: usize,
    /// When the disk of the founder was last replaced by what may know less of the log, and whether
    /// it can see that.
    pub(crate) put_back: Option<(Instant, bool)>,
    /// Fate of the founder's machine.
    pub(crate) loss: Loss,
    /// Machines that are owners, or were.
    pub(crate) writers: Vec<usize>,
    /// A machine that drops all the time what it says that it has.
    pub(crate) hollow: Option<usize>,
    /// Two machines with the same keys.
    pub(crate) twins: Option<Twins>,
    /// Draws evictions at the worst moment, in schedules that have any.
    pub(crate) evictions: Option<StdRng>,
    /// A machine that has a ticket and has not joined yet.
    pub(crate) invited: Option<Invited>,
    /// Tickets that were used, or that have expired.
    pub(crate) old_tickets: Vec<Arc<Ticket>>,
    /// The thief that takes chunk files away for a while.
    pub(crate) thief: Option<Thief>,
    /// Number of times that each machine's chunk files were taken away.
    pub(crate) taken: BTreeMap<usize, u64>,
    /// Machines that are short of room, and when.
    pub(crate) full: Full,
    /// How much machines keep, and from when on.
    pub(crate) caches: Caches,
}

impl World {
    /// Machines that know each other and have never run.
    pub(crate) fn new(seed: u64, profile: Profile) -> World {
        let mut random = StdRng::seed_from_u64(seed);
        let trace = Trace::new();
        let root = random.random();
        let stash = Stash::of(root);
        let keys: Vec<NodeKeys> =
            (0..profile.nodes).map(|_| NodeKeys::generate(&mut random)).collect();
        let (log, addresses) = founded(&stash, &keys, &profile);
        let switch = Switch::new(random.random(), profile.weather, trace.clone());
        let keys = with_guests(keys.into_iter().map(Arc::new).collect(), &profile, seed);
        let nodes = keys.iter().map(|keys| keys.node_id()).collect();
        let machine = |(at, keys)| Machine::new(at, keys, seed ^ (at as u64) << 40);
        let mut machines: Vec<Machine> = keys.into_iter().enumerate().map(machine).collect();
        let mut caches = Caches::of(seed, profile.year);
        caches.begin(&mut machines);
        machines[profile.nodes..].iter_mut().for_each(|guest| guest.is_present = false);
        let mut model = Model::default();
        model.log_len = log.len();
        World {
            log: log.clone(),
            common: Arc::new(Common {
                stash,
                log,
                nodes,
                addresses,
                switch,
                skipped: Arc::default(),
                seed,
            }),
            machines,
            random,
            model: Arc::new(Mutex::new(model)),
            cluster: Cluster::default(),
            trace,
            tasks: Vec::new(),
            begun: Instant::now(),
            seen: BTreeMap::new(),
            current_since: BTreeMap::new(),
            backups: BTreeMap::new(),
            disks: vec![0; profile.nodes + profile.guests.len()],
            hollow: None,
            twins: None,
            invited: None,
            old_tickets: Vec::new(),
            taken: BTreeMap::new(),
            thief: Thief::of(seed, profile.year),
            evictions: crate::evictions::draws(seed, &profile),
            full: Full::of(seed, profile.year),
            caches,
            founder: FOUNDER,
            put_back: None,
            loss: Loss::default(),
            writers: (0..profile.owners).collect(),
            profile,
        }
    }

    /// The machines that are there, running or not.
    pub(crate) fn present(&self) -> Vec<usize> {
        self.machines.iter().filter(|one| one.is_present).map(|one| one.index).collect()
    }

    /// A machine that writes, or that did and may not know that it must not.
    pub(crate) fn writer(&mut self) -> usize {
        let writers = &self.writers;
        writers[self.random.random_range(0..writers.len())]
    }

    /// No way leads to a machine, and none from it.
    pub(crate) fn cut_off(&mut self, at: usize) {
        self.trace.line(&format!("node {at} is cut off"));
        for other in (0..self.machines.len()).filter(|other| *other != at) {
            self.common.switch.cut(at, other);
            self.common.switch.cut(other, at);
        }
    }

    /// The key of some file.
    pub(crate) fn key(&mut self) -> String {
        let keys: Vec<String> = self.profile.keys().collect();
        let at = self.below(keys.len());
        keys[at].clone()
    }

    /// Content for some put.
    pub(crate) fn content(&mut self) -> Content {
        match Content::draw(&mut self.random) {
            // What is named after a pause is given up meanwhile.
            Content::Known(which) if self.profile.year => Content::Chunk(which),
            content => content,
        }
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.random.random_range(0..n.max(1))
    }

    pub(crate) fn names(&self) -> Vec<NameId> {
        self.profile.keys().map(|key| self.common.stash.name(&key)).collect()
    }

    pub(crate) async fn start(&mut self, at: usize) -> Result<(), String> {
        let started = self.machines[at].start(&self.common, self.begun).await;
        match (&started, &self.machines[at].running) {
            (Ok(()), Some(running)) => {
                let (life, store) = (running.life.clone(), running.store.clone());
                let (lies, disks) = (self.profile.lies(at), self.disks[at]);
                let was_cache = self.machines[at].was_cache;
                let up = Up { life, store, lies, was_cache, disks };
                lock(&self.cluster).insert(at, up);
                self.trace.line(&format!("node {at} starts"));
                self.follow_log();
                self.open_vault(at);
            }
            (Err(error), _) => {
                self.trace.line(&format!("node {at} does not start: {error}"));
                self.stop(at, Stop::Power);
            }
            _ => {}
        }
        started
    }

    pub(crate) fn stop(&mut self, at: usize, how: Stop) {
        self.trace.line(&format!("node {at} stops: {how:?}"));
        lock(&self.cluster).remove(&at);
        let common = Arc::clone(&self.common);
        self.machines[at].stop(&common, how);
    }

    /// The part of a vault that runs beside an engine.
    fn open_vault(&mut self, at: usize) {
        let vault = self.hand_with(at, 0).filter(|_| self.profile.parts());
        if let (Some(vault), Some(running)) = (vault, &mut self.machines[at].running) {
            running.vault = Some(tokio::spawn(vault.write_again()));
        }
    }

    /// A node for a user.
    pub(crate) fn hand(&mut self, at: usize) -> Option<Hand> {
        let seed = self.random.random();
        self.hand_with(at, seed)
    }

    fn hand_with(&self, at: usize, seed: u64) -> Option<Hand> {
        let machine = &self.machines[at];
        let running = machine.up()?;
        Some(Hand {
            common: Arc::clone(&self.common),
            index: at,
            life: running.life.clone(),
            engine: running.engine.clone(),
            log: running.engine.member_log(),
            store: running.store.clone(),
            keys: Arc::clone(&machine.keys),
            model: Arc::clone(&self.model),
            cluster: Arc::clone(&self.cluster),
            trace: self.trace.clone(),
            seed,
        })
    }

    pub(crate) fn run(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.push(tokio::spawn(task));
    }

    /// Machines whose power went in the middle of a write are noticed.
    pub(crate) fn notice(&mut self) {
        let cut = |machine: &Machine| machine.running.is_some() && machine.up().is_none();
        let gone: Vec<usize> =
            self.machines.iter().filter(|one| cut(one)).map(|one| one.index).collect();
        gone.into_iter().for_each(|at| self.stop(at, Stop::Power));
    }

    /// Nothing that a node held is gone without a reason.
    pub(crate) fn watch(&mut self) {
        self.follow_log();
        self.note_current();
        for name in self.names() {
            for machine in &self.machines {
                let Some(running) = machine.up() else { continue };
                if self.hollow == Some(machine.index) {
                    continue;
                }
                let Ok(held) = held(&running.store, &name) else { continue };
                let now: BTreeSet<RecordHash> = held.iter().map(|record| record.hash()).collect();
                if !self.knows_log_for(machine.index, TAKEN_BACK) {
                    // It may know of an ending and not yet of what came after it: what it sets aside
                    // until then comes back.
                    let seen = self.seen.entry((machine.index, name)).or_default();
                    let model = lock(&self.model);
                    seen.retain(|hash| now.contains(hash) || !may_be_gone(&model, &held, hash));
                    seen.extend(now);
                    continue;
                }
                let before = self.seen.insert((machine.index, name), now.clone());
                let mut model = lock(&self.model);
                for gone in before.unwrap_or_default().difference(&now) {
                    if !may_be_gone(&model, &held, gone) {
                        let title = model.title(gone);
                        let text = format!("node {} dropped {title}", machine.index);
                        model.violation(text);
                    }
                }
            }
        }
    }

    /// True if a machine has known the whole member log for so long.
    fn knows_log_for(&self, at: usize, long: Duration) -> bool {
        let since = self.current_since.get(&at);
        since.is_some_and(|(length, since)| *length == self.log.len() && since.elapsed() >= long)
    }

    /// Looks who knows the whole member log.
    fn note_current(&mut self) {
        for at in 0..self.machines.len() {
            let length = self.log.len();
            let known = self.current_since.get(&at).is_some_and(|(known, _)| *known == length);
            match self.is_current(at) {
                true if !known => drop(self.current_since.insert(at, (length, Instant::now()))),
                false if self.machines[at].up().is_some() => drop(self.current_since.remove(&at)),
                _ => {}
            }
        }
    }

    /// A keeper drops what it said that it has: by its store, which knows it then, or below its store, which does not before
    /// somebody asks for it.
    pub(crate) async fn lie(&mut self, at: usize) {
        if !self.profile.lies(at) || !self.harm(at).await {
            return;
        }
        let chunks: Vec<Address> = lock(&self.model).chunks.keys().copied().collect();
        let Some(running) = self.machines[at].up() else { return };
        let store = running.store.clone();
        let files = self.machines[at].chunk_files();
        let (mut batch, mut below) = (Batch::new(), 0);
        for (chunk, here) in chunks.iter().zip(here(&store, &chunks)) {
            if !here || !self.random.random_bool(0.5) {
                continue;
            }
            let file = files.get(chunk).filter(|_| chunk.as_bytes()[0].is_multiple_of(2));
            if let Some(file) = file {
                below += u32::from(self.machines[at].disk.remove(file).is_ok());
            } else {
                let address = stash_server::store::Address::from_bytes(*chunk.as_bytes());
                batch = batch.evict(vec![address]);
            }
        }
        for name in self.names() {
            for record in held(&store, &name).unwrap_or_default() {
                if self.random.random_bool(0.3) {
                    batch = batch.drop_record(*record.hash().as_bytes());
                }
            }
        }
        let dropped = store.commit(batch).is_ok();
        self.trace
            .line(&format!("node {at} drops what it has: {dropped}, and {below} below its store"));
    }

    /// The disk of a machine fails, for some operations or until it is healed.
    pub(crate) fn fault(&mut self, at: usize) {
        let kinds = [io::ErrorKind::Other, io::ErrorKind::StorageFull];
        let kind = kinds[self.below(kinds.len())];
        let after = self.random.random_range(1..40);
        let times = self.random.random_range(1..4);
        self.machines[at].disk.inject(after, Fault::Error { kind, times });
        self.trace.line(&format!("disk {at}: {kind} in {after} operations, {times} times"));
    }

    /// The power goes in the middle of something.
    pub(crate) fn cut_power(&mut self, at: usize) {
        let after = self.random.random_range(1..60);
        self.machines[at].disk.inject(after, Fault::PowerCut);
        self.trace.line(&format!("disk {at}: power goes in {after} operations"));
    }

    pub(crate) fn jump(&mut self, at: usize) {
        let year = 365 * 24 * 3_600;
        let by = self.random.random_range(-year..=year);
        self.machines[at].wrong.store(by, Ordering::Relaxed);
        self.trace.line(&format!("clock {at} is wrong by {by} s"));
    }
}

/// The member log of a stash with these members, and where they listen.
fn founded(stash: &Stash, keys: &[NodeKeys], profile: &Profile) -> (MemberLog, Vec<Vec<u8>>) {
    let root = stash.root();
    let mut log = MemberLog::new(stash.id());
    let told = MemberChange::Root { noise: root.noise_static().public(), wrap: root.wrap_public() };
    let sign = |change| MemberEntry::sign(&root.root_signer(), 0, log.head(), change);
    let told = sign(told).expect("the root secret signs");
    log.push(told).expect("the first entry");
    let mut addresses = Vec::new();
    for (at, keys) in keys.iter().enumerate() {
        let ticket = TicketId::from_bytes([u8::try_from(at).expect("30 at most"); 16]);
        let request = JoinRequest::sign(keys, &stash.id(), ticket, "node").expect("it signs");
        let entry = admit_entry(&root, &log, &request, profile.role(at));
        log.push(entry).expect("an entry that follows");
        let announced = Announced { kind: AddressKind::Lan, place: address(at).into() };
        let claim = SignedAddresses::sign(keys.signer(), &stash.id(), 1, 0, vec![announced]);
        addresses.push(claim.expect("an address that others can use").encode());
    }
    debug_assert!(profile.role(0) == Role::Owner);
    (log, addresses)
}

/// The keys of all machines: those of the members, and of guests in this order.
fn with_guests(mut keys: Vec<Arc<NodeKeys>>, profile: &Profile, seed: u64) -> Vec<Arc<NodeKeys>> {
    let mut random = StdRng::seed_from_u64(seed ^ 0x6b65_7973);
    for guest in &profile.guests {
        keys.push(match guest {
            Guest::Clone(of) => Arc::clone(&keys[*of]),
            Guest::Joiner | Guest::Heir | Guest::Stranger => {
                Arc::new(NodeKeys::generate(&mut random))
            }
        });
    }
    keys
}
