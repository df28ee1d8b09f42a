//! Levels, sums and searches say the same as a listing of everything.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::collections::BTreeMap;

use crate::common::{Place, close, noise, put, vault};
use stash_vault::names::{Absence, Filter, Folder, Level};
use stash_vault::{Progress, Vault, Wait};

/// Paths under test, each with its reason: before and behind a slash in the order of bytes, a folder and
/// its like, deep ones, a link's and a directory's place.
const PATHS: [&str; 12] = [
    "t/a",
    "t/a-b/x",
    "t/a.b",
    "t/a0",
    "t/b/1",
    "t/b/2/x",
    "t/b/2/y/z",
    "t/b0/q",
    "t/c/only/one",
    "t/d",
    "t/é/1",
    "t/z/1",
];

async fn everything(vault: &Vault) -> Vec<(String, u64)> {
    let all = vault.ls("", None, 10_000).await.unwrap();
    all.into_iter().map(|entry| (entry.key.to_string(), entry.size)).collect()
}

/// What a level has, worked out from a listing of everything: files, and folders with counts and bytes.
fn expected(all: &[(String, u64)], prefix: &str) -> (Vec<String>, BTreeMap<String, (u64, u64)>) {
    let below = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    let (mut files, mut folders) = (Vec::new(), BTreeMap::<String, (u64, u64)>::new());
    for (key, size) in all {
        match key.strip_prefix(&below).map(|rest| rest.split_once('/')) {
            Some(Some((name, _))) => {
                let folder = folders.entry(format!("{below}{name}")).or_default();
                *folder = (folder.0 + 1, folder.1 + size);
            }
            Some(None) => files.push(key.clone()),
            None if key == prefix => files.push(key.clone()),
            None => {}
        }
    }
    (files, folders)
}

/// A level, asked for by so many names at once.
async fn level(vault: &Vault, prefix: &str, limit: usize) -> Level {
    let (mut all, mut after) = (Level::default(), None::<String>);
    for _ in 0..100 {
        let part = vault.level(prefix, after.as_deref(), limit).await.unwrap();
        assert!(part.entries.len() + part.folders.len() <= limit, "{prefix} {limit}");
        all.entries.extend(part.entries);
        all.folders.extend(part.folders);
        after = part.next;
        if after.is_none() {
            return all;
        }
    }
    panic!("it does not end: {prefix} {limit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_of_any_part_is_what_a_listing_of_everything_says() {
    let place = Place::new();
    let node = place.founder().await;
    for (seed, path) in PATHS.iter().enumerate() {
        place.file(path, &noise(10 + seed, seed as u64));
    }
    put(&node, &place.path("t")).await;
    let vault = &vault(&node);
    let all = everything(vault).await;
    assert_eq!(all.len(), PATHS.len());
    for prefix in ["", "t", "t/b", "t/b/2", "t/a", "t/c", "t/none"] {
        let (files, folders) = expected(&all, prefix);
        for limit in [1, 2, 3, 100] {
            let level = level(vault, prefix, limit).await;
            let listed: Vec<_> = level.entries.iter().map(|one| one.key.to_string()).collect();
            assert_eq!(listed, files, "{prefix} {limit}");
            let sums = |Folder { key, sum }: &Folder| (key.to_string(), (sum.files, sum.bytes));
            let listed: BTreeMap<_, _> = level.folders.iter().map(sums).collect();
            assert_eq!(listed, folders, "{prefix} {limit}");
        }
        let sum = vault.sum(prefix).await.unwrap();
        let counts = folders.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let own: u64 =
            all.iter().filter(|(key, _)| files.contains(key)).map(|(_, size)| size).sum();
        assert_eq!((sum.files, sum.bytes), (counts.0 + files.len() as u64, counts.1 + own));
    }
    close(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_finds_what_its_filter_lets_through_whatever_its_pages() {
    let place = Place::new();
    let node = place.founder().await;
    for (seed, path) in PATHS.iter().enumerate() {
        place.file(path, &noise(10 + seed, seed as u64));
    }
    put(&node, &place.path("t")).await;
    let vault = &vault(&node);
    let found = async |prefix: &str, filter: Filter, limit: usize| {
        let (mut keys, mut after) = (Vec::new(), None::<String>);
        loop {
            let part = vault.find(prefix, filter.clone(), after.as_deref(), limit).await.unwrap();
            keys.extend(part.entries.into_iter().map(|entry| entry.key.to_string()));
            after = part.next;
            if after.is_none() {
                return keys;
            }
        }
    };
    let name = |text: &str| Filter { name: Some(text.parse().unwrap()), ..Filter::default() };
    let size = Filter { at_least: Some(12), at_most: Some(14), ..Filter::default() };
    let old = Filter { before: Some(1), ..Filter::default() };
    let new = Filter { since: Some(1), ..Filter::default() };
    for limit in [1, 2, 100] {
        assert_eq!(found("", name("[12]"), limit).await, ["t/b/1", "t/z/1", "t/é/1"]);
        assert_eq!(found("t", name("b/*"), limit).await, ["t/b/1"]);
        assert_eq!(found("t/b", name("**"), limit).await, ["t/b/1", "t/b/2/x", "t/b/2/y/z"]);
        assert_eq!(found("t/a", name("a"), limit).await, ["t/a"]);
        assert_eq!(found("", size.clone(), limit).await.len(), 3);
        assert_eq!(found("", old.clone(), limit).await, [""; 0]);
        assert_eq!(found("", new.clone(), limit).await.len(), PATHS.len());
    }
    close(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_name_is_no_file_is_known() {
    let place = Place::new();
    let node = place.founder().await;
    for path in ["t/a", "t/b/c", "f"] {
        place.file(path, path.as_bytes());
    }
    std::fs::create_dir(place.path("t/empty")).unwrap();
    put(&node, &place.path("t")).await;
    put(&node, &place.path("f")).await;
    let vault = &vault(&node);
    let why = async |name: &str| vault.absence(name).await.unwrap();
    for tree in ["t", "t/", "t/b", "t/empty"] {
        assert_eq!(why(tree).await, Absence::Tree, "{tree}");
    }
    assert_eq!(why("none").await, Absence::Nothing);
    vault.rm("f", false, Wait::Local, &Progress::new()).await.unwrap();
    let Absence::Removed { written, restorable, .. } = why("f").await else {
        panic!("not removed")
    };
    assert!(written.is_some() && restorable);
    vault.rm("t/b", true, Wait::Local, &Progress::new()).await.unwrap();
    assert!(matches!(why("t/b").await, Absence::Removed { .. }), "its directory had a record");
    vault.purge("f", false, Wait::Local, &Progress::new()).await.unwrap();
    assert_eq!(why("f").await, Absence::Nothing);
    close(node).await;
}
