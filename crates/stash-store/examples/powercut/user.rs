//! A user who does random things to a store, and writes down what it was told.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use stash_store::{Batch, Committer, OpenError, OpenReport, Options, Store};

use crate::acks::Acks;
use crate::contents::Random;
use crate::model::Model;
use crate::operation::{Draft, Operation};

/// A sentence for people, in the end; what broke is in its words.
pub(crate) type Failure = Box<dyn std::error::Error>;

/// Steps under way together at most.
const STEPS_TOGETHER: u64 = 3;
/// Operations of a step at most.
const OPERATIONS: u64 = 5;

/// A user of one store.
pub(crate) struct User {
    dir: PathBuf,
    options: Options,
    random: Random,
    acks: Acks,
    only_adds: bool,
    /// `None` only while it is opened again.
    store: Option<Store>,
    /// The report of the first opening.
    report: OpenReport,
    under_way: u64,
    found_done: u64,
}

/// Limits so small that segments, checkpoints and files of blobs come every few steps.
fn options(seed: u64) -> Options {
    Options {
        // Odd seeds have a store's own threads write, even ones the user's: the order of calls
        // can then be replayed.
        committer: if seed % 2 == 1 { Committer::Thread } else { Committer::Inline },
        small: 4096,
        direct: 8192,
        segment_bytes: 64 * 1024,
        checkpoint_bytes: 32 * 1024,
        cache_bytes: 1024 * 1024,
        seed: Some([7; 32]),
        ..Options::default()
    }
}

impl User {
    /// Opens the store, or makes it if nobody was told yet that it was made, and checks all of it.
    pub(crate) fn open(dir: &Path, seed: u64, acks: &Path) -> Result<User, Failure> {
        let mut user = User {
            dir: dir.to_owned(),
            options: options(seed),
            random: Random(seed),
            acks: Acks::open(acks)?,
            only_adds: false,
            store: None,
            report: OpenReport::default(),
            under_way: 0,
            found_done: 0,
        };
        let before = user.acks.last;
        user.under_way = user.acks.under_way.len() as u64;
        let store = user.open_or_create()?;
        user.report = store.open_report().clone();
        user.settle(store)?;
        user.found_done = user.acks.last - before;
        Ok(user)
    }

    /// From now on nothing is removed that takes room on the disk.
    pub(crate) fn who_only_adds(self) -> User {
        User { only_adds: true, ..self }
    }

    fn open_or_create(&mut self) -> Result<Store, Failure> {
        match Store::open(&self.dir, &self.options) {
            Ok(store) => {
                if !self.acks.created {
                    self.acks.note("created")?;
                }
                Ok(store)
            }
            Err(OpenError::NoStore { .. }) if !self.acks.created => {
                self.acks.note("create")?;
                let store = Store::create(&self.dir, &self.options)
                    .map_err(|error| format!("no store can be made: {error}"))?;
                self.acks.note("created")?;
                Ok(store)
            }
            Err(error) => Err(format!("the store does not open: {error}").into()),
        }
    }

    /// The store that was opened shows what was acknowledged, and all or nothing of each step.
    fn settle(&mut self, store: Store) -> Result<(), Failure> {
        if let Some(damage) = store.open_report().damage.first() {
            return Err(format!("the log is damaged: {damage}").into());
        }
        if let Some(reason) = store.stats().read_only {
            return Err(format!("the store is read-only: {reason}").into());
        }
        let (before, opens) = (self.acks.opens, store.opens());
        if opens <= before {
            return Err(format!("the store was open {before} times, and says {opens}").into());
        }
        self.acks.note(&format!("opened {opens}"))?;
        self.acks.settle(&Model::observe(&store)?)?;
        self.store = Some(store);
        Ok(())
    }

    /// Closes the store, opens it again, and checks all of it.
    pub(crate) fn reopen(&mut self) -> Result<(), Failure> {
        self.store = None;
        let store = self.open_or_create()?;
        self.settle(store)
    }

    pub(crate) fn reseed(&mut self, seed: u64) {
        self.random = Random(seed);
    }

    /// A few steps, handed over together; then waits for all of them.
    pub(crate) fn round(&mut self) -> Result<(), Failure> {
        let store = self.store.clone().ok_or("the store is closed")?;
        let mut draft = Draft {
            model: self.acks.sure.clone(),
            touched: BTreeSet::new(),
            only_adds: self.only_adds,
        };
        let (sender, receiver) = mpsc::channel();
        let first = self.acks.last + 1;
        let steps = first..=first + self.random.below(STEPS_TOGETHER);
        for number in steps.clone() {
            let batch = self.hand_over(&store, number, &mut draft)?;
            let sender = sender.clone();
            store.commit_then(batch, move |result| {
                // The receiver waits below.
                let _ = sender.send(result);
            });
        }
        for number in steps {
            receiver.recv()?.map_err(|error| format!("step {number} was refused: {error}"))?;
            self.acks.note(&format!("ok {number}"))?;
        }
        Ok(())
    }

    fn hand_over(
        &mut self,
        store: &Store,
        number: u64,
        draft: &mut Draft,
    ) -> Result<Batch, Failure> {
        let count = 1 + self.random.below(OPERATIONS);
        let operations: Vec<Operation> =
            (0..count).filter_map(|_| Operation::draw(&mut self.random, draft)).collect();
        let words: String = operations.iter().map(|operation| format!(" {operation}")).collect();
        self.acks.note(&format!("do {number}{words}"))?;
        operations.iter().try_fold(Batch::new(), |batch, operation| operation.perform(store, batch))
    }

    pub(crate) fn steps(&self) -> u64 {
        self.acks.last
    }

    /// The report of the first opening, in words for a program.
    pub(crate) fn findings(&self) -> String {
        format!(
            "under_way={} found_done={} replayed={} torn_bytes={} tmp_removed={} rebuilt={}",
            self.under_way,
            self.found_done,
            self.report.replayed,
            self.report.torn_bytes,
            self.report.tmp_removed,
            u64::from(self.report.index_rebuilt.is_some()),
        )
    }
}
