//! Records that are on their way to a member on a put stream. The member need not read them from
//! this node's order meanwhile, and ask for chunks that are being sent to it.

use std::collections::HashMap;
use std::sync::Mutex;

use stash_crypto::{NodeId, Record, RecordHash};

use crate::lock::lock;

/// Records on their way to each member. A record may be in several puts at once.
#[derive(Debug, Default)]
pub(crate) struct InFlight(Mutex<HashMap<NodeId, HashMap<RecordHash, u32>>>);

impl InFlight {
    pub(crate) fn add(&self, node: &NodeId, records: &[Record]) {
        let mut all = lock(&self.0);
        let counts = all.entry(*node).or_default();
        records.iter().for_each(|record| *counts.entry(record.hash()).or_default() += 1);
    }

    /// Takes back one [`InFlight::add`], whether the records have come or not.
    pub(crate) fn remove(&self, node: &NodeId, records: &[Record]) {
        let mut all = lock(&self.0);
        let Some(counts) = all.get_mut(node) else { return };
        for record in records {
            let hash = record.hash();
            match counts.get_mut(&hash) {
                Some(times) if *times > 1 => *times -= 1,
                _ => drop(counts.remove(&hash)),
            }
        }
        if counts.is_empty() {
            all.remove(node);
        }
    }

    /// Leaves out what is on its way to a member.
    pub(crate) fn strike(&self, node: &NodeId, hashes: &mut Vec<RecordHash>) {
        if let Some(counts) = lock(&self.0).get(node) {
            hashes.retain(|hash| !counts.contains_key(hash));
        }
    }
}
