//! Takes files, directories and all of `chunks/` away from under nodes, and brings them back: at rest and under load,
//! with reads, scrubs, collections, evictions and restarts in between. Whatever was acknowledged is there in the end.

mod hidden;

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use stash_api::node::Status;

use crate::cluster::{self, Cluster, Node, Plan, Role};
use crate::report::Report;
use crate::{build, compare, interrupt, tree};
use hidden::{Hidden, WAYS, Way};

/// Sizes of the files: of each, some chunks are files of their own.
const SIZES: [usize; 4] = [140_000, 300_000, 1_300_000, 2_300_000];

/// Files that both nodes hold from the start.
const FILES: usize = 6;

/// A file that only the second node has the bytes of.
const ALONE: &str = "alone";

/// From when everything is back to when everything is read again: a node looks every ten seconds by itself.
const BACK: Duration = Duration::from_secs(40);

/// The length of a cut while files are put.
const HIDDEN: Duration = Duration::from_millis(400);

/// Commands that somebody runs while files are away, and after they are back.
const ACTS: [&[&str]; 7] = [
    &["scrub"],
    &["gc", "--now"],
    &["check"],
    &["evict", "file-0", "--copies", "1"],
    &["cat", "file-1"],
    &["cat", ALONE],
    &["repair", "--dry-run"],
];

/// The stash, and what each key is to give.
struct Stash {
    cluster: Cluster,
    contents: BTreeMap<String, Vec<u8>>,
    puts: u32,
}

pub(super) fn run(rounds: u32, seed: u64, report: &Report) -> Result<()> {
    let binary = build::stash(report)?;
    let cluster = Cluster::found(&Plan::new(vec![Role::Owner, Role::Owner], &binary), report)?;
    let mut rng = tree::rng(seed);
    let mut stash = Stash { cluster, contents: BTreeMap::new(), puts: 0 };
    stash.fill(&mut rng)?;
    for round in 0..rounds {
        let begun = Instant::now();
        let way = WAYS[round as usize % WAYS.len()];
        let what = stash.at_rest(way, &mut rng);
        let what = what.with_context(|| format!("round {round}, {way:?}, at rest"))?;
        report.step("at rest", &format!("{way:?}: {what}"), begun.elapsed());
        interrupt::check()?;
    }
    for (at, way) in WAYS.into_iter().enumerate().take(rounds as usize) {
        let begun = Instant::now();
        let puts = stash.under_load(way, &mut rng);
        let puts = puts.with_context(|| format!("case {at}, {way:?}, under load"))?;
        report.step("under load", &format!("{way:?}: {puts} puts acknowledged"), begun.elapsed());
        interrupt::check()?;
    }
    stash.sound_at_last()?;
    stash.cluster.finish(report)
}

impl Stash {
    fn fill(&mut self, rng: &mut StdRng) -> Result<()> {
        for n in 0..FILES {
            let key = format!("file-{n}");
            ensure!(self.put(0, &key, rng, "all")? == 0, "{key} is not on both nodes");
        }
        ensure!(self.put(0, ALONE, rng, "all")? == 0, "{ALONE} is not on both nodes");
        self.nodes()[0].ok(&["evict", ALONE, "--copies", "1"])?;
        cluster::wait_listed(&self.nodes()[1], "", FILES + 1)
    }

    fn nodes(&self) -> &[Node] {
        &self.cluster.nodes
    }

    /// Puts a file. The exit code; what was acknowledged is to be there from now on.
    fn put(&mut self, at: usize, key: &str, rng: &mut StdRng, wait: &str) -> Result<i32> {
        let mut bytes = vec![0; SIZES[rng.random_range(0..SIZES.len())]];
        rng.fill_bytes(&mut bytes);
        let source = self.cluster.run.path.join("source");
        fs::write(&source, &bytes)?;
        let words = ["put", cluster::text(&source)?, "--as", key, "--wait", wait];
        let code = self.nodes()[at].run(&words)?.code;
        if [0, 7].contains(&code) {
            self.contents.insert(key.to_owned(), bytes);
        }
        Ok(code)
    }

    /// Takes something away from both nodes, does things, brings it back, does more, and reads everything.
    fn at_rest(&mut self, way: Way, rng: &mut StdRng) -> Result<String> {
        let taken: Vec<Hidden> =
            self.nodes().iter().map(|node| Hidden::take(node, way, rng)).collect::<Result<_>>()?;
        let mut did = self.act(rng)?;
        // A node that starts without the marker, and finds its files, makes it again.
        let whole = way.is_whole() && !(way == Way::Marker && did.contains(&"restart"));
        self.named(whole)?;
        if whole {
            let key = format!("refused-{}", self.puts);
            let code = self.put(0, &key, rng, "local")?;
            ensure!(code == 5, "a put into a directory that is away exits {code}");
        }
        self.puts += 1;
        taken.into_iter().try_for_each(Hidden::bring_back)?;
        did.push("back");
        did.extend(self.act(rng)?);
        self.read_all()?;
        Ok(did.join(", "))
    }

    /// Some of the acts, on both nodes, or a restart. What they say while files are away is theirs.
    fn act(&mut self, rng: &mut StdRng) -> Result<Vec<&'static str>> {
        let mut did = vec![];
        for _ in 0..3 {
            if rng.random_bool(0.25) {
                for node in &mut self.cluster.nodes {
                    if rng.random_bool(0.5) {
                        node.kill()?
                    } else {
                        node.stop()?
                    }
                    node.start()?;
                }
                did.push("restart");
                continue;
            }
            let words = ACTS[rng.random_range(0..ACTS.len())];
            for node in self.nodes() {
                let reply = node.run(words)?;
                ensure!((0..=11).contains(&reply.code), "{words:?} exits {}", reply.code);
            }
            did.push(words[0]);
        }
        Ok(did)
    }

    /// A status names the directory that is away, and no other.
    fn named(&self, whole: bool) -> Result<()> {
        for node in self.nodes() {
            let status: Status = node.json(&["status"])?;
            match (&status.away, whole) {
                (Some(text), true) => {
                    let dir = node.data().join("store/chunks");
                    ensure!(text.contains(cluster::text(&dir)?), "{}: {text}", node.name());
                }
                (None, false) => {}
                (away, _) => bail!("{} says of its chunk files: {away:?}", node.name()),
            }
        }
        Ok(())
    }

    /// Every key gives its bytes on both nodes: soon, since whoever noticed nothing yet looks again.
    fn read_all(&self) -> Result<()> {
        let deadline = Instant::now() + BACK;
        let (output, source) =
            (self.cluster.run.path.join("output"), self.cluster.run.path.join("expected"));
        for (key, bytes) in &self.contents {
            fs::write(&source, bytes)?;
            for node in self.nodes() {
                let target = cluster::text(&output)?;
                loop {
                    let reply = node.run(&["get", key, "-o", target])?;
                    if reply.code == 0 {
                        compare::same(&source, &output)?;
                        // What is there already would not be read again.
                        fs::remove_file(&output)?;
                        break;
                    }
                    let (name, said) = (node.name(), reply.stderr.trim());
                    ensure!(Instant::now() < deadline, "{name} does not give {key}: {said}");
                    interrupt::check()?;
                    thread::sleep(cluster::POLL);
                }
            }
        }
        Ok(())
    }

    /// Takes things away and brings them back, again and again, while files are put. How many were.
    fn under_load(&mut self, way: Way, rng: &mut StdRng) -> Result<u32> {
        let (done, mut thief) = (AtomicBool::new(false), tree::rng(rng.random()));
        let dirs: Vec<_> = self.nodes().iter().map(Node::data).collect();
        let mut acknowledged = 0;
        thread::scope(|scope| {
            let taking = scope.spawn(|| -> Result<()> {
                while !done.load(Ordering::Relaxed) {
                    let taken: Vec<Hidden> = dirs
                        .iter()
                        .map(|data| Hidden::take_from(data, way, &mut thief))
                        .collect::<Result<_>>()?;
                    thread::sleep(HIDDEN.mul_f64(thief.random_range(0.1..1.0)));
                    taken.into_iter().try_for_each(Hidden::bring_back)?;
                    thread::sleep(HIDDEN.mul_f64(thief.random_range(0.1..1.0)));
                }
                Ok(())
            });
            let put: Result<()> = (0..12).try_for_each(|n| {
                self.puts += 1;
                let key = format!("load-{}", self.puts);
                let code = self.put(n % 2, &key, rng, "one")?;
                acknowledged += u32::from([0, 7].contains(&code));
                Ok(())
            });
            done.store(true, Ordering::Relaxed);
            taking.join().map_err(|_| anyhow::anyhow!("the thief panicked"))??;
            put
        })?;
        for node in self.nodes() {
            let status: Status = node.json(&["status"])?;
            ensure!(status.read_only.is_none(), "{}: {:?}", node.name(), status.read_only);
        }
        self.read_all()?;
        Ok(acknowledged)
    }

    /// Neither store is damaged, with every byte read.
    fn sound_at_last(&mut self) -> Result<()> {
        for node in self.nodes() {
            node.ok(&["scrub"])?;
        }
        self.read_all()?;
        for node in &mut self.cluster.nodes {
            node.stop()?;
            node.ok(&["check", "--read-data"])?;
        }
        Ok(())
    }
}
