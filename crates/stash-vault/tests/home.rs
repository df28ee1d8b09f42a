//! Data directories: made, opened, mixed up, damaged.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::os::unix::fs::PermissionsExt;

use crate::common::{Place, close, copy, open, put, vault};
use stash_vault::{Class, Home, HomeError, InitOptions, Role, RunOptions};
use zeroize::Zeroizing;

fn init(place: &Place, name: &str) -> Home {
    Home::init(&place.path(name), InitOptions::default()).unwrap()
}

async fn refused(place: &Place, name: &str) -> HomeError {
    Home::open(&place.path(name), None, RunOptions::default()).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_stash_is_private_and_made_once() {
    let place = Place::new();
    assert_eq!(refused(&place, "deep/er").await.class(), Class::NoStore);
    assert!(!place.path("deep/er").exists(), "opening makes nothing");
    let home = init(&place, "deep/er");
    assert!(Home::exists(home.directory()));
    let mode = |name: &str| {
        let metadata = std::fs::metadata(home.directory().join(name)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    assert_eq!((mode(""), mode("keyring"), mode("opens")), (0o700, 0o600, 0o600));
    let again = Home::init(&place.path("deep/er"), InitOptions::default()).unwrap_err();
    assert_eq!(again.class(), Class::Refused);
    let node = open(&place.path("deep/er")).await;
    assert_eq!((node.engine.node_id(), node.engine.stash()), (home.node_id(), home.stash_id()));
    close(node).await;
    assert_eq!((mode("names"), mode("tags")), (0o700, 0o700));
    assert_eq!((mode("names/head"), mode("tags/head")), (0o600, 0o600));
}

/// Fault case 89.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_told_that_the_directory_is_in_use() {
    let place = Place::new();
    let node = place.founder().await;
    assert_eq!(refused(&place, "founder").await.class(), Class::Locked);
    close(node).await;
    close(open(&place.path("founder")).await).await;
}

/// Fault case 81: behind an empty mount point, nothing is made anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_keyring_without_its_store_is_refused() {
    let place = Place::new();
    let home = init(&place, "a");
    let store = home.directory().join("store");
    std::fs::rename(&store, place.path("unmounted")).unwrap();
    assert!(matches!(refused(&place, "a").await, HomeError::StoreMissing { .. }));
    std::fs::create_dir(&store).unwrap();
    let error = refused(&place, "a").await;
    assert!(matches!(error, HomeError::StoreMissing { .. }));
    assert_eq!(error.class(), Class::NoStore);
    assert_eq!(std::fs::read_dir(&store).unwrap().count(), 0);
    std::fs::remove_dir(&store).unwrap();
    std::fs::rename(place.path("unmounted"), &store).unwrap();
    close(open(home.directory()).await).await;

    std::fs::rename(home.directory().join("keyring"), place.path("lost")).unwrap();
    assert!(matches!(refused(&place, "a").await, HomeError::KeyringMissing { .. }));
    let init = Home::init(home.directory(), InitOptions::default());
    assert_eq!(init.unwrap_err().class(), Class::Refused, "the store is not thrown away");
}

// Who is admitted just before a stop is in the copy of the member log, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_founder_that_stops_and_loses_its_store_knows_whom_it_admitted_last() {
    let place = Place::new();
    let node = place.founder().await;
    let directory = node.directory().to_owned();
    let keeper = place.member(&node, "keeper", Role::Keeper).await;
    close(node).await;
    for lost in ["store", "opens"] {
        let path = directory.join(lost);
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }
            .unwrap();
    }
    let node = open(&directory).await;
    let known: Vec<_> = node.engine.members().iter().map(|member| member.node).collect();
    assert!(known.contains(&keeper.engine.node_id()), "{known:?}");
    close(node).await;
    close(keeper).await;
}

/// Fault case 20: identity and member log are enough; a store that may only be unmounted is not replaced.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_gone_with_the_count_of_its_opens_is_made_anew() {
    let place = Place::new();
    let node = place.founder().await;
    let directory = node.directory().to_owned();
    assert!(directory.join("members").exists(), "from the moment on that it serves");
    let file = place.path("file");
    std::fs::write(&file, b"text").unwrap();
    put(&node, &file).await;
    let id = node.engine.node_id();
    close(node).await;
    std::fs::remove_dir_all(directory.join("store")).unwrap();
    assert!(matches!(refused(&place, "founder").await, HomeError::StoreMissing { .. }));
    std::fs::remove_file(directory.join("opens")).unwrap();
    // As an interrupted start leaves it.
    std::fs::create_dir_all(directory.join("store-new/store")).unwrap();
    let node = open(&directory).await;
    assert_eq!(node.engine.node_id(), id);
    assert_eq!(node.engine.members().len(), 1);
    let status = node.engine.status().await.unwrap();
    assert_eq!((status.records, status.synchronised), (0, false));
    assert!(!directory.join("store-new").exists());
    put(&node, &file).await;
    close(node).await;
    close(open(&directory).await).await;

    std::fs::remove_dir_all(directory.join("store")).unwrap();
    std::fs::remove_file(directory.join("opens")).unwrap();
    std::fs::write(directory.join("members"), b"damaged").unwrap();
    assert!(matches!(refused(&place, "founder").await, HomeError::StoreMissing { .. }));
}

/// Fault case 87.
#[tokio::test(flavor = "multi_thread")]
async fn directories_of_two_nodes_that_were_mixed_up_are_refused() {
    let place = Place::new();
    let (a, b) = (init(&place, "a"), init(&place, "b"));
    std::fs::rename(a.directory().join("store"), place.path("x")).unwrap();
    std::fs::rename(b.directory().join("store"), a.directory().join("store")).unwrap();
    std::fs::rename(place.path("x"), b.directory().join("store")).unwrap();
    for name in ["a", "b"] {
        let error = refused(&place, name).await;
        assert!(matches!(error, HomeError::WrongStore { .. }), "{error}");
        assert_eq!(error.class(), Class::Refused);
    }
}

/// Fault cases 61 and 110.
#[tokio::test(flavor = "multi_thread")]
async fn a_passphrase_is_needed_and_a_wrong_one_changes_nothing() {
    let place = Place::new();
    let passphrase = Some(Zeroizing::new("correct horse".to_owned()));
    let options = InitOptions { passphrase: passphrase.clone(), ..InitOptions::default() };
    let home = Home::init(&place.path("a"), options).unwrap();
    let before = std::fs::read(home.directory().join("keyring")).unwrap();
    assert_eq!(refused(&place, "a").await.class(), Class::Passphrase);
    for _ in 0..2 {
        let wrong = Some(Zeroizing::new("wrong".to_owned()));
        let error = Home::open(home.directory(), wrong, RunOptions::default()).await;
        assert_eq!(error.unwrap_err().class(), Class::Passphrase);
    }
    assert_eq!(std::fs::read(home.directory().join("keyring")).unwrap(), before);
    let node = Home::open(home.directory(), passphrase, RunOptions::default()).await.unwrap();
    close(node).await;
}

/// Fault case 78: rot in the keyring is named as such, and nothing else happens.
#[tokio::test(flavor = "multi_thread")]
async fn every_damaged_byte_of_a_keyring_is_noticed() {
    let place = Place::new();
    let home = init(&place, "a");
    let path = home.directory().join("keyring");
    let clean = std::fs::read(&path).unwrap();
    for at in 0..clean.len() {
        let mut damaged = clean.clone();
        damaged[at] ^= 1 << (at % 8);
        std::fs::write(&path, &damaged).unwrap();
        let error = refused(&place, "a").await;
        assert!(matches!(error, HomeError::Keyring { .. }), "byte {at}: {error}");
    }
    std::fs::write(&path, &clean[..clean.len() - 1]).unwrap();
    assert_eq!(refused(&place, "a").await.class(), Class::Integrity);
    std::fs::write(&path, &clean).unwrap();
    close(open(home.directory()).await).await;
}

/// Fault case 82.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_in_place_of_the_keyring_is_not_followed() {
    let place = Place::new();
    let home = init(&place, "a");
    let path = home.directory().join("keyring");
    std::fs::rename(&path, place.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(place.path("elsewhere"), &path).unwrap();
    assert!(matches!(refused(&place, "a").await, HomeError::Io { .. }));
}

/// Fault case 114: a store that came back from a backup never signs a number twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_store_writes_under_a_new_incarnation() {
    let place = Place::new();
    let node = place.founder().await;
    let dir = place.path("founder");
    let writer = |node: &stash_vault::Node, name: &str| {
        let (engine, vault) = (node.engine.clone(), vault(node));
        let name = vault.name_id(&stash_vault::Key::new(name).unwrap());
        async move { engine.records_of(name).await.unwrap()[0].clear().dot }
    };
    put(&node, &place.file("one", b"1")).await;
    close(node).await;
    copy(&dir.join("store"), &place.path("backup"));
    let node = open(&dir).await;
    put(&node, &place.file("two", b"2")).await;
    let (one, two) = (writer(&node, "one").await, writer(&node, "two").await);
    assert_eq!(one.writer, two.writer, "an ordinary restart goes on counting");
    assert_eq!((one.n, two.n), (1, 2));
    close(node).await;
    close(open(&dir).await).await;

    std::fs::remove_dir_all(dir.join("store")).unwrap();
    copy(&place.path("backup"), &dir.join("store"));
    let node = open(&dir).await;
    put(&node, &place.file("three", b"3")).await;
    let three = writer(&node, "three").await;
    assert_eq!(three.writer.node, one.writer.node);
    assert_ne!(three.writer.incarnation, one.writer.incarnation);
    let listed = vault(&node).ls("", None, 10).await.unwrap();
    let keys: Vec<_> = listed.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["one", "three"], "the index follows the store that is there");
    close(node).await;
}
