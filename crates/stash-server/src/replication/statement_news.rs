//! Telling members what this node has, and what others said that they have not met.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_bytes::ByteBuf;
use stash_crypto::NodeId;
use stash_crypto::member::{Figures, Statement};
use stash_p2p::Peer;
use stash_store::{Batch, Store};
use tokio::time::{Instant, sleep};

use crate::core::Core;
use crate::ledger::{LedgerError, rows, sums};
use crate::message::{MAX_CLAIM_BYTES, Refusal, Reply, Request, page, refused};
use crate::replication::Replication;
use crate::replication::statements::{Mark, Stated, Statements, mark};
use crate::rpc::ask;
use crate::transfer::lacking;

/// Time between two looks at what this node has. It says so when that has changed.
const LOOK: Duration = Duration::from_secs(10);

/// Time between two times at which what others said is passed on.
const PASS_ON: Duration = Duration::from_secs(60);

/// Members hear again whom this node has met, if that has changed, after this time.
const MET_AGAIN: Duration = Duration::from_secs(600);

/// Members of which one says that it has met them.
const MOST_MET: usize = 4_096;

/// What this node has.
fn figures(core: &Core, store: &Store) -> Figures {
    let wholeness = store.wholeness();
    let held = sums::sum_of(wholeness.held);
    let whole = sums::without(held, sums::sum_of(wholeness.lacking));
    let settled = wholeness.settled && store.away().is_none();
    let room = core.door.room();
    let (used, limit, full) = (room.used, room.limit, room.full);
    Figures { held, whole, settled, used, limit, full, keep: core.keeps.own() }
}

/// What this node has now, as it would say it.
pub(crate) fn stated(core: &Core) -> Stated {
    Stated { figures: figures(core, core.disk.store()), age: 0, grew: None, per_hour: None }
}

/// Says what this node has whenever that has changed, and passes on what others said, until the engine stops.
pub(crate) async fn run(replication: Arc<Replication>) {
    let core = &replication.core;
    let task = core.tasks.list("statements");
    let (mut passed_on, mut told) = (Instant::now(), Instant::now());
    let (mut own, mut met) = (None, Vec::new());
    loop {
        task.ends(Some(LOOK));
        tokio::select! {
            biased;
            () = core.tasks.stopped() => return write(&replication).await,
            () = sleep(LOOK) => {}
        }
        task.begins();
        say(&replication);
        let now = (replication.statements.own(&core.me), self::met(core));
        let is_due = now.0 != own || now.1 != met && told.elapsed() >= MET_AGAIN;
        if is_due {
            (own, met) = now;
            told = Instant::now();
        }
        let others = passed_on.elapsed() >= PASS_ON;
        if others {
            passed_on = Instant::now();
        }
        for (node, peer) in core.connected() {
            let mut statements: Vec<Statement> = own.into_iter().filter(|_| is_due).collect();
            if others {
                statements.extend(replication.statements.to_pass_on(&core.me, &node));
            }
            if !statements.is_empty() {
                core.tasks.spawn(tell(peer, statements, self::met(core)));
            }
        }
        write(&replication).await;
    }
}

/// The members that this node is connected to.
fn met(core: &Core) -> Vec<Mark> {
    core.connected().iter().take(MOST_MET).map(|(node, _)| mark(node)).collect()
}

/// Signs what this node has, if that is news.
fn say(replication: &Replication) {
    let core = &replication.core;
    // Who is no member signs nothing.
    if core.visits || core.roster.role(&core.me).is_none() {
        return;
    }
    let figures = figures(core, core.disk.store());
    let (seconds, micros) = (core.environment.seconds(), core.environment.micros());
    if let Some(sequence) = replication.statements.due(&core.me, &figures, seconds, micros) {
        let statement =
            Statement::sign(core.keys.signer(), &core.stash, sequence, seconds, figures);
        replication.statements.take(statement, seconds);
    }
}

/// Writes down what is news.
async fn write(replication: &Replication) {
    let news = replication.statements.news();
    if news.is_empty() {
        return;
    }
    let roster = Arc::clone(&replication.core.roster);
    replication.statements.retain(|node| roster.role(node).is_some());
    replication.beliefs.retain(|node| roster.role(node).is_some());
    let rows: Vec<(Vec<u8>, Vec<u8>)> = news
        .iter()
        .map(|(said, heard)| {
            let value = [&heard.to_le_bytes()[..], &said.encode()].concat();
            (rows::stated(&said.node), value)
        })
        .collect();
    let write = move |store: &Store| {
        let mut batch = Batch::new();
        for (key, value) in &rows {
            batch = batch.row(key, Some(value));
        }
        for (key, _) in store.rows(rows::STATED)? {
            let node = key.strip_prefix(rows::STATED).and_then(|node| node.try_into().ok());
            if node.is_none_or(|node| roster.role(&NodeId::from_bytes(node)).is_none()) {
                batch = batch.row(&key, None);
            }
        }
        store.commit(batch.even_if_full()).map_err(LedgerError::from)
    };
    if let Err(error) = replication.core.disk.run(write).await {
        tracing::debug!(%error, "what members said of themselves is not written down");
    }
}

/// Tells a member that has just come up what this node has.
pub(crate) fn greet(replication: &Arc<Replication>, node: NodeId, peer: &Peer) {
    let core = &replication.core;
    replication.statements.came(node);
    say(replication);
    if let Some(own) = replication.statements.own(&core.me) {
        core.tasks.spawn(tell(peer.clone(), vec![own], met(core)));
    }
}

async fn tell(peer: Peer, statements: Vec<Statement>, met: Vec<Mark>) {
    let met = ByteBuf::from(met.concat());
    let mut left: Vec<Vec<u8>> = statements.iter().map(Statement::encode).collect();
    while !left.is_empty() {
        let statements: Vec<ByteBuf> = page(left.clone(), MAX_CLAIM_BYTES);
        left.drain(..statements.len());
        if let Err(error) = ask(&peer, &Request::State { statements, met: met.clone() }).await {
            tracing::debug!(peer = %peer.addr(), %error, "a member was not told what members have");
            return;
        }
    }
}

/// Takes what a member tells of itself and of others.
pub(crate) async fn learn(
    replication: &Arc<Replication>,
    account: NodeId,
    told: Vec<ByteBuf>,
    met: &[u8],
) -> Reply {
    let (marks, rest) = met.as_chunks::<8>();
    if told.iter().map(|bytes| bytes.len()).sum::<usize>() > MAX_CLAIM_BYTES
        || marks.len() > MOST_MET
        || !rest.is_empty()
    {
        return refused(Refusal::Malformed, "more than 48 KiB of statements, or 4,096 members");
    }
    let met: BTreeSet<Mark> = marks.iter().copied().collect();
    sleep(replication.membership.addresses.announced(account)).await;
    let (shared, core) = (Arc::clone(replication), Arc::clone(&replication.core));
    let take = move |_: &Store| {
        let told = told.iter().filter_map(|bytes| Statement::decode(bytes).ok());
        // Of nodes that are no members nothing is remembered.
        let is_member = |said: &Statement| core.roster.role(&said.node).is_some();
        let told: Vec<Statement> = told.filter(is_member).collect();
        let (mut turned, mut changed) = (Vec::new(), Vec::new());
        for said in &told {
            let took = take_one(&shared.statements, &core, *said);
            turned.extend(took.whole.then_some(said.node));
            changed.extend(took.keep.then_some(said.node));
        }
        if core.roster.role(&account).is_some() {
            shared.statements.was_told(account, met, &told);
        }
        if turned.contains(&account)
            && let Some(follower) = core.peers.follower(&account)
        {
            follower.news();
        }
        changed
    };
    for node in replication.core.disk.run(take).await {
        keeps_otherwise(replication, node).await;
    }
    Reply::Done {}
}

/// A member that kept everything is a cache now, or the other way around.
async fn keeps_otherwise(replication: &Arc<Replication>, node: NodeId) {
    replication.beliefs.set(node, None);
    replication.beliefs.doubt(node);
    if replication.core.keeps.keeps_all(&node) {
        if let Some(follower) = replication.core.peers.follower(&node) {
            follower.believe();
        }
    } else if let Err(error) = lacking::part(&replication.transfer, BTreeSet::from([node])).await {
        tracing::debug!(%error, "what is not whole at a cache is struck out later");
    }
    replication.transfer.cache.wake.notify_one();
}

/// What a statement has changed at another member.
#[derive(Default)]
struct Took {
    /// Something else is whole there.
    whole: bool,
    /// It was a copy and is a cache, or the other way around.
    keep: bool,
}

fn take_one(statements: &Statements, core: &Core, said: Statement) -> Took {
    if !statements.is_newer(&said) || said.verify(&core.stash).is_err() {
        return Took::default();
    }
    if said.node == core.me {
        statements.was_said_elsewhere(said.sequence);
        return Took::default();
    }
    let before = statements.of(&said.node, 0).map(|stated| stated.figures.whole);
    statements.take(said, core.environment.seconds());
    let keep = core.keeps.says(said.node, said.figures.keep);
    Took { whole: before != Some(said.figures.whole), keep }
}
