//! The cuts of one file system: one after the other, each with its recovery.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::cut::{self, Cut, Edge};
use super::traced::{Outcome, Traced};
use super::volume::Volume;
use crate::powercut::arguments::{FileSystem, Journal};
use crate::process::Running;
use crate::report::{Report, seconds};

/// The longest that a check may take; it takes milliseconds.
const CHECK: Duration = Duration::from_secs(60);

/// Cuts after which a line says how far it is.
const PROGRESS: u32 = 50;

/// The cuts of one file system, its journal always suffering the same fate.
#[derive(Debug)]
pub(super) struct Series<'a> {
    fs: FileSystem,
    journal: Journal,
    seed: u64,
    directory: &'a Path,
    program: &'a Path,
    volume: Option<Volume>,
    /// True if the store was used since the last check.
    unchecked: bool,
    /// The number of the last cut that was tried.
    number: u32,
    /// Cuts by kind of call and edge.
    cuts: BTreeMap<(String, Edge), u32>,
    /// Runs that ended before the call they should be cut at.
    uncut: u32,
    /// The findings of checks, added up, and the number of checks.
    found: BTreeMap<String, u64>,
    checks: u32,
}

impl<'a> Series<'a> {
    pub(super) fn new(
        fs: FileSystem,
        journal: Journal,
        seed: u64,
        directory: &'a Path,
        program: &'a Path,
    ) -> Self {
        Self {
            fs,
            journal,
            seed,
            directory,
            program,
            volume: None,
            unchecked: false,
            number: 0,
            cuts: BTreeMap::new(),
            uncut: 0,
            found: BTreeMap::new(),
            checks: 0,
        }
    }

    /// Cuts until so many were real; the one after the last ends its chain early.
    pub(super) fn run(&mut self, cuts: u32, report: &Report) -> Result<()> {
        while self.real() < cuts {
            if self.number >= 2 * cuts + cut::chain(self.fs) {
                let real = self.real();
                bail!("only {real} of {cuts} runs reached the call that they should be cut at");
            }
            let was_cut = self.one(&self.plan(self.number + 1))?;
            if was_cut && self.real().is_multiple_of(PROGRESS) {
                report.line(format_args!("  {}: {} cuts, nothing lost", self.name(), self.real()));
            }
        }
        self.end()
    }

    /// Cut `number`, after those on the same image before it; says what happens.
    pub(super) fn replay(&mut self, number: u32, report: &Report) -> Result<()> {
        self.number = cut::chain_of(self.fs, number) - 1;
        while self.number < number {
            let cut = self.plan(self.number + 1);
            let was_cut = self.one(&cut)?;
            let end = if was_cut { "nothing lost" } else { "ended before" };
            report.line(format_args!("  {}: {}: {end}", self.name(), cut.place()));
        }
        self.end()
    }

    fn plan(&self, number: u32) -> Cut {
        Cut::plan(self.seed, self.fs, self.journal, number)
    }

    fn real(&self) -> u32 {
        self.cuts.values().sum()
    }

    fn name(&self) -> String {
        match self.fs {
            FileSystem::Bare => "bare (no journal)".to_owned(),
            fs => format!("{fs}, journal {}", self.journal),
        }
    }

    /// The command that shows this again.
    pub(super) fn replay_with(&self) -> String {
        format!(
            "replay with --fs {} --journal {} --seed {} --at {}",
            self.fs, self.journal, self.seed, self.number
        )
    }

    fn acks(&self) -> PathBuf {
        self.directory.join("acks")
    }

    /// Runs up to its cut, cuts, and does what comes after the power is back. True if it was cut.
    fn one(&mut self, cut: &Cut) -> Result<bool> {
        self.number = cut.number;
        if cut::chain_of(self.fs, cut.number) == cut.number || self.volume.is_none() {
            self.end()?;
            let options = cut::mount_options(self.fs, cut.number);
            let volume = Volume::make(self.fs, self.directory, options)?;
            volume.mount()?;
            fs::write(self.acks(), "")?;
            self.volume = Some(volume);
        }
        self.unchecked = true;
        let was_cut = self.until_cut(cut).with_context(|| cut.place())?;
        if cut.check {
            self.check().with_context(|| format!("{}, checked after", cut.place()))?;
        }
        Ok(was_cut)
    }

    fn volume(&self) -> Result<&Volume> {
        self.volume.as_ref().context("there is a volume from the first cut on")
    }

    fn store(&self) -> Result<PathBuf> {
        Ok(self.volume()?.mounted_at.join("store"))
    }

    fn until_cut(&mut self, cut: &Cut) -> Result<bool> {
        let mut run = Command::new(self.program);
        run.arg("run").arg(self.store()?).arg(cut.seed.to_string()).arg(self.acks());
        if cut::only_adds(self.fs) {
            run.arg("only-add");
        }
        let says = self.directory.join("says");
        let mut traced = Traced::spawn(cut, &run, File::create(&says)?)?;
        match traced.wait()? {
            Outcome::Cut => {}
            Outcome::Ended { code: 0 } => {
                self.uncut += 1;
                return Ok(false);
            }
            Outcome::Ended { code } => {
                bail!("exit code {code}: {}", fs::read_to_string(&says)?.trim())
            }
        }
        let volume = self.volume()?;
        volume.cut(self.journal)?;
        traced.kill()?;
        // strace may have something to say; the store's user has not, when it is cut.
        let said = fs::read_to_string(&says)?;
        volume.unmount().with_context(|| said.trim().to_owned())?;
        volume.restore().context("the file system itself did not survive")?;
        *self.cuts.entry((cut.call.to_string(), cut.edge)).or_default() += 1;
        Ok(true)
    }

    /// Lets a fresh process open the store and look for everything that was acknowledged.
    fn check(&mut self) -> Result<()> {
        let mut check = Command::new(self.program);
        check.arg("check").arg(self.store()?).arg(self.acks());
        let reply = Running::spawn(&mut check, "powercut check".into())?.finish(CHECK)?;
        if reply.code != 0 {
            bail!("exit code {}: {}", reply.code, reply.stderr.trim());
        }
        self.checks += 1;
        self.unchecked = false;
        for finding in reply.text().split_whitespace() {
            let (name, count) = finding.split_once('=').context("a finding without a count")?;
            let count: u64 = count.parse().with_context(|| finding.to_owned())?;
            // How many checks found it: the amounts are of no interest.
            *self.found.entry(name.to_owned()).or_default() += u64::from(count > 0);
        }
        Ok(())
    }

    /// The last check of this image, and its end.
    fn end(&mut self) -> Result<()> {
        if self.unchecked {
            self.check().context("checked at the end")?;
        }
        match self.volume.take() {
            Some(volume) => volume.unmount(),
            None => Ok(()),
        }
    }

    pub(super) fn summary(&self, took: Duration, report: &Report) {
        let cuts = self.real();
        let held = "0 acknowledged losses, 0 unreadable stores, 0 torn reads";
        report.line(format_args!("{:<24} {cuts} cuts, {held} ({})", self.name(), seconds(took)));
        let names: BTreeSet<&String> = self.cuts.keys().map(|(name, _)| name).collect();
        let count = |name: &str, edge| self.cuts.get(&(name.to_owned(), edge)).unwrap_or(&0);
        let calls: Vec<String> = names
            .iter()
            .map(|name| {
                format!("{name} {}+{}", count(name, Edge::Before), count(name, Edge::After))
            })
            .collect();
        report.line(format_args!("  cuts before + after a call: {}", calls.join(", ")));
        let found: Vec<String> =
            self.found.iter().map(|(name, checks)| format!("{name} {checks}")).collect();
        report.line(format_args!("  of {} checks, found: {}", self.checks, found.join(", ")));
        report.line(format_args!("  runs that ended before their cut: {}", self.uncut));
    }
}
