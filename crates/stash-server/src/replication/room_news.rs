//! Telling members how much room there is here, whenever that has changed.

use std::sync::Arc;
use std::time::Duration;

use stash_store::{Room, Store};
use tokio::time::sleep;

use crate::ledger::progress;
use crate::message::{MemberRoom, Request};
use crate::replication::Replication;
use crate::rpc::ask;

/// Time between two looks at the room here, if nothing was refused and nothing became free.
const LOOK: Duration = Duration::from_secs(60);

/// Pause between two announcements, at least: while a collection goes on, room grows all the time.
const PAUSE: Duration = Duration::from_secs(10);

/// Pause between two looks, at least: counting what is lacking reads a part of the index.
const QUIET: Duration = Duration::from_secs(1);

/// While there is room, it is told again when it has changed by one part in so many of the whole.
const PART: u64 = 16;

/// The room that this node has.
pub(crate) fn here(store: &Store, refused: u64) -> MemberRoom {
    let stats = store.stats();
    let full = matches!(stats.room, Room::Refusing(_)) || stats.read_only.is_some();
    // What cannot be counted now is counted the next time.
    let lacks = progress::count_wanted(store).unwrap_or_default() + refused;
    MemberRoom { used: stats.used_bytes, limit: stats.limit_bytes, full, lacks }
}

/// True if members that were told `before` should hear of `now`.
pub(crate) fn is_news(now: &MemberRoom, before: &MemberRoom) -> bool {
    let far = |one: u64, other: u64| one.abs_diff(other) > now.limit / PART;
    now.full != before.full
        || now.full && now != before
        || far(now.used, before.used)
        || far(now.limit, before.limit)
}

/// Tells connected members how much room there is here, whenever that has changed.
pub(crate) async fn run(replication: Arc<Replication>) {
    let task = replication.core.tasks.list("room");
    loop {
        task.ends(Some(LOOK));
        tokio::select! {
            biased;
            () = replication.core.tasks.stopped() => return,
            () = replication.transfer.rooms.changed.notified() => {}
            () = sleep(LOOK) => {}
        }
        task.begins();
        let shared = Arc::clone(&replication);
        let look = move |store: &Store| here(store, shared.refused.count());
        let room = replication.core.disk.run(look).await;
        let before = replication.core.door.room();
        if !is_news(&room, &before) {
            pause(&replication, QUIET).await;
            continue;
        }
        if room.full != before.full {
            let MemberRoom { used, limit, lacks, .. } = room;
            match room.full {
                true => tracing::warn!(
                    used,
                    limit,
                    lacks,
                    "this node is full: what others put is not kept here"
                ),
                false => tracing::info!(used, limit, "this node has room again"),
            }
        }
        replication.core.door.has_room(room);
        for (node, peer) in replication.core.connected() {
            replication.core.tasks.spawn(async move {
                if let Err(error) = ask(&peer, &Request::Room(room)).await {
                    tracing::debug!(peer = %node.short(), %error, "a member was not told the room here");
                }
            });
        }
        pause(&replication, PAUSE).await;
    }
}

async fn pause(replication: &Replication, pause: Duration) {
    tokio::select! {
        biased;
        () = replication.core.tasks.stopped() => {}
        () = sleep(pause) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(used: u64, full: bool, lacks: u64) -> MemberRoom {
        MemberRoom { used, limit: 1_600, full, lacks }
    }

    #[test]
    fn members_hear_of_a_node_that_fills_and_not_of_every_byte() {
        let before = room(800, false, 0);
        assert!(!is_news(&room(850, false, 3), &before));
        assert!(is_news(&room(901, false, 0), &before) && is_news(&room(699, false, 0), &before));
        assert!(is_news(&room(800, true, 0), &before) && is_news(&before, &room(800, true, 0)));
        assert!(is_news(&room(1_600, true, 4), &room(1_600, true, 3)), "how much it lacks");
        assert!(!is_news(&room(1_600, true, 3), &room(1_600, true, 3)));
    }
}
