//! Many members of one node: all are served, and those that are slow, silent or hostile cost the others nothing.
//!
//! The members are clients in one process of its own, an example of `stash-server`. After each case it prints a line of
//! figures and waits for a line: meanwhile the node is measured.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use stash_api::members::InviteDone;
use stash_api::node::Status;

use crate::cluster::{Cluster, Node, Role};
use crate::process::Owned;
use crate::report::Report;
use crate::scenario::Scenario;
use crate::{build, interrupt, machine};

/// Chunks of 1 MiB that members get: a keeper on a slow line takes five minutes for them.
const CHUNKS: usize = 38;

/// The line of that keeper, as it is told.
const SLOW: &str = "128KiB";

/// The largest resident set that a node may have while all members are served, in KiB.
const RESIDENT: u64 = 128 * 1024;

/// Memory that a run that is not timed may have besides: how long answers wait, and so how many are held, is the
/// machine's. In KiB.
const UNTIMED: u64 = 16 * 1024;

/// Growth of the resident set that the last case may leave, in KiB: what the allocator keeps.
const LEFT: u64 = 32 * 1024;

/// A get beside others may take this much longer than alone, by the median.
const MEDIAN: Times = Times { of: 3, parts: 2 };

/// The same beside a keeper that catches up over a slow line.
const LIMITED: Times = Times { of: 2, parts: 1 };

/// A get beside others takes no longer than this, but for one of a hundred. Microseconds.
const WORST: u64 = 100_000;

/// Below this, a median says more about the machine than about the node. Microseconds.
const NOISE: u64 = 2_000;

/// Beyond its measured time, a case may take so long: joins with a sync each, the hostile one's turns.
const CASE: Duration = Duration::from_secs(90);

/// So many parts of what something takes alone.
#[derive(Debug, Clone, Copy)]
struct Times {
    of: u64,
    parts: u64,
}

/// Figures of gets: how many, median and 99th of a hundred in microseconds.
#[derive(Debug, Clone, Copy)]
struct Gets {
    count: u64,
    median: u64,
    late: u64,
}

pub(super) fn run(
    members: usize,
    seconds: u64,
    is_timed: bool,
    seed: u64,
    report: &Report,
) -> Result<()> {
    let program = build::members(report)?;
    let mut scenario = Scenario::begin(&[Role::Owner], seed, report)?;
    scenario.store("chunks", CHUNKS << 20)?;
    let begun = Instant::now();
    let tickets = invite(&scenario.cluster.nodes[0], members)?;
    let path = scenario.cluster.run.path.join("tickets");
    fs::write(&path, tickets.join("\n"))?;
    report.step("tickets", &format!("{}", tickets.len()), begun.elapsed());

    let mut command = Command::new(program);
    command.arg(seconds.to_string()).arg(&path);
    let mut crowd = Crowd::start(command, CASE + Duration::from_secs(seconds))?;
    measure(&mut crowd, &scenario.cluster, members, is_timed, report)?;
    crowd.end()?;
    scenario.finish()
}

/// A ticket a member: for an owner, those for keepers, and for an owner that is no friend.
fn invite(node: &Node, members: usize) -> Result<Vec<String>> {
    let keepers = vec![Role::Keeper; members - 2];
    let roles = [Role::Owner].into_iter().chain(keepers).chain([Role::Owner]);
    roles.map(|role| ticket(node, role)).collect()
}

fn ticket(node: &Node, role: Role) -> Result<String> {
    let invited: InviteDone = node.json(&["invite", "--role", &role.to_string()])?;
    Ok(invited.ticket)
}

/// A keeper that has just joined, and has everything to catch up over a slow line.
fn keeper_on_a_slow_line(cluster: &Cluster) -> Result<Node> {
    let mut keeper = cluster.new_node(Role::Keeper)?;
    keeper.ok(&["join", &ticket(&cluster.nodes[0], Role::Keeper)?])?;
    keeper.with(&["--bwlimit", SLOW]);
    keeper.start()?;
    Ok(keeper)
}

fn measure(
    crowd: &mut Crowd,
    cluster: &Cluster,
    members: usize,
    is_timed: bool,
    report: &Report,
) -> Result<()> {
    let node = &cluster.nodes[0];
    let begun = Instant::now();
    let [joined, took] = crowd.case("joined")?;
    ensure!(joined == members as u64, "{joined} of {members} members have joined");
    step(report, node, "joined", &format!("{members} members in {took} ms"), begun)?;
    crowd.go_on()?;

    let begun = Instant::now();
    let alone = gets(crowd.case("alone")?);
    step(report, node, "one alone", &text(alone), begun)?;
    let mut keeper = keeper_on_a_slow_line(cluster)?;
    crowd.go_on()?;

    let begun = Instant::now();
    let limited = gets(crowd.case("limited")?);
    let beside = format!("{} beside a keeper at {SLOW}/s", text(limited));
    step(report, node, "beside a slow line", &beside, begun)?;
    ensure!(
        limited.holds(LIMITED, alone, is_timed),
        "beside a keeper on a slow line: {}, alone: {}",
        text(limited),
        text(alone)
    );
    let status: Status = keeper.json(&["status"])?;
    ensure!(status.incomplete > 0 || status.records == 0, "the keeper had caught up already");
    keeper.stop()?;
    crowd.go_on()?;

    let begun = Instant::now();
    let all = gets(crowd.case("all")?);
    let memory = step(report, node, "all at once", &text(all), begun)?;
    ensure!(
        memory.peak_kib <= RESIDENT + if is_timed { 0 } else { UNTIMED },
        "the node took {} while {members} members were served",
        machine::mib(memory.peak_kib)
    );
    crowd.go_on()?;

    let begun = Instant::now();
    let beside = gets(crowd.case("beside")?);
    step(report, node, "beside three others", &text(beside), begun)?;
    ensure!(
        beside.holds(MEDIAN, alone, is_timed),
        "beside others: {}, alone: {}",
        text(beside),
        text(alone)
    );
    crowd.go_on()?;

    let begun = Instant::now();
    let after = gets(crowd.case("after")?);
    let now = step(report, node, "after them", &text(after), begun)?;
    ensure!(
        after.holds(MEDIAN, alone, is_timed),
        "after others: {}, alone: {}",
        text(after),
        text(alone)
    );
    ensure!(
        now.now_kib <= memory.now_kib + LEFT,
        "the node has {} where it had {}",
        machine::mib(now.now_kib),
        machine::mib(memory.now_kib)
    );
    crowd.go_on()?;

    let begun = Instant::now();
    let burst = gets(crowd.case("burst")?);
    let at_worst = step(report, node, "beside a greedy owner", &text(burst), begun)?;
    ensure!(
        burst.holds(MEDIAN, alone, is_timed),
        "beside a greedy owner: {}, alone: {}",
        text(burst),
        text(alone)
    );
    ensure!(
        at_worst.peak_kib <= RESIDENT + if is_timed { 0 } else { UNTIMED },
        "the node took {} beside a greedy owner",
        machine::mib(at_worst.peak_kib)
    );
    crowd.go_on()?;

    let begun = Instant::now();
    let over = gets(crowd.case("over")?);
    let left = step(report, node, "after it", &text(over), begun)?;
    ensure!(
        over.holds(MEDIAN, alone, is_timed),
        "after it: {}, alone: {}",
        text(over),
        text(alone)
    );
    ensure!(
        left.now_kib <= memory.now_kib + LEFT,
        "the node has {} where it had {}",
        machine::mib(left.now_kib),
        machine::mib(memory.now_kib)
    );
    crowd.go_on()
}

impl Gets {
    /// True if there were some and, where times are judged, whether they were in time.
    fn holds(self, times: Times, alone: Gets, is_timed: bool) -> bool {
        self.count > 0 && (!is_timed || self.is_within(times, alone))
    }

    fn is_within(self, times: Times, alone: Gets) -> bool {
        let median = (alone.median * times.of / times.parts).max(NOISE);
        self.count > 0 && self.median <= median && self.late <= WORST
    }
}

fn gets([count, median, late]: [u64; 3]) -> Gets {
    Gets { count, median, late }
}

fn text(gets: Gets) -> String {
    let ms = |micros: u64| format!("{}.{:02} ms", micros / 1_000, micros % 1_000 / 10);
    format!("{} gets, median {}, 99 % within {}", gets.count, ms(gets.median), ms(gets.late))
}

fn step(
    report: &Report,
    node: &Node,
    name: &str,
    what: &str,
    begun: Instant,
) -> Result<machine::Memory> {
    let memory = node.memory()?;
    let (now, peak) = (machine::mib(memory.now_kib), machine::mib(memory.peak_kib));
    report.step(name, &format!("{what}; {now}, at most {peak}"), begun.elapsed());
    Ok(memory)
}

/// The process of the members.
struct Crowd {
    process: Owned,
    /// Ends the case that it waits for.
    word: ChildStdin,
    lines: Receiver<String>,
    patience: Duration,
}

impl Crowd {
    fn start(mut command: Command, patience: Duration) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Owned::spawn(&mut command)?;
        let word = process.stdin().context("the members have no input")?;
        let output = process.stdout().context("the members have no output")?;
        Ok(Self { process, word, lines: lines_of(output), patience })
    }

    /// The figures of a case, once it is over.
    fn case<const N: usize>(&mut self, name: &str) -> Result<[u64; N]> {
        let deadline = Instant::now() + self.patience;
        let line = loop {
            interrupt::check()?;
            match self.lines.recv_timeout(interrupt::LOOK) {
                Ok(line) => break line,
                Err(RecvTimeoutError::Disconnected) => bail!("the members ended before {name:?}"),
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {}
                Err(RecvTimeoutError::Timeout) => {
                    bail!("nothing of {name:?} within {} s", self.patience.as_secs())
                }
            }
        };
        let figures = line.strip_prefix(name).with_context(|| format!("{line:?} is no {name}"))?;
        let figures: Result<Vec<u64>, _> = figures.split_whitespace().map(str::parse).collect();
        let figures = figures.with_context(|| line.clone())?;
        figures.try_into().map_err(|_| anyhow::anyhow!("{line:?} has other figures"))
    }

    fn go_on(&mut self) -> Result<()> {
        writeln!(self.word, "go on").context("the members do not listen")
    }

    fn end(mut self) -> Result<()> {
        let status = crate::process::wait_until(&mut self.process, Instant::now() + self.patience)?;
        ensure!(status.success(), "the members ended with {status}");
        Ok(())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.process.stop(Duration::from_secs(1)).ok();
    }
}

fn lines_of(output: ChildStdout) -> Receiver<String> {
    let (send, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_get_beside_others_may_take_half_as_long_again_and_never_a_tenth_of_a_second() {
        let alone = Gets { count: 9, median: 4_000, late: 9_000 };
        let is_within = |count, median, late| Gets { count, median, late }.is_within(MEDIAN, alone);
        assert!(is_within(9, 6_000, 100_000));
        assert!(!is_within(9, 6_001, 9_000));
        assert!(!is_within(9, 4_000, 100_001));
        assert!(!is_within(0, 0, 0));
    }
}
