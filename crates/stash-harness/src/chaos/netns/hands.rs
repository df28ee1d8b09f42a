//! The users of a stash that is hurt: at every node that reads, some who ask it for something at random, again and
//! again, at a few names, so that they get in each other's way. What they ask for and are told goes to the model.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rand::RngExt;
use rand::rngs::StdRng;
use stash_api::versions::{History, ResolveDone, Version};

use super::content::Contents;
use super::events::Events;
use super::model::{Begun, Deed, Model};
use crate::cluster::{COMMAND, Cluster, Node, Role, text};
use crate::process::{Reply, Running};

/// Names that are written to; those that are purged are others, since a purge excuses much.
pub(super) const KEPT: [&str; 6] = ["one", "two", "three", "deep/four", "deep/five", "deep/er/six"];
pub(super) const PURGED: [&str; 2] = ["purged/seven", "purged/eight"];

/// Requests under way at one node: some wait half a minute for copies, and the others go on.
const AT_ONCE: usize = 6;

/// From one request at a node to the next, in seconds.
const PAUSES: (f64, f64) = (0.1, 0.6);

/// Exit codes that mean done: 7 is stored, in fewer copies than were asked for.
const DONE: [i32; 2] = [0, 7];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Request {
    Deed(Deed),
    Evict,
    Read,
}

struct Busy {
    running: Running,
    key: &'static str,
    request: Request,
    begun: Option<Begun>,
}

struct Hand {
    node: usize,
    next: Instant,
    busy: Vec<Busy>,
}

/// Counts of operations, for the report.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) puts: u32,
    pub(super) removals: u32,
    pub(super) resolved: u32,
    pub(super) purges: u32,
    pub(super) evictions: u32,
    pub(super) reads: u32,
    /// Operations that ended otherwise: the node was dead, had nothing to do, or found no proof.
    pub(super) refused: u32,
}

pub(super) struct Hands {
    pub(super) model: Model,
    pub(super) tally: Tally,
    contents: Contents,
    rng: StdRng,
    work: PathBuf,
    puts: u64,
    hands: Vec<Hand>,
}

/// As `stash resolve` answers.
impl Hands {
    /// Makes a user at every node that reads; files to put lie in `work`.
    pub(super) fn new(cluster: &Cluster, contents: Contents, rng: StdRng, work: PathBuf) -> Self {
        let nodes = cluster.nodes.iter().enumerate().filter(|(_, node)| node.role.reads());
        let hands = nodes.map(|(node, _)| Hand { node, next: Instant::now(), busy: vec![] });
        let (model, tally) = (Model::default(), Tally::default());
        Self { model, tally, contents, rng, work, puts: 0, hands: hands.collect() }
    }

    /// Takes the answers that are there, and asks where it is time to.
    pub(super) fn step(&mut self, cluster: &Cluster, events: &mut Events) -> Result<()> {
        self.take_answers(cluster, events)?;
        for index in 0..self.hands.len() {
            let hand = &self.hands[index];
            let node = &cluster.nodes[hand.node];
            if hand.next > Instant::now() || hand.busy.len() == AT_ONCE || !node.is_running() {
                continue;
            }
            let pause = self.rng.random_range(PAUSES.0..PAUSES.1);
            self.hands[index].next = Instant::now() + Duration::from_secs_f64(pause);
            if let Some(busy) = self.ask(node).with_context(|| node.name())? {
                self.hands[index].busy.push(busy);
            }
        }
        Ok(())
    }

    /// Takes the answers that are there; says whether none is missing.
    pub(super) fn take_answers(&mut self, cluster: &Cluster, events: &mut Events) -> Result<bool> {
        for index in 0..self.hands.len() {
            let name = cluster.nodes[self.hands[index].node].name();
            for busy in ended(&mut self.hands[index].busy)? {
                let reply = busy.running.finish(COMMAND)?;
                events.note(&format!(
                    "{name} {:?} {}: {} after {:.2} s {}",
                    busy.request,
                    busy.key,
                    reply.code,
                    reply.took.as_secs_f64(),
                    reply.stderr.trim()
                ));
                self.answered(busy.key, &busy.request, busy.begun, reply)?;
            }
        }
        Ok(self.hands.iter().all(|hand| hand.busy.is_empty()))
    }

    /// Begins a request at a node; none if the node does not even say what it has.
    fn ask(&mut self, node: &Node) -> Result<Option<Busy>> {
        let purged = self.rng.random_ratio(1, 5);
        let names = if purged { &PURGED[..] } else { &KEPT[..] };
        let key = names[self.rng.random_range(0..names.len())];
        let Some(versions) = history(node, key)? else {
            return Ok(None);
        };
        let leaves: Vec<&Version> =
            versions.iter().filter(|version| version.place != "covered").collect();
        let drawn = self.rng.random_range(0..20);
        let request = match drawn {
            0..=2 => Request::Read,
            3..=5 => Request::Evict,
            _ if node.role != Role::Owner => Request::Read,
            6..=11 if leaves.len() > 1 => Request::Deed(Deed::Take),
            12 | 13 => Request::Deed(Deed::Remove),
            14 | 15 if purged => Request::Deed(Deed::Purge),
            _ => {
                self.puts += 1;
                Request::Deed(Deed::Put(self.puts))
            }
        };
        let leaf = leaves.get(self.rng.random_range(0..leaves.len().max(1)));
        let words = self.words(key, &request, leaf.map(|leaf| leaf.version.as_str()))?;
        let seen: BTreeSet<String> =
            versions.iter().map(|version| version.version.clone()).collect();
        let begun = match request {
            Request::Deed(deed) => Some(self.model.begin(key, deed, seen)),
            Request::Evict | Request::Read => {
                self.model.show(key, seen);
                None
            }
        };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Ok(Some(Busy { running: node.begin(&words)?, key, request, begun }))
    }

    /// The command line of a request.
    fn words(&mut self, key: &str, request: &Request, leaf: Option<&str>) -> Result<Vec<String>> {
        let wait = ["local", "local", "one", "quorum"][self.rng.random_range(0..4)];
        let source = self.source(request);
        let words = match request {
            Request::Read => vec!["cat", key],
            Request::Evict => vec!["evict", key, "--copies", "1"],
            Request::Deed(Deed::Take) => {
                let leaf = leaf.context("nothing to take")?;
                vec!["resolve", key, "--take", leaf, "--json", "--wait", wait]
            }
            Request::Deed(Deed::Remove) => vec!["rm", key, "-y", "--wait", wait],
            Request::Deed(Deed::Purge) => vec!["rm", key, "--purge", "-y", "--wait", wait],
            Request::Deed(Deed::Put(number)) => {
                fs::write(&source, self.contents.of(*number))?;
                vec!["put", text(&source)?, "--as", key, "--wait", wait]
            }
        };
        Ok(words.into_iter().map(str::to_owned).collect())
    }

    fn source(&self, request: &Request) -> PathBuf {
        let Request::Deed(Deed::Put(number)) = request else {
            return PathBuf::new();
        };
        self.work.join(number.to_string())
    }

    fn answered(
        &mut self,
        key: &str,
        request: &Request,
        begun: Option<Begun>,
        reply: Reply,
    ) -> Result<()> {
        // 4: it is gone. 5: the node went away, or nobody who has the bytes can be reached. 9: nobody proves a copy.
        let allowed: &[i32] = match request {
            Request::Deed(Deed::Put(_)) => &[0, 5, 7],
            Request::Deed(_) => &[0, 4, 5, 7],
            Request::Evict => &[0, 4, 5, 9],
            Request::Read => &[0, 4, 5],
        };
        let reply = reply.expect(allowed)?;
        let mut done = DONE.contains(&reply.code);
        match request {
            Request::Deed(Deed::Put(_)) => fs::remove_file(self.source(request))?,
            Request::Deed(Deed::Take) if done => {
                let resolved: ResolveDone = reply.json()?;
                // It was the only one already, and nothing was written.
                done = resolved.covered > 0;
                self.model.show(key, [resolved.version]);
            }
            Request::Read if done => {
                let number = self.contents.number(&reply.stdout).with_context(|| key.to_owned())?;
                self.model.was_put(key, number)?;
            }
            _ => {}
        }
        if let Some(begun) = begun {
            self.model.end(begun, done);
        }
        *self.tally.of(request, done) += 1;
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { puts, removals, resolved, purges, evictions, reads, refused } = self;
        write!(
            f,
            "{puts} puts, {removals} removals, {resolved} conflicts resolved, {purges} purges, \
             {evictions} evictions, {reads} reads; {refused} requests in vain"
        )
    }
}

impl Tally {
    fn of(&mut self, request: &Request, done: bool) -> &mut u32 {
        match request {
            _ if !done => &mut self.refused,
            Request::Deed(Deed::Put(_)) => &mut self.puts,
            Request::Deed(Deed::Remove) => &mut self.removals,
            Request::Deed(Deed::Take) => &mut self.resolved,
            Request::Deed(Deed::Purge) => &mut self.purges,
            Request::Evict => &mut self.evictions,
            Request::Read => &mut self.reads,
        }
    }
}

/// Takes those out that have ended.
fn ended(busy: &mut Vec<Busy>) -> Result<Vec<Busy>> {
    let (mut over, mut left) = (vec![], vec![]);
    for mut one in std::mem::take(busy) {
        let to = if one.running.has_ended()? { &mut over } else { &mut left };
        to.push(one);
    }
    *busy = left;
    Ok(over)
}

/// The versions that a node shows of a name; none if it cannot say, since it is just being killed.
fn history(node: &Node, key: &str) -> Result<Option<Vec<Version>>> {
    let reply = node.run(&["history", key, "--json"])?;
    match reply.code {
        0 => Ok(Some(reply.json::<History>()?.versions)),
        4 => Ok(Some(vec![])),
        5 => Ok(None),
        code => bail!("`{}` exited with {code}: {}", reply.what, reply.stderr.trim()),
    }
}
