//! Forgetting: versions that were purged, or that no rule keeps any more, are gone on every member.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use crate::common::{Place, all, close, connected, get, noise, open_at, put, vault};
use stash_vault::crypto::{ForgetKind, Record, RecordKind};
use stash_vault::names::Names;
use stash_vault::retention::{Moment, RetentionReport};
use stash_vault::{Class, Clock, Home, Key, Node, Progress, Retention, Role, RunOptions, Wait};

const DAY: u64 = 86_400;
const START: u64 = 1_800_000_000;
const DEAD: RecordKind = RecordKind::Forget(ForgetKind::Dead);

async fn records(node: &Node, of: &Node, key: &str) -> Vec<Record> {
    let name = vault(of).name_id(&Key::new(key).unwrap());
    node.engine.records_of(name).await.unwrap()
}

fn kinds(records: &[Record]) -> Vec<RecordKind> {
    records.iter().map(|record| record.clear().kind).collect()
}

async fn listed(node: &Node) -> Vec<String> {
    let entries = vault(node).ls("", None, 100).await.unwrap();
    entries.into_iter().map(|entry| entry.key.to_string()).collect()
}

async fn chunks(node: &Node) -> u64 {
    node.engine.status().await.unwrap().chunks
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_file_leaves_nothing_but_the_forget_on_any_member() {
    let place = Place::new();
    let owner = place.founder().await;
    let keeper = place.member(&owner, "keeper", Role::Keeper).await;
    put(&owner, &place.file("a", &noise(3 << 20, 1))).await;
    put(&owner, &place.file("a", &noise(2 << 20, 2))).await;
    put(&owner, &place.file("b", &noise(1 << 20, 3))).await;
    let before = chunks(&keeper).await;
    let done = vault(&owner).purge("a", false, Wait::All, &Progress::new()).await.unwrap();
    assert_eq!((done.removed, done.copies, done.short), (1, 2, false));
    for node in [&owner, &keeper] {
        assert_eq!(kinds(&records(node, &owner, "a").await), [DEAD]);
        assert_eq!(node.engine.collect(false, |_| true).await.unwrap().chunks, 0, "its grace");
        let freed = node.engine.collect(true, |_| true).await.unwrap();
        assert_eq!(freed.chunks, before - 1);
        assert_eq!(chunks(node).await, 1);
    }
    assert_eq!(listed(&owner).await, ["b"]);
    for (which, count) in [(Names::All, 1), (Names::Removed, 0)] {
        let page = vault(&owner).names(which, "", None, 100).await.unwrap();
        assert_eq!(page.names.len(), count, "{which:?}");
    }
    let again = vault(&owner).purge("a", false, Wait::All, &Progress::new()).await;
    assert_eq!(again.unwrap_err().class(), Class::NotFound);
    // The name is free, and what is put under it is there for everybody.
    put(&owner, &place.file("a", &noise(1 << 20, 4))).await;
    assert_eq!(listed(&owner).await, ["a", "b"]);
    assert_eq!(kinds(&records(&keeper, &owner, "a").await), [DEAD, RecordKind::Put]);
    get(&owner, "a", &place.path("back")).await;
    assert_eq!(std::fs::read(place.path("back")).unwrap(), noise(1 << 20, 4));
    close(keeper).await;
    close(owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_removed_before_can_be_purged() {
    let place = Place::new();
    let owner = place.founder().await;
    put(&owner, &place.file("a", &noise(1 << 20, 1))).await;
    vault(&owner).rm("a", false, Wait::Local, &Progress::new()).await.unwrap();
    assert_eq!(records(&owner, &owner, "a").await.len(), 2);
    let done = vault(&owner).purge("a", false, Wait::Local, &Progress::new()).await.unwrap();
    assert_eq!(done.removed, 1);
    assert_eq!(kinds(&records(&owner, &owner, "a").await), [DEAD]);
    assert!(owner.engine.collect(true, |_| true).await.unwrap().bytes() > 1 << 20);
    close(owner).await;
}

// Fault case 116: a prefix is a path.
#[tokio::test(flavor = "multi_thread")]
async fn a_tree_is_purged_only_when_a_tree_is_meant_and_nothing_beside_it() {
    let place = Place::new();
    let owner = place.founder().await;
    for name in ["t/a", "t/b", "t-old/c"] {
        place.file(name, name.as_bytes());
    }
    put(&owner, &place.path("t")).await;
    put(&owner, &place.path("t-old")).await;
    let refused = vault(&owner).purge("t", false, Wait::Local, &Progress::new()).await;
    assert_eq!(refused.unwrap_err().class(), Class::Usage);
    let done = vault(&owner).purge("t", true, Wait::Local, &Progress::new()).await.unwrap();
    assert_eq!(done.removed, 2);
    assert_eq!(listed(&owner).await, ["t-old/c"]);
    close(owner).await;
}

// Fault case 107: a version that the purging owner has not seen is a sibling that stays.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_owner_wrote_meanwhile_survives_a_purge() {
    let place = Place::new();
    let founder = place.founder().await;
    let other = place.member(&founder, "other", Role::Owner).await;
    put(&founder, &place.file("a", b"first")).await;
    let listen = other.engine.listen();
    close(other).await;
    vault(&founder).purge("a", false, Wait::Local, &Progress::new()).await.unwrap();
    close(founder).await;
    // Where the founder will look for it.
    let other = open_at(&place.path("other"), listen).await;
    let (path, progress) = (place.file("a", b"second"), Progress::new());
    vault(&other).put_path(&path, None, put_local(), &progress).await.unwrap();
    let founder = crate::common::open(&place.path("founder")).await;
    connected(&[&founder, &other]).await;
    // What one of them has, the other gets by a put of the same: nothing is new, it is sent again.
    vault(&other).put_path(&path, None, all(), &progress).await.unwrap();
    assert_eq!(listed(&founder).await, ["a"]);
    get(&founder, "a", &place.path("back")).await;
    assert_eq!(std::fs::read(place.path("back")).unwrap(), b"second");
    close(other).await;
    close(founder).await;
}

fn put_local() -> stash_vault::PutOptions {
    stash_vault::PutOptions { wait: Wait::Local, jobs: 0 }
}

#[tokio::test(flavor = "multi_thread")]
async fn keepers_and_readers_purge_and_forget_nothing() {
    let place = Place::new();
    let owner = place.founder().await;
    let reader = place.member(&owner, "reader", Role::Reader).await;
    put(&owner, &place.file("a", b"a")).await;
    let refused = vault(&reader).purge("a", false, Wait::Local, &Progress::new()).await;
    assert_eq!(refused.unwrap_err().class(), Class::Refused);
    let far = Moment { wall: i64::MAX / 2, uptime: u64::MAX / 2 };
    let report = vault(&reader).retain(far, false, &Progress::new()).await.unwrap();
    assert_eq!(report, RetentionReport::default());
    assert_eq!(listed(&reader).await, ["a"]);
    close(reader).await;
    close(owner).await;
}

/// An owner whose clock a test sets, in days after a start.
struct Scene {
    place: Place,
    days: Arc<AtomicU64>,
    owner: Node,
}

impl Scene {
    async fn new() -> Scene {
        let place = Place::new();
        let days = Arc::new(AtomicU64::new(0));
        close(place.founder().await).await;
        let owner = open(place.path("founder"), &days).await;
        Scene { place, days, owner }
    }

    async fn put(&self, key: &str, day: u64, seed: u64) -> Vec<u8> {
        self.days.store(day, Ordering::Relaxed);
        let bytes = noise(1 << 20, seed);
        put(&self.owner, &self.place.file(key, &bytes)).await;
        bytes
    }

    async fn retain(&self, day: u64, dry_run: bool) -> RetentionReport {
        retain(&self.owner, day, dry_run).await
    }
}

async fn open(path: PathBuf, days: &Arc<AtomicU64>) -> Node {
    let days = Arc::clone(days);
    let now = move || UNIX_EPOCH + Duration::from_secs(START + days.load(Ordering::Relaxed) * DAY);
    let options = RunOptions {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        clock: Clock::new(now),
        retention: Retention::default(),
        ..RunOptions::default()
    };
    Home::open(&path, None, options).await.unwrap()
}

/// A pass on this day, on a node that has run all the time.
async fn retain(node: &Node, day: u64, dry_run: bool) -> RetentionReport {
    let wall = i64::try_from(START + day * DAY).unwrap();
    let now = Moment { wall, uptime: day * DAY };
    vault(node).retain(now, dry_run, &Progress::new()).await.unwrap()
}

fn forgot(versions: u64, names: u64) -> RetentionReport {
    RetentionReport { versions, names, waits: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_keeps_ten_versions_and_what_is_young_and_every_head() {
    let scene = Scene::new().await;
    assert!(scene.retain(0, true).await.waits.is_some(), "the clock is new");
    let mut head = Vec::new();
    for version in 0..15 {
        head = scene.put("a", version, version).await;
    }
    scene.put("old", 0, 100).await;
    scene.put("young", 40, 200).await;
    scene.put("young", 41, 201).await;
    // Version n was replaced on day n + 1, and the ten last stay.
    for (day, versions) in [(33, 2), (50, 3)] {
        assert_eq!(scene.retain(day, true).await, forgot(versions, 0), "day {day}");
        assert_eq!(scene.retain(day, false).await, forgot(versions, 0), "day {day}");
        assert_eq!(scene.retain(day, false).await, forgot(0, 0), "day {day}, again");
    }
    let held = records(&scene.owner, &scene.owner, "a").await;
    let versions = held.iter().filter(|record| record.clear().kind == RecordKind::Put).count();
    assert_eq!((versions, held.len()), (10, 11), "and one forget, which replaced the smaller one");
    assert_eq!(records(&scene.owner, &scene.owner, "young").await.len(), 2);
    assert_eq!(scene.owner.engine.collect(true, |_| true).await.unwrap().chunks, 5);
    let out = scene.place.path("back");
    get(&scene.owner, "a", &out).await;
    assert_eq!(std::fs::read(&out).unwrap(), head);
    assert_eq!(listed(&scene.owner).await, ["a", "old", "young"]);
    close(scene.owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_removed_long_ago_is_forgotten_as_a_whole() {
    let scene = Scene::new().await;
    scene.retain(0, false).await;
    scene.put("a", 0, 1).await;
    scene.put("a", 1, 2).await;
    scene.days.store(2, Ordering::Relaxed);
    vault(&scene.owner).rm("a", false, Wait::Local, &Progress::new()).await.unwrap();
    assert_eq!(scene.retain(32, false).await, forgot(0, 0), "thirty days are not over");
    assert_eq!(scene.retain(33, true).await, forgot(3, 1));
    assert_eq!(scene.retain(33, false).await, forgot(3, 1));
    assert_eq!(kinds(&records(&scene.owner, &scene.owner, "a").await), [DEAD]);
    assert_eq!(scene.owner.engine.collect(true, |_| true).await.unwrap().chunks, 2);
    close(scene.owner).await;
}

// Fault case 85.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_jump_of_the_clock_nothing_is_forgotten_for_a_day() {
    let scene = Scene::new().await;
    scene.retain(0, false).await;
    scene.put("a", 0, 1).await;
    scene.days.store(1, Ordering::Relaxed);
    vault(&scene.owner).rm("a", false, Wait::Local, &Progress::new()).await.unwrap();
    scene.retain(1, false).await;
    let year = i64::try_from(START + 366 * DAY).unwrap();
    let pass = async |uptime: u64, dry_run| {
        let now = Moment { wall: year + i64::try_from(uptime).unwrap(), uptime };
        vault(&scene.owner).retain(now, dry_run, &Progress::new()).await.unwrap()
    };
    let waits = pass(DAY + 60, false).await;
    assert_eq!((waits.versions, waits.waits), (0, Some(Duration::from_secs(DAY))));
    let waits = pass(DAY + 3_660, false).await;
    assert_eq!((waits.versions, waits.waits), (0, Some(Duration::from_secs(DAY - 3_600))));
    assert_eq!(records(&scene.owner, &scene.owner, "a").await.len(), 2);
    assert_eq!(pass(2 * DAY + 60, false).await, forgot(2, 1), "a year has passed indeed");
    close(scene.owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_owners_that_forget_at_once_end_with_the_same() {
    let scene = Scene::new().await;
    let ticket = scene.owner.engine.invite(Role::Owner, Duration::from_secs(600)).await.unwrap();
    let options = stash_vault::JoinOptions { display_name: "other".into(), passphrase: None };
    Home::join(&scene.place.path("other"), &ticket, options).await.unwrap();
    let other = open(scene.place.path("other"), &scene.days).await;
    connected(&[&scene.owner, &other]).await;
    let keys: Vec<String> = (0..20).map(|n| format!("k{n}")).collect();
    for (seed, key) in (0..).zip(&keys) {
        for version in 0..12 {
            scene.put(key, version, seed).await;
            scene.place.file(key, &version.to_le_bytes());
            put(&scene.owner, &scene.place.path(key)).await;
        }
    }
    for node in [&scene.owner, &other] {
        assert!(retain(node, 0, false).await.waits.is_some());
    }
    let both = tokio::join!(retain(&scene.owner, 60, false), retain(&other, 60, false));
    assert!(both.0.versions + both.1.versions >= 20 * 14, "{both:?}");
    for key in &keys {
        crate::common::until(|| {
            let held = |node| common_hashes(node, &scene.owner, key);
            held(&scene.owner) == held(&other)
        })
        .await;
        let held = records(&other, &scene.owner, key).await;
        let forgets = held.iter().filter(|record| !record.clear().kind.is_version()).count();
        assert_eq!((held.len(), forgets), (11, 1), "{key}");
    }
    close(other).await;
    close(scene.owner).await;
}

fn common_hashes(node: &Node, owner: &Node, key: &str) -> Vec<stash_vault::crypto::RecordHash> {
    tokio::task::block_in_place(|| {
        let held = tokio::runtime::Handle::current().block_on(records(node, owner, key));
        let mut hashes: Vec<_> = held.iter().map(Record::hash).collect();
        hashes.sort_unstable();
        hashes
    })
}

// The vault counts what it has seen as the engine does, a forget among it: else it would wait for a
// version that it thinks it has not seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_which_versions_were_forgotten_can_be_removed_and_brought_back() {
    let scene = Scene::new().await;
    scene.retain(0, false).await;
    let mut head = Vec::new();
    for version in 0..12 {
        head = scene.put("a", 0, version).await;
    }
    assert_eq!(scene.retain(31, false).await, forgot(2, 0));
    let (this, progress) = (vault(&scene.owner), Progress::new());
    this.rm("a", false, Wait::Local, &progress).await.unwrap();
    this.undelete("a", false, Wait::Local, &progress).await.unwrap();
    let out = scene.place.path("back");
    get(&scene.owner, "a", &out).await;
    assert_eq!(std::fs::read(&out).unwrap(), head);
    drop(this);
    close(scene.owner).await;
}
