//! The index of names is derived: lost, damaged or swapped, it is built again.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use crate::common::{Place, close, noise, open, put, vault};
use stash_vault::Node;

async fn names(node: &Node) -> Vec<String> {
    let listed = vault(node).ls("", None, 10_000).await.unwrap();
    listed.into_iter().map(|entry| format!("{} {}", entry.key, entry.size)).collect()
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
    for name in ["names.redb", "tags.redb"] {
        std::fs::remove_file(place.path("founder").join(name)).unwrap();
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
    let path = place.path("founder/names.redb");
    let clean = std::fs::read(&path).unwrap();
    for round in 0..24 {
        let mut damaged = clean.clone();
        match round {
            0 => damaged.truncate(clean.len() / 2),
            1 => damaged.fill(0),
            2 => damaged.clear(),
            round => {
                // Spread over the file, headers included; the seed is the round.
                for at in 0..4 {
                    let at = (round * 7919 + at * 104_729) * 31 % clean.len();
                    damaged[at] ^= 1 << (round % 8);
                }
            }
        }
        std::fs::write(&path, &damaged).unwrap();
        let node = open(&place.path("founder")).await;
        assert_eq!(names(&node).await, expected, "round {round}");
        close(node).await;
    }
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
    for name in ["names.redb", "tags.redb"] {
        let to = place.path("founder").join(name);
        std::fs::copy(other.path("founder").join(name), to).unwrap();
    }
    let node = open(&place.path("founder")).await;
    assert_eq!(names(&node).await, expected);
    close(node).await;
}
