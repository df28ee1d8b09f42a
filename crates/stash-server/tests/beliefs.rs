//! What a node knows of the records that others have: it hears of changes, and asks about none while both mean the same.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

use std::time::Duration;

use crate::support::{Node, Stash, addresses, all_connected, now, until};
use stash_crypto::Role;
use stash_server::Wait;
use stash_server::housekeeping::{Copies, MemberCopies};

/// Records of which one half is given up.
const RECORDS: u8 = 60;

async fn copies(node: &Node) -> Copies {
    node.engine.repair(true, |_| true).await.unwrap().found
}

fn of(node: &Node, other: &Node) -> MemberCopies {
    now(copies(node)).members[&other.keys.node_id()].clone()
}

fn missing(node: &Node) -> u64 {
    now(node.engine.status()).unwrap().missing_copies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_from_a_third_while_a_member_was_away_is_not_known_there_until_it_is_back() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let near = stash.joined(&founder, Role::Keeper).await;
    let away = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &near, &away]).await;
    stash.put(&founder, "old", &[5_000], Wait::All).await;
    until("both know of it", || of(&founder, &away).whole == 1 && of(&near, &away).whole == 1)
        .await;
    away.engine.shutdown(Duration::from_secs(5)).await;
    let gone = |node: &Node| node.engine.members().iter().any(|member| !member.connected);
    until("it is gone", || gone(&founder) && gone(&near)).await;
    stash.put(&founder, "new", &[5_000], Wait::Quorum).await;
    until("the founder knows", || missing(&founder) == 1).await;
    let (wrote, took) = (of(&founder, &away), of(&near, &away));
    assert_eq!((wrote.whole, wrote.absent, wrote.unknown, wrote.asked), (1, 1, 0, false));
    assert_eq!((took.whole, took.absent, took.unknown, took.asked), (1, 0, 1, false));
    assert_eq!(now(copies(&near)).copies, [0, 0, 1, 1], "what is not known is no copy");
    let _away = stash.restarted(away, Role::Keeper).await;
    until("all is whole, and both know", || {
        let whole = |node| of(node, &_away) == of(&founder, &near) && of(node, &_away).whole == 2;
        missing(&founder) == 0 && whole(&near) && whole(&founder)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_hear_of_bytes_that_are_given_up_and_of_those_that_are_back() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keepers =
        [stash.joined(&founder, Role::Keeper).await, stash.joined(&founder, Role::Keeper).await];
    all_connected(&[&founder, &keepers[0], &keepers[1]]).await;
    let (chunks, outcome) = stash.put(&founder, "a", &[1 << 20], Wait::All).await;
    let version = outcome.records[0].hash();
    let all = addresses(&chunks);
    founder.engine.evict_version(stash.name("a"), version, all, None).await.unwrap();
    let said = |keeper: &Node| (of(keeper, &founder).whole, of(keeper, &founder).given_up);
    until("both heard of it", || keepers.iter().all(|keeper| said(keeper) == (0, 1))).await;
    assert_eq!(missing(&keepers[0]), 0, "nobody lacks it");
    let mut fetch = founder.engine.fetch(chunks.to_vec(), true);
    while let Some(chunk) = fetch.next().await {
        chunk.unwrap();
    }
    until("both heard that it is back", || keepers.iter().all(|keeper| said(keeper) == (1, 0)))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_agree_find_that_out_in_a_few_bytes_however_much_one_gave_up() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    for n in 0..RECORDS {
        // The helper makes contents of the first byte.
        let key = char::from(b'0' + n).to_string();
        let (chunks, outcome) = stash.put(&founder, &key, &[5_000], Wait::All).await;
        if n % 2 == 0 {
            let (name, version) = (stash.name(&key), outcome.records[0].hash());
            let all = addresses(&chunks);
            let evicted = founder.engine.evict_version(name, version, all, Some(1)).await.unwrap();
            assert_eq!(evicted.chunks, 1);
        }
    }
    let half = u64::from(RECORDS / 2);
    until("the keeper knows", || {
        let of = of(&keeper, &founder);
        (of.whole, of.given_up) == (half, half)
    })
    .await;
    let sent = || now(keeper.engine.status()).unwrap().transferred;
    let before = sent();
    let found = copies(&keeper).await;
    let after = sent();
    assert_eq!(found.members[&founder.keys.node_id()].given_up, half);
    let bytes = after.bytes_out - before.bytes_out + after.bytes_in - before.bytes_in;
    println!("{bytes} bytes");
    assert!(bytes < 1_500, "{bytes} bytes");
}
