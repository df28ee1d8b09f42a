//! A stash of hundreds of members: entries of the member log that fill several rows of a store, and
//! a log that fills several messages.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

use std::sync::Arc;
use std::time::Duration;

use crate::support::{Node, Stash, until};
use stash_crypto::{MemberEntry, NodeId, NodeKeys, Role};
use stash_server::members::Full;
use stash_server::store::batch::MAX_ROW_VALUE;
use stash_server::{InviteError, JoinError, join};

const MINUTE: Duration = Duration::from_secs(60);

/// The last member that was admitted.
fn last(founder: &Node) -> NodeId {
    founder.engine.members().last().unwrap().node
}

/// The same node after a stop, with the root secret or without.
async fn again(stash: &Stash, node: Node, role: Role) -> Node {
    let there = node.engine.listen()[0];
    node.engine.shutdown(Duration::from_secs(5)).await;
    let Node { engine, keys, store, dir } = node;
    drop(engine);
    let keys = Arc::into_inner(keys).unwrap();
    stash.run_as(store, keys, role, dir, role == Role::Owner, false, there).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_is_removed_from_among_hundreds_and_others_still_join() {
    let stash = Stash::new();
    let founder = stash.founder_among(300).await;
    founder.engine.vouch();
    founder.engine.remove_member(last(&founder)).await.unwrap();
    let log = founder.engine.member_log();
    let epoch = log.entries().last().unwrap();
    assert!(epoch.bytes().len() > MAX_ROW_VALUE);
    let row = [b"member/", &epoch.index().to_be_bytes()[..]].concat();
    let parts = [row.clone(), [&row[..], &[1]].concat()];
    let parts = parts.map(|row| founder.store.row(&row).unwrap().unwrap());
    assert_eq!(parts[0].len(), MAX_ROW_VALUE);
    assert!(parts.concat() == epoch.bytes(), "as format.md says");

    let founder = again(&stash, founder, Role::Owner).await;
    assert!(founder.engine.member_log() == log, "nothing is lost by a restart");
    founder.engine.vouch();
    let keeper = stash.joined(&founder, Role::Keeper).await;
    let bytes: usize = log.entries().iter().map(MemberEntry::bytes).map(<[u8]>::len).sum();
    assert!(bytes > 96 << 10, "{bytes} bytes fit into one welcome");
    until("the keeper has met the founder", || {
        keeper.engine.members().iter().filter(|member| member.connected).count() == 2
    })
    .await;
    let keeper = again(&stash, keeper, Role::Keeper).await;
    assert_eq!(keeper.engine.epoch(), 1);
    assert_eq!(keeper.engine.member_log().head(), founder.engine.member_log().head());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_would_be_one_too_many_is_told_before_anything_is_signed() {
    let stash = Stash::new();
    let founder = stash.founder_among(509).await;
    founder.engine.vouch();
    let tickets = [
        founder.engine.invite(Role::Reader, MINUTE).await.unwrap(),
        founder.engine.invite(Role::Keeper, MINUTE).await.unwrap(),
    ];
    let keys = [(); 2].map(|()| NodeKeys::generate(&mut rand::rng()));
    join(&tickets[0], &keys[0], "the last").await.unwrap();
    let before = founder.engine.member_log().head();
    let refused = join(&tickets[1], &keys[1], "one too many").await.unwrap_err();
    assert!(matches!(refused, JoinError::Refused(_)), "{refused}");
    assert!(refused.to_string().contains("room for 511 owners and readers"), "{refused}");
    let refused = founder.engine.invite(Role::Keeper, MINUTE).await;
    assert!(matches!(refused, Err(InviteError::Full(Full))), "{refused:?}");
    assert_eq!(founder.engine.member_log().head(), before);

    founder.engine.remove_member(last(&founder)).await.unwrap();
    assert_eq!(founder.engine.epoch(), 1);
    join(&tickets[1], &keys[1], "there is room now").await.unwrap();
}
