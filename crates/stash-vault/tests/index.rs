//! The index of names is derived: lost, damaged or swapped, it is built again.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::ffi::OsString;
use std::fs::DirEntry;
use std::path::Path;

use crate::common::{Place, close, copy, noise, open, put, vault};
use stash_vault::Node;

async fn names(node: &Node) -> Vec<String> {
    let listed = vault(node).ls("", None, 10_000).await.unwrap();
    listed.into_iter().map(|entry| format!("{} {}", entry.key, entry.size)).collect()
}

/// Names and bytes of the files in a directory.
fn files(directory: &Path) -> Vec<(OsString, Vec<u8>)> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let read = |entry: DirEntry| (entry.file_name(), std::fs::read(entry.path()).unwrap());
    let mut files: Vec<_> = entries.map(read).collect();
    files.sort();
    files
}

async fn filled(place: &Place) -> Vec<String> {
    let node = place.founder().await;
    for i in 0..700 {
        place.file(&format!("t/{i:03}"), &noise(i, 1));
    }
    put(&node, &place.path("t")).await;
    vault(&node)
        .rm("t/005", false, stash_vault::Wait::All, &stash_vault::Progress::new())
        .await
        .unwrap();
    let names = names(&node).await;
    assert_eq!(names.len(), 699);
    close(node).await;
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_index_is_built_again() {
    let place = Place::new();
    let expected = filled(&place).await;
    for name in ["names", "tags"] {
        std::fs::remove_dir_all(place.path("founder").join(name)).unwrap();
    }
    let node = open(&place.path("founder")).await;
    assert_eq!(names(&node).await, expected);
    close(node).await;
}

/// Fault case 78: never a wrong name, never a panic that ends the process.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_index_is_built_again() {
    let place = Place::new();
    let expected = filled(&place).await;
    let directory = place.path("founder/names");
    let clean = files(&directory);
    assert!(clean.len() > 1, "a head and a run");
    for round in 0..24 {
        let (name, bytes) = &clean[round % clean.len()];
        let mut damaged = bytes.clone();
        match round / 2 {
            0 => damaged.truncate(bytes.len() / 2),
            1 => damaged.fill(0),
            2 => damaged.clear(),
            _ => {
                // Spread over the file; the seed is the round.
                for at in 0..4 {
                    let at = (round * 7919 + at * 104_729) * 31 % bytes.len();
                    damaged[at] ^= 1 << (round % 8);
                }
            }
        }
        std::fs::remove_dir_all(&directory).unwrap();
        std::fs::create_dir(&directory).unwrap();
        for (name, bytes) in &clean {
            std::fs::write(directory.join(name), bytes).unwrap();
        }
        std::fs::write(directory.join(name), &damaged).unwrap();
        let node = open(&place.path("founder")).await;
        assert_eq!(names(&node).await, expected, "round {round}");
        close(node).await;
    }
}

/// The files that an older version had in place of the two directories: names are made anew, and both files are gone.
#[tokio::test(flavor = "multi_thread")]
async fn the_databases_of_an_older_version_are_replaced_by_an_index_of_the_same_names() {
    let place = Place::new();
    let expected = filled(&place).await;
    let founder = place.path("founder");
    for name in ["names", "tags"] {
        std::fs::remove_dir_all(founder.join(name)).unwrap();
    }
    let old = ["names.redb", "tags.redb"].map(|name| founder.join(name));
    for path in &old {
        std::fs::write(path, include_bytes!("fixtures/tags.redb")).unwrap();
    }
    let node = open(&founder).await;
    assert_eq!(names(&node).await, expected);
    close(node).await;
    assert!(!old.iter().any(|path| path.exists()));
    assert_eq!(files(&founder.join("names")).len(), 2, "a head and a run");
}

/// Fault case 87.
#[tokio::test(flavor = "multi_thread")]
async fn the_index_of_another_stash_is_not_believed() {
    let place = Place::new();
    let expected = filled(&place).await;
    let other = Place::new();
    let node = other.founder().await;
    put(&node, &other.file("foreign", b"x")).await;
    assert_eq!(names(&node).await.len(), 1);
    close(node).await;
    for name in ["names", "tags"] {
        let to = place.path("founder").join(name);
        std::fs::remove_dir_all(&to).unwrap();
        std::fs::create_dir(&to).unwrap();
        for (file, bytes) in files(&other.path("founder").join(name)) {
            std::fs::write(to.join(file), bytes).unwrap();
        }
    }
    let node = open(&place.path("founder")).await;
    assert_eq!(names(&node).await, expected);
    close(node).await;
}

/// Fault case 114: an index that a version without it left where it was, while its store was restored and grew.
#[tokio::test(flavor = "multi_thread")]
async fn the_index_of_a_store_as_it_was_before_it_was_restored_is_not_believed() {
    let place = Place::new();
    let founder = place.path("founder");
    let node = place.founder().await;
    put(&node, &place.file("kept", b"1")).await;
    close(node).await;
    copy(&founder.join("store"), &place.path("copy"));
    let node = open(&founder).await;
    for n in 0..10 {
        put(&node, &place.file(&format!("lost-{n}"), b"2")).await;
    }
    close(node).await;

    std::fs::rename(founder.join("names"), place.path("names")).unwrap();
    std::fs::remove_dir_all(founder.join("store")).unwrap();
    std::fs::rename(place.path("copy"), founder.join("store")).unwrap();
    let node = open(&founder).await;
    // Some under the numbers of what is lost, and more than there were.
    for n in 0..20 {
        put(&node, &place.file(&format!("new-{n:02}"), b"3")).await;
    }
    let expected = names(&node).await;
    assert_eq!(expected.len(), 21);
    close(node).await;

    std::fs::remove_dir_all(founder.join("names")).unwrap();
    std::fs::rename(place.path("names"), founder.join("names")).unwrap();
    let node = open(&founder).await;
    assert_eq!(names(&node).await, expected);
    close(node).await;
}
