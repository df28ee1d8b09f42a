use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use stash_crypto::StashId;
use stash_runs::disk::{Disk, Fault, MemDisk, OpenMode};
use stash_server::store::Quota;

use super::*;

/// Of a few entries, several files are made.
const SMALL: Kind = Kind { waiting: 4000, ..TAGS };

/// `tags.redb` as version 2 of the index wrote it, with the 300 entries of [`sample`] for the binding 1: written in
/// several transactions, and closed.
const OLD: &[u8] = include_bytes!("../../tests/fixtures/tags.redb");
const OLD_ENTRIES: u32 = 300;

fn binding(stash: u8) -> Binding {
    Binding { store: [9; 16], stash: StashId::from_bytes([stash; 32]), aside: 0 }
}

fn sample(n: u32) -> (ChunkTag, ChunkRef) {
    let tag = *blake3::hash(&n.to_le_bytes()).as_bytes();
    let chunk = ChunkRef { address: Address::of(&tag), sealed_len: 1000 + n };
    (ChunkTag::from_bytes(tag), chunk)
}

/// A data directory on this disk, durably there.
fn root(disk: &MemDisk) -> Root {
    let path = Path::new("/data");
    if disk.list(path).is_err() {
        disk.create_dir(path).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
    }
    Root { disk: Arc::new(disk.clone()), path: path.into(), quota: Quota::default() }
}

fn old(disk: &MemDisk, bytes: &[u8]) -> Root {
    let root = root(disk);
    let file = disk.open(&root.path.join(OLD_TAGS), OpenMode::Create).unwrap();
    file.write_at(0, bytes).unwrap();
    file.sync().unwrap();
    disk.sync_dir(&root.path).unwrap();
    root
}

/// Count of those among the first `n` samples that are known, none of them wrongly.
fn known(tags: &TagIndex, n: u32) -> u32 {
    let found = (0..n).map(sample).filter_map(|(tag, chunk)| Some((tags.get(&tag)?, chunk)));
    found.map(|(found, chunk)| assert_eq!(found, chunk)).count().try_into().unwrap()
}

fn is_there(disk: &MemDisk, root: &Root) -> bool {
    disk.open(&root.path.join(OLD_TAGS), OpenMode::Read).is_ok()
}

#[test]
fn what_was_sealed_is_known_after_a_reopen() {
    let root = root(&MemDisk::new(0));
    let (tag, chunk) = sample(1);
    let tags = TagIndex::open(&root, binding(1));
    assert_eq!(tags.get(&tag), None);
    tags.insert(tag, chunk);
    assert_eq!(tags.get(&tag), Some(chunk), "before it is written");
    tags.map.as_ref().unwrap().sync().unwrap();
    assert_eq!(tags.get(&tag), Some(chunk), "after it is written");
    tags.close();
    let tags = TagIndex::open(&root, binding(1));
    assert_eq!(tags.get(&tag), Some(chunk));
}

/// Fault case 87.
#[test]
fn the_cache_of_another_stash_starts_anew() {
    let root = root(&MemDisk::new(0));
    let (tag, chunk) = sample(1);
    let tags = TagIndex::open(&root, binding(1));
    tags.insert(tag, chunk);
    tags.close();
    assert_eq!(TagIndex::open(&root, binding(2)).get(&tag), None);
}

#[test]
fn a_full_cache_starts_anew_and_entries_that_come_twice_count_once() {
    let root = root(&MemDisk::new(0));
    let tags = TagIndex::open_as(SMALL, 50, &root, binding(1));
    for _ in 0..3 {
        (0..50).map(sample).for_each(|(tag, chunk)| tags.insert(tag, chunk));
        assert_eq!(known(&tags, 100), 50);
        (50..60).map(sample).for_each(|(tag, chunk)| tags.insert(tag, chunk));
        assert_eq!(known(&tags, 100), 10);
        tags.map.as_ref().unwrap().start_over("a test");
    }
}

/// Fault case 78: of an entry that is damaged nothing is known, nor of any other from then on.
#[test]
fn a_damaged_cache_never_gives_a_wrong_chunk_nor_ends_the_process() {
    let disk = MemDisk::new(0);
    let tags = TagIndex::open(&root(&disk), binding(1));
    (0..20).map(sample).for_each(|(tag, chunk)| tags.insert(tag, chunk));
    tags.close();
    assert_eq!(known(&TagIndex::open(&root(&disk), binding(1)), 20), 20);
    let mut bits = 0;
    for (path, len) in disk.files() {
        for bit in 0..len * 8 {
            let disk = disk.fork(0);
            disk.flip_bit(&path, bit).unwrap();
            let tags = TagIndex::open(&root(&disk), binding(1));
            assert_eq!(known(&tags, 20), 0, "bit {bit} of {}", path.display());
            let (tag, chunk) = sample(7);
            tags.insert(tag, chunk);
            assert_eq!(known(&tags, 20), 1, "it learns again");
            bits += 1;
        }
    }
    assert!(bits > 10_000, "{bits} bits");
}

#[test]
fn a_power_cut_at_any_operation_costs_the_newest_entries_at_most() {
    let mut at = 0;
    loop {
        at += 1;
        let disk = MemDisk::new(at);
        let root = root(&disk);
        disk.inject(at, Fault::PowerCut);
        let tags = TagIndex::open_as(SMALL, MOST, &root, binding(1));
        (0..200).map(sample).for_each(|(tag, chunk)| {
            tags.insert(tag, chunk);
            // The power may be gone.
            let _ = tags.merge();
        });
        tags.close();
        if disk.is_powered() {
            break;
        }
        disk.restart();
        let tags = TagIndex::open_as(SMALL, MOST, &root, binding(1));
        let before = known(&tags, 200);
        // Those from the first on: a later one is never kept without those before it.
        assert_eq!(known(&tags, before), before, "cut at {at}");
        (0..200).map(sample).for_each(|(tag, chunk)| tags.insert(tag, chunk));
        assert_eq!(known(&tags, 200), 200, "cut at {at}");
    }
    assert!(at > 60, "only {at} operations");
}

/// Fault case 44.
#[test]
fn a_cache_on_a_full_disk_learns_nothing_until_there_is_room() {
    let disk = MemDisk::new(0);
    let tags = TagIndex::open_as(SMALL, MOST, &root(&disk), binding(1));
    disk.set_capacity(Some(disk.used()));
    (0..200).map(sample).for_each(|(tag, chunk)| tags.insert(tag, chunk));
    let before = known(&tags, 200);
    assert!((10..150).contains(&before), "{before}");
    disk.set_capacity(None);
    (0..200).map(sample).for_each(|(tag, chunk)| tags.insert(tag, chunk));
    assert_eq!(known(&tags, 200), 200);
}

/// A cache that has files to merge.
fn with_files(root: &Root) -> Arc<TagIndex> {
    let tags = Arc::new(TagIndex::open_as(SMALL, MOST, root, binding(1)));
    let files = (0..).map(sample).take_while(|(tag, chunk)| {
        tags.insert(*tag, *chunk);
        !tags.map.as_ref().unwrap().merge_is_due()
    });
    assert!(files.count() > 10);
    tags
}

#[tokio::test]
async fn a_merge_in_flight_keeps_nobody_from_learning_and_has_ended_before_the_cache_is_closed() {
    let disk = MemDisk::new(0);
    let root = root(&disk);
    let tags = with_files(&root);
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
    let merged = Arc::new(AtomicBool::new(false));
    let (this, done) = (Arc::clone(&tags), Arc::clone(&merged));
    tags.merges.begin(Instant::now(), move || {
        begun.send(()).unwrap();
        goes_on.recv().unwrap();
        let result = this.merge();
        done.store(true, Ordering::Relaxed);
        result
    });
    has_begun.await.unwrap();
    // What a put does meanwhile, on a runtime of one thread: waiting would never end.
    tags.begin_merge();
    (1000..1100).map(sample).for_each(|(tag, chunk)| tags.insert(tag, chunk));
    let end = tags.end_merges();
    tokio::pin!(end);
    assert!(futures::poll!(&mut end).is_pending(), "the merge is under way");
    go_on.send(()).unwrap();
    end.await;
    assert!(merged.load(Ordering::Relaxed));
    let before = disk.operations();
    tags.begin_merge();
    tags.end_merges().await;
    assert_eq!(disk.operations(), before, "no merge begins any more");
    tags.close();
    let tags = TagIndex::open(&root, binding(1));
    assert_eq!(known(&tags, 1100) - known(&tags, 1000), 100);
}

#[tokio::test]
async fn files_are_merged_beside_the_puts() {
    let disk = MemDisk::new(0);
    let tags = with_files(&root(&disk));
    let files = disk.files().len();
    tags.begin_merge();
    tags.merges.ended().await;
    assert!(disk.files().len() < files, "{files} files");
    assert!(!tags.map.as_ref().unwrap().merge_is_due());
}

#[test]
fn an_old_cache_is_taken_over_whole_and_removed() {
    let disk = MemDisk::new(0);
    let root = old(&disk, OLD);
    let tags = TagIndex::open(&root, binding(1));
    assert_eq!(known(&tags, OLD_ENTRIES + 100), OLD_ENTRIES);
    assert_eq!(tags.map.as_ref().unwrap().current().at().rows, u64::from(OLD_ENTRIES));
    assert!(!is_there(&disk, &root));
    disk.restart();
    assert_eq!(known(&TagIndex::open(&root, binding(1)), OLD_ENTRIES), OLD_ENTRIES);
}

/// Fault case 87.
#[test]
fn an_old_cache_of_another_stash_is_removed_and_not_taken_over() {
    let disk = MemDisk::new(0);
    let root = old(&disk, OLD);
    assert_eq!(known(&TagIndex::open(&root, binding(2)), OLD_ENTRIES), 0);
    assert!(!is_there(&disk, &root));
}

/// Fault case 88: at every operation of the disk, the file or all of its entries are there.
#[test]
fn a_power_cut_while_an_old_cache_is_taken_over_loses_none_of_it() {
    let mut at = 0;
    loop {
        at += 1;
        let disk = MemDisk::new(at);
        let root = old(&disk, OLD);
        disk.inject(at, Fault::PowerCut);
        drop(TagIndex::open_as(SMALL, MOST, &root, binding(1)));
        if disk.is_powered() {
            break;
        }
        disk.restart();
        let tags = TagIndex::open_as(SMALL, MOST, &root, binding(1));
        assert_eq!(known(&tags, OLD_ENTRIES), OLD_ENTRIES, "cut at {at}");
        assert!(!is_there(&disk, &root), "cut at {at}");
    }
    assert!(at > 20, "only {at} operations");
}

/// Fault case 44.
#[test]
fn an_old_cache_stays_on_a_full_disk_until_it_was_taken_over() {
    let disk = MemDisk::new(0);
    let root = old(&disk, OLD);
    disk.set_capacity(Some(disk.used()));
    drop(TagIndex::open(&root, binding(1)));
    assert!(is_there(&disk, &root));
    disk.set_capacity(None);
    assert_eq!(known(&TagIndex::open(&root, binding(1)), OLD_ENTRIES), OLD_ENTRIES);
    assert!(!is_there(&disk, &root));
}

/// Fault case 78.
#[test]
fn an_old_cache_that_the_disk_does_not_read_whole_gives_what_it_can_and_is_removed() {
    const HALF: usize = 32 * 4096;
    // Entries in each of two parts: a page is as good at another place.
    let spread = [&OLD[..HALF], &[0; HALF], &OLD[HALF..]].concat();
    let (mut removed, mut in_part) = (0, 0);
    for at in 1.. {
        let disk = MemDisk::new(0);
        let root = old(&disk, &spread);
        disk.inject_read(at, ErrorKind::Other, 1);
        let tags = TagIndex::open(&root, binding(1));
        if disk.reads() < at {
            break;
        }
        let taken = known(&tags, OLD_ENTRIES);
        if is_there(&disk, &root) {
            // No cache was there that could have taken it.
            assert_eq!(taken, 0, "read {at}");
        } else {
            removed += 1;
            in_part += u32::from((1..OLD_ENTRIES).contains(&taken));
        }
    }
    // It is opened and measured; then its two parts are read, first for the binding.
    assert!(removed >= 6 && in_part >= 2, "{removed} removed, {in_part} in part");
}

/// Fault case 78.
#[test]
fn an_old_cache_that_cannot_be_read_at_all_is_given_up_soon_and_removed() {
    let disk = MemDisk::new(0);
    let root = root(&disk);
    let before = disk.reads();
    drop(TagIndex::open(&root, binding(1)));
    let without = disk.reads() - before;
    // The last of these looks for it.
    for (fails, what) in
        [(0, "opening it"), (1, "measuring it"), (2, "reading it"), (3, "the rest")]
    {
        let disk = MemDisk::new(0);
        let root = old(&disk, OLD);
        let file = disk.open(&root.path.join(OLD_TAGS), OpenMode::Write).unwrap();
        file.set_len(32 << 20).unwrap();
        let before = disk.reads();
        disk.inject_read(without + fails, ErrorKind::Other, u64::MAX);
        let tags = TagIndex::open(&root, binding(1));
        let reads = disk.reads() - before - without;
        assert!(reads < 40, "{what}: {reads} reads, of 128 parts twice");
        disk.heal();
        assert!(!is_there(&disk, &root), "{what}");
        let (tag, chunk) = sample(1);
        tags.insert(tag, chunk);
        assert_eq!(tags.get(&tag), Some(chunk), "{what}");
    }
}

#[test]
fn of_a_huge_old_cache_as_much_is_taken_over_as_there_may_be_and_it_is_removed() {
    let disk = MemDisk::new(0);
    let root = old(&disk, OLD);
    let file = disk.open(&root.path.join(OLD_TAGS), OpenMode::Write).unwrap();
    file.set_len(32 << 20).unwrap();
    let before = disk.reads();
    let tags = TagIndex::open_as(TAGS, 100, &root, binding(1));
    let reads = disk.reads() - before;
    assert!(reads < 20, "{reads} reads, of 128 parts twice");
    assert!(!is_there(&disk, &root));
    assert!((100..200).contains(&known(&tags, OLD_ENTRIES)));
    assert_eq!(tags.map.as_ref().unwrap().current().generation, 0, "it began anew on the way");
}

/// Fault case 78.
#[test]
fn of_a_damaged_old_cache_only_the_entries_that_are_whole_are_taken_over() {
    let mut lost = 0;
    for at in (0..OLD.len()).step_by(OLD.len() / 397) {
        let mut damaged = OLD.to_vec();
        damaged[at..][..32.min(OLD.len() - at)].fill(0x5a);
        let disk = MemDisk::new(0);
        let tags = TagIndex::open(&old(&disk, &damaged), binding(1));
        lost += u32::from(known(&tags, OLD_ENTRIES) < OLD_ENTRIES);
    }
    assert!((5..100).contains(&lost), "{lost} places with an entry that is nowhere else");
    for len in [0, 1, 4095, 4096, OLD.len() / 2] {
        let disk = MemDisk::new(0);
        let root = old(&disk, &OLD[..len]);
        known(&TagIndex::open(&root, binding(1)), OLD_ENTRIES);
        assert!(!is_there(&disk, &root), "{len} bytes");
    }
}
