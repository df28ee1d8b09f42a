//! A pass of retention over all names, and who begins it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use stash_crypto::NameId;
use stash_server::{LedgerError, PutError as UploadError, Wait, Write};
use thiserror::Error;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::class::Class;
use crate::faults;
use crate::model::retention::{Plan, dated, plan};
use crate::model::version::seen;
use crate::operations::draft::forget;
use crate::progress::Progress;
use crate::vault::{Inner, Vault};

/// Records looked at in one step, and names forgotten in one commit at most.
const PAGE: usize = 256;
/// Names that a pass remembers to have looked at, 32 bytes each; beyond, it may look again.
const LOOKED: usize = 1 << 16;
/// From one pass to the next.
const INTERVAL: Duration = Duration::from_secs(24 * 3_600);
/// Between two looks whether a pass is due. A clock that jumps is noticed as soon.
const LOOK: Duration = Duration::from_secs(3_600);
/// A node that has just started has better things to do.
const SETTLE: Duration = Duration::from_secs(300);
/// A pass by itself rests so many times as long as it works.
const REST: u32 = 4;

/// The time now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// By the wall clock, in seconds since 1970.
    pub wall: i64,
    /// By the store: seconds that it has been open in all its life.
    pub uptime: u64,
}

/// The versions that a pass forgot, or would.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionReport {
    /// Versions.
    pub versions: u64,
    /// Names that went as a whole, because they were removed long ago.
    pub names: u64,
    /// Nothing was looked at, since the wall clock is not believed yet: it has jumped, or the node
    /// was off or is new. So much longer must the node run.
    pub waits: Option<Duration>,
}

/// A pass ended early. What was forgotten until then stays forgotten.
#[derive(Debug, Error)]
pub enum RetentionError {
    /// The store could not be read or written.
    #[error(transparent)]
    Engine(#[from] LedgerError),
    /// A forget was not stored.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl RetentionError {
    /// The class of the error for the caller.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            RetentionError::Engine(error) => faults::engine(error),
            RetentionError::Upload(error) => faults::put(error),
            RetentionError::Cancelled => Class::Cancelled,
        }
    }
}

impl Vault {
    /// The time now, by the clock that dates versions and by the store. A wall clock before 1970
    /// says 1970: everything is young.
    #[must_use]
    pub fn moment(&self) -> Moment {
        let wall = self.inner.clock.now().map_or(0, |(seconds, _)| seconds);
        Moment { wall, uptime: self.inner.engine.uptime() }
    }

    /// Forgets what retention does not keep, of all names, at once and without pauses; with `dry_run`
    /// only counts it. One pass at a time. A node that may not write, and one whose clock is not
    /// believed yet, forgets nothing.
    ///
    /// # Errors
    ///
    /// [`RetentionError`].
    pub async fn retain(
        &self,
        now: Moment,
        dry_run: bool,
        progress: &Progress,
    ) -> Result<RetentionReport, RetentionError> {
        self.inner.retain(now, dry_run, 0, progress).await
    }
}

impl Inner {
    async fn retain(
        self: &Arc<Self>,
        now: Moment,
        dry_run: bool,
        rest: u32,
        progress: &Progress,
    ) -> Result<RetentionReport, RetentionError> {
        let mut report = RetentionReport::default();
        if !self.role().writes() {
            return Ok(report);
        }
        let _only_one = self.retaining.lock().await;
        let trust = self.engine.look_at_clock(now.wall, now.uptime).await?;
        report.waits = trust.waits();
        if report.waits.is_some() {
            return Ok(report);
        }
        let (mut after, mut looked) = (0, HashSet::new());
        loop {
            if progress.cancelled() {
                return Err(RetentionError::Cancelled);
            }
            let begun = Instant::now();
            let page = self.engine.record_log(after, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            // The first version of a name has seen nothing, and alone it stays.
            let later = page.iter().map(|(_, record)| record.clear());
            let later = later.filter(|clear| clear.kind.is_version() && !clear.seen.is_empty());
            let names: Vec<NameId> = later.map(|clear| clear.name).collect();
            let mut writes = Vec::new();
            for name in names {
                if looked.len() >= LOOKED {
                    looked.clear();
                }
                if looked.insert(name)
                    && let Some(plan) = self.plan_of(name, now.wall).await?
                {
                    report.versions += plan.versions;
                    report.names += u64::from(plan.kind == stash_crypto::ForgetKind::Dead);
                    writes.push(self.forget(name, plan));
                }
            }
            if !dry_run && !writes.is_empty() {
                // Members that are away hear of it when they are back.
                self.engine.upload(Wait::Local).commit(writes).await?.wait().await;
            }
            sleep(begun.elapsed() * rest).await;
        }
        if !dry_run {
            self.engine.clock_was_used(trust).await?;
        }
        Ok(report)
    }

    async fn plan_of(&self, name: NameId, now: i64) -> Result<Option<Plan>, LedgerError> {
        let records = match self.engine.records_of(name).await {
            // Nobody knows what it covers: once it is healed or covered, the name has its turn again.
            Err(error) if error.is_damaged_record() => return Ok(None),
            records => records?,
        };
        // One record that cannot be written would end the whole commit; others go on.
        if seen(&records).vector().is_err() && !self.engine.has_room_for_version(name).await? {
            return Ok(None);
        }
        Ok(plan(&dated(&self.keys, &records), &self.retention, now))
    }

    fn forget(self: &Arc<Self>, name: NameId, plan: Plan) -> Write {
        let Plan { kind, vector, .. } = plan;
        forget(self, name, kind, move |_| vector.clone())
    }
}

/// The task that carries out retention once a day.
pub(crate) struct Retainer {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Retainer {
    /// Starts it. It does nothing on a node that may not write.
    pub(crate) fn run(vault: &Vault) -> Retainer {
        let (stop, inner) = (CancellationToken::new(), Arc::clone(&vault.inner));
        let vault = Vault { inner };
        let token = stop.clone();
        let task = tokio::spawn(async move {
            token.run_until_cancelled_owned(go_on(vault)).await;
        });
        Retainer { stop, task }
    }

    /// Ends the task and waits for it; a pass goes on from its beginning next time.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        // A panic of the task was reported when it happened.
        let _ = self.task.await;
    }
}

async fn go_on(vault: Vault) {
    let task = vault.inner.engine.list_task("retention");
    task.ends(Some(SETTLE));
    sleep(SETTLE).await;
    loop {
        task.begins();
        let inner = &vault.inner;
        if inner.role().writes()
            && let Err(error) = pass_if_due(&vault).await
        {
            tracing::warn!(%error, "old versions were not forgotten");
        }
        task.ends(Some(LOOK));
        sleep(LOOK).await;
    }
}

async fn pass_if_due(vault: &Vault) -> Result<(), RetentionError> {
    let (inner, now) = (&vault.inner, vault.moment());
    let trust = inner.engine.look_at_clock(now.wall, now.uptime).await?;
    if trust.waits().is_none() && !trust.used_within(INTERVAL) {
        let done = inner.retain(now, false, REST, &Progress::new()).await?;
        tracing::info!(versions = done.versions, names = done.names, "forgot old versions");
    }
    Ok(())
}
