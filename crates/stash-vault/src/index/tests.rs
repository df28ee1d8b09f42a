use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use stash_crypto::record::FileType;
use stash_crypto::{RecordHash, StashId};
use stash_runs::disk::{Disk, Fault, MemDisk, OpenMode};
use stash_server::store::Quota;

use super::*;

/// Of these few names, several files are made.
const SMALL: Kind = Kind { waiting: 1500, ..NAMES };

/// A data directory on this disk, durably there.
fn root(disk: &MemDisk) -> Root {
    let path = Path::new("/data");
    if disk.list(path).is_err() {
        disk.create_dir(path).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
    }
    Root { disk: Arc::new(disk.clone()), path: path.into(), quota: Quota::default() }
}

fn binding(n: u8) -> Binding {
    Binding { store: [n; 16], stash: StashId::from_bytes([n; 32]), aside: 0 }
}

fn update(key: &str, size: Option<u64>) -> NameUpdate {
    let name = NameId::from_bytes(*blake3::hash(key.as_bytes()).as_bytes());
    let file = |size| IndexEntry {
        name,
        head: RecordHash::from_bytes([7; 32]),
        size,
        chunks: 0,
        chunk_size: 0,
        siblings: 0,
        modified: None,
        mode: None,
        inline: true,
        file_type: FileType::Regular,
    };
    let removed = Shown::Removed { restorable: true };
    let shown = size.map_or(removed, |size| Shown::File(file(size)));
    NameUpdate { name, key: Some(Key::new(key).unwrap()), shown, alarmed: false }
}

fn keys(index: &NameIndex, scope: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    let page = index.page(&Scope::or_all(scope).unwrap(), after, limit).unwrap();
    page.into_iter().map(|(key, _)| key.to_string()).collect()
}

fn filled(root: &Root) -> NameIndex {
    let index = NameIndex::open(root, binding(1), 100, &|_| true).unwrap();
    let updates: Vec<_> =
        ["a", "a-b", "a/1", "a/2/x", "a0", "b"].map(|key| update(key, Some(1))).into();
    index.apply(0, &updates, 6, None).unwrap();
    index.sync().unwrap();
    index
}

#[test]
fn a_page_holds_the_name_itself_and_what_lies_under_it() {
    let index = filled(&root(&MemDisk::new(0)));
    assert_eq!(keys(&index, "", None, 10), ["a", "a-b", "a/1", "a/2/x", "a0", "b"]);
    assert_eq!(keys(&index, "a", None, 10), ["a", "a/1", "a/2/x"]);
    assert_eq!(keys(&index, "a/", None, 10), ["a/1", "a/2/x"]);
    assert_eq!(keys(&index, "a/2", None, 10), ["a/2/x"]);
    assert!(keys(&index, "c", None, 10).is_empty());
}

#[test]
fn pages_follow_each_other_without_gap_or_repetition() {
    let index = filled(&root(&MemDisk::new(0)));
    for scope in ["", "a"] {
        let whole = keys(&index, scope, None, 10);
        for limit in 1..4 {
            let (mut pages, mut after) = (Vec::new(), None);
            loop {
                let page = keys(&index, scope, after.as_deref(), limit);
                let Some(last) = page.last() else { break };
                after = Some(last.clone());
                pages.extend(page);
            }
            assert_eq!(pages, whole, "{scope} {limit}");
        }
    }
}

#[test]
fn a_listing_does_not_read_the_names_that_were_removed_behind_it() {
    let disk = MemDisk::new(0);
    let kind = Kind { cache: 0, ..NAMES };
    let index = NameIndex::open_as(kind, &root(&disk), binding(1), 100, &|_| true).unwrap();
    let many = |size| (0..5000).map(|n| update(&format!("b/{n:04}"), size)).collect::<Vec<_>>();
    let few = ["a/1", "a/2", "b", "c"].map(|key| update(key, Some(1)));
    for updates in [&many(Some(1))[..], &few, &many(None)] {
        index.apply(0, updates, 1, None).unwrap();
        index.sync().unwrap();
    }
    let reads = |scope, after, limit, expected: &[&str]| {
        let before = disk.reads();
        assert_eq!(keys(&index, scope, after, limit), expected);
        disk.reads() - before
    };
    let asked = [
        reads("a", None, 10, &["a/1", "a/2"]),
        reads("a", Some("a/2"), 10, &[]),
        reads("", None, 3, &["a/1", "a/2", "b"]),
        reads("b", None, 1, &["b"]),
    ];
    assert!(asked.iter().all(|reads| *reads < 15), "{asked:?} reads");
}

#[test]
fn a_removed_name_is_found_again_by_its_name_id() {
    let index = filled(&root(&MemDisk::new(0)));
    let mut gone = update("a/1", None);
    let name = gone.name;
    gone.key = None;
    index.apply(0, &[gone], 7, None).unwrap();
    assert_eq!(keys(&index, "a", None, 10), ["a", "a/2/x"]);
    assert_eq!(index.knows(&[name]).unwrap(), [true], "a later record of it is not the first");
    assert_eq!(index.len(), 5);
}

#[test]
fn removed_names_and_those_with_siblings_are_listed_apart_until_they_are_so_no_more() {
    let index = filled(&root(&MemDisk::new(0)));
    let (all, under) = (Scope::All, Scope::or_all("a").unwrap());
    let texts = |keys: Vec<Key>| keys.iter().map(Key::to_string).collect::<Vec<_>>();
    let removed = |scope| texts(index.removed(scope, None, 10).unwrap());
    let conflicts = |scope| texts(index.conflicts(scope, None, 10).unwrap());
    assert!(removed(&all).is_empty() && conflicts(&all).is_empty());

    let mut lost = update("a/9", None);
    lost.shown = Shown::Removed { restorable: false };
    let mut sibling = update("a/2/x", Some(1));
    if let Shown::File(entry) = &mut sibling.shown {
        entry.siblings = 1;
    }
    let changes = [update("a/1", None), update("b", None), lost, sibling];
    index.apply(0, &changes, 7, None).unwrap();
    assert_eq!(
        (removed(&all), removed(&under)),
        (vec!["a/1".into(), "b".into()], vec!["a/1".into()])
    );
    assert_eq!(conflicts(&under), ["a/2/x"]);
    assert_eq!(texts(index.removed(&all, Some("a/1"), 1).unwrap()), ["b"]);
    let every = ["a", "a-b", "a/1", "a/2/x", "a/9", "a0", "b"];
    assert_eq!(texts(index.every(&all, None, 10).unwrap()), every);
    for limit in 1..4 {
        let (mut pages, mut after) = (Vec::new(), None::<String>);
        while let page @ [.., last] =
            &texts(index.every(&all, after.as_deref(), limit).unwrap())[..]
        {
            pages.extend(page.to_vec());
            after = Some(last.clone());
        }
        assert_eq!(pages, every, "{limit}");
    }

    let mut forgotten = update("b", None);
    (forgotten.key, forgotten.shown) = (None, Shown::Nothing);
    let changes = [update("a/1", Some(3)), update("a/2/x", Some(2)), forgotten];
    index.apply(0, &changes, 8, None).unwrap();
    assert!(removed(&all).is_empty() && conflicts(&all).is_empty());
    assert_eq!(
        texts(index.every(&all, None, 10).unwrap()),
        ["a", "a-b", "a/1", "a/2/x", "a/9", "a0"]
    );
}

/// An index of the version before is a file of another form and name.
#[test]
fn an_index_of_another_version_starts_anew() {
    let disk = MemDisk::new(0);
    let root = root(&disk);
    let old = root.path.join(OLD_NAMES);
    disk.open(&old, OpenMode::Create).unwrap().write_at(0, b"redb and names").unwrap();
    let index = NameIndex::open(&root, binding(1), 100, &|_| true).unwrap();
    assert_eq!((index.position(), index.len()), ((0, 0), 0));
    assert!(disk.open(&old, OpenMode::Read).is_err(), "no names are left in it");
}

#[test]
fn an_old_index_is_removed_even_where_no_new_one_can_be_made() {
    let disk = MemDisk::new(0);
    let root = root(&disk);
    let old = root.path.join(OLD_NAMES);
    disk.open(&old, OpenMode::Create).unwrap();
    // After the removal and its sync.
    disk.inject(3, Fault::Error { kind: ErrorKind::StorageFull, times: u64::MAX });
    assert!(matches!(
        NameIndex::open(&root, binding(1), 100, &|_| true),
        Err(IndexError::Unusable(IndexFault::Io(_)))
    ));
    disk.heal();
    assert!(disk.open(&old, OpenMode::Read).is_err());
    assert_eq!(NameIndex::open(&root, binding(1), 100, &|_| true).unwrap().len(), 0);
}

#[test]
fn alarmed_names_are_remembered_until_they_are_clean() {
    let index = filled(&root(&MemDisk::new(0)));
    let mut bad = update("bad", None);
    (bad.key, bad.shown, bad.alarmed) = (None, Shown::Nothing, true);
    index.apply(0, &[bad], 7, None).unwrap();
    assert_eq!(index.alarmed(10).unwrap().len(), 1);
    index.apply(0, &[update("bad", Some(3))], 8, None).unwrap();
    assert!(index.alarmed(10).unwrap().is_empty());
    assert_eq!(index.len(), 7);
}

#[test]
fn what_was_applied_is_there_after_a_reopen() {
    let disk = MemDisk::new(0);
    let root = root(&disk);
    filled(&root).close();
    let index = NameIndex::open(&root, binding(1), 100, &|_| true).unwrap();
    assert_eq!(index.position(), (0, 6));
    assert_eq!(index.len(), 6);
}

/// Fault cases 87 and 114: an index that knows more than the store, or belongs to another, is
/// started anew.
#[test]
fn an_index_that_does_not_fit_its_store_starts_anew() {
    let disk = MemDisk::new(0);
    let root = root(&disk);
    filled(&root).close();
    let index = NameIndex::open(&root, binding(1), 5, &|_| true).unwrap();
    assert_eq!((index.position(), index.len()), ((0, 0), 0));
    index.close();
    filled(&root).close();
    let index = NameIndex::open(&root, binding(2), 100, &|_| true).unwrap();
    assert_eq!((index.position(), index.len()), ((0, 0), 0));
}

/// Fault case 114: the store was restored from a copy, and has grown beyond the index since.
#[test]
fn an_index_whose_last_record_is_not_in_the_store_starts_anew() {
    let disk = MemDisk::new(0);
    let root = root(&disk);
    let mark = |n: u8| Mark { sequence: n.into(), hash: RecordHash::from_bytes([n; 32]) };
    let index = filled(&root);
    index.apply(0, &[update("c", Some(1))], 7, Some(mark(7))).unwrap();
    // Records that are damaged, and names that were mended.
    index.apply(0, &[update("d", Some(1))], 9, None).unwrap();
    index.close();
    let asked = std::cell::Cell::new(None);
    let open = |stands| {
        NameIndex::open(&root, binding(1), 100, &|mark| {
            asked.set(Some(*mark));
            stands
        })
        .unwrap()
    };
    let index = open(true);
    assert_eq!((asked.take(), index.position(), index.len()), (Some(mark(7)), (0, 9), 8));
    index.close();
    let index = open(false);
    assert_eq!((index.position(), index.len()), ((0, 0), 0));
    index.close();
    asked.take();
    assert_eq!(open(false).position(), (0, 0));
    assert_eq!(asked.take(), None, "one that was made from nothing fits any store");
}

/// An index of the version before says of no record that it was made from it.
#[test]
fn an_index_without_a_mark_is_believed_as_before() {
    let disk = MemDisk::new(0);
    let root = root(&disk);
    filled(&root).close();
    let index = NameIndex::open(&root, binding(1), 100, &|_| false).unwrap();
    assert_eq!((index.position(), index.len()), ((0, 6), 6));
}

#[test]
fn updates_for_an_index_that_was_started_anew_are_dropped() {
    let index = filled(&root(&MemDisk::new(0)));
    assert!(matches!(index.start_over(), IndexError::Rebuilding));
    assert_eq!(index.position(), (1, 0));
    index.apply(0, &[update("late", Some(1))], 7, None).unwrap();
    assert_eq!((index.position(), index.len()), ((1, 0), 0));
}

/// Fault case 78: whatever bit flips while the files are closed, the index gives what was stored or
/// starts anew.
#[test]
fn a_flipped_bit_never_changes_an_answer() {
    let disk = MemDisk::new(0);
    filled(&root(&disk)).close();
    let expected = ["a", "a-b", "a/1", "a/2/x", "a0", "b"];
    let (mut anew, mut bits) = (0, 0);
    for (path, len) in disk.files() {
        for bit in 0..len * 8 {
            let disk = disk.fork(0);
            disk.flip_bit(&path, bit).unwrap();
            let context = format!("bit {bit} of {}", path.display());
            let index = NameIndex::open(&root(&disk), binding(1), 100, &|_| true).unwrap();
            match index.page(&Scope::All, None, 10) {
                Ok(page) if index.position() == (0, 6) => {
                    let keys: Vec<_> = page.iter().map(|(key, _)| key.as_str()).collect();
                    assert_eq!(keys, expected, "{context}");
                    assert!(page.iter().all(|(_, entry)| entry.size == 1), "{context}");
                }
                Ok(page) => {
                    assert!(page.is_empty() && index.position().1 == 0, "{context}");
                    anew += 1;
                }
                Err(error) => {
                    assert!(matches!(error, IndexError::Rebuilding), "{context}");
                    // A question about the new one is answered.
                    assert_eq!(index.position(), (1, 0), "{context}");
                    assert!(index.page(&Scope::All, None, 10).unwrap().is_empty(), "{context}");
                    anew += 1;
                }
            }
            bits += 1;
        }
    }
    assert!(bits > 8000 && anew == bits, "{anew} of {bits}");
}

/// The changes at each position of a row that is always the same.
fn change(n: u64) -> Vec<NameUpdate> {
    let key = |n: u64| format!("dir/{:02}", n * 7 % 23);
    let removed = n.is_multiple_of(3).then(|| update(&key(n / 3), None));
    [update(&key(n), Some(n)), update(&format!("at {n:03}"), Some(n))]
        .into_iter()
        .chain(removed.filter(|removed| removed.key.as_ref().unwrap().as_str() != key(n)))
        .collect()
}

type Listed = BTreeMap<String, u64>;

fn listed(index: &NameIndex) -> Listed {
    let page = index.page(&Scope::All, None, 1000).unwrap();
    page.into_iter().map(|(key, entry)| (key.to_string(), entry.size)).collect()
}

/// The list after each number of changes.
fn expected(changes: u64) -> Vec<Listed> {
    let mut all = vec![Listed::new()];
    for n in 0..changes {
        let mut next = all.last().unwrap().clone();
        for update in change(n) {
            let key = update.key.unwrap().to_string();
            match update.shown {
                Shown::File(entry) => drop(next.insert(key, entry.size)),
                _ => drop(next.remove(&key)),
            }
        }
        all.push(next);
    }
    all
}

/// Applies all changes that the index lacks; notes the last position that was synced.
fn catch_up(index: &NameIndex, changes: u64, synced: &mut u64) -> Result<(), IndexError> {
    loop {
        let (generation, cursor) = index.position();
        if cursor == changes {
            return Ok(());
        }
        index.apply(generation, &change(cursor), cursor + 1, None)?;
        if cursor % 16 == 15 {
            index.sync()?;
            *synced = cursor + 1;
        }
        if index.merge_is_due() {
            index.merge()?;
        }
    }
}

/// Fault cases 74, 75, 88: after a power cut, the index is as of its cursor, which is not before the last
/// sync; from there it catches up.
#[test]
fn after_a_power_cut_at_any_operation_the_index_is_as_of_its_cursor() {
    const CHANGES: u64 = 100;
    let expected = expected(CHANGES);
    let (mut at, mut kept) = (0, 0);
    loop {
        at += 1;
        let context = format!("cut at {at}");
        let disk = MemDisk::new(at);
        let root = root(&disk);
        let mut synced = 0;
        disk.inject(at, Fault::PowerCut);
        let opened = NameIndex::open_as(SMALL, &root, binding(1), CHANGES, &|_| true);
        let done = opened.and_then(|index| catch_up(&index, CHANGES, &mut synced));
        if done.is_ok() {
            break;
        }
        disk.restart();
        let index = NameIndex::open_as(SMALL, &root, binding(1), CHANGES, &|_| true).unwrap();
        let (_, cursor) = index.position();
        assert!(cursor >= synced, "{context}: {cursor} of {synced}");
        let here = &expected[usize::try_from(cursor).unwrap()];
        assert_eq!(listed(&index), *here, "{context}");
        assert_eq!(index.len(), here.len() as u64, "{context}");
        kept += u64::from(cursor > 0);
        catch_up(&index, CHANGES, &mut synced).unwrap();
        assert_eq!(listed(&index), *expected.last().unwrap(), "{context}");
    }
    assert!(at > 150 && kept > at / 2, "{at} operations, {kept} with something kept");
}

/// Fault case 44.
#[test]
fn on_a_full_disk_the_index_stands_still_and_answers_and_goes_on_when_there_is_room() {
    let disk = MemDisk::new(0);
    let index = NameIndex::open_as(SMALL, &root(&disk), binding(1), 0, &|_| true).unwrap();
    let expected = expected(200);
    let mut synced = 0;
    catch_up(&index, 40, &mut synced).unwrap();
    disk.set_capacity(Some(disk.used()));
    let error = catch_up(&index, 200, &mut synced).unwrap_err();
    assert!(matches!(error, IndexError::Unusable(IndexFault::Waits(_))), "{error}");
    let (generation, cursor) = index.position();
    assert!(generation == 0 && (40..60).contains(&cursor), "{cursor}");
    assert_eq!(listed(&index), expected[usize::try_from(cursor).unwrap()]);
    disk.set_capacity(None);
    catch_up(&index, 200, &mut synced).unwrap();
    assert_eq!((listed(&index), index.position().0), (expected[200].clone(), 0));
}

/// Fault case 44.
#[test]
fn a_merge_waits_until_it_leaves_the_reserve_of_the_disk_whole() {
    const RESERVE: u64 = 10_000;
    let disk = MemDisk::new(0);
    let quota = Quota { reserve_bytes: Some(RESERVE), reserve_inodes: Some(1), ..Quota::default() };
    let root = Root { quota, ..root(&disk) };
    let index = NameIndex::open_as(SMALL, &root, binding(1), 0, &|_| true).unwrap();
    let mut cursor = 0;
    while !index.merge_is_due() {
        index.apply(0, &change(cursor), cursor + 1, None).unwrap();
        index.sync().unwrap();
        cursor += 1;
    }
    let bytes = index.0.current().tree.merge_bytes().unwrap();
    let (files, used) = (disk.files(), disk.used());
    disk.set_capacity(Some(used + RESERVE + bytes - 1));
    let operations = disk.operations();
    assert_eq!(index.merge().unwrap(), Merged::Waits { bytes });
    assert_eq!((disk.files(), disk.operations()), (files, operations), "nothing is tried");
    disk.set_capacity(Some(used + RESERVE + bytes));
    disk.set_inodes(Some(0));
    assert_eq!(index.merge().unwrap(), Merged::Waits { bytes }, "no inodes");
    disk.set_inodes(None);
    assert_eq!(index.merge().unwrap(), Merged::Done);
    assert!(!index.merge_is_due());
    assert_eq!(listed(&index), expected(cursor)[usize::try_from(cursor).unwrap()]);
}

#[test]
fn an_error_of_the_disk_at_any_operation_is_made_good() {
    const CHANGES: u64 = 60;
    let expected = expected(CHANGES);
    for (kind, at) in [ErrorKind::Other, ErrorKind::StorageFull]
        .into_iter()
        .flat_map(|kind| (1..180).map(move |at| (kind, at)))
    {
        let context = format!("{kind} at {at}");
        let disk = MemDisk::new(at);
        let root = root(&disk);
        let index = NameIndex::open_as(SMALL, &root, binding(1), CHANGES, &|_| true).unwrap();
        disk.inject(at, Fault::Error { kind, times: 1 });
        let mut failures = 0;
        while catch_up(&index, CHANGES, &mut 0).is_err() {
            failures += 1;
            assert!(failures < 5, "{context}");
        }
        assert_eq!(listed(&index), *expected.last().unwrap(), "{context}");
        disk.heal();
        index.close();
        let index = NameIndex::open_as(SMALL, &root, binding(1), CHANGES, &|_| true).unwrap();
        let (_, cursor) = index.position();
        assert_eq!(listed(&index), expected[usize::try_from(cursor).unwrap()], "{context}");
    }
}

/// Many questions and changes, while the index merges and begins anew: nobody writes the files of a tree that was
/// replaced.
#[test]
fn an_index_that_begins_anew_under_load_is_whole_afterwards() {
    const CHANGES: u64 = 400;
    let disk = MemDisk::new(0);
    let root = root(&disk);
    let index = &NameIndex::open_as(SMALL, &root, binding(1), CHANGES, &|_| true).unwrap();
    let expected = &expected(CHANGES);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| catch_up(index, CHANGES, &mut 0).unwrap());
        scope.spawn(|| {
            for _ in 0..20 {
                std::thread::yield_now();
                index.start_over();
                index.merge().unwrap();
            }
        });
        while !writer.is_finished() {
            let (generation, before) = index.position();
            let every = index.every(&Scope::All, None, 1000).unwrap().len();
            if index.position() == (generation, before) {
                let at = usize::try_from(before).unwrap();
                assert!(every >= expected[at].len(), "{every} at {at}");
            }
        }
    });
    catch_up(index, CHANGES, &mut 0).unwrap();
    assert_eq!(listed(index), expected[400]);
    index.sync().unwrap();
    let index = NameIndex::open_as(SMALL, &root, binding(1), CHANGES, &|_| true).unwrap();
    assert_eq!((listed(&index), index.position()), (expected[400].clone(), (0, CHANGES)));
}
