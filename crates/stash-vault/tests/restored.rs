//! A node that was brought back from a copy of its whole directory, or that runs twice: no number means
//! two things in silence, and nothing that it wrote is hidden by what nobody has seen.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::path::Path;

use crate::common::{Place, close, connected, copy, open, open_at, vault};
use futures::TryStreamExt;
use stash_vault::names::Standing;
use stash_vault::{Key, Node, Progress, PutOptions, Role, Wait};

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

/// Replaces a directory by a copy of it.
fn put_back(copy: &Path, dir: &Path) {
    std::fs::remove_dir_all(dir).unwrap();
    std::fs::rename(copy, dir).unwrap();
}

async fn store(node: &Node, name: &str, text: &str, wait: Wait) {
    let (options, progress) = (PutOptions { wait, jobs: 1 }, Progress::new());
    let (vault, text) = (vault(node), text.to_owned());
    vault.put_reader(key(name), text.as_bytes(), None, options, &progress).await.unwrap();
}

/// The contents of the leaves of a name, the head first.
async fn leaves(node: &Node, name: &str) -> Vec<String> {
    let Ok(history) = vault(node).history(&key(name), None, 100).await else {
        return Vec::new();
    };
    let mut texts = Vec::new();
    for version in history.versions.iter().filter(|v| v.standing != Standing::Covered) {
        let id = version.version.to_string().parse().unwrap();
        let reading = vault(node).read_version(&key(name), &id, None, true).await.unwrap();
        let pieces: Vec<_> = reading.try_collect().await.unwrap();
        texts.push(String::from_utf8(pieces.concat()).unwrap());
    }
    texts.sort();
    texts
}

async fn alarms(node: &Node) -> String {
    node.engine.status().await.unwrap().alarms.join("\n")
}

/// Waits until all nodes show these leaves of a name.
async fn agree(nodes: &[&Node], name: &str, expected: &[&str]) {
    let begun = std::time::Instant::now();
    for node in nodes {
        loop {
            let shown = leaves(node, name).await;
            if shown == expected {
                break;
            }
            assert!(begun.elapsed().as_secs() < 60, "{name}: {shown:?} and not {expected:?}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

// Fault case 114: the counts of opens agree, so the node cannot know before it meets somebody.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_restored_node_wrote_before_it_met_anybody_is_written_again_and_hides_nothing() {
    let place = Place::new();
    let founder = place.founder().await;
    let owner = place.member(&founder, "owner", Role::Owner).await;
    connected(&[&founder, &owner]).await;
    for name in ["a", "b", "quiet"] {
        store(&owner, name, "common", Wait::All).await;
    }
    let (dir, there) = (owner.directory().to_owned(), founder.directory().to_owned());
    let listen = founder.engine.listen();
    close(owner).await;
    copy(&dir, &place.path("backup"));

    let owner = open(&dir).await;
    connected(&[&founder, &owner]).await;
    store(&owner, "a", "lost", Wait::All).await;
    store(&owner, "b", "lost", Wait::All).await;
    store(&founder, "a", "on top of lost", Wait::All).await;
    close(owner).await;
    close(founder).await;

    // Restored, it uses the numbers of what it does not know any more.
    put_back(&place.path("backup"), &dir);
    let owner = open(&dir).await;
    store(&owner, "a", "new", Wait::Local).await;
    store(&owner, "b", "new", Wait::Local).await;
    store(&owner, "c", "new", Wait::Local).await;
    // Where the restored node saw it last.
    let founder = open_at(&there, listen).await;
    connected(&[&founder, &owner]).await;
    agree(&[&founder, &owner], "a", &["new", "on top of lost"]).await;
    agree(&[&founder, &owner], "c", &["new"]).await;
    agree(&[&founder, &owner], "quiet", &["common"]).await;
    // Its first "new" has the number of "lost", and is written again under another one.
    agree(&[&founder, &owner], "b", &["lost", "new", "new"]).await;
    assert!(alarms(&owner).await.contains("another life"), "{}", alarms(&owner).await);
    assert!(alarms(&founder).await.contains("two different records"), "{}", alarms(&founder).await);

    // Once is enough, and it goes on as any other node.
    close(owner).await;
    let owner = open(&dir).await;
    connected(&[&founder, &owner]).await;
    store(&owner, "b", "resolved", Wait::All).await;
    agree(&[&founder, &owner], "b", &["resolved"]).await;
    agree(&[&founder, &owner], "a", &["new", "on top of lost"]).await;
    close(owner).await;
    close(founder).await;
}

// Fault case 114: what its last life knows of the one before says nothing of the first one.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_put_back_twice_hides_nothing_of_its_first_life() {
    let place = Place::new();
    let founder = place.founder().await;
    let keeper = place.member(&founder, "keeper", Role::Keeper).await;
    let owner = place.member(&founder, "owner", Role::Owner).await;
    connected(&[&founder, &keeper, &owner]).await;
    store(&owner, "quiet", "common", Wait::All).await;
    let listens = [founder.engine.listen(), keeper.engine.listen()];
    let [dir, of_founder, of_keeper] =
        [&owner, &founder, &keeper].map(|node| node.directory().to_owned());
    for node in [owner, keeper] {
        close(node).await;
    }
    copy(&dir, &place.path("first copy"));

    // Only the founder hears of the first life.
    let owner = open(&dir).await;
    connected(&[&owner, &founder]).await;
    store(&owner, "a", "first", Wait::Quorum).await;
    close(owner).await;
    close(founder).await;

    // Only the keeper hears of the second one, and has heard of nothing else.
    put_back(&place.path("first copy"), &dir);
    let keeper = open_at(&of_keeper, listens[1].clone()).await;
    let owner = open(&dir).await;
    connected(&[&owner, &keeper]).await;
    store(&owner, "a", "second", Wait::Quorum).await;
    close(owner).await;
    copy(&dir, &place.path("second copy"));
    let owner = open(&dir).await;
    connected(&[&owner, &keeper]).await;
    store(&owner, "a", "lost", Wait::Quorum).await;
    close(owner).await;

    // What the third life writes has seen the number of "first", and what that means in its own.
    put_back(&place.path("second copy"), &dir);
    close(keeper).await;
    let owner = open(&dir).await;
    store(&owner, "a", "third", Wait::Local).await;
    let keeper = open_at(&of_keeper, listens[1].clone()).await;
    let founder = open_at(&of_founder, listens[0].clone()).await;
    connected(&[&founder, &keeper, &owner]).await;
    // "third" has the number of "lost", and is written again under another one.
    agree(&[&founder, &owner], "a", &["first", "lost", "third", "third"]).await;
    agree(&[&founder, &owner], "quiet", &["common"]).await;
    for node in [owner, founder, keeper] {
        close(node).await;
    }
}

// Fault case 17.
#[tokio::test(flavor = "multi_thread")]
async fn two_machines_with_one_identity_raise_an_alarm_on_both() {
    let place = Place::new();
    let founder = place.founder().await;
    let owner = place.member(&founder, "owner", Role::Owner).await;
    connected(&[&founder, &owner]).await;
    store(&owner, "a", "common", Wait::All).await;
    let (first, second) = (owner.directory().to_owned(), place.path("clone"));
    close(owner).await;
    copy(&first, &second);
    let one = open(&first).await;
    connected(&[&founder, &one]).await;
    store(&one, "a", "of the first", Wait::All).await;
    close(one).await;
    let two = open(&second).await;
    agree(&[&two], "a", &["of the first"]).await;
    assert!(alarms(&two).await.contains("second machine"), "{}", alarms(&two).await);
    store(&two, "a", "of the second", Wait::All).await;
    close(two).await;
    assert_eq!(alarms(&founder).await, "", "nothing was used twice");
    let one = open(&first).await;
    agree(&[&one], "a", &["of the second"]).await;
    assert!(alarms(&one).await.contains("second machine"), "{}", alarms(&one).await);
    close(one).await;
    close(founder).await;
}
