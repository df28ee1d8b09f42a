//! The records that are whole here, and those that a member is believed to have whole, for comparing the two.

use std::collections::BTreeSet;

use stash_crypto::NodeId;
use stash_store::{ReadError, Store};

use crate::ledger::rows;
use crate::replication::difference::Hashes;
use crate::transfer::under_replicated;

/// The records that are whole here.
pub(crate) struct Whole<'a>(pub(crate) &'a Store);

impl Hashes for Whole<'_> {
    type Error = ReadError;

    fn under(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8; 32])) -> Result<(), ReadError> {
        let lacking = |prefix: &[u8]| {
            let mut lacking = Vec::new();
            self.0.lacking_hashes_under(prefix, &mut |hash| lacking.push(*hash))?;
            Ok(lacking.into_iter().collect())
        };
        held_but(self.0, prefix, lacking, visit)
    }
}

/// The records that a member is believed to have whole.
pub(crate) struct Believed<'a> {
    pub(crate) store: &'a Store,
    pub(crate) node: NodeId,
}

impl Hashes for Believed<'_> {
    type Error = ReadError;

    fn under(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8; 32])) -> Result<(), ReadError> {
        let lacked = |prefix: &[u8]| {
            let rows = self.store.rows(&[rows::LACKED, prefix].concat())?;
            let of_node = rows
                .iter()
                .filter(|(_, value)| under_replicated::decode(value).contains_key(&self.node));
            let records = of_node.filter_map(|(key, _)| under_replicated::record_of(key));
            Ok(records.map(|record| *record.as_bytes()).collect())
        };
        held_but(self.store, prefix, lacked, visit)
    }
}

/// The records under a prefix that are held here, but for some. A part of 256 at a time is looked at.
fn held_but(
    store: &Store,
    prefix: &[u8],
    but: impl Fn(&[u8]) -> Result<BTreeSet<[u8; 32]>, ReadError>,
    visit: &mut dyn FnMut(&[u8; 32]),
) -> Result<(), ReadError> {
    let prefixes: Vec<Vec<u8>> = match prefix {
        [] => (0..=u8::MAX).map(|byte| vec![byte]).collect(),
        prefix => vec![prefix.to_vec()],
    };
    for prefix in prefixes {
        let but = but(&prefix)?;
        store.record_hashes_under(&prefix, &mut |hash| {
            if !but.contains(hash) {
                visit(hash);
            }
        })?;
    }
    Ok(())
}
