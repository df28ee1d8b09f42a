//! The part that runs in a namespace of its own, as its first process.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use super::series::Series;
use crate::powercut::arguments::{FileSystem, Journal, PowercutArguments};
use crate::report::Report;

/// All cuts that were asked for; stops at the first that shows a loss.
pub(crate) fn run(directory: &Path, program: &Path, arguments: &PowercutArguments) -> Result<()> {
    let report = Report::text();
    let seed = arguments.seed.context("the part outside chooses the seed")?;
    for fs in &arguments.fs {
        // Where there is no journal, nothing can become of it.
        let fates = if *fs == FileSystem::Bare { &[Journal::Dropped] } else { &*arguments.journal };
        for journal in fates {
            let begun = Instant::now();
            let mut series = Series::new(*fs, *journal, seed, directory, program);
            let outcome = match arguments.at {
                Some(number) => series.replay(number, &report),
                None => series.run(arguments.cuts, &report),
            };
            outcome.with_context(|| series.replay_with())?;
            series.summary(begun.elapsed(), &report);
        }
    }
    Ok(())
}
