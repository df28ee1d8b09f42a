//! A trial: one bit flipped, and what the node makes of it.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use stash_api::node::Status;
use stash_api::upkeep::{CheckDone, ScrubDone};

use super::site::{Kind, Site};
use super::stash::{Stash, is_alone, listing};
use super::verdict::Verdict;
use crate::cluster::Started;
use crate::cluster::{self, Node};
use crate::interrupt;
use crate::process::Reply;

/// An index of names that is built again lists everything this soon.
const REBUILT: Duration = Duration::from_secs(20);

/// A key that the node gets in the midst of the damage, and what it has the bytes of.
const AGAIN: (&str, &str) = ("again", "rot/file-1");

/// Both nodes as they were, but for one bit.
pub(super) struct Trial<'a> {
    stash: &'a mut Stash,
    site: Option<&'a Site>,
    /// Somebody complained: an exit code, a finding, a warning.
    noticed: bool,
    /// Keys that gave an error instead of their bytes.
    unread: Vec<String>,
}

impl<'a> Trial<'a> {
    /// Without a site, nothing is flipped.
    pub(super) fn new(stash: &'a mut Stash, site: Option<&'a Site>) -> Result<Self> {
        stash.stop()?;
        stash.restore()?;
        if let Some(site) = site {
            site.flip(&stash.cluster.nodes[0].home)?;
        }
        Ok(Self { stash, site, noticed: false, unread: vec![] })
    }

    pub(super) fn run(mut self) -> Result<Verdict> {
        let verdict = self.all();
        // Whatever happened, the next trial finds both nodes stopped.
        let stopped = self.stash.stop();
        let verdict = verdict?;
        stopped?;
        Ok(verdict)
    }

    fn all(&mut self) -> Result<Verdict> {
        self.examine().context("`stash check` of the stopped node")?;
        fs::write(self.node().log(), b"")?;
        self.stash.cluster.nodes[1].start()?;
        let refused = self.start()?;
        self.stash.cluster.settle()?;
        self.listed()?;
        self.read(true).context("before anything was healed")?;
        self.put_again()?;
        self.heal()?;
        self.read(false).context("after everything was healed")?;
        self.others()?;
        let warned = fs::read_to_string(self.node().log())?.contains(" WARN ");
        self.stash.stop()?;
        self.sound_at_last()?;
        Ok(match (refused, self.noticed || warned, self.unread.is_empty()) {
            (true, ..) => Verdict::Refused,
            (false, _, false) => Verdict::Named,
            (false, true, true) => Verdict::Healed,
            (false, false, true) => Verdict::Unnoticed,
        })
    }

    fn node(&self) -> &Node {
        &self.stash.cluster.nodes[0]
    }

    /// Looks into the stopped node: 0 or 6, and with 6 it says what is damaged.
    fn examine(&mut self) -> Result<()> {
        let reply = self.node().run(&["check", "--read-data"])?;
        if self.site.is_some_and(|site| site.kind == Kind::Config) && reply.code != 0 {
            return Ok(());
        }
        let reply = reply.expect(&[0, 6])?;
        if reply.code == 6 {
            self.noticed = true;
            ensure!(reply.text().len() + reply.stderr.len() > 20, "it exits 6 and names nothing");
        }
        Ok(())
    }

    /// Starts the node; if it refuses, does what it says. Says whether it refused.
    fn start(&mut self) -> Result<bool> {
        let Started::Ended { code, said } = self.stash.cluster.nodes[0].try_start()? else {
            return Ok(false);
        };
        let site = self.site.context("it does not start, and nothing was flipped")?;
        let (exit, word, advice): (i32, &str, &str) = match site.kind {
            Kind::Format => (6, "FORMAT", "stash check --rebuild"),
            Kind::Keyring => (6, "keyring", "restore it from a backup"),
            Kind::Config => (2, "config.toml", ""),
            _ => bail!("it does not start: {said}"),
        };
        ensure!(code == Some(exit), "it refuses with {code:?} instead of {exit}: {said}");
        ensure!(said.contains(word) && said.contains(advice), "it does not say what to do: {said}");
        if site.kind == Kind::Format {
            self.node().ok(&["check", "--rebuild"])?;
        } else {
            let whole = self.stash.pristine().join(&site.path);
            fs::copy(whole, self.node().home.join(&site.path))?;
        }
        self.stash.cluster.nodes[0].start().context("after what it said to do")?;
        Ok(true)
    }

    /// The listing is what it was; while the index is built again, an error says so.
    fn listed(&mut self) -> Result<()> {
        let deadline = Instant::now() + REBUILT;
        loop {
            let reply = self.node().run(&["ls", "-R", "--json"])?.expect(&[0, 5])?;
            if reply.code == 0 {
                let listed = listing(self.node())?;
                ensure!(listed == self.stash.listing, "it lists something else: {listed}");
                return Ok(());
            }
            self.noticed = true;
            if Instant::now() > deadline {
                bail!("it lists nothing for {} s: {}", REBUILT.as_secs(), reply.stderr);
            }
            interrupt::check()?;
        }
    }

    /// Every key gives its bytes, or, if `damaged`, those that nobody else has give a clear error.
    fn read(&mut self, damaged: bool) -> Result<()> {
        let mut unread = vec![];
        for (key, bytes) in &self.stash.contents {
            let reply = self.node().run(&["cat", key])?;
            if reply.code == 0 {
                ensure!(reply.stdout == *bytes, "{key} came with WRONG BYTES");
                continue;
            }
            ensure!(bytes.starts_with(&reply.stdout), "{key} began with WRONG BYTES");
            if !damaged || !is_alone(key) {
                reply.expect(&[0]).with_context(|| key.clone())?;
                continue;
            }
            clear(&reply.expect(&[5, 6])?)?;
            unread.push(key.clone());
        }
        self.unread.extend(unread);
        Ok(())
    }

    /// Puts a file that is stored under another name, which takes the way of what was sealed before.
    fn put_again(&mut self) -> Result<()> {
        let (key, twin) = AGAIN;
        let source = self.stash.source(twin);
        self.node().ok(&["put", cluster::text(&source)?, "--as", key, "--wait", "all"])?;
        for node in &self.stash.cluster.nodes {
            let reply = node.ok(&["cat", key])?;
            ensure!(reply.stdout == self.stash.contents[twin], "{key} came with WRONG BYTES");
        }
        Ok(())
    }

    /// Scrubs and checks until nothing is wrong any more; what only this node had is put again, once it was named.
    fn heal(&mut self) -> Result<()> {
        let scrubbed = self.scrub()?;
        self.noticed |= scrubbed.found > 0;
        let reply = self.node().run(&["check", "--read-data", "--json"])?.expect(&[0, 6])?;
        let checked: CheckDone = reply.json()?;
        self.noticed |= checked.found > 0;
        let named = |key: &str| {
            let damaged = scrubbed.damaged.iter().chain(&checked.damaged);
            damaged.flat_map(|damaged| damaged.keys.iter().flatten()).any(|named| named == key)
        };
        for key in &self.unread {
            ensure!(named(key), "{key} cannot be read, and neither scrub nor check names it");
        }
        let alone = |keys: &Option<Vec<String>>| {
            keys.as_ref().is_some_and(|keys| keys.iter().all(|key| is_alone(key)))
        };
        let damaged: Vec<_> = scrubbed.damaged.iter().chain(&checked.damaged).collect();
        if let Some(left) = damaged.iter().find(|damaged| !alone(&damaged.keys)) {
            bail!("{left:?} was not healed, though the other owner has it");
        }
        let mut again: Vec<String> =
            damaged.iter().flat_map(|damaged| damaged.keys.iter().flatten().cloned()).collect();
        again.dedup();
        for key in again {
            let source = self.stash.source(&key);
            self.node().ok(&["put", cluster::text(&source)?, "--as", &key, "--wait", "all"])?;
            if !self.unread.contains(&key) {
                self.unread.push(key);
            }
        }
        self.node().ok(&["gc", "--now"])?;
        let last = self.scrub()?;
        ensure!(last.unhealed == 0, "the scrub goes on finding {:?}", last.findings);
        Ok(())
    }

    fn scrub(&self) -> Result<ScrubDone> {
        self.node().run(&["scrub", "--json"])?.expect(&[0, 6])?.json()
    }

    /// The other owner reads everything that it is to have, and nobody complains of anybody.
    fn others(&self) -> Result<()> {
        for node in &self.stash.cluster.nodes {
            let status: Status = node.json(&["status"])?;
            ensure!(status.alarms.is_empty(), "{} alarms: {:?}", node.name(), status.alarms);
            ensure!(status.read_only.is_none(), "{} is read-only", node.name());
        }
        let other = &self.stash.cluster.nodes[1];
        for (key, bytes) in self.stash.contents.iter().filter(|(key, _)| !is_alone(key)) {
            ensure!(other.ok(&["cat", key])?.stdout == *bytes, "{key} is WRONG on the other owner");
        }
        Ok(())
    }

    /// Nothing is left that a check of the stopped node finds.
    fn sound_at_last(&self) -> Result<()> {
        if self.site.is_none_or(|site| site.kind != Kind::Config) {
            self.node().ok(&["check", "--read-data"]).context("when all was over")?;
        }
        Ok(())
    }
}

/// An error says what is wrong.
fn clear(reply: &Reply) -> Result<()> {
    ensure!(reply.stderr.trim().len() > 10, "it exits {} and says nothing", reply.code);
    Ok(())
}
