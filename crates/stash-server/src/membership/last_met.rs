//! Times at which members were last connected, with which program they came, and members that say that their
//! chunk files are away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use stash_crypto::NodeId;
use stash_store::{Batch, ReadError, Store};

use crate::ledger::rows;
use crate::lock::lock;
use crate::message::Refusal;
use crate::rpc::AskError;

/// Bytes of the version of a program, far more than any has.
const PROGRAM: usize = 32;

/// Times are uptimes of this node's store, in seconds.
#[derive(Debug, Default)]
pub(crate) struct LastMet {
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    met: BTreeMap<NodeId, u64>,
    seen: BTreeMap<NodeId, Seen>,
    /// Members of whom that is not written down yet.
    unwritten: BTreeSet<NodeId>,
    /// Members whose chunk files are away, as they said when they were asked last: they are as good
    /// as not connected.
    away: BTreeSet<NodeId>,
}

/// The last meeting with a member, for people: nothing is decided by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// When it was last connected, in seconds since 1970 by this node's clock.
    pub(crate) at: u64,
    /// The version of its program, if it tells.
    pub(crate) program: Option<String>,
}

impl Seen {
    fn encode(&self) -> Vec<u8> {
        let program = self.program.as_deref().unwrap_or_default();
        [&self.at.to_le_bytes()[..], program.as_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Seen> {
        let (at, program) = bytes.split_first_chunk::<8>()?;
        let program = std::str::from_utf8(program).ok().and_then(version);
        Some(Seen { at: u64::from_le_bytes(*at), program })
    }
}

/// The version of a program, if it looks like one.
fn version(text: &str) -> Option<String> {
    let looks_so =
        (1..=PROGRAM).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    looks_so.then(|| text.to_owned())
}

/// The member in the key of a row.
fn member(key: &[u8], rows: &[u8]) -> Option<NodeId> {
    Some(NodeId::from_bytes(key.strip_prefix(rows)?.try_into().ok()?))
}

impl LastMet {
    /// The times that the store remembers.
    pub(crate) fn load(store: &Store) -> Result<LastMet, ReadError> {
        let met = |(key, value): (Vec<u8>, Vec<u8>)| {
            Some((member(&key, rows::MET)?, u64::from_le_bytes(value.try_into().ok()?)))
        };
        let seen = |(key, value): (Vec<u8>, Vec<u8>)| {
            Some((member(&key, rows::SEEN)?, Seen::decode(&value)?))
        };
        let met = store.rows(rows::MET)?.into_iter().filter_map(met).collect();
        let seen = store.rows(rows::SEEN)?.into_iter().filter_map(seen).collect();
        Ok(LastMet { notes: Mutex::new(Notes { met, seen, ..Notes::default() }) })
    }

    /// A member has just come, is there, or has just gone; `now` in seconds since 1970.
    pub(crate) fn met(&self, node: NodeId, uptime: u64, now: u64) {
        let mut notes = lock(&self.notes);
        notes.seen.entry(node).or_default().at = now;
        if notes.away.contains(&node) {
            return;
        }
        if notes.met.insert(node, uptime) != Some(uptime) {
            notes.unwritten.insert(node);
        }
    }

    /// A member has answered what it has, or that its chunk files are away. Another error says
    /// nothing.
    pub(crate) fn heard<T>(&self, node: NodeId, answer: &Result<T, AskError>) {
        let away = &mut lock(&self.notes).away;
        match answer {
            Ok(_) => drop(away.remove(&node)),
            Err(AskError::Refused { code: Refusal::Unavailable, .. }) => drop(away.insert(node)),
            Err(_) => {}
        }
    }

    /// A member says the version of its program.
    pub(crate) fn runs(&self, node: NodeId, program: &str) {
        let mut notes = lock(&self.notes);
        notes.seen.entry(node).or_default().program = version(program);
        notes.unwritten.insert(node);
    }

    /// The last meeting with a member.
    pub(crate) fn seen(&self, node: &NodeId) -> Option<Seen> {
        lock(&self.notes).seen.get(node).cloned()
    }

    /// The uptime at which a member was last connected.
    pub(crate) fn of(&self, node: &NodeId) -> Option<u64> {
        lock(&self.notes).met.get(node).copied()
    }

    pub(crate) fn is_away(&self, node: &NodeId) -> bool {
        lock(&self.notes).away.contains(node)
    }

    /// A member was removed.
    pub(crate) fn forget(&self, node: &NodeId) {
        let mut notes = lock(&self.notes);
        notes.met.remove(node);
        notes.seen.remove(node);
        notes.unwritten.remove(node);
        notes.away.remove(node);
    }

    /// The rows of what is not written down yet; `None` if there are none.
    pub(crate) fn unwritten(&self) -> Option<Batch> {
        let mut notes = lock(&self.notes);
        let unwritten = std::mem::take(&mut notes.unwritten);
        let mut batch = Batch::new();
        for node in unwritten {
            let row = |rows: &[u8]| [rows, node.as_bytes()].concat();
            if let Some(uptime) = notes.met.get(&node) {
                batch = batch.row(&row(rows::MET), Some(&uptime.to_le_bytes()));
            }
            if let Some(seen) = notes.seen.get(&node) {
                batch = batch.row(&row(rows::SEEN), Some(&seen.encode()));
            }
        }
        (!batch.is_empty()).then_some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_version_is_not_shown_and_rows_are_read_as_they_were_written() {
        assert_eq!(version("0.2.0"), Some("0.2.0".to_owned()));
        for text in ["", "1\u{1b}[2J", "1 2", "\u{202e}1", &"1".repeat(PROGRAM + 1)] {
            assert_eq!(version(text), None, "{text:?}");
        }
        for program in [None, Some("0.2.0".to_owned())] {
            let seen = Seen { at: 7, program };
            assert_eq!(Seen::decode(&seen.encode()), Some(seen));
        }
        assert_eq!(Seen::decode(&[1; 7]), None);
    }

    #[test]
    fn the_last_meeting_is_written_once_for_each_change_and_forgotten_with_the_member() {
        let node = NodeId::from_bytes([1; 32]);
        let met = LastMet { notes: Mutex::default() };
        met.met(node, 10, 1_000);
        met.runs(node, "0.2.0");
        assert!(met.unwritten().is_some());
        met.met(node, 10, 1_500);
        assert!(met.unwritten().is_none(), "the uptime is as before");
        let seen = Seen { at: 1_500, program: Some("0.2.0".to_owned()) };
        assert_eq!((met.of(&node), met.seen(&node)), (Some(10), Some(seen)));
        met.forget(&node);
        assert_eq!((met.of(&node), met.seen(&node)), (None, None));
    }
}
