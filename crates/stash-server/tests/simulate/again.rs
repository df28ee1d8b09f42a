//! The work of a vault beside an engine: it writes versions again whose numbers were used twice.

use std::collections::BTreeSet;
use std::time::Duration;

use stash_crypto::RecordHash;
use stash_server::Wait;
use stash_server::records::Reissue;
use tokio::time::timeout;

use crate::network::lock;
use crate::operation::{Hand, New, Seen};
use crate::profile::keys;

/// Until what could not be written again is tried once more.
const AGAIN: Duration = Duration::from_secs(600);

impl Hand {
    /// Writes again what has to be, as long as the node runs.
    pub(crate) async fn write_again(self) {
        let mut changes = self.engine.restored();
        let mut is_left = false;
        loop {
            let wait = if is_left { AGAIN } else { Duration::MAX };
            if let Ok(Err(_)) = timeout(wait, changes.changed()).await {
                return;
            }
            is_left = false;
            if !self.engine.role().writes() {
                continue;
            }
            let Ok(reissues) = self.engine.reissues().await else {
                is_left = true;
                continue;
            };
            for reissue in reissues {
                let record = reissue.record.hash();
                match self.again(reissue).await {
                    // If this fails, it is written a second time.
                    true => drop(self.engine.reissued(record).await),
                    false => is_left = true,
                }
            }
        }
    }

    async fn again(&self, reissue: Reissue) -> bool {
        let Reissue { record, seen } = reissue;
        let (hash, clear) = (record.hash(), record.clear());
        let refs = clear.manifest.refs().to_vec();
        let upload = self.engine.upload(Wait::Local);
        let mut fetch = self.engine.fetch(refs.clone(), true);
        while let Some(chunk) = fetch.next().await {
            if let Err(error) = chunk {
                self.say(&format!("{hash:?} is not written again: {error}"));
                return false;
            }
        }
        for chunk in &refs {
            if !matches!(upload.known(*chunk).await, Ok(true)) {
                return false;
            }
        }
        let Some(key) = keys().find(|key| self.name(key) == clear.name) else { return false };
        let past: BTreeSet<RecordHash> = {
            let model = lock(&self.model);
            let past = model.past(&hash).into_iter();
            past.filter(|one| model.doubtful(one).is_none() || model.is_named(one, &seen)).collect()
        };
        let (seen, height) = (Some(Seen { vector: seen, past }), Some(clear.height));
        let (write, signed) = self.write(&key, New { seen, height, ..New::of(clear.kind, refs) });
        let what = format!("write {} again", lock(&self.model).title(&hash));
        self.commit(upload, write, signed.clone(), what, Wait::Local).await;
        let Some(again) = *lock(&signed) else { return false };
        let mut model = lock(&self.model);
        let stored = model.records.get(&again).is_some_and(|known| known.acknowledged);
        if stored {
            model.again.entry(hash).or_default().insert(again);
        }
        stored
    }
}
