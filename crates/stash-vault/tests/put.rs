//! Records and bytes that a put writes, and those that it does not.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panic, and says what it skips"
)]

use std::time::Duration;

use crate::common::{Place, all, close, noise, put, vault};
use stash_vault::{Class, Key, Node, Progress, PutOptions, Role, Wait};

const MIB: usize = 1 << 20;

async fn chunks(node: &Node) -> u64 {
    node.engine.status().await.unwrap().chunks
}

async fn records(node: &Node) -> u64 {
    node.engine.status().await.unwrap().records
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_of_what_is_stored_already_writes_no_record_and_no_chunk() {
    let place = Place::new();
    let node = place.founder().await;
    for i in 0..300 {
        place.file(&format!("tree/{i}"), &noise(i, 1));
    }
    place.file("tree/large", &noise(5 * MIB, 2));
    place.file("tree/huge", &noise(66 * MIB, 3));
    let tree = place.path("tree");
    put(&node, &tree).await;
    let before = (records(&node).await, chunks(&node).await);
    let report = put(&node, &tree).await;
    assert_eq!((report.files, report.new_records, report.unchanged), (302, 0, 302));
    assert_eq!((records(&node).await, chunks(&node).await), before);
    assert_eq!((report.copies, report.wanted, report.short), (1, 1, false));
    close(node).await;
}

/// Bytes of a file that are in the page cache; `None` without the program that says it.
#[cfg(target_os = "linux")]
fn cached(path: &std::path::Path) -> Option<usize> {
    let mut fincore = std::process::Command::new("fincore");
    fincore.args(["--bytes", "--noheadings", "--raw", "--output", "RES"]).arg(path);
    let said = fincore.output().ok().filter(|said| said.status.success())?;
    String::from_utf8(said.stdout).ok()?.trim().parse().ok()
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_put_leaves_the_page_cache_as_it_was() {
    let place = Place::new();
    let node = place.founder().await;
    let path = place.file("large", &noise(8 * MIB, 1));
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.sync_all().unwrap();
    let drop_all = || rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    drop_all();
    let (reader, dropped) = (std::fs::File::open(&path).unwrap(), cached(&path));
    stash_runs::disk::read_once(&reader, 0, &mut vec![0; 8 * MIB]).unwrap();
    if (dropped, cached(&path)) != (Some(0), Some(0)) {
        return println!("SKIPPED, NO fincore OR NO RWF_DONTCACHE");
    }
    std::fs::read(&path).unwrap();
    put(&node, &path).await;
    assert_eq!(cached(&path), Some(8 * MIB), "what was there stays");

    drop_all();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(put(&node, &path).await.new_records, 1);
    // Pages that two threads read at once may be left.
    let left = cached(&path).unwrap();
    assert!(left <= 4 * MIB, "{left} bytes are left of those that were read");
    close(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_costs_one_record_and_at_most_two_chunks() {
    let place = Place::new();
    let node = place.founder().await;
    let mut bytes = noise(80 * MIB + 7, 1);
    let path = place.file("file", &bytes);
    put(&node, &path).await;
    for (at, more) in [(40 * MIB, 2), (80 * MIB + 6, 2), (0, 2)] {
        let before = (records(&node).await, chunks(&node).await);
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let report = put(&node, &path).await;
        assert_eq!((report.new_records, report.unchanged), (1, 0));
        assert_eq!(records(&node).await, before.0 + 1);
        // The chunk, and the manifest chunk that names it.
        assert_eq!(chunks(&node).await, before.1 + more, "byte {at}");
    }
    let out = place.path("out");
    crate::common::get(&node, "file", &out).await;
    assert!(std::fs::read(out).unwrap() == bytes);
    close(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_time_is_a_new_version_and_equal_files_share_their_chunks() {
    let place = Place::new();
    let node = place.founder().await;
    let bytes = noise(3 * MIB, 1);
    let path = place.file("one", &bytes);
    put(&node, &path).await;
    let before = chunks(&node).await;
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(5)).unwrap();
    assert_eq!(put(&node, &path).await.new_records, 1);
    assert_eq!(put(&node, &place.file("two", &bytes)).await.new_records, 1);
    assert_eq!(chunks(&node).await, before);
    let entry = vault(&node).stat(&Key::new("one").unwrap()).await.unwrap();
    assert_eq!((entry.modified, entry.conflicts, entry.chunks), (Some((5, 0)), 0, 3));
    close(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_equal_stream_writes_nothing_although_its_time_differs() {
    let place = Place::new();
    let node = place.founder().await;
    let (vault, key) = (vault(&node), Key::new("stream").unwrap());
    for bytes in [noise(100, 1), noise(2 * MIB, 2)] {
        for (new, unchanged) in [(1, 0), (0, 1)] {
            let options = PutOptions::default();
            let progress = Progress::new();
            let put = vault.put_reader(key.clone(), &bytes[..], None, options, &progress);
            let report = put.await.unwrap();
            assert_eq!((report.new_records, report.unchanged), (new, unchanged));
        }
    }
    close(node).await;
}

/// A reader that gives one byte at a time, as a slow pipe may.
struct ByteByByte<'a>(&'a [u8]);

impl tokio::io::AsyncRead for ByteByByte<'_> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        if let Some((first, rest)) = self.0.split_first() {
            buffer.put_slice(&[*first]);
            self.0 = rest;
        }
        std::task::Poll::Ready(Ok(()))
    }
}

/// Fault case 52: short reads are read on, never taken for the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_gives_one_byte_at_a_time_is_stored_whole() {
    let place = Place::new();
    let node = place.founder().await;
    let vault = vault(&node);
    for (name, len) in [("inline", 4_096), ("chunks", MIB + 10_000)] {
        let (key, bytes) = (Key::new(name).unwrap(), noise(len, 5));
        let (options, progress) = (PutOptions::default(), Progress::new());
        let put = vault.put_reader(key.clone(), ByteByByte(&bytes), None, options, &progress);
        assert_eq!(put.await.unwrap().bytes, len as u64);
        let mut reading = vault.read(&key, None, true).await.unwrap();
        let mut back = Vec::new();
        while let Some(piece) = futures::StreamExt::next(&mut reading).await {
            back.extend_from_slice(&piece.unwrap());
        }
        assert!(back == bytes, "{name}");
    }
    close(node).await;
}

/// Fault case 93: what is cancelled is answered, and nothing of it is visible.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_put_leaves_nothing_visible() {
    let place = Place::new();
    let node = place.founder().await;
    let (vault, progress) = (vault(&node), Progress::new());
    let (mut feed, stream) = tokio::io::duplex(1 << 16);
    let putting = {
        let (vault, progress) = (vault.clone(), progress.clone());
        let key = Key::new("endless").unwrap();
        tokio::spawn(async move {
            let options = PutOptions::default();
            vault.put_reader(key, stream, None, options, &progress).await
        })
    };
    let bytes = noise(3 * MIB, 1);
    tokio::io::AsyncWriteExt::write_all(&mut feed, &bytes).await.unwrap();
    progress.cancel();
    assert_eq!(putting.await.unwrap().unwrap_err().class(), Class::Cancelled);
    assert!(vault.ls("", None, 10).await.unwrap().is_empty());
    assert_eq!(records(&node).await, 0);
    close(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_that_cannot_be_stored_say_why() {
    let place = Place::new();
    let node = place.founder().await;
    let (vault, progress) = (vault(&node), Progress::new());
    let missing = place.path("none");
    let put = vault.put_path(&missing, None, all(), &progress).await;
    assert_eq!(put.unwrap_err().class(), Class::Unreadable);
    let device = std::path::Path::new("/dev/zero");
    let put = vault.put_path(device, None, all(), &progress).await;
    assert_eq!(put.unwrap_err().class(), Class::Unreadable);
    let odd: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"odd\xff");
    let odd = place.path("x").with_file_name(odd);
    std::fs::write(&odd, b"x").unwrap();
    let put = vault.put_path(&odd, None, all(), &progress).await.unwrap();
    assert_eq!((put.key.as_str(), put.files), ("odd\\xFF", 1));
    let key = Some(Key::new("even").unwrap());
    let put = vault.put_path(&odd, key, all(), &progress).await.unwrap();
    assert_eq!((put.key.as_str(), put.files), ("even", 1));
    close(node).await;
}

/// A put says how many copies there are, and who lacks one.
#[tokio::test(flavor = "multi_thread")]
async fn a_put_without_a_member_is_short_and_names_it() {
    let place = Place::new();
    let founder = place.founder().await;
    let keeper = place.member(&founder, "keeper", Role::Keeper).await;
    let id = keeper.engine.node_id();
    let path = place.file("a", &noise(2 * MIB, 1));
    let report = put(&founder, &path).await;
    assert_eq!((report.copies, report.wanted, report.short), (2, 2, false));
    close(keeper).await;
    crate::common::until(|| founder.engine.members().iter().all(|m| m.connected == m.this)).await;
    let report = put(&founder, &place.file("b", &noise(2 * MIB, 2))).await;
    assert_eq!((report.copies, report.wanted, report.short), (1, 2, true));
    assert_eq!(report.missing.iter().map(|(node, _)| *node).collect::<Vec<_>>(), [id]);
    let local = PutOptions { wait: Wait::Local, jobs: 1 };
    let path = place.file("c", b"c");
    let report = vault(&founder).put_path(&path, None, local, &Progress::new()).await.unwrap();
    assert_eq!((report.copies, report.wanted, report.short), (1, 2, false));
    close(founder).await;
}
