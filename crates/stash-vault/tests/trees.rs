//! What a tree is made of comes back: links, directories, modes, times, holes, names of every kind.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panic, and says what it skips"
)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::torture::{compare, differences, make, open_up, touch};
use crate::common::{Place, all, close, get, lists, noise, put, vault};
use futures::StreamExt;
use stash_vault::names::Names;
use stash_vault::{
    Class, FileType, GetOptions, Key, Node, Progress, PutError, PutOptions, Restore, Wait,
    check_distinct,
};

const MIB: u64 = 1 << 20;

async fn records(node: &Node) -> u64 {
    node.engine.status().await.unwrap().records
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

async fn put_as(node: &Node, path: &Path, name: &str) -> Result<stash_vault::PutReport, PutError> {
    vault(node).put_path(path, Some(key(name)), all(), &Progress::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torture_tree_comes_back_as_it_was_and_is_unchanged_then() {
    let place = Place::new();
    let node = place.founder().await;
    let (tree, out) = (place.path("tree"), place.path("out"));
    make(&tree);
    let report = put(&node, &tree).await;
    assert_eq!(report.skipped, []);
    assert_eq!(report.notes.len(), 2, "{:?}", report.notes);
    assert!(report.notes.iter().all(|(path, _)| path.starts_with(tree.join("special"))));
    assert_eq!(report.new_records, report.files);

    let before = records(&node).await;
    let again = put(&node, &tree).await;
    assert_eq!((again.new_records, again.unchanged), (0, report.files));
    assert_eq!(records(&node).await, before, "no record of a directory either");

    let got = get(&node, "tree", &out).await;
    assert_eq!(got.files, report.files);
    compare(&tree, &out);
    match differences(&tree, &out) {
        None => eprintln!("SKIPPED, NO RSYNC: what another program says of both trees"),
        Some(said) => {
            let missing = |line: &&str| !line.contains("special/");
            assert_eq!(said.lines().filter(missing).collect::<Vec<_>>(), [""; 0]);
        }
    }
    // Of what came back the same is stored as of what was put.
    let back = put_as(&node, &out, "tree").await.unwrap();
    assert_eq!(back.notes.len(), 0);
    assert_eq!(back.new_records, 0);
    let inode = |name: &str| out.join("links").join(name).metadata().unwrap().ino();
    assert_eq!(inode("hard"), inode("to/file"));
    open_up(&tree);
    open_up(&out);
    close(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn holes_cost_no_chunk_and_read_as_zeros() {
    let place = Place::new();
    let node = place.founder().await;
    let path = place.path("disk");
    let file = fs::File::create(&path).unwrap();
    let size = 300 * MIB + 9;
    file.set_len(size).unwrap();
    let data = noise(100, 1);
    file.write_all_at(&data, 150 * MIB - 50).unwrap();
    file.sync_all().unwrap();
    let report = put(&node, &path).await;
    assert_eq!((report.bytes, report.new_records), (size, 1));
    let entry = vault(&node).stat(&key("disk")).await.unwrap();
    assert_eq!((entry.size, entry.chunks), (size, 2), "the two that the data lies in");

    for range in [0..10, 149 * MIB..151 * MIB, 299 * MIB..size, 0..size] {
        let mut reading = vault(&node).read(&key("disk"), Some(range.clone()), true).await.unwrap();
        let mut at = range.start;
        while let Some(piece) = reading.next().await {
            for byte in piece.unwrap() {
                if byte != 0 {
                    let place = usize::try_from(at - (150 * MIB - 50)).unwrap();
                    assert_eq!(byte, data[place], "{at}");
                }
                at += 1;
            }
        }
        assert_eq!(at, range.end, "{range:?}");
    }

    // A change beside a hole is one chunk, and all others stay where they are.
    file.write_all_at(b"x", 3).unwrap();
    file.sync_all().unwrap();
    let before = node.engine.status().await.unwrap().chunks;
    assert_eq!(put(&node, &path).await.new_records, 1);
    assert_eq!(node.engine.status().await.unwrap().chunks, before + 1);
    let out = place.path("out");
    get(&node, "disk", &out).await;
    assert!(out.metadata().unwrap().blocks() * 512 <= 4 * MIB);
    close(node).await;
}

/// F4: no tree can be stored that no file system can hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_and_a_directory_of_one_name_are_settled_by_the_put() {
    let place = Place::new();
    let node = place.founder().await;
    place.file("t/a", b"1");
    place.file("t/b", b"file");
    let tree = place.path("t");
    put(&node, &tree).await;
    // A file becomes a directory.
    fs::remove_file(tree.join("b")).unwrap();
    place.file("t/b/c", b"2");
    place.file("t/b/d/e", &noise(10_000, 1));
    let report = put(&node, &tree).await;
    assert_eq!((report.new_records, report.skipped.len()), (2, 0));
    assert!(report.notes[0].1.contains("place of a file"), "{:?}", report.notes);
    assert_eq!(lists(&node).await, ["t/a", "t/b/c", "t/b/d/e"]);
    get(&node, "t", &place.path("one")).await;
    compare(&tree, &place.path("one"));
    // And a file again, of every kind.
    for (round, kind) in ["small", "large", "link"].into_iter().enumerate() {
        fs::remove_dir_all(tree.join("b")).unwrap();
        match kind {
            "small" => fs::write(tree.join("b"), b"again").unwrap(),
            "large" => fs::write(tree.join("b"), noise(10_000, 2)).unwrap(),
            _ => symlink("a", tree.join("b")).unwrap(),
        }
        let report = put(&node, &tree).await;
        assert_eq!(report.new_records, 1, "{kind}");
        assert!(report.notes[0].1.contains("place of a directory"), "{:?}", report.notes);
        assert_eq!(lists(&node).await, ["t/a", "t/b"], "{kind}");
        let out = place.path(kind);
        get(&node, "t", &out).await;
        compare(&tree, &out);
        let removed = vault(&node).names(Names::Removed, "t/b/", None, 10).await.unwrap().names;
        assert!(removed.iter().any(|name| name.key.as_str() == "t/b/c"), "it can be brought back");
        fs::remove_file(tree.join("b")).unwrap();
        place.file("t/b/c", &noise(round + 1, 3));
        put(&node, &tree).await;
    }
    close(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_takes_the_place_of_no_tree_and_lies_in_no_file() {
    let place = Place::new();
    let node = place.founder().await;
    place.file("t/a", b"1");
    put(&node, &place.path("t")).await;
    let file = place.file("f", b"2");
    let over = put_as(&node, &file, "t").await.unwrap_err();
    assert!(matches!(over, PutError::OverTree { .. }) && over.class() == Class::Refused);
    let below = put_as(&node, &file, "t/a/x/y").await.unwrap_err();
    assert!(
        matches!(&below, PutError::BelowFile { file, .. } if file.as_str() == "t/a"),
        "{below}"
    );
    let vault = vault(&node);
    for name in ["t", "t/a/x", &format!("t/{}", "n".repeat(256))] {
        let (options, progress) = (PutOptions { wait: Wait::Local, jobs: 1 }, Progress::new());
        let put = vault.put_reader(key(name), &b"3"[..], None, options, &progress).await;
        let class = if name.len() > 200 { Class::Usage } else { Class::Refused };
        assert_eq!(put.unwrap_err().class(), class, "{name}");
    }
    assert_eq!(lists(&node).await, ["t/a"]);
    // F7: of two inputs, none replaces the other.
    let (one, two) = (place.file("2023/n", b"1"), place.file("2024/n", b"2"));
    let same = check_distinct(&[one.clone(), file, two.clone()]).unwrap_err();
    assert!(
        matches!(&same, PutError::SameKey { first, second, .. } if (first, second) == (&one, &two))
    );
    assert_eq!(same.class(), Class::Usage);
    check_distinct(&[one.clone(), one, place.path("none")]).unwrap();
    close(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_a_tree_to_every_command_and_listed_only_while_it_is_empty() {
    let place = Place::new();
    let node = place.founder().await;
    place.file("t/f", b"1");
    fs::create_dir(place.path("t/e")).unwrap();
    symlink("f", place.path("t/l")).unwrap();
    put(&node, &place.path("t")).await;
    let vault = vault(&node);
    assert_eq!(vault.files().await.unwrap(), Some(2), "a file and a link");
    let entries = vault.ls("t", None, 10).await.unwrap();
    let kinds: Vec<_> = entries.iter().map(|e| (e.key.as_str(), e.file_type)).collect();
    let expected =
        [("t/e", FileType::Directory), ("t/f", FileType::Regular), ("t/l", FileType::Link)];
    assert_eq!(kinds, expected);
    let progress = Progress::new();
    for (name, class) in [("t", Class::Usage), ("t/e", Class::Usage), ("t/l", Class::Usage)] {
        assert_eq!(vault.read(&key(name), None, true).await.unwrap_err().class(), class, "{name}");
    }
    for tree in ["t", "t/e"] {
        let refused = vault.rm(tree, false, Wait::Local, &progress).await;
        assert_eq!(refused.unwrap_err().class(), Class::Usage);
        assert_eq!(
            vault.evict(tree, false, Some(1), &progress).await.unwrap_err().class(),
            Class::Usage
        );
    }
    // One link by itself, and an empty directory by itself.
    let out = place.path("link");
    assert_eq!(get(&node, "t/l", &out).await.files, 1);
    assert_eq!(fs::read_link(&out).unwrap(), Path::new("f"));
    assert_eq!(get(&node, "t/e", &place.path("empty")).await.directories, 1);
    assert!(place.path("empty").is_dir());

    let removed = vault.rm("t", true, Wait::Local, &progress).await.unwrap();
    assert_eq!(removed.removed, 2);
    assert!(lists(&node).await.is_empty());
    let one = vault.undelete("t", false, Wait::Local, &progress).await;
    assert_eq!(one.unwrap_err().class(), Class::Usage, "it was a tree");
    let back = vault.undelete("t", true, Wait::Local, &progress).await.unwrap();
    assert_eq!(back.restored, 2);
    get(&node, "t", &place.path("again")).await;
    compare(&place.path("t"), &place.path("again"));
    vault.purge("t", true, Wait::Local, &progress).await.unwrap();
    assert!(vault.names(Names::All, "t", None, 10).await.unwrap().names.is_empty());
    close(node).await;
}

/// F8 and F19: what is private stays private, also where the directory is there already.
#[tokio::test(flavor = "multi_thread")]
async fn a_private_directory_comes_back_private() {
    let place = Place::new();
    let node = place.founder().await;
    place.file("t/p/f", b"1");
    let private = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
    };
    private(&place.path("t/p"));
    put(&node, &place.path("t")).await;
    let mode = |path: PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
    get(&node, "t", &place.path("new")).await;
    assert_eq!(mode(place.path("new/p")), 0o700);
    place.file("old/p/g", b"2");
    let options = GetOptions { overwrite: true, ..GetOptions::default() };
    let old = place.path("old");
    vault(&node).get_path("t", Some(&old), options, &Progress::new()).await.unwrap();
    assert_eq!(mode(place.path("old/p")), 0o700);
    assert_eq!(fs::read(place.path("old/p/g")).unwrap(), b"2");
    // A tree without a record of its own directory has the mode of any new one.
    vault(&node).put_reader(key("s/x"), &b"3"[..], None, all(), &Progress::new()).await.unwrap();
    get(&node, "s", &place.path("s")).await;
    fs::create_dir(place.path("usual")).unwrap();
    assert_eq!(mode(place.path("s")), mode(place.path("usual")));
    close(node).await;
}

/// Issue 16: what lies beside a file comes back if it is asked for, and is told where it cannot.
#[tokio::test(flavor = "multi_thread")]
async fn owners_acls_and_attributes_come_back_when_they_are_asked_for() {
    use rustix::fs::{XattrFlags, getxattr, setxattr};
    let place = Place::new();
    let node = place.founder().await;
    let (file, tree) = (place.file("t/d/f", b"1"), place.path("t"));
    let set = |path: &Path| setxattr(path, "user.note", b"blue", XattrFlags::empty());
    if let Err(error) = set(&file).and_then(|()| set(&place.path("t/d"))) {
        eprintln!("SKIPPED, NO EXTENDED ATTRIBUTES IN THE TEMPORARY DIRECTORY: {error}");
        return close(node).await;
    }
    // The group reads by the mode, and nobody else; its mask shows as its bits.
    let entry = |tag: u16, bits: u16| [tag.to_le_bytes(), bits.to_le_bytes(), [0xff; 2], [0xff; 2]];
    let entries = [entry(1, 6), entry(4, 4), entry(16, 6), entry(32, 0)];
    let acl = [&[2, 0, 0, 0][..], entries.concat().concat().as_slice()].concat();
    let has_acl = setxattr(&file, "system.posix_acl_access", &acl, XattrFlags::empty()).is_ok();
    assert_eq!(put(&node, &tree).await.skipped, []);
    let value = |path: &Path, name: &str| {
        let mut value = vec![0; 1024];
        getxattr(path, name, &mut value).ok().map(|len| value[..len].to_vec())
    };
    get(&node, "t", &place.path("plain")).await;
    assert_eq!(value(&place.path("plain/d/f"), "user.note"), None);
    let restore = Restore { owner: true, acl: true, xattr: true, privileged: false };
    let options = GetOptions { restore, ..GetOptions::default() };
    let (all, one) = (place.path("all"), place.path("one"));
    for (key, out, file) in [("t", &all, all.join("d/f")), ("t/d/f", &one, one.clone())] {
        let report =
            vault(&node).get_path(key, Some(out), options, &Progress::new()).await.unwrap();
        assert_eq!(report.lacking, [], "a user may give what is his own");
        assert_eq!(value(&file, "user.note").as_deref(), Some(&b"blue"[..]));
        assert!(!has_acl || value(&file, "system.posix_acl_access") == Some(acl.clone()));
    }
    assert_eq!(value(&all.join("d"), "user.note").as_deref(), Some(&b"blue"[..]));
    compare(&tree, &all);
    close(node).await;
}

/// A file that is written to all the while, as a log is, is stored as it was at first.
#[tokio::test(flavor = "multi_thread")]
async fn a_growing_file_is_stored_as_of_its_first_length() {
    let place = Place::new();
    let node = place.founder().await;
    let start = noise(24 << 20, 1);
    for round in 0..20 {
        let path = place.file("log", &start);
        let stop = AtomicBool::new(false);
        let report = std::thread::scope(|scope| {
            let mut file = fs::File::options().append(true).open(&path).unwrap();
            let stop = &stop;
            scope.spawn(move || {
                let line = [b'l'; 100];
                for _ in 0..5_000_000 {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    file.write_all(&line).unwrap();
                }
            });
            let report = tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(put(&node, &path))
            });
            stop.store(true, Ordering::Relaxed);
            report
        });
        if report.notes.is_empty() {
            // The machine gave the writer no time.
            assert!(round < 19, "it never grew");
            continue;
        }
        assert!(report.notes[0].1.contains("grew while it was read"), "{:?}", report.notes);
        assert_eq!((report.files, report.skipped.len()), (1, 0));
        let out = place.path("out");
        get(&node, "log", &out).await;
        let (came, is) = (fs::read(out).unwrap(), fs::read(&path).unwrap());
        assert!(came.len() >= start.len() && is.starts_with(&came));
        break;
    }
    close(node).await;
}

/// Attributes of a path make a version another one; where nothing changed, none is written.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_mode_or_time_of_a_directory_is_one_record() {
    let place = Place::new();
    let node = place.founder().await;
    place.file("t/d/f", b"1");
    let (tree, sub) = (place.path("t"), place.path("t/d"));
    put(&node, &tree).await;
    let before = records(&node).await;
    assert_eq!(before, 3, "two directories and a file");
    touch(&sub, 5);
    let report = put(&node, &tree).await;
    assert_eq!((report.new_records, report.unchanged), (0, 1));
    fs::set_permissions(&sub, fs::Permissions::from_mode(0o711)).unwrap();
    put(&node, &tree).await;
    assert_eq!(records(&node).await, before + 2);
    put(&node, &tree).await;
    assert_eq!(records(&node).await, before + 2);
    let out = place.path("out");
    get(&node, "t", &out).await;
    compare(&tree, &out);
    close(node).await;
}
