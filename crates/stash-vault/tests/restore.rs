//! A tree comes back file by file: what fails is named by its key, and all else is there.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::common::torture::{compare, touch};
use crate::common::{Place, close, connected, files, forge, get, noise, put, vault};
use stash_vault::server::store::Quota;
use stash_vault::{
    Class, FileType, GetOptions, GetReport, Home, JoinOptions, Meta, Node, Progress, Role,
    RunOptions,
};

async fn got(node: &Node, name: &str, out: &Path, options: GetOptions) -> GetReport {
    vault(node).get_path(name, Some(out), options, &Progress::new()).await.unwrap()
}

fn keys(report: &GetReport) -> Vec<&str> {
    report.failures.iter().map(|failure| failure.key.as_str()).collect()
}

/// The keys of what lies below a directory of the tree and not below one of the output.
fn missing(tree: &Path, out: &Path) -> Vec<String> {
    let below = |dir: &Path| -> BTreeSet<PathBuf> {
        files(dir).iter().map(|path| path.strip_prefix(dir).unwrap().to_owned()).collect()
    };
    let missing = below(tree).difference(&below(out)).cloned().collect::<Vec<_>>();
    missing.iter().map(|path| format!("t/{}", path.display())).collect()
}

/// Flips a byte of a file.
fn damage(path: &Path) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1000).unwrap();
    file.write_all_at(&[byte[0] ^ 4], 1000).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_in_a_tree_is_named_and_the_rest_comes_back() {
    let place = Place::new();
    let node = place.founder().await;
    let (tree, out) = (place.path("t"), place.path("out"));
    for i in 0..20 {
        place.file(&format!("t/small/{i}"), &noise(100 + i, i as u64));
        place.file(&format!("t/large/{i}"), &noise(200_000, 100 + i as u64));
    }
    fs::set_permissions(&tree, fs::Permissions::from_mode(0o750)).unwrap();
    put(&node, &tree).await;
    let chunks = files(&place.path("founder/store/chunks"));
    assert_eq!(chunks.len(), 20);
    damage(&chunks[3]);
    let long = format!("t/small/{}", "n".repeat(300));
    forge(&place, &node, &long, |_| {}).await;

    let report = got(&node, "t", &out, GetOptions::default()).await;
    assert_eq!((report.files, report.failed), (39, 2), "{:?}", report.failures);
    assert_eq!(report.class(), Some(Class::Integrity));
    let mut lost = missing(&tree, &out);
    assert_eq!(lost.len(), 1);
    lost.push(long);
    assert_eq!(keys(&report), lost);
    assert!(report.failures[0].why.contains("damaged here"), "{:?}", report.failures);
    assert!(report.failures[1].why.contains("name too long"), "{:?}", report.failures);
    assert!(files(&out).iter().all(|path| !path.to_string_lossy().contains(".stash-")));
    assert_eq!(out.metadata().unwrap().permissions().mode() & 0o7777, 0o750);
    // The next time it is known to be damaged, and still no wrong byte comes.
    let again = place.path("again");
    let report = got(&node, "t/large", &again, GetOptions::default()).await;
    assert_eq!((report.files, report.class()), (19, Some(Class::Integrity)));
    fs::remove_file(tree.join(lost[0].strip_prefix("t/").unwrap())).unwrap();
    compare_contents(&tree, &out);
    close(node).await;
}

fn compare_contents(tree: &Path, out: &Path) {
    let (before, after) = (files(tree), files(out));
    assert_eq!(before.len(), after.len());
    for (one, two) in before.iter().zip(&after) {
        assert_eq!(one.strip_prefix(tree).unwrap(), two.strip_prefix(out).unwrap());
        assert!(fs::read(one).unwrap() == fs::read(two).unwrap(), "{}", one.display());
    }
}

/// A first name that does not come back leaves the others to be files of their own.
#[tokio::test(flavor = "multi_thread")]
async fn names_of_one_file_come_back_also_where_the_first_of_them_cannot() {
    let place = Place::new();
    let node = place.founder().await;
    let first = place.file("t/a/f", &noise(200_000, 1));
    for name in ["b", "c", "d"] {
        fs::hard_link(&first, place.path("t").join(name)).unwrap();
    }
    put(&node, &place.path("t")).await;
    // A file has the name of the directory of the first.
    let out = place.path("out");
    fs::create_dir(&out).unwrap();
    let options = GetOptions { overwrite: true, ..GetOptions::default() };
    fs::write(out.join("a"), b"mine").unwrap();
    let report = got(&node, "t", &out, options).await;
    assert_eq!(keys(&report), ["t/a", "t/a/f"]);
    assert_eq!(report.class(), Some(Class::Refused));
    let inode = |name: &str| out.join(name).metadata().unwrap().ino();
    assert_eq!((inode("b"), inode("c")), (inode("c"), inode("d")));
    assert_eq!(fs::read(out.join("b")).unwrap(), fs::read(&first).unwrap());
    assert_eq!(fs::read(out.join("a")).unwrap(), b"mine");
    get(&node, "t", &place.path("whole")).await;
    compare(&place.path("t"), &place.path("whole"));
    close(node).await;
}

/// Files of a kind that is read from the store chunk by chunk.
fn many(place: &Place, count: u64) -> u64 {
    for i in 0..count {
        place.file(&format!("t/{:02}/{i}", i % 7), &noise(150_000, i));
    }
    count * 150_000
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_that_was_cut_off_reads_only_what_is_missing_when_it_is_repeated() {
    let place = Place::new();
    let founder = place.founder().await;
    let reader = place.member(&founder, "reader", Role::Reader).await;
    let total = many(&place, 80);
    put(&founder, &place.path("t")).await;
    shows_all(&reader, 80).await;
    vault(&reader).evict("t", true, Some(1), &Progress::new()).await.unwrap();
    let received = async || reader.engine.status().await.unwrap().transferred.bytes_in;
    let out = place.path("out");
    let options = GetOptions { keep: false, ..GetOptions::default() };
    let progress = Progress::new();
    let reading = vault(&reader);
    let cut = {
        let work = reading.get_path("t", Some(&out), options, &progress);
        let watch = async {
            while progress.snapshot().bytes < total / 2 {
                tokio::task::yield_now().await;
            }
            progress.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! { done = work => done, () = watch => unreachable!() }
    };
    assert_eq!(cut.unwrap_err().class(), Class::Cancelled);
    let there = files(&out);
    assert!(there.len() >= 40 && there.len() < 80, "{}", there.len());
    assert!(there.iter().all(|path| !path.to_string_lossy().contains(".stash-")));
    let states: Vec<_> = there.iter().map(|path| identity(path)).collect();
    assert_eq!(out.metadata().unwrap().permissions().mode() & 0o7777, 0o1700, "not whole yet");

    let before = received().await;
    let report = got(&reader, "t", &out, options).await;
    let read = received().await - before;
    assert!(read < total * 55 / 100, "{read} of {total}");
    assert_eq!((report.files + report.unchanged, report.failed), (80, 0));
    assert_eq!(report.unchanged, there.len() as u64);
    assert_eq!(report.unchanged_bytes, report.unchanged * 150_000);
    let same = there.iter().zip(states).all(|(path, state)| identity(path) == state);
    assert!(same, "what is there is not touched");
    compare(&place.path("t"), &out);

    // And once more: nothing is read, nothing is written.
    let before = received().await;
    let report = got(&reader, "t", &out, options).await;
    assert_eq!((report.files, report.unchanged, report.directories), (0, 80, 0));
    assert!(received().await - before < 10_000);
    compare(&place.path("t"), &out);
    close(reader).await;
    close(founder).await;
}

/// A full disk, or a quota, is no reason for a get to fail: what it cannot keep it still writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_room_keeps_nothing_of_what_it_gets() {
    let place = Place::new();
    let founder = place.founder().await;
    let reader = place.member(&founder, "reader", Role::Reader).await;
    many(&place, 20);
    put(&founder, &place.path("t")).await;
    shows_all(&reader, 20).await;
    vault(&reader).evict("t", true, Some(1), &Progress::new()).await.unwrap();
    close(reader).await;
    let chunks = async |node: &Node| node.engine.status().await.unwrap().chunks;
    for (out, hard, kept) in [("tight", Some(2_000_000), false), ("wide", None, true)] {
        let options = RunOptions {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            quota: Quota { hard, ..Quota::default() },
            ..RunOptions::default()
        };
        let reader = Home::open(&place.path("reader"), None, options).await.unwrap();
        connected(&[&founder, &reader]).await;
        assert_eq!(chunks(&reader).await, 0);
        let report = got(&reader, "t", &place.path(out), GetOptions::default()).await;
        assert_eq!((report.files, report.class(), report.not_kept), (20, None, !kept), "{out}");
        compare(&place.path("t"), &place.path(out));
        assert_eq!(chunks(&reader).await, if kept { 20 } else { 0 }, "{out}");
        close(reader).await;
    }
    close(founder).await;
}

/// Inode and time of the last change of anything.
fn identity(path: &Path) -> (u64, i64, i64) {
    let found = path.symlink_metadata().unwrap();
    (found.ino(), found.ctime(), found.ctime_nsec())
}

async fn shows_all(node: &Node, count: usize) {
    let wait = async {
        while vault(node).ls("t", None, 1000).await.unwrap().len() != count
            || node.engine.status().await.unwrap().incomplete > 0
        {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(crate::common::SOON, wait).await.expect("it has all by now");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_and_differs_is_named_and_replaced_only_when_told() {
    let place = Place::new();
    let node = place.founder().await;
    let large = noise(200_000, 1);
    for (name, bytes) in
        [("same", &b"same"[..]), ("large", &large), ("other", b"new"), ("new", b"1")]
    {
        touch(&place.file(&format!("t/{name}"), bytes), 1_000);
    }
    place.file("t/d/f", b"2");
    symlink("same", place.path("t/l")).unwrap();
    let tree = place.path("t");
    put(&node, &tree).await;
    // There already: the same, another one, a directory that is the user's own, another link.
    let out = place.path("out");
    for (name, bytes) in [("same", &b"same"[..]), ("large", &large)] {
        touch(&place.file(&format!("out/{name}"), bytes), 1_000);
    }
    place.file("out/other", b"mine");
    place.file("out/d/mine", b"mine");
    fs::set_permissions(out.join("d"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("elsewhere", out.join("l")).unwrap();
    let before = [identity(&out.join("same")), identity(&out.join("large"))];

    let dry = GetOptions { dry_run: true, ..GetOptions::default() };
    for (options, written) in [(dry, false), (GetOptions::default(), true)] {
        let report = got(&node, "t", &out, options).await;
        assert_eq!((report.files, report.unchanged), (2, 2));
        assert_eq!((report.bytes, report.unchanged_bytes), (2, 200_004));
        assert_eq!(keys(&report), ["t/l", "t/other"]);
        assert_eq!(report.class(), Some(Class::Refused));
        assert_eq!(out.join("new").exists(), written);
    }
    assert_eq!(fs::read(out.join("other")).unwrap(), b"mine");
    assert_eq!(fs::read_link(out.join("l")).unwrap(), Path::new("elsewhere"));
    assert_eq!(out.join("d").metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(before, [identity(&out.join("same")), identity(&out.join("large"))]);

    // A file of the same size and time, and other bytes, is found by reading.
    touch(&place.file("out/same", b"emas"), 1_000);
    let report = got(&node, "t/same", &out.join("same"), GetOptions::default()).await;
    assert_eq!(report.unchanged, 1);
    let mut rotten = large.clone();
    rotten[150_000] ^= 1;
    touch(&place.file("out/large", &rotten), 1_000);
    let verify = GetOptions { verify: true, ..GetOptions::default() };
    let report = got(&node, "t", &out, verify).await;
    assert_eq!((report.files, report.unchanged), (0, 2), "{report:?}");
    assert_eq!(keys(&report), ["t/l", "t/large", "t/other", "t/same"]);

    // With a mode of its own only, a file keeps its content, and is the same file.
    fs::set_permissions(out.join("new"), fs::Permissions::from_mode(0o600)).unwrap();
    let report = got(&node, "t/new", &out.join("new"), GetOptions::default()).await;
    assert_eq!((report.unchanged, report.lacks, report.class()), (1, 1, Some(Class::Unreadable)));
    let inode = out.join("new").metadata().unwrap().ino();
    let overwrite = GetOptions { overwrite: true, ..verify };
    let report = got(&node, "t", &out, overwrite).await;
    assert_eq!((report.files, report.unchanged, report.class()), (4, 2, None));
    assert_eq!(out.join("new").metadata().unwrap().ino(), inode);
    assert_eq!(fs::read(out.join("d/mine")).unwrap(), b"mine");
    fs::remove_file(out.join("d/mine")).unwrap();
    got(&node, "t", &out, overwrite).await;
    compare(&tree, &out);
    close(node).await;
}

/// Fault case 82: neither is ever replaced, nor written into.
#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_a_socket_and_a_device_stay_what_they_are() {
    let place = Place::new();
    let node = place.founder().await;
    put(&node, &place.file("f", b"1")).await;
    place.file("t/p", b"1");
    place.file("t/q", b"2");
    put(&node, &place.path("t")).await;
    let out = place.path("out");
    fs::create_dir(&out).unwrap();
    let mode = rustix::fs::Mode::RUSR;
    let make = |path: &Path| {
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    };
    make(&out.join("p"));
    drop(std::os::unix::net::UnixListener::bind(out.join("s")).unwrap());
    let overwrite = GetOptions { overwrite: true, ..GetOptions::default() };
    let vault = vault(&node);
    for path in [out.join("p"), out.join("s"), PathBuf::from("/dev/null")] {
        let before = fs::symlink_metadata(&path).unwrap().file_type();
        let refused = vault.get_path("f", Some(&path), overwrite, &Progress::new()).await;
        assert_eq!(refused.unwrap_err().class(), Class::Refused, "{}", path.display());
        assert_eq!(fs::symlink_metadata(&path).unwrap().file_type(), before);
    }
    let report = got(&node, "t", &out, overwrite).await;
    assert_eq!((keys(&report), report.files), (vec!["t/p"], 1));
    assert!(report.failures[0].why.contains("named pipe"), "{:?}", report.failures);
    assert!(!fs::symlink_metadata(out.join("p")).unwrap().is_file());
    close(node).await;
}

/// An owner whose program keeps to no rule harms nothing but its own files.
#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_hostile_owner_harm_nothing() {
    let place = Place::new();
    let node = place.founder().await;
    place.file("t/good", b"good");
    put(&node, &place.path("t")).await;
    let outside = place.path("outside");
    fs::create_dir(&outside).unwrap();
    let link = |target: PathBuf| {
        move |meta: &mut Meta| {
            meta.file_type = FileType::Link;
            meta.inline = Some(target.into_os_string().into_encoded_bytes());
        }
    };
    // A link out of the tree and a file through it; a file and a link, and names below them.
    forge(&place, &node, "t/way", link(outside.clone())).await;
    forge(&place, &node, "t/way/file", |_| {}).await;
    forge(&place, &node, "t/a", |_| {}).await;
    forge(&place, &node, "t/a-b", |_| {}).await;
    forge(&place, &node, "t/a/b/c", |_| {}).await;
    forge(&place, &node, "t/alone", link(outside.clone())).await;
    forge(&place, &node, "t/setuid", |meta| meta.mode = Some(0o6755)).await;
    forge(&place, &node, &format!("t/{}", "n".repeat(256)), |_| {}).await;
    // As deep as a key can be.
    let deep = format!("t/{}", vec!["d"; 510].join("/"));
    forge(&place, &node, &deep, |_| {}).await;
    forge(&place, &node, "t/raw", |meta| {
        meta.attributes.insert("posix.path".into(), b"../../outside/raw".to_vec());
    })
    .await;
    let out = place.path("out");
    for (round, options) in
        [GetOptions::default(), GetOptions { overwrite: true, ..GetOptions::default() }]
            .into_iter()
            .enumerate()
    {
        let report = got(&node, "t", &out, options).await;
        let long = format!("t/{}", "n".repeat(256));
        assert_eq!(keys(&report), ["t/a", &long, "t/way"], "{:?}", report.failures);
        assert_eq!(report.class(), Some(Class::Failed), "a name that the disk does not take");
        assert_eq!(report.files + report.unchanged, 8, "{report:?}");
        assert_eq!(report.unchanged > 0, round > 0);
    }
    assert!(files(&outside).is_empty());
    assert_eq!(fs::read(out.join("good")).unwrap(), b"good");
    assert_eq!(fs::read(out.join("way/file")).unwrap(), b"evil");
    assert_eq!(fs::read(out.join("a/b/c")).unwrap(), b"evil");
    assert_eq!(fs::read_link(out.join("alone")).unwrap(), outside);
    let mode = out.join("setuid").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
    assert!(out.join(deep.strip_prefix("t/").unwrap()).exists());
    // What the tree leaves out can be had alone.
    let alone = place.path("alone");
    assert_eq!(got(&node, "t/a", &alone, GetOptions::default()).await.files, 1);
    assert_eq!(fs::read(alone).unwrap(), b"evil");
    close(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_names_and_patterns_are_written_below_one_directory() {
    let place = Place::new();
    let node = place.founder().await;
    for name in ["2023/a.jpg", "2024/a.jpg", "2024/b.png", "2024/c[1].jpg", "2024/sub/d.jpg"] {
        place.file(&format!("Photos/{name}"), name.as_bytes());
    }
    put(&node, &place.path("Photos")).await;
    put(&node, &place.file("note", b"note")).await;
    put(&node, place.file("other/note", b"other").parent().unwrap()).await;
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let run = async |asked: &[&str], out: &str| {
        let out = place.path(out);
        let (vault, options) = (vault(&node), GetOptions::default());
        vault.get_names(&names(asked), &out, options, &Progress::new()).await
    };
    let below = |out: &str| -> Vec<String> {
        let dir = place.path(out);
        let relative = |path: &PathBuf| path.strip_prefix(&dir).unwrap().display().to_string();
        files(&dir).iter().map(relative).collect()
    };
    assert_eq!(run(&["note", "Photos/2024"], "one").await.unwrap().files, 5);
    assert_eq!(
        below("one"),
        ["2024/a.jpg", "2024/b.png", "2024/c[1].jpg", "2024/sub/d.jpg", "note"]
    );
    for (at, (asked, expected)) in [
        (&["Photos/2024/*.jpg"][..], &["a.jpg", "c[1].jpg"][..]),
        (&["Photos/*/a.jpg"], &["2023/a.jpg", "2024/a.jpg"]),
        (
            &["**/*.jpg"],
            &[
                "Photos/2023/a.jpg",
                "Photos/2024/a.jpg",
                "Photos/2024/c[1].jpg",
                "Photos/2024/sub/d.jpg",
            ],
        ),
        (&["Photos/2024/s*"], &["sub/d.jpg"]),
        // A key that is there is that one.
        (&["Photos/2024/c[1].jpg"], &["c[1].jpg"]),
        (&["Photos/2023", "n?te"], &["2023/a.jpg", "note"]),
    ]
    .into_iter()
    .enumerate()
    {
        let out = format!("out-{at}");
        let report = run(asked, &out).await.unwrap();
        assert_eq!(
            (below(&out), report.class()),
            (expected.iter().map(|s| (*s).to_owned()).collect(), None),
            "{asked:?}"
        );
    }
    let report = run(&["note", "nothing", "no*thing"], "some").await.unwrap();
    assert_eq!((report.files, report.failed, report.class()), (1, 2, Some(Class::NotFound)));
    assert_eq!(keys(&report), ["no*thing", "nothing"]);
    for asked in ["nothing", "no*thing"] {
        assert_eq!(run(&[asked], "none").await.unwrap_err().class(), Class::NotFound);
        assert!(!place.path("none").exists());
    }
    let twice = run(&["note", "other/note"], "twice").await.unwrap_err();
    assert_eq!(twice.class(), Class::Usage);
    assert!(twice.to_string().contains("'note' and 'other/note'"), "{twice}");
    close(node).await;
}

/// What must hold of a tree of 2,000 files of which one is damaged, one is gone, one has a name that no file
/// system takes, and one is with a member alone that does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_thousand_files_all_come_back_but_those_that_cannot_and_these_are_named() {
    let place = Place::new();
    let founder = place.founder().await;
    // A member whose only thread hangs later: it is connected, and says nothing.
    let (release, hang) = std::sync::mpsc::channel::<()>();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (dir, ticket) = (
        place.path("keeper"),
        founder.engine.invite(Role::Keeper, std::time::Duration::from_secs(600)).await.unwrap(),
    );
    let joined = runtime.spawn(async move {
        let options = JoinOptions { display_name: "keeper".into(), passphrase: None };
        Home::join(&dir, &ticket, options).await.unwrap();
        crate::common::open(&dir).await
    });
    let keeper = joined.await.unwrap();
    connected(&[&founder, &keeper]).await;
    for i in 0..1_990_u64 {
        place.file(&format!("t/{:02}/{i}", i % 20), &noise(50 + (i % 900) as usize, i));
    }
    for i in 0..10 {
        place.file(&format!("t/large/{i}"), &noise(200_000, 5_000 + i));
    }
    put(&founder, &place.path("t")).await;
    vault(&founder).evict("t/large/7", false, Some(1), &Progress::new()).await.unwrap();
    runtime.spawn(async move { assert!(hang.recv().is_err(), "released") });
    let chunks = files(&place.path("founder/store/chunks"));
    assert_eq!(chunks.len(), 9);
    damage(&chunks[2]);
    fs::remove_file(&chunks[5]).unwrap();
    let long = format!("t/00/{}", "n".repeat(300));
    forge(&place, &founder, &long, |_| {}).await;

    let (tree, out) = (place.path("t"), place.path("out"));
    let report = got(&founder, "t", &out, GetOptions::default()).await;
    assert_eq!((report.files, report.failed), (1_997, 4), "{:?}", report.failures);
    assert_eq!(report.class(), Some(Class::Integrity));
    let lost = missing(&tree, &out);
    assert_eq!(lost.len(), 3);
    assert!(lost.contains(&"t/large/7".to_owned()));
    assert_eq!(keys(&report), [vec![long], lost.clone()].concat());
    let silent_one = report.failures.iter().find(|failure| failure.key == "t/large/7").unwrap();
    assert_eq!(silent_one.class, Class::Temporary, "{silent_one:?}");
    for key in &lost {
        fs::remove_file(place.path(key)).unwrap();
    }
    compare_contents(&tree, &out);
    drop(release);
    runtime.spawn(close(keeper)).await.unwrap();
    runtime.shutdown_background();
    close(founder).await;
}
