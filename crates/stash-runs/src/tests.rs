//! The tree against a map in memory that does the same.

#![allow(clippy::print_stdout, reason = "random tests print their seed")]

mod answers;
mod power;
mod room;
mod rot;
mod threads;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;

use stash_disk::{Disk, MemDisk};

use crate::run::Run;
use crate::sync::{Arc, AtomicBool};
use crate::{Changes, Directory, Tree, TreeCursor, TreeError, TreeLimits};

pub(crate) const KEY: [u8; 32] = [3; 32];
pub(crate) const LIMITS: TreeLimits = TreeLimits { cache_bytes: 256 * 1024, salt: 1 << 41 };

/// The seed of a random test: `STASH_SEED`, or the test's own.
pub(crate) fn seed(default: u64) -> u64 {
    let seed = std::env::var("STASH_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(default);
    println!("replay with STASH_SEED={seed}");
    seed
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_of<T: Copy, const N: usize>(&mut self, all: [T; N]) -> T {
        all[usize::try_from(self.below(N as u64)).unwrap()]
    }

    pub(crate) fn bytes(&mut self, len: u64) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// Draws one of some hundred keys: short ones, hashes behind a table's number, and longer ones that
    /// have those as their prefix.
    pub(crate) fn key(&mut self) -> Vec<u8> {
        if self.below(4) == 0 {
            return (0..self.below(4)).map(|_| self.one_of([0, 1, 255])).collect();
        }
        let mut key = vec![1 + self.below(2).to_le_bytes()[0]];
        key.extend_from_slice(blake3::hash(&[self.below(40).to_le_bytes()[0]]).as_bytes());
        if self.below(3) > 0 {
            let more = 1 + self.below(3);
            key.extend((0..more).map(|_| self.one_of([0, 9, 255])));
        }
        key
    }

    pub(crate) fn value(&mut self) -> Vec<u8> {
        let len = match self.below(300) {
            0 => 64 * 1024 + 300,
            1..10 => self.below(9000),
            _ => self.below(60),
        };
        self.bytes(len)
    }
}

pub(crate) type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// A directory on this disk, durably there, in which a tree may be made.
pub(crate) fn place(disk: &MemDisk) -> Directory {
    if disk.list(Path::new("/s")).is_err() {
        disk.create_dir(Path::new("/s")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
    }
    Directory::new(Arc::new(disk.clone()), "/s/index".into())
}

pub(crate) fn all(tree: &Tree) -> Result<Map, TreeError> {
    let mut map = Map::new();
    tree.scan(&[], &mut |key, value| {
        assert!(map.last_key_value().is_none_or(|(last, _)| &**last < key), "keys ascend");
        map.insert(key.to_vec(), value.to_vec());
        true
    })?;
    Ok(map)
}

/// A tree, and the map that it should be.
pub(crate) struct Pair {
    pub(crate) directory: Directory,
    pub(crate) tree: Tree,
    pub(crate) map: Map,
    pub(crate) random: Random,
    /// The map as it was when it was frozen, by the number that the head carries.
    pub(crate) frozen: BTreeMap<u64, Map>,
    /// The number that waits to be written.
    pub(crate) waiting: Option<u64>,
    /// The number that the last checkpoint carried.
    pub(crate) durable: u64,
}

pub(crate) fn number(head: Option<Vec<u8>>) -> u64 {
    head.map_or(0, |head| u64::from_le_bytes(head.try_into().unwrap()))
}

impl Pair {
    pub(crate) fn open(directory: Directory, seed: u64) -> Result<Pair, TreeError> {
        let tree = Tree::open(&directory, KEY, LIMITS)?;
        Ok(Pair {
            directory,
            tree,
            map: Map::new(),
            random: Random(seed),
            frozen: BTreeMap::from([(0, Map::new())]),
            waiting: None,
            durable: 0,
        })
    }

    /// Random changes, which `map` has as well.
    fn changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        for _ in 0..=self.random.below(30) {
            let key = self.random.key();
            if self.random.below(3) == 0 {
                changes.remove(&key);
                self.map.remove(&key);
            } else {
                let value = self.random.value();
                changes.insert(&key, value.clone());
                self.map.insert(key, value);
            }
        }
        changes
    }

    pub(crate) fn publish(&mut self) {
        let changes = self.changes();
        self.tree.publish(changes);
    }

    pub(crate) fn freeze(&mut self) {
        let number = self.frozen.len() as u64;
        let frozen = self.tree.freeze(number.to_le_bytes().to_vec());
        assert_eq!(frozen, self.waiting.is_none());
        if frozen {
            self.frozen.insert(number, self.map.clone());
            self.waiting = Some(number);
        }
        assert!(self.tree.has_frozen());
    }

    pub(crate) fn checkpoint(&mut self) -> Result<(), TreeError> {
        let written = self.tree.checkpoint()?;
        assert_eq!(written, self.waiting.is_some());
        self.durable = self.waiting.take().unwrap_or(self.durable);
        assert_eq!(number(self.tree.head()), self.durable);
        assert!(!self.tree.has_frozen());
        Ok(())
    }

    /// Merges, if that is due; if nothing waits to be written, something comes and is written meanwhile.
    fn merge(&mut self) -> Result<(), TreeError> {
        if self.waiting.is_some() {
            return self.tree.merge(&|| Ok(())).map(drop);
        }
        let more = Cell::new(Some(self.changes()));
        let number = self.frozen.len() as u64;
        let merged = self.tree.merge(&|| match more.take() {
            Some(changes) => {
                self.tree.publish(changes);
                assert!(self.tree.freeze(number.to_le_bytes().to_vec()));
                self.tree.checkpoint().map(drop)
            }
            None => Ok(()),
        });
        if let Some(changes) = more.take() {
            self.tree.publish(changes);
        } else {
            self.frozen.insert(number, self.map.clone());
            match self.tree.has_frozen() {
                true => self.waiting = Some(number),
                false => self.durable = number,
            }
        }
        merged.map(drop)
    }

    /// Closes the tree and opens it again. What was in memory is gone; the log would have it.
    pub(crate) fn reopen(&mut self) -> Result<(), TreeError> {
        self.tree = Tree::open(&self.directory, KEY, LIMITS)?;
        self.durable = number(self.tree.head());
        self.map = self.frozen[&self.durable].clone();
        self.waiting = None;
        Ok(())
    }

    pub(crate) fn step(&mut self) -> Result<(), TreeError> {
        match self.random.below(10) {
            0..4 => self.publish(),
            4..6 => self.freeze(),
            6..8 => self.checkpoint()?,
            8 => self.merge()?,
            _ if self.random.below(8) == 0 => self.reopen()?,
            _ => {}
        }
        Ok(())
    }

    /// Every question has the map's answer.
    pub(crate) fn check(&mut self, context: &str) {
        assert!(all(&self.tree).unwrap() == self.map, "{context}: another map");
        for _ in 0..20 {
            let key = self.random.key();
            assert_eq!(self.tree.get(&key).unwrap().as_ref(), self.map.get(&key), "{context}");
            self.check_range(&key, context);
        }
    }

    fn check_range(&mut self, from: &[u8], context: &str) {
        let limit = self.random.one_of([1, 2, 17, 50]);
        let mut got = Vec::new();
        let mut visit = |key: &[u8], value: &[u8]| {
            got.push((key.to_vec(), value.to_vec()));
            got.len() < limit
        };
        self.tree.scan(from, &mut visit).unwrap();
        let expected = self.map.range(from.to_vec()..).take(limit);
        assert!(got.iter().map(|(k, v)| (k, v)).eq(expected), "{context}: a scan from {from:?}");

        let mut got = Vec::new();
        let mut visit = |key: &[u8], _: &[u8]| {
            got.push(key.to_vec());
            true
        };
        self.tree.scan_prefix(from, &mut visit).unwrap();
        let under = self.map.range(from.to_vec()..).take_while(|(key, _)| key.starts_with(from));
        assert!(got.iter().eq(under.map(|(key, _)| key)), "{context}: a scan under {from:?}");

        let prefix = &from[..self.random.one_of([0, 1, 2, 30, from.len()]).min(from.len())];
        let mut got = Vec::new();
        let mut visit = |key: &[u8], _: &[u8]| {
            got.push(key.to_vec());
            got.len() < limit
        };
        self.tree.scan_within(prefix, from, &mut visit).unwrap();
        let within = self.map.range(from.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        let within = within.take(limit).map(|(key, _)| key);
        assert!(got.iter().eq(within), "{context}: a scan within {prefix:?} from {from:?}");

        let before =
            if self.random.below(2) == 0 { [from, &[255]].concat() } else { self.random.key() };
        let last = self.map.range(from.to_vec()..before.clone().max(from.to_vec())).next_back();
        let got = self.tree.last(from, &before).unwrap();
        assert_eq!(got.as_ref().map(|(k, v)| (k, v)), last, "{context}: before {before:?}");
    }
}
