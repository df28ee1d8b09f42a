//! Rows of operations on a tree, with power cuts and rot, against a map in memory that does the same.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arbitrary::Unstructured;
use stash_runs::disk::{Disk, Fault, MemDisk};
use stash_runs::{Changes, Directory, Tree, TreeError, TreeLimits};

const KEY: [u8; 32] = [9; 32];

/// Changes in one batch at most.
const BATCH: u64 = 20;

/// Operations of the disk ahead of which a power cut may lie: more than a merge has.
const AHEAD: u64 = 64;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// A tree, and what it should be.
struct Run {
    disk: MemDisk,
    directory: Directory,
    tree: Tree,
    map: Map,
    /// The map as it was when it was set aside, by the number that the head carries.
    frozen: BTreeMap<u64, Map>,
    /// The last number whose checkpoint succeeded, and the one that waits or was tried.
    durable: u64,
    waiting: u64,
    /// Set once a bit was flipped: from then on every answer is right, or damage.
    rotten: bool,
}

fn byte(input: &mut Unstructured<'_>) -> u8 {
    input.arbitrary().unwrap_or_default()
}

/// A number below `n`, which is not 0: of one byte if that is enough, else of four.
fn place(input: &mut Unstructured<'_>, n: u64) -> u64 {
    match n {
        ..=256 => u64::from(byte(input)) % n,
        _ => u64::from(input.arbitrary::<u32>().unwrap_or_default()) % n,
    }
}

fn open(directory: &Directory) -> Result<Tree, TreeError> {
    Tree::open(directory, KEY, TreeLimits { cache_bytes: 64 * 1024, salt: 1 << 40 })
}

fn number(tree: &Tree) -> u64 {
    tree.head().map_or(0, |head| u64::from_le_bytes(head.try_into().unwrap()))
}

impl Run {
    fn begin(seed: u64) -> Run {
        let disk = MemDisk::new(seed);
        disk.create_dir(Path::new("/d")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let directory = Directory::new(Arc::new(disk.clone()), "/d/map".into());
        let tree = open(&directory).unwrap();
        let frozen = BTreeMap::from([(0, Map::new())]);
        let (durable, waiting, rotten) = (0, 0, false);
        Run { disk, directory, tree, map: Map::new(), frozen, durable, waiting, rotten }
    }

    fn publish(&mut self, input: &mut Unstructured<'_>) {
        let mut changes = Changes::default();
        for _ in 0..=u64::from(byte(input)) % BATCH {
            let (table, name, len, byte): (u8, u8, u8, u8) = input.arbitrary().unwrap_or_default();
            // A few names, some of them at the start of others.
            let key = [&[table % 3][..], &vec![name % 16; usize::from(name % 40)]].concat();
            if len == 0 {
                changes.remove(&key);
                self.map.remove(&key);
            } else {
                // Up to three blocks.
                let value = vec![byte; usize::from(len) * 50];
                changes.insert(&key, value.clone());
                self.map.insert(key, value);
            }
        }
        self.tree.publish(changes);
    }

    fn freeze(&mut self) {
        let next = self.frozen.len() as u64;
        if self.tree.freeze(next.to_le_bytes().to_vec()) {
            self.frozen.insert(next, self.map.clone());
            self.waiting = next;
        }
    }

    fn checkpoint(&mut self) -> Result<(), TreeError> {
        if self.tree.checkpoint()? {
            self.durable = self.waiting;
        }
        Ok(())
    }

    /// Opens the tree again: it is as of the last checkpoint, or of one that was under way.
    fn reopen(&mut self) -> Result<(), TreeError> {
        self.tree = open(&self.directory)?;
        let found = number(&self.tree);
        let waited = self.waiting;
        assert!(
            found == self.durable || found == waited,
            "{found} of {} or {waited}",
            self.durable
        );
        self.map = self.frozen[&found].clone();
        (self.durable, self.waiting) = (found, found);
        Ok(())
    }

    /// Opens the tree after a power cut, or after several: another may come while it is opened.
    fn restart(&mut self) -> Result<(), TreeError> {
        loop {
            self.disk.restart();
            let opened = self.reopen();
            if opened.is_ok() || self.disk.is_powered() {
                return opened;
            }
        }
    }

    fn flip(&mut self, input: &mut Unstructured<'_>) {
        let files = self.disk.files();
        let Some((path, len)) = files.get(usize::from(byte(input)) % files.len().max(1)) else {
            return;
        };
        if *len > 0 {
            self.disk.flip_bit(path, place(input, len * 8)).unwrap();
            self.rotten = true;
        }
    }

    /// Asks everything.
    fn check(&self) -> Result<(), TreeError> {
        let mut found = Map::new();
        self.tree.scan(&[], &mut |key, value| {
            found.insert(key.to_vec(), value.to_vec());
            true
        })?;
        assert!(found == self.map, "another map");
        for (key, value) in &self.map {
            assert_eq!(self.tree.get(key)?.as_ref(), Some(value));
        }
        let last = self.tree.last(&[], &[255])?;
        assert_eq!(last, self.map.iter().next_back().map(|(k, v)| (k.clone(), v.clone())));
        Ok(())
    }

    fn step(&mut self, input: &mut Unstructured<'_>) -> Result<(), TreeError> {
        match byte(input) % 16 {
            0..5 => self.publish(input),
            5..7 => self.freeze(),
            7..10 => self.checkpoint()?,
            10 | 11 => drop(self.tree.merge(&|| Ok(()))?),
            12 => self.reopen()?,
            13 => self.disk.inject(1 + u64::from(byte(input)) % AHEAD, Fault::PowerCut),
            14 => self.check()?,
            _ => self.flip(input),
        }
        Ok(())
    }
}

/// Runs a row of operations. False if it ended with damage.
pub fn run(bytes: &[u8]) -> bool {
    let mut input = Unstructured::new(bytes);
    let mut run = Run::begin(input.arbitrary().unwrap_or_default());
    while !input.is_empty() {
        let mut done = run.step(&mut input);
        if done.is_err() && !run.disk.is_powered() {
            done = run.restart();
        }
        match done {
            Ok(()) => {}
            Err(TreeError::Damaged(_)) if run.rotten => return false,
            Err(error) => panic!("{error}"),
        }
    }
    run.disk.heal();
    match run.restart().and_then(|()| run.check()) {
        Ok(()) => true,
        Err(TreeError::Damaged(_)) if run.rotten => false,
        Err(error) => panic!("{error}"),
    }
}
