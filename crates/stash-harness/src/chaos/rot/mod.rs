//! Flips one bit in every file of a data directory, one at a time: found, named, healed from a peer or quarantined;
//! never served.
//!
//! An owner and a second owner beside it stop with a stash of everything that takes another way through the store. For
//! each site, both get their directories back as they were, one bit of the first owner's is flipped, and it is used.

mod site;
mod stash;
mod trial;
mod verdict;

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Result, bail, ensure};

use self::site::{Kind, Site};
use self::stash::Stash;
use self::trial::Trial;
use self::verdict::Verdict;
use crate::cluster::{Cluster, Plan, Role};
use crate::report::Report;
use crate::{build, interrupt, tree};

/// The flips of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice {
    /// Random places in each file, beside those that every run takes.
    pub(super) flips: u32,
    /// Only this site.
    pub(super) at: Option<usize>,
}

impl Choice {
    /// The sites to flip, of all that there are, each with its number.
    fn of<'a, T>(&self, sites: &'a [T]) -> Result<Vec<(usize, &'a T)>> {
        let all = sites.iter().enumerate();
        let Some(at) = self.at else { return Ok(all.collect()) };
        let one: Vec<_> = all.skip(at).take(1).collect();
        ensure!(!one.is_empty(), "--at {at}: the sites are 0 to {}", sites.len().saturating_sub(1));
        Ok(one)
    }
}

pub(super) fn run(choice: Choice, seed: u64, report: &Report) -> Result<()> {
    let binary = build::stash(report)?;
    let cluster = Cluster::found(&Plan::new(vec![Role::Owner, Role::Owner], &binary), report)?;
    let begun = Instant::now();
    let mut rng = tree::rng(seed);
    let mut stash = Stash::make(cluster, &mut rng)?;
    let sites = site::all(&stash.pristine(), choice.flips, &mut rng)?;
    let chosen = choice.of(&sites)?;
    report.step("stored, stopped, copied", &stash.describe(), begun.elapsed());

    let control = Trial::new(&mut stash, None)?.run()?;
    ensure!(
        matches!(control, Verdict::Unnoticed),
        "without any flip, the node was {control:?}: the check checks something else"
    );

    let mut tally = Tally::default();
    let begun = Instant::now();
    for &(number, site) in &chosen {
        let outcome = Trial::new(&mut stash, Some(site))?.run();
        tally.note(number, site, outcome, report);
        interrupt::check()?;
    }
    tally.print(report);
    let Tally { violations, trials, .. } = tally;
    if violations > 0 {
        bail!("{violations} of {trials} flips were not handled; --at takes the number of one");
    }
    report.step(
        "rot",
        &format!("{trials} flips in {} files: no wrong byte, no silent loss", files(&chosen)),
        begun.elapsed(),
    );
    stash.cluster.finish(report)
}

fn files(sites: &[(usize, &Site)]) -> usize {
    sites.iter().map(|(_, site)| &site.path).collect::<std::collections::BTreeSet<_>>().len()
}

/// Counts of the ends of flips in files of a kind.
#[derive(Default)]
struct Tally {
    kinds: BTreeMap<Kind, BTreeMap<&'static str, u32>>,
    violations: u32,
    trials: u32,
}

impl Tally {
    fn note(&mut self, number: usize, site: &Site, outcome: Result<Verdict>, report: &Report) {
        self.trials += 1;
        let word = match outcome.and_then(|verdict| site.kind.allows(&verdict).map(|()| verdict)) {
            Ok(verdict) => verdict.word(),
            Err(error) => {
                self.violations += 1;
                report.line(format_args!("  VIOLATION at site {number}, {site}: {error:#}"));
                "NOT HANDLED"
            }
        };
        *self.kinds.entry(site.kind).or_default().entry(word).or_default() += 1;
    }

    fn print(&self, report: &Report) {
        for (kind, words) in &self.kinds {
            let words: Vec<String> =
                words.iter().map(|(word, count)| format!("{count} {word}")).collect();
            report.line(format_args!("{:<28} {}", kind.name(), words.join(", ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_that_there_is_not_is_an_error_that_says_how_many_there_are() {
        let choice = |at| Choice { flips: 0, at };
        assert_eq!(choice(None).of(&["a", "b"]).unwrap(), [(0, &"a"), (1, &"b")]);
        assert_eq!(choice(Some(1)).of(&["a", "b"]).unwrap(), [(1, &"b")]);
        let error = choice(Some(2)).of(&["a", "b"]).unwrap_err().to_string();
        assert_eq!(error, "--at 2: the sites are 0 to 1");
    }
}
