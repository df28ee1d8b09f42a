//! Many members in one process, honest ones and others, against a node that runs elsewhere.
//!
//! `cargo xtask chaos members` starts the node, hands over a ticket a member, and reads a line of
//! figures after each case; the next case begins when it says so, by a line.
//!
//! `cargo run --release -p stash-server --example members -- SECONDS TICKETS`, where the file TICKETS
//! has a ticket a line: one for an owner first, which asks everything after each case, then those for
//! keepers, and at last one for an owner that is no friend. The node must hold a file of some chunks of 1 MiB.

#![expect(clippy::print_stdout, reason = "the lines are what it is for")]

mod hostile;
mod member;

use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{join_all, try_join_all};
use futures::stream::{StreamExt, TryStreamExt, iter};
use stash_crypto::{ChunkRef, Ticket};
use stash_p2p::{Bandwidth, Rate};
use tokio::task::JoinHandle;

use crate::member::{Member, Session, narrow, usual};

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Longest wait for anything that a member asks for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Time in which an owner has done each thing once that it never ends.
const BURST: Duration = Duration::from_secs(20);

/// Time that the others are at it before their effect on the rest is measured.
const BEFORE: Duration = Duration::from_secs(2);

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [seconds, tickets] = &arguments[..] else {
        println!("members SECONDS TICKETS: `cargo xtask chaos members` runs it against a node");
        return Ok(());
    };
    let tickets = std::fs::read_to_string(tickets)?;
    let tickets: Result<Vec<Ticket>, _> = tickets.lines().map(|line| line.trim().parse()).collect();
    let time = Duration::from_secs(seconds.parse()?);
    let runtime = tokio::runtime::Runtime::new()?;
    let done = runtime.block_on(run(&tickets?, time));
    runtime.shutdown_background();
    done
}

/// Says what came of a case, and waits for the word to go on.
fn report(case: &str, figures: &str) -> Result<(), Failure> {
    println!("{case} {figures}");
    std::io::stdout().flush()?;
    match std::io::stdin().read_line(&mut String::new())? {
        0 => Err("whoever drives this is gone".into()),
        _ => Ok(()),
    }
}

async fn run(tickets: &[Ticket], time: Duration) -> Result<(), Failure> {
    let (first, rest) = tickets.split_first().ok_or("no ticket")?;
    let begun = Instant::now();
    let owner = Member::join(first, usual()).await?;
    let mut members = Vec::new();
    for ticket in rest {
        members.push(Member::join(ticket, usual()).await?);
    }
    let keeper = members.first().ok_or("one ticket is not enough")?;
    let (other, first) = (owner.connect().await?, keeper.connect().await?);
    let chunks = Arc::new(other.large_chunks().await?);
    owner.everything(&other, &chunks).await?;
    report("joined", &format!("{} {}", tickets.len(), begun.elapsed().as_millis()))?;

    let alone = gets(&first, &chunks, time).await?;
    report("alone", &figures(&alone))?;

    // Whoever drives this has let a node come that catches up over a slow line.
    let limited = gets(&first, &chunks, time).await?;
    owner.everything(&other, &chunks).await?;
    report("limited", &figures(&limited))?;

    // A few at a time: a node turns away those who come from one address in a crowd.
    let rest = iter(members.iter().skip(1).map(Member::connect)).buffered(4);
    let rest: Vec<Session> = rest.try_collect().await?;
    let sessions: Vec<Session> = [first].into_iter().chain(rest).collect();
    try_join_all(sessions.iter().map(Session::all)).await?;
    let each = join_all(sessions.iter().map(|session| gets(session, &chunks, time))).await;
    let each: Vec<Vec<Duration>> = each.into_iter().collect::<Result<_, _>>()?;
    if let Some(starved) = each.iter().position(Vec::is_empty) {
        return Err(format!("member {starved} of {} got nothing", each.len()).into());
    }
    owner.everything(&other, &chunks).await?;
    report("all", &figures(&each.concat()))?;

    // The last four of the members turn into others, with the same keys.
    let mut sessions = sessions.into_iter().rev().skip(4);
    let measured = sessions.next_back().ok_or("six tickets are needed")?;
    let idle: Vec<Session> = sessions.collect();
    let mut cast = members.into_iter().rev();
    let mut take = || cast.next().ok_or("six tickets are needed");
    let greedy = take()?;
    let down = Rate::new(128 << 10).ok();
    let slow = take()?.again(narrow(Bandwidth { up: None, down }))?;
    let (silent, hostile) = (take()?.again(narrow(Bandwidth::default()))?, take()?);

    let at_work = [
        tokio::spawn(hostile::slow(slow.connect().await?, Arc::clone(&chunks))),
        tokio::spawn(hostile::silent(silent.connect().await?, Arc::clone(&chunks))),
        tokio::spawn(hostile::hostile(hostile, Arc::clone(&chunks))),
    ];
    tokio::time::sleep(BEFORE).await;
    let beside = gets(&measured, &chunks, time).await?;
    owner.everything(&other, &chunks).await?;
    report("beside", &figures(&beside))?;
    end(at_work).await?;
    drop((slow, silent, idle));
    tokio::time::sleep(BEFORE).await;
    let after = gets(&measured, &chunks, time).await?;
    owner.everything(&other, &chunks).await?;
    report("after", &figures(&after))?;

    let at_work = [tokio::spawn(hostile::greedy(greedy))];
    tokio::time::sleep(BEFORE).await;
    let burst = gets(&measured, &chunks, time.max(BURST)).await?;
    owner.everything(&other, &chunks).await?;
    report("burst", &figures(&burst))?;
    end(at_work).await?;
    tokio::time::sleep(BEFORE).await;
    let over = gets(&measured, &chunks, time).await?;
    owner.everything(&other, &chunks).await?;
    report("over", &figures(&over))
}

/// Ends those who are no friends. None of them ends by itself.
async fn end(
    at_work: impl IntoIterator<Item = JoinHandle<Result<(), Failure>>>,
) -> Result<(), Failure> {
    for one in at_work {
        one.abort();
        if let Ok(Err(error)) = one.await {
            return Err(format!("one of those who are no friends gave up: {error}").into());
        }
    }
    Ok(())
}

/// Gets one chunk after the other; how long each took.
async fn gets(
    session: &Session,
    chunks: &[ChunkRef],
    time: Duration,
) -> Result<Vec<Duration>, Failure> {
    let (begun, mut took) = (Instant::now(), Vec::new());
    for chunk in chunks.iter().cycle() {
        if begun.elapsed() >= time {
            break;
        }
        let asked = Instant::now();
        session.get(chunk).await?;
        took.push(asked.elapsed());
    }
    Ok(took)
}

/// The number of them; the median and the 99th of a hundred, in microseconds.
fn figures(took: &[Duration]) -> String {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    let at = |percent: usize| {
        let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(index).map_or(0, Duration::as_micros)
    };
    format!("{} {} {}", sorted.len(), at(50), at(99))
}
