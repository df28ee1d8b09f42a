use stash_crypto::RecordHash;

use super::*;

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
    };
    let removed = Shown::Removed { restorable: true };
    let shown = size.map_or(removed, |size| Shown::File(file(size)));
    NameUpdate { name, key: Some(Key::new(key).unwrap()), shown, alarmed: false }
}

fn keys(index: &NameIndex, scope: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    let page = index.page(&Scope::or_all(scope).unwrap(), after, limit).unwrap();
    page.into_iter().map(|(key, _)| key.to_string()).collect()
}

fn filled(path: &Path) -> NameIndex {
    let index = NameIndex::open(path, binding(1), 100).unwrap();
    let updates: Vec<_> =
        ["a", "a-b", "a/1", "a/2/x", "a0", "b"].map(|key| update(key, Some(1))).into();
    index.apply(0, &updates, 6, Durability::Immediate).unwrap();
    index
}

#[test]
fn a_page_holds_the_name_itself_and_what_lies_under_it() {
    let dir = tempfile::tempdir().unwrap();
    let index = filled(&dir.path().join("names.redb"));
    assert_eq!(keys(&index, "", None, 10), ["a", "a-b", "a/1", "a/2/x", "a0", "b"]);
    assert_eq!(keys(&index, "a", None, 10), ["a", "a/1", "a/2/x"]);
    assert_eq!(keys(&index, "a/", None, 10), ["a/1", "a/2/x"]);
    assert_eq!(keys(&index, "a/2", None, 10), ["a/2/x"]);
    assert!(keys(&index, "c", None, 10).is_empty());
}

#[test]
fn pages_follow_each_other_without_gap_or_repetition() {
    let dir = tempfile::tempdir().unwrap();
    let index = filled(&dir.path().join("names.redb"));
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
fn a_removed_name_is_found_again_by_its_name_id() {
    let dir = tempfile::tempdir().unwrap();
    let index = filled(&dir.path().join("names.redb"));
    let mut gone = update("a/1", None);
    let name = gone.name;
    gone.key = None;
    index.apply(0, &[gone], 7, Durability::None).unwrap();
    assert_eq!(keys(&index, "a", None, 10), ["a", "a/2/x"]);
    assert_eq!(index.knows(&[name]).unwrap(), [true], "a later record of it is not the first");
    assert_eq!(index.len().unwrap(), 5);
}

#[test]
fn removed_names_and_those_with_siblings_are_listed_apart_until_they_are_so_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let index = filled(&dir.path().join("names.redb"));
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
    index.apply(0, &changes, 7, Durability::None).unwrap();
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
    index.apply(0, &changes, 8, Durability::None).unwrap();
    assert!(removed(&all).is_empty() && conflicts(&all).is_empty());
    assert_eq!(
        texts(index.every(&all, None, 10).unwrap()),
        ["a", "a-b", "a/1", "a/2/x", "a/9", "a0"]
    );
}

/// An index of the version before lacks what this one lists.
#[test]
fn an_index_of_another_version_starts_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("names.redb");
    filled(&path).close();
    let db = Guarded::open(&path, CACHE, CHECK_BELOW).unwrap();
    db.write(Durability::Immediate, |txn| {
        with_table(txn.open_table(STATE)?, |state| {
            let before = checked(Table::State, BINDING, &binding(1).bytes()[1..]);
            state.insert(BINDING, &before[..])?;
            Ok(())
        })
    })
    .unwrap();
    db.close().unwrap();
    let index = NameIndex::open(&path, binding(1), 100).unwrap();
    assert_eq!((index.position(), index.len().unwrap()), ((0, 0), 0));
}

#[test]
fn alarmed_names_are_remembered_until_they_are_clean() {
    let dir = tempfile::tempdir().unwrap();
    let index = filled(&dir.path().join("names.redb"));
    let mut bad = update("bad", None);
    (bad.key, bad.shown, bad.alarmed) = (None, Shown::Nothing, true);
    index.apply(0, &[bad], 7, Durability::None).unwrap();
    assert_eq!(index.alarmed(10).unwrap().len(), 1);
    index.apply(0, &[update("bad", Some(3))], 8, Durability::None).unwrap();
    assert!(index.alarmed(10).unwrap().is_empty());
    assert_eq!(index.len().unwrap(), 7);
}

#[test]
fn what_was_applied_is_there_after_a_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("names.redb");
    filled(&path).close();
    let index = NameIndex::open(&path, binding(1), 100).unwrap();
    assert_eq!(index.position(), (0, 6));
    assert_eq!(index.len().unwrap(), 6);
}

/// Fault cases 87 and 114: an index that knows more than the store, or belongs to another, is
/// started anew.
#[test]
fn an_index_that_does_not_fit_its_store_starts_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("names.redb");
    filled(&path).close();
    let index = NameIndex::open(&path, binding(1), 5).unwrap();
    assert_eq!((index.position(), index.len().unwrap()), ((0, 0), 0));
    index.close();
    filled(&path).close();
    let index = NameIndex::open(&path, binding(2), 100).unwrap();
    assert_eq!((index.position(), index.len().unwrap()), ((0, 0), 0));
}

#[test]
fn updates_for_an_index_that_was_started_anew_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let index = filled(&dir.path().join("names.redb"));
    let slot = index.current();
    assert!(matches!(index.replace(&slot, bad("a test")), IndexError::Rebuilding));
    assert_eq!(index.position(), (1, 0));
    index.apply(0, &[update("late", Some(1))], 7, Durability::None).unwrap();
    assert_eq!((index.position(), index.len().unwrap()), ((1, 0), 0));
}

/// Fault case 78: whatever bit flips while the file is closed, the index gives what was stored or
/// starts anew.
#[test]
fn a_flipped_bit_never_changes_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("names.redb");
    filled(&path).close();
    let clean = std::fs::read(&path).unwrap();
    let expected = ["a", "a-b", "a/1", "a/2/x", "a0", "b"];
    for at in (0..clean.len()).step_by(clean.len() / 199) {
        let mut damaged = clean.clone();
        damaged[at] ^= 1 << (at % 8);
        std::fs::write(&path, &damaged).unwrap();
        let index = NameIndex::open(&path, binding(1), 100).unwrap();
        let scope = Scope::All;
        match index.page(&scope, None, 10) {
            Ok(page) if index.position().1 == 6 => {
                let keys: Vec<_> = page.iter().map(|(key, _)| key.as_str()).collect();
                assert_eq!(keys, expected, "byte {at}");
                assert!(page.iter().all(|(_, entry)| entry.size == 1), "byte {at}");
            }
            Ok(page) => assert!(page.is_empty() && index.position().1 == 0, "byte {at}"),
            Err(error) => assert!(matches!(error, IndexError::Rebuilding), "byte {at}"),
        }
    }
}
