//! A machine of a schedule: a disk, keys, a clock, and at times an engine that runs on them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use stash_crypto::{Address, MemberLog, NetworkKey, NodeId, NodeKeys};
use stash_p2p::{Clock, Entropy};
use stash_server::store::disk::{OpenMode, Survival};
use stash_server::store::{Committer, Disk, MemDisk, Options, Quota, Store};
use stash_server::{Engine, EngineOptions, Environment, Housekeeping, Mode, Traffic, found};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::caches::ALL;
use crate::network::{Life, Switch, address, lock};
use crate::support::Stash;

/// The wall clock of every machine at the start of a schedule, in seconds since 1970.
const BEGUN: u64 = 1_800_000_000;

/// Blobs of so many bytes and more are files.
pub(crate) const SMALL: u32 = 2_048;

/// Place of a store on its disk.
const STORE: &str = "/store";

/// The machine that holds the root secret, until it is lost.
pub(crate) const FOUNDER: usize = 0;

/// State that all machines of a schedule share.
pub(crate) struct Common {
    pub(crate) stash: Stash,
    pub(crate) log: MemberLog,
    /// The members, in order of their machines.
    pub(crate) nodes: Vec<NodeId>,
    /// Addresses of every member, signed by it.
    pub(crate) addresses: Vec<Vec<u8>>,
    pub(crate) switch: Switch,
    /// Seconds that were left out since the schedule began: all clocks are so much later, and every
    /// node that ran has run for so much longer.
    pub(crate) skipped: Arc<AtomicU64>,
    pub(crate) seed: u64,
}

/// The way in which a machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The process is killed: its system keeps what it has written, and says that nobody is there.
    Kill,
    /// The power goes: what was not synced may be lost, and nobody hears of it.
    Power,
}

/// The id of a store, and how often it was opened.
pub(crate) type Opens = ([u8; 16], u64);

pub(crate) struct Machine {
    pub(crate) index: usize,
    pub(crate) keys: Arc<NodeKeys>,
    pub(crate) disk: MemDisk,
    pub(crate) running: Option<Running>,
    /// True if it is there: a guest is not before it has come, and one of two machines with the
    /// same keys is not any more once it is stopped for good.
    pub(crate) is_present: bool,
    /// True if the root secret is on it.
    pub(crate) is_founder: bool,
    /// Data that a node that joined was given.
    pub(crate) welcome: Option<Welcome>,
    /// The node's note beside its store: the store's id, and how often it was opened.
    pub(crate) opens: Option<Opens>,
    /// Starts with a store that may not be the one that it left.
    pub(crate) fresh_starts: u32,
    /// Error of its clock, in seconds.
    pub(crate) wrong: Arc<AtomicI64>,
    starts: u64,
    /// Quota of its store.
    pub(crate) quota: Quota,
    /// Bytes of chunks that it keeps, from its next start on.
    pub(crate) keep: u64,
    /// It has kept less than everything, and others may think that it still does.
    pub(crate) was_cache: bool,
}

/// Data that a node was given when it joined, and keeps beside its store.
pub(crate) struct Welcome {
    pub(crate) log: MemberLog,
    pub(crate) addresses: Vec<Vec<u8>>,
    pub(crate) network: Vec<NetworkKey>,
}

/// An engine that runs, and what it runs on.
pub(crate) struct Running {
    pub(crate) life: Life,
    pub(crate) engine: Engine,
    pub(crate) store: Store,
    house: JoinHandle<()>,
    /// The work of a vault beside it.
    pub(crate) vault: Option<JoinHandle<()>>,
}

struct MachineClock {
    begun: Instant,
    skipped: Arc<AtomicU64>,
    wrong: Arc<AtomicI64>,
}

impl Clock for MachineClock {
    fn since_epoch(&self) -> Duration {
        let skipped = self.skipped.load(Ordering::Relaxed);
        let right = Duration::from_secs(BEGUN + skipped) + self.begun.elapsed();
        let wrong = self.wrong.load(Ordering::Relaxed);
        let wrong_by = Duration::from_secs(wrong.unsigned_abs());
        if wrong < 0 { right.saturating_sub(wrong_by) } else { right + wrong_by }
    }
}

struct Seeded(Mutex<StdRng>);

impl Entropy for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        lock(&self.0).fill_bytes(bytes);
    }
}

impl Machine {
    /// The files of chunks on the disk, whether the store knows of them or not.
    pub(crate) fn chunk_files(&self) -> BTreeMap<Address, PathBuf> {
        let of = |(path, len): (PathBuf, u64)| {
            let is_chunk = path.components().any(|part| part.as_os_str() == "chunks");
            let mut bytes = vec![0; usize::try_from(len).ok().filter(|_| is_chunk)?];
            let file = self.disk.open(&path, OpenMode::Read).ok()?;
            file.read_at(0, &mut bytes).ok()?;
            Some((Address::of(&bytes), path))
        };
        self.disk.files().into_iter().filter_map(of).collect()
    }

    pub(crate) fn new(index: usize, keys: Arc<NodeKeys>, seed: u64) -> Machine {
        Machine {
            index,
            keys,
            disk: MemDisk::new(seed),
            running: None,
            is_present: true,
            is_founder: index == FOUNDER,
            welcome: None,
            opens: None,
            fresh_starts: 0,
            wrong: Arc::default(),
            starts: 0,
            quota: Quota::default(),
            keep: ALL,
            was_cache: false,
        }
    }

    /// Number of times that it was started.
    pub(crate) fn starts(&self) -> u64 {
        self.starts
    }

    /// The engine, if it runs and has power.
    pub(crate) fn up(&self) -> Option<&Running> {
        self.running.as_ref().filter(|running| running.life.is_on())
    }

    /// Opens the store, or makes an empty one, and starts the engine. `Err` says why it did not
    /// start; it may be tried again.
    pub(crate) async fn start(&mut self, common: &Common, begun: Instant) -> Result<(), String> {
        self.starts += 1;
        let seed = common.seed ^ (self.index as u64) << 48 ^ self.starts << 32;
        let store = self.open(common, seed)?;
        let now = (store.store_id(), store.opens());
        // What is made with a home is noted there; a store that is made later is not the one it left.
        let is_first = self.opens.is_none() && self.starts == 1;
        let fresh_writer = !is_first && self.opens != Some((now.0, now.1 - 1));
        self.fresh_starts += u32::from(fresh_writer);
        // As a node does: noted for good once the new incarnation is durable.
        self.opens = Some(if fresh_writer { (now.0, u64::MAX) } else { now });
        let life = Life::new(self.index, self.disk.clone());
        let environment = self.environment(common, &life, begun, seed);
        let options = EngineOptions {
            store: store.clone(),
            mode: Mode::Inline,
            environment,
            keys: Arc::clone(&self.keys),
            stash: common.stash.id(),
            network: self.network(common),
            listen: vec![address(self.index)],
            advertise: vec![],
            admission: self.is_founder.then(|| common.admission(seed)),
            fresh_writer,
            traffic: Traffic::default(),
            discovery: false,
            housekeeping: Housekeeping {
                gc_interval: Duration::from_secs(60),
                gc_grace: Duration::from_secs(120),
                keep: self.keep,
                ..Housekeeping::default()
            },
        };
        self.was_cache |= self.keep != ALL;
        let engine = Engine::start(options).await.map_err(|error| error.to_string())?;
        self.opens = Some(now);
        let house = tokio::spawn(keep_house(engine.clone(), Arc::clone(&common.skipped)));
        self.running = Some(Running { life, engine, store, house, vault: None });
        Ok(())
    }

    /// The environment of a node on this machine in one of its lives.
    pub(crate) fn environment(
        &self,
        common: &Common,
        life: &Life,
        begun: Instant,
        seed: u64,
    ) -> Environment {
        Environment {
            network: Arc::new(common.switch.port(life.clone())),
            clock: Arc::new(MachineClock {
                begun,
                skipped: Arc::clone(&common.skipped),
                wrong: Arc::clone(&self.wrong),
            }),
            entropy: Arc::new(Seeded(Mutex::new(StdRng::seed_from_u64(seed)))),
        }
    }

    fn network(&self, common: &Common) -> Vec<NetworkKey> {
        match &self.welcome {
            Some(welcome) => welcome.network.iter().map(NetworkKey::duplicate).collect(),
            None => vec![common.stash.root().network_key()],
        }
    }

    fn open(&mut self, common: &Common, seed: u64) -> Result<Store, String> {
        let options = self.store_options(&self.disk, seed);
        let words = |error: &dyn std::fmt::Display| error.to_string();
        if self.opens.is_some() {
            return Store::open(Path::new(STORE), &options).map_err(|error| words(&error));
        }
        let made = Store::create(Path::new(STORE), &options).map_err(|error| words(&error));
        let made = made.and_then(|store| {
            let first = self.starts == 1 && self.welcome.is_none();
            let known = self.welcome.as_ref().map(|welcome| (&welcome.log, &welcome.addresses));
            let (log, addresses) = known.unwrap_or((&common.log, &common.addresses));
            let written = found(&store, log, addresses, first);
            written.map(|()| store).map_err(|error| words(&error))
        });
        if made.is_err() {
            // Half of a store is nothing: a node makes its store under another name, then renames.
            self.disk = MemDisk::new(seed);
        }
        made
    }

    fn store_options(&self, disk: &MemDisk, seed: u64) -> Options {
        let mut identity = [0; 32];
        StdRng::seed_from_u64(seed ^ 1).fill_bytes(&mut identity);
        Options {
            committer: Committer::Inline,
            disk: Arc::new(disk.clone()),
            seed: Some(identity),
            small: SMALL,
            segment_bytes: 64 << 10,
            checkpoint_bytes: 32 << 10,
            ballast_bytes: 0,
            quota: self.quota,
            ..Options::default()
        }
    }

    /// The store that a start with a copy of a disk would find.
    pub(crate) fn store_on(&self, copy: &MemDisk) -> Option<Store> {
        Store::open(Path::new(STORE), &self.store_options(&copy.fork(0), 0)).ok()
    }

    /// Stops at once. What was acknowledged is on the disk.
    pub(crate) fn stop(&mut self, common: &Common, how: Stop) {
        if let Some(running) = self.running.take() {
            running.life.end();
            running.house.abort();
            running.vault.iter().for_each(JoinHandle::abort);
            if how == Stop::Kill {
                common.switch.break_life(&running.life);
            }
            // What is left of it reaches neither network nor disk; it is told to end.
            tokio::spawn(async move { running.engine.shutdown(Duration::ZERO).await });
        }
        match how {
            Stop::Kill if self.disk.is_powered() => self.disk.restart_with(Survival::Everything),
            _ => self.disk.restart(),
        }
    }

    /// The disk is gone; a new one is put in.
    pub(crate) fn wipe(&mut self, seed: u64) {
        self.disk = MemDisk::new(seed);
        self.opens = None;
    }

    /// An older state of the disk is put back; the node's own note of its opens is not.
    pub(crate) fn restore(&mut self, backup: &MemDisk, seed: u64) {
        self.disk = backup.fork(seed);
    }
}

/// The housekeeping of an inline engine, as the engine's own threads would do it.
async fn keep_house(engine: Engine, skipped: Arc<AtomicU64>) {
    let skipped = || Duration::from_secs(skipped.load(Ordering::Relaxed));
    let (begun, before) = (Instant::now(), skipped());
    let mut keeper = engine.housekeeper();
    loop {
        let left_out = skipped() - before;
        let next = keeper.step(begun.elapsed() + left_out).await.saturating_sub(left_out);
        // Each step takes a moment, or else one that is due at once would stop the clock.
        let soonest = Instant::now() + Duration::from_millis(10);
        sleep_until((begun + next).max(soonest)).await;
    }
}
