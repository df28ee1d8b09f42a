//! Members that are removed: what the rest can read, and what is shown.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use crate::common::{Place, all, close, connected, get, lists, noise, open_at, put, shows, vault};
use stash_vault::{Class, Key, LookupError, Node, Progress, PutOptions, Role, Wait};

const MIB: usize = 1 << 20;

/// The same node where the others saw it last.
async fn reopened(node: Node) -> Node {
    let (dir, there) = (node.directory().to_owned(), node.engine.listen());
    close(node).await;
    open_at(&dir, there).await
}

/// The epoch of the record that a file shows.
async fn epoch_of(node: &Node, key: &str) -> u32 {
    let history = vault(node).history(&Key::new(key).unwrap(), None, 10).await.unwrap();
    let name = history.versions[0].version;
    let log = node.engine.record_log(0, 1_000).await.unwrap();
    let found = log.into_iter().find(|(_, record)| record.hash() == name);
    found.unwrap().1.clear().epoch
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stays_or_joins_later_reads_what_every_epoch_sealed() {
    let place = Place::new();
    let founder = place.founder().await;
    let owner = place.member(&founder, "owner", Role::Owner).await;
    let reader = place.member(&founder, "reader", Role::Reader).await;
    connected(&[&founder, &owner, &reader]).await;
    let (old, new) = (noise(2 * MIB, 1), noise(2 * MIB, 2));
    put(&founder, &place.file("old", &old)).await;
    let removed = founder.engine.remove_member(reader.engine.node_id()).await.unwrap();
    assert!(removed.new_epoch && removed.asked.is_empty(), "a reader wrote nothing");
    assert_eq!(founder.member_names().len(), 2);
    put(&founder, &place.file("new", &new)).await;
    assert_eq!((epoch_of(&founder, "old").await, epoch_of(&founder, "new").await), (0, 1));
    crate::common::until(|| owner.engine.epoch() == 1).await;
    put(&owner, &place.file("mine", b"mine")).await;
    assert_eq!(epoch_of(&founder, "mine").await, 1);

    let late = place.member(&founder, "late", Role::Reader).await;
    assert_eq!(founder.member_names()[&late.engine.node_id()], "late");
    assert_eq!(late.member_names()[&owner.engine.node_id()], "owner");
    shows(&late, &["mine", "new", "old"]).await;
    // Keys of later epochs come from the member log at each start.
    let owner = reopened(owner).await;
    let founder = reopened(founder).await;
    for (node, name) in [(&founder, "founder"), (&owner, "owner"), (&late, "late")] {
        for (key, bytes) in [("old", &old[..]), ("new", &new), ("mine", b"mine")] {
            let out = place.path(&format!("out-{name}-{key}"));
            get(node, key, &out).await;
            assert!(std::fs::read(out).unwrap() == bytes, "{key} at {name}");
        }
    }
    assert_eq!(lists(&reader).await, ["old"], "the removed one was told of nothing");
    for node in [reader, late, owner, founder] {
        close(node).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_is_promoted_reads_everything_and_a_demoted_one_nothing_new() {
    let place = Place::new();
    let founder = place.founder().await;
    let keeper = place.member(&founder, "keeper", Role::Keeper).await;
    put(&founder, &place.file("old", b"old")).await;
    let id = keeper.engine.node_id();
    founder.engine.set_role(id, Role::Owner).await.unwrap();
    crate::common::until(|| keeper.engine.role() == Role::Owner).await;
    assert!(keeper.vault.is_none(), "names are opened at the start");
    let keeper = reopened(keeper).await;
    connected(&[&founder, &keeper]).await;
    shows(&keeper, &["old"]).await;
    put(&keeper, &place.file("mine", b"mine")).await;
    shows(&founder, &["mine", "old"]).await;

    founder.engine.set_role(id, Role::Keeper).await.unwrap();
    crate::common::until(|| keeper.engine.role() == Role::Keeper).await;
    let path = place.file("late", b"late");
    let refused = vault(&keeper).put_path(&path, None, all(), &Progress::new()).await;
    assert_eq!(refused.unwrap_err().class(), Class::Refused);
    put(&founder, &path).await;
    shows(&founder, &["late", "mine", "old"]).await;
    let read = vault(&keeper).stat(&Key::new("late").unwrap()).await;
    assert!(read.is_err(), "sealed with a key that it was not given");
    let keeper = reopened(keeper).await;
    assert!(keeper.vault.is_none());
    close(keeper).await;
    close(founder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_secret_recovers_what_later_epochs_sealed() {
    let place = Place::new();
    let founder = place.founder().await;
    let keeper = place.member(&founder, "keeper", Role::Keeper).await;
    let lost = place.member(&founder, "lost", Role::Owner).await;
    put(&founder, &place.file("old", b"old")).await;
    founder.engine.remove_member(lost.engine.node_id()).await.unwrap();
    let bytes = noise(2 * MIB, 3);
    put(&founder, &place.file("new", &bytes)).await;
    let text = founder.recovery_text().unwrap();
    close(lost).await;
    close(founder).await;

    let node = place.recovered(&text).await;
    connected(&[&node, &keeper]).await;
    shows(&node, &["new", "old"]).await;
    let out = place.path("out");
    get(&node, "new", &out).await;
    assert!(std::fs::read(out).unwrap() == bytes);
    let gone = node.engine.remove_member(keeper.engine.node_id()).await.unwrap();
    assert!(gone.new_epoch, "it founds the next epoch as the founder would");
    assert_eq!(node.engine.epoch(), 2);
    close(node).await;
    close(keeper).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_aside_is_listed_no_more_while_the_node_runs_and_after_a_restart() {
    let place = Place::new();
    let founder = place.founder().await;
    let owner = place.member(&founder, "owner", Role::Owner).await;
    let gone = place.member(&founder, "gone", Role::Owner).await;
    connected(&[&founder, &owner, &gone]).await;
    put(&gone, &place.file("early", b"early")).await;
    let (dir, there) = (founder.directory().to_owned(), founder.engine.listen());
    close(founder).await;
    let once = PutOptions { wait: Wait::Local, jobs: 0 };
    let progress = Progress::new();
    for name in ["early", "late"] {
        let path = place.file(name, b"changed while the founder was away");
        vault(&gone).put_path(&path, None, once, &progress).await.unwrap();
    }
    shows(&owner, &["early", "late"]).await;
    let id = gone.engine.node_id();
    close(gone).await;
    let (at, owner_there) = (owner.directory().to_owned(), owner.engine.listen());
    close(owner).await;
    let founder = open_at(&dir, there).await;
    founder.engine.vouch();
    let changed = founder.engine.remove_member(id).await.unwrap();
    assert_eq!(changed.silent.len(), 1);
    let owner = open_at(&at, owner_there).await;
    connected(&[&founder, &owner]).await;
    shows(&owner, &["early"]).await;
    let missing = vault(&owner).stat(&Key::new("late").unwrap()).await;
    assert!(matches!(missing, Err(LookupError::NotFound { .. })));
    let out = place.path("out");
    get(&owner, "early", &out).await;
    assert_eq!(std::fs::read(out).unwrap(), b"early", "as it was before");
    let owner = reopened(owner).await;
    shows(&owner, &["early"]).await;
    close(owner).await;
    close(founder).await;
}
