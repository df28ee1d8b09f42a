//! Rows that a node keeps about a member are gone once the member is removed.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

use std::time::Duration;

use crate::support::{Node, Stash, all_connected, now, until};
use stash_crypto::{NodeId, Role};
use stash_server::Wait;
use stash_server::store::Batch;

/// The rows about a member that a store has.
fn about(node: &Node, member: &NodeId) -> Vec<&'static str> {
    let has = |prefix: &&str| {
        let row = [prefix.as_bytes(), member.as_bytes()].concat();
        node.store.row(&row).unwrap().is_some()
    };
    ["address/", "cursor/", "met/", "doubt/"].into_iter().filter(has).collect()
}

fn missing_copies(node: &Node) -> u64 {
    now(node.engine.status()).unwrap().missing_copies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_and_missing_copies_of_a_removed_member_go() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let owner = stash.joined(&founder, Role::Owner).await;
    all_connected(&[&founder, &owner]).await;
    let id = owner.engine.node_id();
    stash.put(&founder, "a file", &[1 << 20, 5_000], Wait::All).await;
    // It is noted as met.
    founder.engine.repair(false, |_| true).await.unwrap();
    until("its order was read", || about(&founder, &id).len() == 3).await;
    owner.engine.shutdown(Duration::from_secs(5)).await;
    until("it is gone", || founder.engine.members().iter().any(|one| !one.connected)).await;
    stash.put(&founder, "while it is away", &[], Wait::Local).await;
    until("it lacks a copy", || missing_copies(&founder) == 1).await;
    // This put knows of it still.
    let upload = founder.engine.upload(Wait::Local);

    founder.engine.remove_member(id).await.unwrap();
    until("nothing is left", || about(&founder, &id).is_empty() && missing_copies(&founder) == 0)
        .await;
    let pending = upload.commit(vec![stash.write(&founder.keys, "late", vec![])]).await.unwrap();
    assert_eq!(pending.wait().await.missing.len(), 1);
    // What a put leaves behind is written down by then.
    founder.engine.shutdown(Duration::from_secs(5)).await;
    assert_eq!(founder.store.rows(b"short/").unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_stop_left_of_a_removed_member_goes_with_the_next_start() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    let gone = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &keeper, &gone]).await;
    let (_, outcome) = stash.put(&founder, "file", &[1 << 20, 5_000], Wait::All).await;
    let id = gone.engine.node_id();
    founder.engine.remove_member(id).await.unwrap();
    until("the keeper knows", || keeper.engine.members().len() == 2).await;
    keeper.engine.shutdown(Duration::from_secs(5)).await;
    let batch = Batch::new()
        .row(&[b"met/", &id.as_bytes()[..]].concat(), Some(&[0; 8]))
        .row(&[b"doubt/", &id.as_bytes()[..]].concat(), Some(&[0; 16]))
        .row(&[b"short/", &outcome.records[0].hash().as_bytes()[..]].concat(), Some(id.as_bytes()));
    keeper.store.commit(batch).unwrap();
    let keeper = stash.restarted(keeper, Role::Keeper).await;
    until("nothing is left", || about(&keeper, &id).is_empty() && missing_copies(&keeper) == 0)
        .await;
}
