//! Round trips: the bytes that go in come out.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use crate::common::{Place, all, close, files, get, noise, open, planted, put, vault};
use futures::StreamExt;
use stash_vault::{Class, GetOptions, Here, Key, Progress, PutOptions, Role};

const MIB: usize = 1 << 20;

/// Sizes at which something changes, each with its reason.
const INTERESTING_SIZES: [(usize, &str); 10] = [
    (0, "nothing at all"),
    (1, "a byte"),
    (4095, "below the inline limit"),
    (4096, "the inline limit"),
    (4097, "the smallest chunk"),
    (MIB - 1, "below the chunk size"),
    (MIB, "the chunk size"),
    (MIB + 1, "a second chunk of one byte"),
    (64 * MIB, "the last direct manifest"),
    (64 * MIB + 1, "the first manifest chunk"),
];

#[tokio::test(flavor = "multi_thread")]
async fn files_of_every_interesting_size_come_back_byte_for_byte() {
    let place = Place::new();
    let node = place.founder().await;
    for (size, why) in INTERESTING_SIZES {
        let bytes = noise(size, 1 + size as u64);
        let path = place.file(&format!("in/{size}"), &bytes);
        let report = put(&node, &path).await;
        assert_eq!((report.files, report.bytes, report.new_records), (1, size as u64, 1), "{why}");
        let out = place.path(&format!("out-{size}"));
        let got = get(&node, &size.to_string(), &out).await;
        assert_eq!((got.files, got.bytes), (1, size as u64), "{why}");
        assert!(std::fs::read(&out).unwrap() == bytes, "{why}");
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_file(&out).unwrap();
    }
    close(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_unknown_length_comes_back_in_every_range() {
    let place = Place::new();
    let node = place.founder().await;
    let vault = vault(&node);
    for size in [0, 1, 4096, 4097, MIB, 2 * MIB + 777] {
        let bytes = noise(size, 7);
        let key = Key::new(&format!("streams/{size}")).unwrap();
        let options = PutOptions::default();
        let progress = Progress::new();
        let put = vault.put_reader(key.clone(), &bytes[..], None, options, &progress).await;
        assert_eq!(put.unwrap_or_else(|e| panic!("{size}: {e}")).bytes, size as u64);
        let end = size as u64;
        for range in [0..end, 0..1, end / 2..end, end.saturating_sub(1)..end + 100] {
            if range.start >= end && end > 0 {
                continue;
            }
            let mut reading = vault.read(&key, Some(range.clone()), true).await.unwrap();
            let mut got = Vec::new();
            while let Some(piece) = reading.next().await {
                got.extend_from_slice(&piece.unwrap());
            }
            let at = |offset: u64| usize::try_from(offset.min(end)).unwrap();
            assert!(got == bytes[at(range.start)..at(range.end)], "{size} {range:?}");
        }
    }
    let beyond = vault.read(&Key::new("streams/1").unwrap(), Some(5..6), true).await;
    assert_eq!(beyond.unwrap_err().class(), Class::Usage);
    close(node).await;
}

/// Fault case 134: a stream that ends early or late leaves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_another_length_than_announced_is_not_stored() {
    let place = Place::new();
    let node = place.founder().await;
    let vault = vault(&node);
    for (size, announced) in [(10, 11), (10, 9), (3 * MIB, 4 * MIB), (3 * MIB, MIB)] {
        let bytes = noise(size, 3);
        let key = Key::new("cut").unwrap();
        let announced = Some(announced as u64);
        let options = PutOptions::default();
        let put = vault.put_reader(key, &bytes[..], announced, options, &Progress::new()).await;
        assert_eq!(put.unwrap_err().class(), Class::Unreadable);
    }
    assert!(vault.ls("", None, 10).await.unwrap().is_empty());
    close(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_comes_back_with_modes_and_times_and_is_listed_in_order() {
    let place = Place::new();
    let node = place.founder().await;
    let tree = place.path("tree");
    for i in 0..600 {
        place.file(&format!("tree/small/{i:03}"), &noise(i, i as u64));
    }
    place.file("tree/large/one", &noise(3 * MIB + 5, 9));
    place.file("tree/empty", b"");
    std::os::unix::fs::symlink("/etc/passwd", tree.join("link")).unwrap();
    let report = put(&node, &tree).await;
    assert_eq!((report.files, report.new_records, report.unchanged), (603, 603, 0));
    assert_eq!((report.skipped.len(), report.notes.len()), (0, 0));
    assert_eq!((report.copies, report.wanted, report.short), (1, 1, false));

    let vault = vault(&node);
    let listed = vault.ls("tree", None, 10_000).await.unwrap();
    assert_eq!(listed.len(), 603, "and the link");
    assert!(listed.windows(2).all(|pair| pair[0].key < pair[1].key));
    assert!(listed.iter().all(|entry| entry.here == Here::Local && entry.conflicts == 0));
    let page = vault.ls("tree/small", Some("tree/small/009"), 3).await.unwrap();
    let keys: Vec<_> = page.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["tree/small/010", "tree/small/011", "tree/small/012"]);
    assert!(vault.ls("tre", None, 10).await.unwrap().is_empty(), "a prefix is a path");

    let out = place.path("out");
    let got = get(&node, "tree", &out).await;
    assert_eq!((got.files, got.outputs.len()), (603, 100));
    assert!(got.outputs.iter().all(|path| path.starts_with(&out) && path.exists()));
    for tree in [&tree, &out] {
        let link = tree.join("link");
        assert_eq!(std::fs::read_link(&link).unwrap(), std::path::Path::new("/etc/passwd"));
        std::fs::remove_file(link).unwrap();
    }
    let (before, after) = (files(&tree), files(&out));
    assert_eq!(before.len(), after.len(), "and no temporary file");
    for (one, two) in before.iter().zip(&after) {
        assert_eq!(one.strip_prefix(&tree).unwrap(), two.strip_prefix(&out).unwrap());
        assert!(std::fs::read(one).unwrap() == std::fs::read(two).unwrap());
        let (one, two) = (one.metadata().unwrap(), two.metadata().unwrap());
        assert_eq!(one.modified().unwrap(), two.modified().unwrap());
        assert_eq!(one.permissions(), two.permissions());
    }
    close(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exists_is_not_overwritten_unless_asked() {
    let place = Place::new();
    let node = place.founder().await;
    put(&node, &place.file("a", b"new")).await;
    put(&node, place.file("d/x", b"x").parent().unwrap()).await;
    let vault = vault(&node);
    let taken = place.file("taken", b"old");
    let progress = Progress::new();
    let refused = vault.get_path("a", Some(&taken), GetOptions::default(), &progress).await;
    assert_eq!(refused.unwrap_err().class(), Class::Refused);
    let full = place.file("full/mine", b"old").parent().unwrap().to_owned();
    let refused = vault.get_path("a", Some(&full), GetOptions::default(), &progress).await;
    assert_eq!(refused.unwrap_err().class(), Class::Usage, "a directory where a file is meant");
    assert_eq!(std::fs::read(&taken).unwrap(), b"old");

    let overwrite = GetOptions { overwrite: true, ..GetOptions::default() };
    vault.get_path("a", Some(&taken), overwrite, &progress).await.unwrap();
    assert_eq!(std::fs::read(&taken).unwrap(), b"new");
    vault.get_path("d", Some(&full), GetOptions::default(), &progress).await.unwrap();
    assert_eq!(std::fs::read(full.join("x")).unwrap(), b"x");
    assert_eq!(std::fs::read(full.join("mine")).unwrap(), b"old");
    close(node).await;
}

/// Fault cases 82 and 84: a link planted in the target tree leads nothing outside it.
#[tokio::test(flavor = "multi_thread")]
async fn extraction_never_leaves_its_target() {
    let place = Place::new();
    let node = place.founder().await;
    place.file("t/sub/file", b"content");
    put(&node, &place.path("t")).await;
    let (out, outside) = (place.path("out"), place.path("outside"));
    std::fs::create_dir_all(&out).unwrap();
    std::fs::create_dir_all(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, out.join("sub")).unwrap();
    let options = GetOptions { overwrite: true, ..GetOptions::default() };
    let report = vault(&node).get_path("t", Some(&out), options, &Progress::new()).await.unwrap();
    assert_eq!((report.files, report.failed, report.class()), (0, 2, Some(Class::Refused)));
    assert!(files(&outside).is_empty());
    close(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_is_there_after_a_restart() {
    let place = Place::new();
    let node = place.founder().await;
    let bytes = noise(5 * MIB, 4);
    put(&node, &place.file("big", &bytes)).await;
    put(&node, &place.file("small", b"small")).await;
    close(node).await;
    let node = open(&place.path("founder")).await;
    let out = place.path("out");
    get(&node, "big", &out).await;
    assert!(std::fs::read(out).unwrap() == bytes);
    assert_eq!(vault(&node).ls("", None, 10).await.unwrap().len(), 2);
    close(node).await;
}

/// Fault cases 64, 66 and 70: neither a name nor a byte of content is on the disk of a keeper, and
/// on an owner's only in its index of names.
#[tokio::test(flavor = "multi_thread")]
async fn planted_names_and_contents_are_on_no_disk() {
    let place = Place::new();
    let founder = place.founder().await;
    let keeper = place.member(&founder, "keeper", Role::Keeper).await;
    let marker = b"PLANTED-CONTENT-7f3a";
    let mut large = noise(2 * MIB, 5);
    large[MIB + 10..][..marker.len()].copy_from_slice(marker);
    place.file("PLANTED-NAME/small", marker);
    place.file("PLANTED-NAME/large", &large);
    let report = put(&founder, &place.path("PLANTED-NAME")).await;
    assert_eq!((report.copies, report.wanted, report.short), (2, 2, false));
    let options = all();
    let key = Key::new("PLANTED-NAME/stream").unwrap();
    let progress = Progress::new();
    vault(&founder).put_reader(key, &large[..], None, options, &progress).await.unwrap();
    assert!(keeper.vault.is_none());
    close(keeper).await;
    close(founder).await;
    for marker in [&marker[..], b"PLANTED-NAME", b"founder"] {
        assert_eq!(planted(&place.path("keeper"), marker), None);
        assert_eq!(planted(&place.path("founder/store"), marker), None);
    }
    assert!(planted(&place.path("founder"), b"PLANTED-NAME").is_some(), "the search finds things");
}
