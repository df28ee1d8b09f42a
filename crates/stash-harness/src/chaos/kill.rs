//! SIGKILL of a random node at random moments of many puts, then of gets, evicts and removals; and of a keeper and an owner
//! within a second of the answer to a put.
//!
//! After each: what a survivor lists is whole, what was acknowledged is readable from every survivor, or from everybody once
//! the two that were killed are back; and the killed nodes start again without help.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use stash_api::files::Listing;

use crate::cluster::{self, Cluster, Node, Plan, Role};
use crate::report::Report;
use crate::tree::Tree;
use crate::{build, compare, interrupt, tree};

/// Sizes of the files: inside a record, one small chunk, several chunks, enough to be in the middle of.
const SIZES: &[usize] = &[100, 4096, 60_000, 1_300_000, 9_000_000, 40_000_000];

/// The share of puts that store a directory of small files: one in so many.
const DIRECTORY: u32 = 4;

/// Files in such a directory.
const FILES: usize = 60;

/// The number of puts for each get, evict or rm that is killed in its midst.
const OTHERS: u32 = 2;

/// The number of puts for each put whose answer comes before the kill.
const ANSWERED: u32 = 2;

/// Keeper and owner are killed at most this long after the answer: what the answer said is durable, however short it was
/// ago.
const AFTER: Duration = Duration::from_secs(1);

/// The node is killed at most this long after the put began: longer than the largest put takes.
const MOMENTS: Duration = Duration::from_millis(400);

/// An acknowledged file is readable from every survivor this soon.
const READABLE: Duration = Duration::from_secs(20);

struct Kill<'a> {
    cluster: Cluster,
    rng: StdRng,
    report: &'a Report,
    work: PathBuf,
    /// Keys whose put exited with 0, and all keys tried.
    acknowledged: BTreeSet<String>,
    tried: BTreeSet<String>,
    kills: u32,
    restarts: Vec<Duration>,
}

pub(super) fn run(puts: u32, seed: u64, report: &Report) -> Result<()> {
    let binary = build::stash(report)?;
    let cluster = Cluster::found(&Plan::new(Role::of_cluster(3), &binary), report)?;
    let work = cluster::fresh(&cluster.run.path, "kill")?;
    let mut kill = Kill {
        cluster,
        rng: tree::rng(seed),
        report,
        work,
        acknowledged: BTreeSet::new(),
        tried: BTreeSet::new(),
        kills: 0,
        restarts: vec![],
    };
    let begun = Instant::now();
    for number in 1..=puts {
        kill.one(number).with_context(|| format!("put {number} of {puts}"))?;
        interrupt::check()?;
    }
    for number in 1..=puts / ANSWERED {
        kill.after_the_answer(number).with_context(|| format!("answered put {number}"))?;
        interrupt::check()?;
    }
    for number in 1..=puts / OTHERS {
        kill.other().with_context(|| format!("get, evict or rm {number}"))?;
        interrupt::check()?;
    }
    kill.everything_at_the_end()?;
    let slowest = kill.restarts.iter().max().copied().unwrap_or_default();
    let checked = format!(
        "{puts} puts, {} kills, {} acknowledged and all readable; slowest restart {} ms",
        kill.kills,
        kill.acknowledged.len(),
        slowest.as_millis()
    );
    report.step("kill", &checked, begun.elapsed());
    kill.cluster.finish(report)
}

impl Kill<'_> {
    fn one(&mut self, number: u32) -> Result<()> {
        let key = format!("kill-{number:04}");
        let source = self.source(&key)?;
        let owners: Vec<usize> = self.indices(|node| node.role == Role::Owner);
        let writer = owners[self.rng.random_range(0..owners.len())];
        let victim = self.rng.random_range(0..self.cluster.nodes.len());
        let moment = MOMENTS.mul_f64(self.rng.random_range(0.0..1.0));
        // Small files are over early: half of the moments fall into the first tenth.
        let moment = if self.rng.random_bool(0.5) { moment / 10 } else { moment };

        let put = self.cluster.nodes[writer].begin(&["put", cluster::text(&source)?])?;
        thread::sleep(moment);
        self.cluster.nodes[victim].kill()?;
        self.kills += 1;
        let reply = put.finish(cluster::COMMAND)?;
        // 5: the program went away. 7: it went on and saw too few copies. A quorum survives the death of another node.
        let allowed: &[i32] = if writer == victim { &[0, 5, 7] } else { &[0] };
        let code = reply.expect(allowed)?.code;
        self.tried.insert(key.clone());
        if code == 0 {
            self.acknowledged.insert(key.clone());
        }
        for index in self.indices(|node| node.is_running() && node.role.reads()) {
            self.whole_or_absent(index, &key, code == 0)?;
        }
        self.restarts.push(self.cluster.nodes[victim].start()?);
        self.cluster.settle()?;
        if number.is_multiple_of(20) {
            let acknowledged = self.acknowledged.len();
            self.report
                .line(format_args!("  {number} puts, {acknowledged} acknowledged, all readable"));
        }
        Ok(())
    }

    /// A put that is answered, and then the deaths of the keeper and of an owner, each at a moment of its own. Both may have
    /// been the copies that the answer counted: once they are back, by themselves, every reader has the file.
    fn after_the_answer(&mut self, number: u32) -> Result<()> {
        let key = format!("answered-{number:04}");
        let source = self.source(&key)?;
        let owners = self.indices(|node| node.role == Role::Owner);
        let keepers = self.indices(|node| node.role == Role::Keeper);
        let writer = owners[self.rng.random_range(0..owners.len())];
        let mut victims = [
            (keepers[self.rng.random_range(0..keepers.len())], self.moment_after()),
            (owners[self.rng.random_range(0..owners.len())], self.moment_after()),
        ];
        victims.sort_by_key(|(_, moment)| *moment);

        self.cluster.nodes[writer].ok(&["put", cluster::text(&source)?])?;
        let answered = Instant::now();
        self.tried.insert(key.clone());
        self.acknowledged.insert(key.clone());
        for (victim, moment) in victims {
            thread::sleep(moment.saturating_sub(answered.elapsed()));
            self.cluster.nodes[victim].kill()?;
            self.kills += 1;
        }
        for (victim, _) in victims {
            self.restarts.push(self.cluster.nodes[victim].start()?);
        }
        self.cluster.settle()?;
        for index in self.indices(|node| node.role.reads()) {
            self.whole_or_absent(index, &key, true)?;
        }
        if number.is_multiple_of(20) {
            self.report
                .line(format_args!("  {number} answered puts, keeper and owner killed after each"));
        }
        Ok(())
    }

    /// Half of the moments are within a tenth of the time.
    fn moment_after(&mut self) -> Duration {
        let moment = AFTER.mul_f64(self.rng.random_range(0.0..1.0));
        if self.rng.random_bool(0.5) { moment / 10 } else { moment }
    }

    /// A get, an evict or an rm of something acknowledged, with a kill in the midst of it. What is
    /// not removed stays whole on the node that was asked.
    fn other(&mut self) -> Result<()> {
        let keys: Vec<String> = self.acknowledged.iter().cloned().collect();
        let key = &keys[self.rng.random_range(0..keys.len())];
        let owners = self.indices(|node| node.role == Role::Owner);
        let actor = owners[self.rng.random_range(0..owners.len())];
        if !is_listed(&self.cluster.nodes[actor], key)? {
            return Ok(());
        }
        let victim = self.rng.random_range(0..self.cluster.nodes.len());
        let output = self.work.join("output");
        let words: &[&str] = match self.rng.random_range(0..3) {
            0 => &["get", key, "-o", cluster::text(&output)?],
            1 => &["evict", key, "-r", "--copies", "1"],
            _ => &["rm", key, "-r", "-y"],
        };
        let running = self.cluster.nodes[actor].begin(words)?;
        thread::sleep(MOMENTS.mul_f64(self.rng.random_range(0.0..0.1)));
        self.cluster.nodes[victim].kill()?;
        self.kills += 1;
        // 6 and 9: the only whole copy was on the node that died, or nobody was left to prove one.
        running.finish(cluster::COMMAND)?.expect(&[0, 4, 5, 6, 7, 9])?;
        self.restarts.push(self.cluster.nodes[victim].start()?);
        self.cluster.settle()?;
        remove(&output)?;
        if words[0] == "rm" {
            // Removed, or not: either is right as long as what is listed is whole.
            self.acknowledged.remove(key);
            return self.whole_or_absent(actor, key, false);
        }
        self.whole_or_absent(actor, key, true)
    }

    /// A random file, or a directory of small ones.
    fn source(&mut self, key: &str) -> Result<PathBuf> {
        let source = self.work.join(key);
        if self.rng.random_ratio(1, DIRECTORY) {
            fs::create_dir(&source)?;
            for index in 0..FILES {
                let size = self.rng.random_range(1..6000);
                fs::write(source.join(format!("small-{index:02}")), random(&mut self.rng, size))?;
            }
        } else {
            let size = SIZES[self.rng.random_range(0..SIZES.len())];
            fs::write(&source, random(&mut self.rng, size))?;
        }
        Ok(source)
    }

    /// A listed file is whole; an acknowledged one is listed; a failed get leaves no output.
    fn whole_or_absent(&self, index: usize, key: &str, acknowledged: bool) -> Result<()> {
        let (node, source) = (&self.cluster.nodes[index], self.work.join(key));
        let files = if source.is_dir() { FILES } else { 1 };
        if acknowledged {
            cluster::wait_listed(node, key, files).context("an acknowledged put")?;
        } else if !is_listed(node, key)? {
            return Ok(());
        }
        let output = self.work.join("output");
        let deadline = Instant::now() + READABLE;
        loop {
            let reply = node.run(&["get", key, "-o", cluster::text(&output)?])?;
            if reply.code == 0 {
                return compare(&source, &output, acknowledged);
            }
            if output.is_file() {
                bail!("{}: a get that exits {} left an output", node.name(), reply.code);
            }
            remove(&output)?;
            if Instant::now() > deadline {
                let kind = if acknowledged { "acknowledged" } else { "listed" };
                reply.expect(&[0]).with_context(|| format!("{kind} and not readable"))?;
            }
            interrupt::check()?;
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Checks that what is listed is whole on every node, and what was acknowledged is listed on at least one.
    fn everything_at_the_end(&self) -> Result<()> {
        let readers = self.indices(|node| node.role.reads());
        for key in &self.tried {
            let mut listed = false;
            for index in &readers {
                listed |= is_listed(&self.cluster.nodes[*index], key)?;
                self.whole_or_absent(*index, key, false)?;
            }
            if self.acknowledged.contains(key) && !listed {
                bail!("{key} was acknowledged and is listed nowhere");
            }
        }
        let strays: Vec<PathBuf> = fs::read_dir(&self.work)?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .filter(|path| !path_is_tried(path, &self.tried) && !is_hidden_part(path))
            .collect();
        if let Some(stray) = strays.first() {
            bail!("{} was left behind", stray.display());
        }
        Ok(())
    }

    fn indices(&self, wanted: impl Fn(&Node) -> bool) -> Vec<usize> {
        (0..self.cluster.nodes.len()).filter(|index| wanted(&self.cluster.nodes[*index])).collect()
    }
}

fn random(rng: &mut StdRng, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// Every file that came back is whole; of an acknowledged directory, every file came back.
fn compare(source: &Path, output: &Path, acknowledged: bool) -> Result<()> {
    if source.is_file() {
        compare::same(source, output)?;
    } else if acknowledged {
        compare::same_tree(&Tree::adopt(source)?, output)?;
    } else {
        compare::part_of_tree(&Tree::adopt(source)?, output)?;
    }
    remove(output)
}

fn remove(path: &Path) -> Result<()> {
    if path.is_dir() {
        fs::remove_dir_all(path)?;
    } else if path.exists() {
        fs::remove_file(path)?;
    }
    Ok(())
}

fn is_listed(node: &Node, key: &str) -> Result<bool> {
    let reply = node.run(&["ls", "-R", key, "--json"])?.expect(&[0, 4])?;
    if reply.code != 0 {
        return Ok(false);
    }
    let listing: Listing = reply.json()?;
    Ok(!listing.entries.is_empty())
}

/// True for a file that a daemon which is killed during a get leaves beside the output; `docs/operating.md` says so.
fn is_hidden_part(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with(".stash-") && name.ends_with(".part")
}

fn path_is_tried(path: &Path, tried: &BTreeSet<String>) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| tried.contains(name))
}
