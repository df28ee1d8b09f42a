//! Every version of a file can be seen, read, brought back and resolved.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use crate::common::{Place, all, close, connected, files, get, noise, open, open_at, put, vault};
use futures::TryStreamExt;
use stash_vault::names::{History, Names, Standing};
use stash_vault::{
    Class, Clock, GetError, GetOptions, Here, Home, Key, Node, Progress, PutOptions, ResolveReport,
    Role, RunOptions, UndeleteReport, VersionId, Wait,
};

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

async fn store(node: &Node, name: &str, bytes: &[u8], wait: Wait) {
    let options = PutOptions { wait, jobs: 1 };
    let (vault, progress) = (vault(node), Progress::new());
    vault.put_reader(key(name), bytes, None, options, &progress).await.unwrap();
}

async fn remove(node: &Node, name: &str, recursive: bool, wait: Wait) {
    vault(node).rm(name, recursive, wait, &Progress::new()).await.unwrap();
}

async fn history(node: &Node, name: &str) -> History {
    vault(node).history(&key(name), None, 1000).await.unwrap()
}

async fn undelete(node: &Node, name: &str, recursive: bool) -> UndeleteReport {
    vault(node).undelete(name, recursive, Wait::All, &Progress::new()).await.unwrap()
}

async fn take(node: &Node, name: &str, version: VersionId) -> ResolveReport {
    let (vault, progress) = (vault(node), Progress::new());
    vault.resolve_with_version(&key(name), &version, Wait::All, &progress).await.unwrap()
}

/// The bytes of one version, read by the short form of its id.
async fn content(node: &Node, name: &str, version: &stash_vault::names::VersionEntry) -> Vec<u8> {
    let id: VersionId = VersionId::short(&version.version).parse().unwrap();
    let reading = vault(node).read_version(&key(name), &id, None, true).await.unwrap();
    let pieces: Vec<_> = reading.try_collect().await.unwrap();
    pieces.concat()
}

async fn listed(node: &Node, which: Names) -> Vec<(String, usize)> {
    let page = vault(node).names(which, "", None, 100).await.unwrap();
    assert_eq!(page.next, None);
    page.names.iter().map(|name| (name.key.to_string(), name.versions.len())).collect()
}

fn standings(history: &History) -> Vec<Standing> {
    history.versions.iter().map(|version| version.standing).collect()
}

/// Sends every record that one node holds of a name to the other, as a catch-up would.
async fn send(node: &Node, name: &str) {
    let engine = &node.engine;
    let records = engine.records_of(vault(node).name_id(&key(name))).await.unwrap();
    let outcome = engine.upload(Wait::All).resend(records).await.unwrap().wait().await;
    assert_eq!((outcome.copies, outcome.short), (2, false), "{:?}", outcome.missing);
}

/// Two owners with one file on both, of which each wrote its own version while the other was away.
async fn apart(place: &Place, name: &str, one: Option<&[u8]>, other: Option<&[u8]>) -> [Node; 2] {
    let founder = place.founder().await;
    let owner = place.member(&founder, "owner", Role::Owner).await;
    store(&founder, name, b"before", Wait::All).await;
    let listen = owner.engine.listen();
    close(owner).await;
    let write = async |node: &Node, bytes: Option<&[u8]>| match bytes {
        Some(bytes) => store(node, name, bytes, Wait::Local).await,
        None => remove(node, name, false, Wait::Local).await,
    };
    write(&founder, one).await;
    close(founder).await;
    // Where the founder will look for it.
    let owner = open_at(&place.path("owner"), listen).await;
    write(&owner, other).await;
    let founder = open(&place.path("founder")).await;
    connected(&[&founder, &owner]).await;
    send(&founder, name).await;
    send(&owner, name).await;
    [founder, owner]
}

/// Fault case 103: both versions are listed and readable, and chunks are never mixed.
#[tokio::test(flavor = "multi_thread")]
async fn two_owners_that_wrote_apart_have_two_versions_until_one_is_taken() {
    let place = Place::new();
    let (one, other) = (noise((1 << 20) + 9, 1), noise((1 << 20) + 9, 2));
    let nodes = apart(&place, "k", Some(&one), Some(&other)).await;
    let mut shown = Vec::new();
    for node in &nodes {
        let history = history(node, "k").await;
        let head = Standing::Head { siblings: 1 };
        assert_eq!(standings(&history), [head, Standing::Sibling, Standing::Covered]);
        let mut contents = Vec::new();
        for version in &history.versions {
            contents.push(content(node, "k", version).await);
        }
        assert_eq!(contents[2], b"before");
        let writers = [&contents[0], &contents[1]];
        assert!(writers == [&one, &other] || writers == [&other, &one], "whole, and both");
        let names: Vec<_> =
            history.versions.iter().map(|version| version.writer_name.clone().unwrap()).collect();
        assert!(names[..2].contains(&"founder".into()) && names[..2].contains(&"owner".into()));
        assert_eq!(listed(node, Names::Conflicts).await, [("k".to_owned(), 2)]);
        assert_eq!(listed(node, Names::All).await, [("k".to_owned(), 3)]);
        let report = get(node, "k", &place.path(&format!("out-{}", shown.len()))).await;
        assert_eq!((report.files, report.conflicts), (1, 1));
        shown.push(history.versions.iter().map(|version| version.version).collect::<Vec<_>>());
    }
    assert_eq!(shown[0], shown[1], "the same on every node");

    // The sibling is taken: it is the content of the only leaf then.
    let sibling = shown[0][1];
    let taken = content(&nodes[0], "k", &history(&nodes[0], "k").await.versions[1]).await;
    let report = take(&nodes[0], "k", sibling.into()).await;
    assert_eq!((report.covered, report.copies, report.short), (2, 2, false));
    for node in &nodes {
        let history = history(node, "k").await;
        assert_eq!(history.versions.len(), 4);
        assert_eq!(history.versions[0].version, report.version);
        assert_eq!(history.versions[0].standing, Standing::Head { siblings: 0 });
        assert!(standings(&history)[1..].iter().all(|other| *other == Standing::Covered));
        assert_eq!(content(node, "k", &history.versions[0]).await, taken);
        assert!(listed(node, Names::Conflicts).await.is_empty());
    }
    // Again: nothing is left to do.
    let again = take(&nodes[1], "k", report.version.into()).await;
    assert_eq!((again.covered, again.version, again.copies), (0, report.version, 2));
    assert_eq!(history(&nodes[1], "k").await.versions.len(), 4);
    for node in nodes {
        close(node).await;
    }
}

/// Fault case 104: what was written beside a removal is the head, and the removal is not hidden.
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_beside_a_write_is_a_conflict_whose_head_is_the_file() {
    let place = Place::new();
    let [founder, owner] = apart(&place, "k", None, Some(b"kept")).await;
    for node in [&founder, &owner] {
        let history = history(node, "k").await;
        assert_eq!(history.versions[0].standing, Standing::Head { siblings: 1 });
        assert!(!history.versions[0].removal && history.versions[1].removal);
        assert_eq!(content(node, "k", &history.versions[0]).await, b"kept");
        assert_eq!(listed(node, Names::Conflicts).await, [("k".to_owned(), 2)]);
        assert!(listed(node, Names::Removed).await.is_empty());
    }
    // A file in its stead covers both.
    let file = place.file("merged", b"merged");
    let (this, progress) = (vault(&owner), Progress::new());
    let report = this.resolve_with_file(&key("k"), &file, Wait::All, &progress).await.unwrap();
    assert_eq!((report.covered, report.copies), (2, 2));
    assert_eq!(content(&founder, "k", &history(&founder, "k").await.versions[0]).await, b"merged");
    assert!(listed(&founder, Names::Conflicts).await.is_empty());
    let directory = this.resolve_with_file(&key("k"), &place.path(""), Wait::All, &progress).await;
    assert_eq!(directory.unwrap_err().class(), Class::Usage);
    drop(this);
    close(founder).await;
    close(owner).await;
}

/// The other side of the same: the removal may be taken, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_may_end_in_the_removal() {
    let place = Place::new();
    let [founder, owner] = apart(&place, "k", Some(b"not wanted"), None).await;
    let removal = history(&founder, "k").await.versions[1].clone();
    assert!(removal.removal);
    take(&founder, "k", removal.version.into()).await;
    for node in [&founder, &owner] {
        assert!(vault(node).ls("", None, 10).await.unwrap().is_empty());
        assert_eq!(listed(node, Names::Removed).await, [("k".to_owned(), 2)]);
    }
    // What was the head before comes back: the file, since a file goes before a removal.
    undelete(&owner, "k", false).await;
    let head = history(&founder, "k").await.versions[0].clone();
    assert_eq!(content(&founder, "k", &head).await, b"not wanted");
    close(founder).await;
    close(owner).await;
}

/// Fault case 116: what was removed by mistake comes back as it was, with all that lies under it and
/// nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_comes_back_with_bytes_mode_and_time() {
    let place = Place::new();
    let node = place.founder().await;
    let big = noise((2 << 20) + 5, 7);
    let files = [("t/big", &big[..]), ("t/d/small", b"small"), ("t/empty", b""), ("t-old", b"old")];
    for (name, bytes) in files {
        let path = place.file(name, bytes);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o750)).unwrap();
        let modified = UNIX_EPOCH + Duration::new(1_500_000_000, 123_456_789);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    }
    for name in ["t", "t-old"] {
        put(&node, &place.path(name)).await;
    }
    let before = vault(&node).ls("", None, 10).await.unwrap();
    assert_eq!(before.len(), 4);
    let exists = vault(&node).undelete("t/big", false, Wait::All, &Progress::new()).await;
    assert_eq!(exists.unwrap_err().class(), Class::Refused);

    remove(&node, "t", true, Wait::All).await;
    remove(&node, "t-old", false, Wait::All).await;
    assert!(vault(&node).ls("", None, 10).await.unwrap().is_empty());
    let names =
        |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), 2)).collect::<Vec<_>>();
    let gone = names(&["t", "t-old", "t/big", "t/d", "t/d/small", "t/empty"]);
    assert_eq!(listed(&node, Names::Removed).await, gone);
    let tree = vault(&node).undelete("t", false, Wait::All, &Progress::new()).await;
    assert_eq!(tree.unwrap_err().class(), Class::Usage);
    let none = vault(&node).undelete("never", true, Wait::All, &Progress::new()).await;
    assert_eq!(none.unwrap_err().class(), Class::NotFound);
    close(node).await;

    let node = open(&place.path("founder")).await;
    assert_eq!(listed(&node, Names::Removed).await, gone, "after a restart");
    let report = undelete(&node, "t", true).await;
    assert_eq!((report.restored, report.unavailable, report.copies), (3, 0, 1));
    assert_eq!(report.bytes, big.len() as u64 + 5);
    assert_eq!(listed(&node, Names::Removed).await, names(&["t-old"]));
    undelete(&node, "t-old", false).await;
    assert_eq!(vault(&node).ls("", None, 10).await.unwrap(), before);
    get(&node, "t", &place.path("back")).await;
    for (name, bytes) in &files[..3] {
        let path = place.path("back").join(name.strip_prefix("t/").unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), *bytes, "{name}");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o750, "{name}");
    }
    // Removed again, the file of before comes back, not the one before it.
    store(&node, "t-old", b"newer", Wait::All).await;
    remove(&node, "t-old", false, Wait::All).await;
    undelete(&node, "t-old", false).await;
    let head = history(&node, "t-old").await.versions[0].clone();
    assert_eq!(content(&node, "t-old", &head).await, b"newer");
    close(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_file_comes_back_though_its_bytes_were_evicted_here() {
    let place = Place::new();
    let founder = place.founder().await;
    let owner = place.member(&founder, "owner", Role::Owner).await;
    let bytes = noise((3 << 20) + 1, 3);
    put(&founder, &place.file("big", &bytes)).await;
    vault(&founder).evict("big", false, Some(1), &Progress::new()).await.unwrap();
    assert_eq!(history(&founder, "big").await.versions[0].here, Here::Evicted);
    remove(&founder, "big", false, Wait::All).await;
    let report = undelete(&founder, "big", false).await;
    assert_eq!((report.restored, report.copies, report.short), (1, 2, false));
    let history = history(&founder, "big").await;
    assert_eq!(history.versions[0].here, Here::Local);
    close(owner).await;
    assert_eq!(content(&founder, "big", &history.versions[0]).await, bytes);
    close(founder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_whose_bytes_nobody_has_ends_with_an_error_that_names_it() {
    let place = Place::new();
    let node = place.founder().await;
    for seed in [1, 2] {
        put(&node, &place.file("big", &noise((1 << 20) + 1, seed))).await;
        if seed == 1 {
            for path in files(&place.path("founder/store/chunks")) {
                std::fs::remove_file(path).unwrap();
            }
        }
    }
    let versions = history(&node, "big").await.versions;
    assert_eq!(content(&node, "big", &versions[0]).await, noise((1 << 20) + 1, 2));
    let id = VersionId::from(versions[1].version);
    let options = GetOptions { version: Some(id), ..GetOptions::default() };
    let out = place.path("out");
    let error = vault(&node).get_path("big", Some(&out), options, &Progress::new()).await;
    let error = error.unwrap_err();
    assert!(
        matches!(error, GetError::OldVersion { version, .. } if version == versions[1].version)
    );
    assert!(error.to_string().contains(&VersionId::short(&versions[1].version)), "{error}");
    assert_eq!(error.class(), Class::Integrity, "its chunks are damaged here, and nobody has them");
    assert!(!out.exists());
    let progress = Progress::new();
    let taken = vault(&node).resolve_with_version(&key("big"), &id, Wait::All, &progress).await;
    assert_eq!(taken.unwrap_err().class(), Class::Integrity);
    assert_eq!(history(&node, "big").await.versions.len(), 2, "nothing was written");
    close(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_versions_are_read_whole_and_in_ranges_by_an_id_that_is_clear() {
    let place = Place::new();
    let node = place.founder().await;
    let contents = [noise(3_000_000, 1), noise(10, 2), noise(2_000_000, 3)];
    for bytes in &contents {
        put(&node, &place.file("f", bytes)).await;
    }
    remove(&node, "f", false, Wait::All).await;
    let versions = history(&node, "f").await.versions;
    assert_eq!(versions.len(), 4);
    assert!(versions[0].removal && versions[0].standing == Standing::Head { siblings: 0 });
    for (version, bytes) in versions[1..].iter().rev().zip(&contents) {
        assert_eq!(version.size, bytes.len() as u64);
        assert_eq!(&content(&node, "f", version).await, bytes);
    }
    let (this, progress) = (vault(&node), Progress::new());
    let id = VersionId::from(versions[3].version);
    let range = Some(1_048_570..2_097_160);
    let reading = this.read_version(&key("f"), &id, range, true).await.unwrap();
    let pieces: Vec<_> = reading.try_collect().await.unwrap();
    assert_eq!(pieces.concat(), contents[0][1_048_570..2_097_160]);
    let options = GetOptions { version: Some(id), ..GetOptions::default() };
    this.get_path("f", Some(&place.path("out")), options, &progress).await.unwrap();
    assert_eq!(std::fs::read(place.path("out")).unwrap(), contents[0]);

    let removal = this.version(&key("f"), &versions[0].version.into()).await.unwrap_err();
    assert_eq!(removal.class(), Class::NotFound);
    let unknown = this.version(&key("f"), &"000000000000".parse().unwrap()).await.unwrap_err();
    assert!(unknown.to_string().contains("000000000000"), "{unknown}");
    assert_eq!(this.history(&key("none"), None, 10).await.unwrap_err().class(), Class::NotFound);
    // Pages follow each other.
    let (mut pages, mut after) = (Vec::new(), None::<VersionId>);
    loop {
        let page = this.history(&key("f"), after.as_ref(), 3).await.unwrap();
        after = page.versions.last().map(|last| last.version.into());
        pages.extend(page.versions);
        if page.more == 0 {
            break;
        }
    }
    assert_eq!(pages, versions);
    drop(this);
    close(node).await;
}

/// The time of writing is that of the writer's clock, and nothing but shown.
#[tokio::test(flavor = "multi_thread")]
async fn versions_carry_the_time_of_their_writers_clock_and_no_order() {
    let place = Place::new();
    close(place.founder().await).await;
    let now = Arc::new(AtomicU64::new(2_000_000_000));
    let clock = {
        let now = Arc::clone(&now);
        Clock::new(move || UNIX_EPOCH + Duration::new(now.load(Ordering::Relaxed), 5))
    };
    let options = RunOptions { clock, ..RunOptions::default() };
    let node = Home::open(&place.path("founder"), None, options).await.unwrap();
    let path = place.file("f", b"one");
    put(&node, &path).await;
    // The clock goes back by a year.
    now.store(1_968_464_000, Ordering::Relaxed);
    let again = put(&node, &path).await;
    assert_eq!((again.new_records, again.unchanged), (0, 1), "only the time of writing differs");
    std::fs::write(&path, b"two").unwrap();
    put(&node, &path).await;
    now.store(1_000_000_000, Ordering::Relaxed);
    remove(&node, "f", false, Wait::All).await;
    undelete(&node, "f", false).await;
    let versions = history(&node, "f").await.versions;
    let written: Vec<_> = versions.iter().map(|version| version.written.unwrap()).collect();
    let seconds = [1_000_000_000, 1_000_000_000, 1_968_464_000, 2_000_000_000];
    assert_eq!(written, seconds.map(|seconds| (seconds, 5)));
    assert_eq!([versions[0].removal, versions[1].removal], [false, true]);
    assert_eq!(content(&node, "f", &versions[0]).await, b"two");
    close(node).await;
}

/// A prefix of three hundred names takes more than one commit; names that exist are left alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_prefix_comes_back_in_pages() {
    let place = Place::new();
    let node = place.founder().await;
    for i in 0..300 {
        place.file(&format!("t/{i:03}"), format!("content of {i}").as_bytes());
    }
    let tree = place.path("t");
    vault(&node).put_path(&tree, None, all(), &Progress::new()).await.unwrap();
    remove(&node, "t", true, Wait::All).await;
    store(&node, "t/007", b"new", Wait::All).await;
    let report = undelete(&node, "t", true).await;
    assert_eq!((report.restored, report.unavailable), (299, 0));
    assert_eq!(vault(&node).ls("t", None, 1000).await.unwrap().len(), 300);
    assert_eq!(content(&node, "t/007", &history(&node, "t/007").await.versions[0]).await, b"new");
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let page = vault(&node).names(Names::All, "t", after.as_deref(), 77).await.unwrap();
        pages.extend(page.names.into_iter().map(|name| name.versions.len()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    // The files, and their directory.
    assert_eq!((pages.len(), pages.iter().sum::<usize>()), (301, 300 * 3 + 3));
    close(node).await;
}
