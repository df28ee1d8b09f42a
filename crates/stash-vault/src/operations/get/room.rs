//! How much a get has to do, and whether what it fetches can be kept here besides.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use stash_crypto::record::INLINE_MAX;

use super::error::GetError;
use super::opened::Run;
use super::report::GetReport;
use super::source::Source;
use super::tree::PAGE;
use super::{file, tree};
use crate::lookup::LookupError;
use crate::model::version::Version;
use crate::operations::pages::Pages;
use crate::vault::Inner;

impl Inner {
    pub(super) async fn get_file(
        self: &Arc<Self>,
        head: Version,
        output: &Path,
        mut run: Run,
    ) -> Result<GetReport, GetError> {
        let not_kept = !self.may_keep(head.meta.size, output, &mut run).await;
        let mut report = file::get(self, head, output, &run).await?;
        report.not_kept = not_kept;
        Ok(report)
    }

    pub(super) async fn get_sources(
        self: &Arc<Self>,
        sources: Vec<Source>,
        output: &Path,
        mut run: Run,
        mut report: GetReport,
    ) -> Result<GetReport, GetError> {
        let (mut bytes, mut found) = (0, Vec::new());
        let alone = sources.len() == 1 && report.failed == 0;
        for source in sources {
            match self.size_of(&source, &run).await? {
                Some(more) => {
                    bytes += more;
                    found.push(source);
                }
                None => {
                    let name = source.name;
                    let error = GetError::Lookup(LookupError::NotFound { name: name.clone() });
                    if alone {
                        return Err(error);
                    }
                    report.failed(&name, &error);
                }
            }
        }
        if found.is_empty() {
            return Ok(report);
        }
        let not_kept = !self.may_keep(bytes, output, &mut run).await;
        let mut report = tree::get(self, found, output, &run, report).await?;
        report.not_kept = not_kept;
        Ok(report)
    }

    /// Bytes of all names of a source; `None` if it has none.
    async fn size_of(&self, source: &Source, run: &Run) -> Result<Option<u64>, GetError> {
        let (mut bytes, mut any) = (0, false);
        let mut pages = Pages::new(self, &source.scope, PAGE);
        while let Some(page) = pages.files().await? {
            let (page, covered) = source.sorted(self, page).await?;
            any |= !page.is_empty() || !covered.is_empty();
            let more = page.iter().map(|(_, entry)| entry.size).sum();
            run.progress.found(page.len() as u64, more);
            bytes += more;
        }
        Ok(any.then_some(bytes))
    }

    /// Gives up keeping what is fetched if there is no room for it beside the output: false if that was
    /// asked for and is given up. A disk that the output fills would end the get.
    async fn may_keep(&self, bytes: u64, output: &Path, run: &mut Run) -> bool {
        let inline = bytes <= INLINE_MAX as u64;
        let fetches = run.options.keep && !run.options.dry_run && !inline;
        if !fetches || self.has_room_beside(bytes, output, run).await {
            return true;
        }
        run.options.keep = false;
        false
    }

    async fn has_room_beside(&self, bytes: u64, output: &Path, run: &Run) -> bool {
        // A store that cannot say takes what it can.
        let Ok(status) = self.engine.status().await else { return true };
        let store = status.store;
        let is_whole = store.evicted == 0 && status.incomplete == 0 && store.quarantined == 0;
        let Some(space) = store.disk.filter(|_| !is_whole) else { return true };
        let (data, output) = (self.directory.clone(), output.to_owned());
        let same_disk = run.jobs.run(move || is_one_disk(&data, &output)).await;
        let kept = bytes <= store.limit_bytes.saturating_sub(store.used_bytes);
        let both = if same_disk { bytes.saturating_mul(2) } else { bytes };
        kept && store.quota.leaves_reserve(&space, both)
    }
}

/// True if a path that may not be there yet lies on the disk of the other.
fn is_one_disk(data: &Path, output: &Path) -> bool {
    let device = |path: &Path| path.metadata().ok().map(|found| found.dev());
    let output = output.ancestors().find_map(device);
    output.is_none() || output == device(data)
}
