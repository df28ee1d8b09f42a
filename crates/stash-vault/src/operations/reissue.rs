//! Writing versions again whose numbers turned out to be used twice: this node was brought back from a
//! copy, or cloned. The engine says which (`stash_server::records::Reissue`); only whoever has the read keys can
//! seal them anew.

use std::sync::Arc;
use std::time::Duration;

use stash_crypto::RecordKind;
use stash_server::records::Reissue;
use stash_server::{LedgerError, Position, Wait, Write};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::model::version::versions;
use crate::operations::draft::{Content, write};
use crate::operations::rewrite::RewriteError;
use crate::progress::Progress;
use crate::vault::{Inner, Vault};

/// Until what could not be written again is tried once more.
const AGAIN: Duration = Duration::from_secs(600);

/// Writes again what has to be, until it is stopped.
#[derive(Debug)]
pub(crate) struct Reissuer {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Reissuer {
    /// For an owner; whoever else opens a vault writes nothing.
    pub(crate) fn run(vault: &Vault) -> Reissuer {
        let stop = CancellationToken::new();
        let (inner, stopped) = (Arc::clone(&vault.inner), stop.clone());
        let task = tokio::spawn(async move {
            let mut changes = inner.engine.restored();
            // The first exchange may have ended before anybody listened.
            if *changes.borrow() > 0 {
                changes.mark_changed();
            }
            let mut is_left = false;
            let listed = inner.engine.list_task("reissue");
            let work = async {
                loop {
                    let wait = if is_left { AGAIN } else { Duration::MAX };
                    listed.ends(is_left.then_some(AGAIN));
                    // Another exchange may have brought what was missing; or the disk has room again.
                    if let Ok(Err(_)) = timeout(wait, changes.changed()).await {
                        return;
                    }
                    listed.begins();
                    is_left = inner.engine.role().writes() && inner.reissue_all().await;
                }
            };
            stopped.run_until_cancelled(work).await;
        });
        Reissuer { stop, task }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let _ended = self.task.await;
    }
}

impl Inner {
    /// Writes again what has to be. Whether something is left that could not be.
    async fn reissue_all(self: &Arc<Self>) -> bool {
        match self.reissue().await {
            Ok((written, left)) => {
                if written > 0 {
                    tracing::warn!(count = written, "versions of another life were written again");
                }
                left > 0
            }
            Err(error) => {
                tracing::warn!(%error, "versions could not be written again");
                true
            }
        }
    }

    /// The number of versions that were written again, and of those that could not be.
    async fn reissue(self: &Arc<Self>) -> Result<(u64, u64), LedgerError> {
        let (mut written, mut left) = (0, 0);
        for reissue in self.engine.reissues().await? {
            let record = reissue.record.hash();
            match self.write_again(reissue).await {
                Ok(true) => {
                    self.engine.reissued(record).await?;
                    written += 1;
                }
                Ok(false) => left += 1,
                // Its bytes are not to be had now, or the disk is full.
                Err(error) => {
                    left += 1;
                    tracing::warn!(record = %record.short(), %error, "a version was not written again");
                }
            }
        }
        Ok((written, left))
    }

    /// Writes a version again. Whether that is done with.
    async fn write_again(self: &Arc<Self>, reissue: Reissue) -> Result<bool, RewriteError> {
        let Reissue { record, seen } = reissue;
        let Some(version) = versions(&self.keys, &[record]).all.into_iter().next() else {
            // It does not open: it is set aside, with an alarm of its own.
            return Ok(true);
        };
        let upload = self.engine.upload(Wait::Local);
        let clear = version.record.clear();
        let content = match clear.kind {
            RecordKind::Put => {
                self.offer(&upload, &version, &Progress::new()).await?;
                Content::put(clear.manifest.clone(), version.meta.clone())
            }
            _ => Content::tombstone(version.meta.key.clone()),
        };
        let height = clear.height;
        let Write { name, draft } = write(self, content);
        let again =
            move |position: Position| draft(Position { height, seen: seen.clone(), ..position });
        let write = Write { name, draft: Box::new(again) };
        // What the member log has ended meanwhile is set aside, and counts as not written.
        Ok(!upload.commit(vec![write]).await?.wait().await.short)
    }
}
