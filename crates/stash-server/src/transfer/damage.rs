//! The list of damage that was found here and is not healed.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use stash_crypto::{Address, NameId, RecordHash};
use stash_store::{ChunkState, Finding, ReadError, Store};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, broadcast};

use crate::ledger::{at, rows};
use crate::lock::lock;

/// Mended names that wait for a slow listener, 32 bytes each.
const MENDED: usize = 1_024;

/// Damage that is remembered by name, about 300 bytes each. A disk that is dying has more; the next
/// pass finds the rest again.
const REMEMBERED: usize = 10_000;

/// Bytes of a sentence that are written down.
pub(crate) const SENTENCE: usize = 1_024;

/// A part of what this node holds that is not what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Damage {
    /// The bytes of a chunk.
    Chunk(Address),
    /// A record.
    Record(RecordHash),
}

/// Damage that is not healed, and what it concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// The damaged part.
    pub damage: Damage,
    /// The fault, and why it is not healed.
    pub why: String,
    /// The records that name the chunk; of a damaged record, itself.
    pub records: Vec<RecordHash>,
    /// The names that these records are about, as far as the records can be read.
    pub names: Vec<NameId>,
}

/// Damage that was found and is not healed, with counts of damage found and healed since the start.
#[derive(Debug)]
pub(crate) struct DamageList {
    pub(crate) open: Mutex<BTreeMap<Damage, Open>>,
    /// Held by an attempt, so that what is written down is what the last one found.
    pub(crate) attempt: tokio::sync::Mutex<()>,
    found: AtomicU64,
    pub(crate) healed: AtomicU64,
    wake: Notify,
    /// Names of which a record was damaged, and is whole again, or that show something else now.
    pub(crate) mended: broadcast::Sender<NameId>,
}

#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) why: String,
    /// A row of the store says so.
    pub(crate) written: bool,
}

impl DamageList {
    /// Loads what the store remembers, and what its scrub found and nobody dealt with before the
    /// process ended.
    pub(crate) fn load(store: &Store) -> Result<DamageList, ReadError> {
        let rows = store.rows(rows::DAMAGED)?.into_iter();
        let open = rows.filter_map(|(key, value)| {
            let why = String::from_utf8_lossy(&value).into_owned();
            Some((Damage::of_row(&key)?, Open { why, written: true }))
        });
        let list = DamageList {
            open: Mutex::new(open.collect()),
            attempt: tokio::sync::Mutex::default(),
            found: AtomicU64::new(0),
            healed: AtomicU64::new(0),
            wake: Notify::new(),
            mended: broadcast::Sender::new(MENDED),
        };
        for finding in store.scrub_findings() {
            if let Some((damage, what)) = Damage::of_finding(&finding)
                && damage.is_real(store)
            {
                list.note(damage, what.to_owned());
            }
        }
        Ok(list)
    }

    fn note(&self, damage: Damage, why: String) -> bool {
        let mut open = lock(&self.open);
        if open.contains_key(&damage) || open.len() >= REMEMBERED {
            return false;
        }
        self.found.fetch_add(1, Ordering::Relaxed);
        open.insert(damage, Open { why, written: false });
        true
    }

    /// Notes damage that was met, and has it healed. False if it is known already.
    pub(crate) fn met(&self, damage: Damage, why: String) -> bool {
        let new = self.note(damage, why);
        if new {
            self.wake.notify_one();
        }
        new
    }

    /// True if it was found damaged here, and is not healed.
    pub(crate) fn is_known(&self, damage: &Damage) -> bool {
        lock(&self.open).contains_key(damage)
    }

    /// A member has come that may have what is damaged here, or a record that covers it.
    pub(crate) fn look_again(&self) {
        if self.counts().2 > 0 {
            self.wake.notify_one();
        }
    }

    /// Ends once there is something to heal.
    pub(crate) fn woken(&self) -> Notified<'_> {
        self.wake.notified()
    }

    /// Damage found and healed since the start, and what is not healed.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let open = lock(&self.open).len() as u64;
        (self.found.load(Ordering::Relaxed), self.healed.load(Ordering::Relaxed), open)
    }

    pub(crate) fn all(&self) -> Vec<(Damage, Open)> {
        lock(&self.open).iter().map(|(damage, open)| (*damage, open.clone())).collect()
    }
}

impl Damage {
    pub(crate) fn row(&self) -> Vec<u8> {
        match self {
            Damage::Chunk(address) => [rows::DAMAGED, b"chunk/", &address.as_bytes()[..]].concat(),
            Damage::Record(hash) => [rows::DAMAGED, b"record/", &hash.as_bytes()[..]].concat(),
        }
    }

    fn of_row(key: &[u8]) -> Option<Damage> {
        let key = key.strip_prefix(rows::DAMAGED)?;
        if let Some(address) = key.strip_prefix(b"chunk/") {
            return Some(Damage::Chunk(Address::from_bytes(address.try_into().ok()?)));
        }
        let hash = key.strip_prefix(b"record/")?.try_into().ok()?;
        Some(Damage::Record(RecordHash::from_bytes(hash)))
    }

    /// True if it is damaged now.
    pub(crate) fn is_real(&self, store: &Store) -> bool {
        match self {
            Damage::Chunk(address) => {
                matches!(store.chunk_state(&at(address)), Ok(ChunkState::Quarantined))
            }
            Damage::Record(hash) => {
                matches!(store.record(hash.as_bytes()), Err(ReadError::RecordDamaged { .. }))
            }
        }
    }

    /// Looks at it as a reader does, so that the store deals with damage. True if it is damaged.
    pub(crate) fn confirm(&self, store: &Store) -> bool {
        if let Damage::Chunk(address) = self {
            // The answer is in the state from now on.
            let _ = store.read_into(&at(address), &mut Vec::new());
        }
        self.is_real(store)
    }

    /// The damage that a finding of the store is about, if another member can have it whole.
    pub(crate) fn of_finding(finding: &Finding) -> Option<(Damage, &str)> {
        match finding {
            Finding::Chunk { address, what } => {
                Some((Damage::Chunk(Address::from_bytes(*address.as_bytes())), what))
            }
            Finding::Record { hash, what } => {
                Some((Damage::Record(RecordHash::from_bytes(*hash)), what))
            }
            _ => None,
        }
    }
}
