//! Getting what others have and this node has not: records by their hashes, in the order of each
//! member, from where this node had come to; chunks come after them (`replication/wants.rs`).
//!
//! A node knows the records that it holds, and no more. A position in a member's order only saves
//! asking again: when it is lost, or the member's store is not what it was, everything is compared.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stash_crypto::{MemberLog, NodeId, RecordHash};
use stash_p2p::Peer;
use stash_store::{Batch, Store};
use tokio::time::{Instant, sleep, sleep_until};

use crate::ledger::cursor::Cursor;
use crate::ledger::progress::{decode, encode};
use crate::ledger::rows;
use crate::ledger::sums::plus;
use crate::lock::lock;
use crate::membership::{exchange, may_sign};
use crate::message::{self, Reply, Request};
use crate::peers::Follower;
use crate::replication::reconcile::compare_all;
use crate::replication::records::take;
use crate::replication::schedule::{Compared, Schedule};
use crate::replication::{Replication, believing, statement_news, wants};
use crate::rounds::Rounds;
use crate::rpc::{AskError, ask, unexpected};
use crate::transfer::other_lives;

/// Time that news wait for more of them. What a connected member is sent directly does not wait.
const NEWS: Duration = Duration::from_secs(1);

/// Tells connected members, a little later, that there may be news here.
pub(crate) async fn tell(replication: Arc<Replication>) {
    let mut changes = replication.core.changes.subscribe();
    changes.borrow_and_update();
    let task = replication.core.tasks.list("news");
    loop {
        task.ends(None);
        tokio::select! {
            biased;
            () = replication.core.tasks.stopped() => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
        task.ends(Some(NEWS));
        tokio::select! {
            biased;
            () = replication.core.tasks.stopped() => return,
            () = sleep(NEWS) => {}
        }
        task.begins();
        changes.borrow_and_update();
        for (node, peer) in replication.core.connected() {
            replication.core.tasks.spawn(async move {
                if let Err(error) = ask(&peer, &Request::News {}).await {
                    tracing::debug!(peer = %node.short(), %error, "a member was not told news");
                }
            });
        }
    }
}

/// Keeps this node up to date with a member until the connection ends.
pub(crate) async fn follow(replication: Arc<Replication>, node: NodeId, peer: Peer) {
    let follower = replication.core.peers.follow(node);
    let task = replication.core.tasks.list_about("follow", node);
    statement_news::greet(&replication, node, &peer);
    replication.beliefs.doubt(node);
    let knows_log = exchange::meet(&replication.membership, node, &peer).await;
    let (began, schedule) = (Instant::now(), Schedule::new());
    let mut following = Following { replication, node, peer, follower, knows_log, began, schedule };
    loop {
        task.begins();
        let again = following.round().await;
        let Following { replication, peer, follower, .. } = &following;
        task.ends(Some(again.saturating_sub(following.now())));
        tokio::select! {
            biased;
            () = replication.core.tasks.stopped() => return,
            _ = peer.closed() => return,
            () = follower.wake.notified() => {}
            () = sleep_until(following.began + again) => {}
        }
    }
}

/// Following one member.
struct Following {
    replication: Arc<Replication>,
    node: NodeId,
    peer: Peer,
    follower: Arc<Follower>,
    /// True if this node knows all of the member log that the member had when it came.
    knows_log: bool,
    began: Instant,
    schedule: Schedule,
}

impl Following {
    /// Time since the connection began.
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Does what is due, and returns when something is due again.
    async fn round(&mut self) -> Duration {
        if let Err(error) = self.take_over().await {
            tracing::debug!(peer = %self.node.short(), %error, "catching up was interrupted");
            self.replication.beliefs.doubt(self.node);
            self.replication.beliefs.tried(self.node);
            return self.schedule.failed(self.now());
        }
        self.schedule.read();
        if let Err(error) = self.believe().await {
            tracing::debug!(peer = %self.node.short(), %error, "a member does not say what is whole there");
            self.schedule.believed(self.now(), Duration::ZERO, Compared::Unknown);
            self.replication.beliefs.doubt(self.node);
            self.replication.beliefs.tried(self.node);
        }
        self.schedule.next()
    }

    /// Hears what has turned whole at the member or stopped being so; when it is time, makes sure that nothing was
    /// left out.
    async fn believe(&mut self) -> Result<(), AskError> {
        let Following { replication, node, peer, follower, .. } = self;
        if replication.core.visits {
            return Ok(());
        }
        if !replication.core.keeps.keeps_all(node) {
            // What it has is no copy.
            self.schedule.believed(self.began.elapsed(), Duration::ZERO, Compared::Same);
            replication.beliefs.tried(*node);
            return Ok(());
        }
        let is_asked = follower.believe.swap(false, Ordering::Relaxed);
        let may_take_long = is_asked || self.schedule.are_beliefs_due(self.began.elapsed());
        let begun = Instant::now();
        let compared = believing::compare(replication, *node, peer, may_take_long).await?;
        self.schedule.believed(self.began.elapsed(), begun.elapsed(), compared);
        if may_take_long {
            replication.beliefs.tried(*node);
        }
        Ok(())
    }

    /// Reads what the member has; when it is time, makes sure that nothing was passed over.
    async fn take_over(&mut self) -> Result<(), AskError> {
        let Following { replication, node, peer, follower, .. } = self;
        let lacking = std::mem::take(&mut *lock(&follower.lacking));
        // Of what is held, chunks may be missing that nobody here has noticed.
        let hashes: Vec<RecordHash> = lacking.iter().copied().collect();
        let taken = match wants::look_at(replication, hashes.clone()).await {
            Ok(()) => take(replication, *node, peer, hashes).await.map(|taken| taken.count),
            Err(error) => Err(error),
        };
        if taken.is_err() {
            follower.put_back(lacking);
        }
        let mut count = taken? + pull(replication, *node, peer).await?;
        if follower.compare.swap(false, Ordering::Relaxed) {
            self.schedule.compare_now(self.began.elapsed());
        }
        if self.schedule.is_audit_due(self.began.elapsed()) {
            let no_room = replication.refused.some() || replication.transfer.rooms.is_full(node);
            if !equal(replication, peer).await? {
                let found = compare_all(replication, *node, peer).await?;
                self.schedule.differed(found, no_room);
                count += found;
            }
            exchanged(replication).await?;
            if !self.knows_log && replication.membership.admission.is_some() {
                self.knows_log = exchange::is_known(&replication.membership, peer).await;
            }
            if self.knows_log && replication.membership.admission.is_some() {
                let (shared, node) = (Arc::clone(replication), *node);
                let met = move |store: &Store| may_sign::met(&shared.membership, store, node);
                replication.core.disk.run(met).await?;
            }
            other_lives::exchanged(&replication.transfer);
            self.schedule.compared(self.began.elapsed());
        }
        if count > 0 {
            tracing::info!(peer = %node.short(), count, "took over records");
        }
        Ok(())
    }
}

async fn exchanged(replication: &Arc<Replication>) -> Result<(), AskError> {
    let shared = Arc::clone(replication);
    let done = move |store: &Store| {
        if !shared.core.synchronised() {
            store.commit(Batch::new().row(rows::COMPLETE, Some(b"1")).even_if_full())?;
        }
        shared.core.author.met(store)
    };
    replication.core.disk.run(done).await.map_err(AskError::from)
}

/// True if the member holds the same records as this node. If it knows more of the member log, that
/// is read: an entry may have come there after its hello had left, and before it knew of this
/// connection.
async fn equal(replication: &Arc<Replication>, peer: &Peer) -> Result<bool, AskError> {
    let reply = ask(peer, &Request::All {}).await?;
    let Reply::All { n, sum, log, full, less } = reply else {
        return Err(unexpected(&reply));
    };
    if log > replication.core.roster.log(MemberLog::len) {
        exchange::members(&replication.membership, peer).await?;
    }
    let shared = Arc::clone(replication);
    let totals = replication.core.disk.run(move |store| shared.refused.with_totals(store)).await;
    let (mine, refused) = totals?;
    let less: Option<[u8; 32]> =
        if less.is_empty() { Some([0; 32]) } else { less[..].try_into().ok() };
    let less = less.ok_or_else(|| AskError::Protocol("no sum of 32 bytes".to_owned()))?;
    // What either has no room for is no difference: comparing would find it, and change nothing.
    let mine = (mine.count + refused.count, plus(&mine.sum, &refused.sum));
    Ok(mine == (n.saturating_add(full), plus(&sum, &less)))
}

/// Reads a member's order from where this node had come to. Returns how many records are new here.
async fn pull(replication: &Arc<Replication>, node: NodeId, peer: &Peer) -> Result<u64, AskError> {
    let row = [rows::CURSOR, node.as_bytes()].concat();
    let kept = replication.core.disk.run(move |store| store.row(&row)).await?;
    let from = kept.as_deref().and_then(decode).unwrap_or_default();
    walk(replication, node, peer, from).await
}

/// Reads a member's order from a position to its end, or as far as that teaches something. Returns
/// how many records are new here. The position is kept with every page that brought some, so that a
/// failure costs no more than a page, and at the end.
async fn walk(
    replication: &Arc<Replication>,
    node: NodeId,
    peer: &Peer,
    mut cursor: Cursor,
) -> Result<u64, AskError> {
    let (mut count, mut kept, mut is_compared) = (0, cursor, false);
    let mut rounds = Rounds::default();
    loop {
        let reply = ask(peer, &Request::Log { log: cursor.log, after: cursor.after }).await?;
        let Reply::Log { known, hashes, log, last } = reply else {
            return Err(unexpected(&reply));
        };
        if !known {
            if cursor == Cursor::default() {
                return Err(AskError::Protocol("it does not know its own beginning".to_owned()));
            }
            if std::mem::replace(&mut is_compared, true) {
                return Err(AskError::Protocol("it does not know its own end".to_owned()));
            }
            // Restored from a copy, or made anew: the same numbers may mean other records there.
            tracing::warn!(peer = %node.short(), "a member's store is not what it was");
            count += compare_all(replication, node, peer).await?;
            cursor = Cursor { log, after: last };
            keep(replication, node, &cursor).await?;
            kept = cursor;
            continue;
        }
        let hashes = message::unpack_hashes(&hashes);
        let hashes = hashes.map_err(|error| AskError::Protocol(error.to_string()))?;
        let next = Cursor { log, after: last };
        if last < cursor.after || last == cursor.after && !hashes.is_empty() {
            return Err(AskError::Protocol("the sequence does not grow".to_owned()));
        }
        let named = hashes.len();
        let taken = take(replication, node, peer, hashes).await?;
        let new = taken.count;
        count += new;
        let held = replication.core.disk.store().record_totals().count;
        let not_held = taken.struck + taken.no_room.len();
        let is_end = last == cursor.after || !rounds.page(named - not_held, new, held);
        if next != kept && (new > 0 || is_end) {
            keep(replication, node, &next).await?;
            kept = next;
        }
        if is_end {
            return Ok(count);
        }
        cursor = next;
    }
}

/// Writes down how far this node has come in the order of a member.
pub(crate) async fn keep(
    replication: &Replication,
    node: NodeId,
    cursor: &Cursor,
) -> Result<(), AskError> {
    let row = [rows::CURSOR, node.as_bytes()].concat();
    let batch = Batch::new().row(&row, Some(&encode(cursor))).even_if_full();
    let kept = replication.core.disk.run(move |store| store.commit(batch)).await;
    kept.map(drop).map_err(AskError::from)
}
