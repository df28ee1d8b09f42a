//! Rows of operations on a store and on its disk, against the model: what a fuzzer tries.

use std::io::ErrorKind;

use stash_store::disk::Fault;
use stash_store::{Disk, MemDisk, Options, Store};

use super::choices::Script;
use super::model::{Model, User};
use super::{dir, inline};

/// Operations of one row.
const OPERATIONS: u32 = 200;

/// Bytes from which one step of the user takes its decisions: more than nearly all need.
pub const STEP: usize = 24;

/// The next operation. A code that is not given away yet is a step of the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The user does something: see [`User::step`], which takes its decisions from the next
    /// [`STEP`] bytes.
    Step,
    /// Compares the store with the model.
    Check,
    /// The store is closed, and opened again.
    Reopen,
    /// The power goes now.
    Restart,
    /// The power will go, so many operations of the disk from now.
    PowerCut { after: u64 },
    /// Operations of the disk will fail.
    Fail { after: u64, kind: ErrorKind, times: u64 },
    /// The disk has room for so many bytes more.
    Fill { room: u64 },
    /// Whatever is wrong with the disk is over.
    Heal,
    /// The store is closed, loses its index, and is opened again.
    LoseIndex,
}

impl Operation {
    pub fn read(script: &mut Script) -> Operation {
        match script.byte() % 32 {
            16 => Operation::Check,
            17 => Operation::Reopen,
            18 => Operation::Restart,
            19 => Operation::PowerCut { after: 1 + script.number(1) },
            20 => {
                let (after, times) = (1 + script.number(1), 1 + script.number(1) % 8);
                Operation::Fail { after, kind: ErrorKind::Other, times }
            }
            21 => {
                let (after, times) = (1 + script.number(1), 1 + script.number(1) % 8);
                Operation::Fail { after, kind: ErrorKind::StorageFull, times }
            }
            22 => Operation::Fill { room: script.number(2) },
            23 => Operation::Heal,
            24 => Operation::LoseIndex,
            _ => Operation::Step,
        }
    }
}

/// Runs operations as long as there are bytes. True if none of the user's steps failed.
pub fn run(bytes: &[u8]) -> bool {
    let mut script = Script::new(bytes);
    let mut world = World::new(&script);
    for number in 0..OPERATIONS {
        if script.is_over() {
            break;
        }
        let operation = Operation::read(&mut script);
        world.context = format!("operation {number}, {operation:?}");
        world.apply(operation);
    }
    world.context = "at the end".into();
    world.heal();
    world.reopen();
    for _ in 0..4 {
        world.step();
    }
    world.reopen();
    !world.failed
}

/// A store, its disk and its user.
pub struct World {
    script: Script,
    disk: MemDisk,
    options: Options,
    store: Option<Store>,
    user: User,
    /// The contents that may be there beside what is sure, if a step failed and the store takes no more.
    unknown: Option<Model>,
    /// Something is wrong with the disk, or will be.
    faulty: bool,
    /// The disk failed otherwise than by being full: damage may be reported.
    erred: bool,
    /// A sync failed, and what the disk says is written may be lost: only a restart tells.
    lied: bool,
    /// The disk was at fault since the store was opened: a blob lost then may still be told of.
    owed: bool,
    failed: bool,
    context: String,
}

impl World {
    pub fn new(script: &Script) -> World {
        let disk = MemDisk::new(1);
        let options = inline(&disk);
        let store = Some(Store::create(dir(), &options).unwrap());
        World {
            script: script.clone(),
            disk,
            options,
            store,
            user: User::by(Box::new(script.clone())),
            unknown: None,
            faulty: false,
            erred: false,
            lied: false,
            owed: false,
            failed: false,
            context: String::new(),
        }
    }

    pub fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Step => self.step(),
            Operation::Check => self.check(),
            Operation::Reopen => self.reopen(),
            Operation::Restart => {
                self.close();
                self.disk.restart();
                self.reopen();
            }
            Operation::PowerCut { after } => self.inject(after, Fault::PowerCut),
            Operation::Fail { after, kind, times } => {
                self.erred |= kind != ErrorKind::StorageFull;
                self.inject(after, Fault::Error { kind, times });
            }
            Operation::Fill { room } => {
                self.faulty = true;
                self.disk.set_capacity(Some(self.disk.used() + room));
            }
            Operation::Heal => self.heal(),
            Operation::LoseIndex => {
                self.close();
                self.lose_index();
                self.reopen();
            }
        }
    }

    fn inject(&mut self, after: u64, fault: Fault) {
        self.faulty = true;
        self.disk.inject(after, fault);
    }

    fn heal(&mut self) {
        if !self.disk.is_powered() {
            self.close();
            self.disk.restart();
            self.reopen();
        }
        self.disk.heal();
        self.disk.set_capacity(None);
        self.owed |= std::mem::take(&mut self.faulty);
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("it is opened again at once")
    }

    fn step(&mut self) {
        let store = self.store.clone().expect("it is opened again at once");
        let Err(error) = self.script.within(STEP, || self.user.step(&store)) else {
            return;
        };
        self.failed = true;
        let read_only = store.stats().read_only;
        if !self.faulty && read_only.is_none() {
            assert!(self.owed, "{}: {error}", self.context);
            // A flush tells of all that no flush has told of: the one after it has nothing to tell.
            let _ = store.flush();
            assert!(store.flush().is_ok(), "{}: {error}, and again", self.context);
        }
        if !self.disk.is_powered() {
            drop(store);
            return self.reopen();
        }
        // Whether a batch whose sync failed survives a restart is not known before it.
        let maybe = self.user.maybe.clone();
        self.user.check(&store, &self.context);
        if read_only.is_some() && self.unknown.is_none() {
            self.unknown = Some(maybe);
        }
    }

    fn check(&mut self) {
        if self.disk.is_powered() {
            let store = self.store().clone();
            self.user.check(&store, &self.context);
        } else {
            self.reopen();
        }
    }

    fn close(&mut self) {
        self.user.rest();
        if let Some(store) = self.store.take() {
            // What closing would write is written while the store can still say that a sync failed.
            let _ = store.flush();
            self.lied |= store.stats().read_only.is_some();
        }
        self.owed = false;
    }

    fn lose_index(&self) {
        for (path, _) in self.disk.files() {
            let is_index = path.strip_prefix(dir()).is_ok_and(|path| path.starts_with("index"))
                || path.ends_with("index.redb");
            if is_index && self.disk.is_powered() {
                // A disk that fails just then keeps it.
                let _ = Disk::remove(&self.disk, &path);
            }
        }
    }

    /// Opens what is on the disk. If it cannot be opened, the disk is at fault: without its
    /// faults it can.
    fn reopen(&mut self) {
        self.close();
        if !self.disk.is_powered() || std::mem::take(&mut self.lied) {
            self.disk.restart();
        }
        let mut opened = Store::open(dir(), &self.options);
        if opened.is_err() || !self.disk.is_powered() {
            assert!(self.faulty, "{}: {:?}", self.context, opened.err());
            drop(opened);
            self.disk.restart();
            self.disk.heal();
            self.disk.set_capacity(None);
            self.faulty = false;
            opened = Store::open(dir(), &self.options);
        }
        let store = opened.unwrap_or_else(|error| panic!("{}: {error}", self.context));
        let damage = &store.open_report().damage;
        assert!(self.erred || damage.is_empty(), "{}: {damage:?}", self.context);
        if let Some(unknown) = self.unknown.take() {
            self.user.maybe = unknown;
        }
        self.user.check(&store, &self.context);
        self.store = Some(store);
    }
}
