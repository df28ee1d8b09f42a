//! Wakes for whoever follows a member.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use stash_crypto::RecordHash;
use tokio::sync::Notify;

use crate::lock::lock;

/// Records that a member said this node lacks and that wait to be read, 32 bytes each. What is
/// beyond is found when all that is held is compared.
const LACKING: usize = 1 << 16;

/// What wakes whoever follows a member.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    pub(crate) wake: Notify,
    pub(crate) compare: AtomicBool,
    pub(crate) lacking: Mutex<BTreeSet<RecordHash>>,
}

impl Follower {
    /// The member has news.
    pub(crate) fn news(&self) {
        self.wake.notify_one();
    }

    /// All that is held is to be compared with the member: something that was here is here no more.
    pub(crate) fn compare(&self) {
        self.compare.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// The member has records that this node lacks.
    pub(crate) fn lack(&self, hashes: impl IntoIterator<Item = RecordHash>) {
        self.put_back(hashes);
        self.wake.notify_one();
    }

    /// What could not be read now is read with the next round.
    pub(crate) fn put_back(&self, hashes: impl IntoIterator<Item = RecordHash>) {
        let mut lacking = lock(&self.lacking);
        let room = LACKING.saturating_sub(lacking.len());
        lacking.extend(hashes.into_iter().take(room));
    }
}
