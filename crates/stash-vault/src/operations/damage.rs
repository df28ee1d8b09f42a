//! Which files damage concerns, for those who may know.

use std::collections::{BTreeMap, BTreeSet};

use stash_crypto::{Key, RecordHash};
use stash_server::transfers::{Damage, Damaged};

use crate::lookup::LookupError;
use crate::vault::Vault;

impl Vault {
    /// The keys of the files that each damage concerns, in order. A damaged record is known by the
    /// index of names as long as it is the version that is listed; else its file is not named.
    pub async fn keys_of(&self, damaged: &[Damaged]) -> Result<Vec<Vec<Key>>, LookupError> {
        let records = damaged.iter().filter_map(|damaged| match damaged.damage {
            Damage::Record(hash) => Some(hash),
            Damage::Chunk(_) => None,
        });
        let listed = self.listed_by(records.collect()).await?;
        let mut all = Vec::with_capacity(damaged.len());
        for damaged in damaged {
            let mut keys = BTreeSet::new();
            for name in &damaged.names {
                // Another record of the name may be damaged: then only this one stays unnamed.
                if let Ok(view) = self.inner.view_of(*name).await {
                    keys.extend(view.key);
                }
            }
            keys.extend(damaged.records.iter().filter_map(|hash| listed.get(hash)).cloned());
            all.push(keys.into_iter().collect());
        }
        Ok(all)
    }

    /// The keys whose listed versions are these records. Reads the whole index.
    async fn listed_by(
        &self,
        records: BTreeSet<RecordHash>,
    ) -> Result<BTreeMap<RecordHash, Key>, LookupError> {
        if records.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.inner.indexed(move |names| names.listed_by(&records)).await
    }
}
