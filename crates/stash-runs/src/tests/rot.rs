//! Bits that flip, and files that are not what they seem.

use super::*;

/// A tree with two runs, a few hundred bytes each, and its disk.
fn small() -> (MemDisk, Map) {
    let disk = MemDisk::new(0);
    let mut pair = Pair::open(place(&disk), 21).unwrap();
    for n in 0..2u8 {
        let mut changes = Changes::default();
        for key in 0..8 {
            let key = blake3::hash(&[n, key]);
            changes.insert(key.as_bytes(), vec![n; 5]);
            pair.map.insert(key.as_bytes().to_vec(), vec![n; 5]);
        }
        changes.remove(b"absent");
        pair.tree.publish(changes);
        pair.freeze();
        pair.checkpoint().unwrap();
    }
    assert_eq!(pair.tree.stats().runs, 2);
    (disk, pair.map)
}

/// The damage that is found by opening the tree and verifying it; until then every answer is
/// right, or damage too.
fn damage(disk: &MemDisk, map: &Map, context: &str) -> Option<TreeError> {
    let tree = match Tree::open(&place(disk), KEY, LIMITS) {
        Ok(tree) => tree,
        Err(error) => return Some(error),
    };
    match all(&tree) {
        Ok(all) => assert!(all == *map, "{context}: another map"),
        Err(error) => assert!(matches!(error, TreeError::Damaged(_)), "{context}: {error}"),
    }
    for key in map.keys().map(|key| &**key).chain([&b"absent"[..], b"never"]) {
        match tree.get(key) {
            Ok(value) => assert_eq!(value.as_ref(), map.get(key), "{context}"),
            Err(error) => assert!(matches!(error, TreeError::Damaged(_)), "{context}: {error}"),
        }
        match tree.last(&[], key) {
            Ok(last) => {
                let expected = map.range(..key.to_vec()).next_back();
                assert_eq!(last.as_ref().map(|(k, v)| (k, v)), expected, "{context}");
            }
            Err(error) => assert!(matches!(error, TreeError::Damaged(_)), "{context}: {error}"),
        }
    }
    let mut cursor = TreeCursor::default();
    loop {
        match tree.verify(cursor, 1) {
            Ok(Some((next, _))) => cursor = next,
            Ok(None) => return None,
            Err(error) => return Some(error),
        }
    }
}

#[test]
fn every_flipped_bit_is_found_and_changes_no_answer() {
    // Fault case 78.
    let (disk, map) = small();
    assert!(damage(&disk.fork(0), &map, "untouched").is_none());
    let mut bits = 0;
    for (path, len) in disk.files() {
        for bit in 0..len * 8 {
            let disk = disk.fork(0);
            disk.flip_bit(&path, bit).unwrap();
            let context = format!("bit {bit} of {}", path.display());
            let found = damage(&disk, &map, &context);
            assert!(matches!(found, Some(TreeError::Damaged(_))), "{context}: {found:?}");
            bits += 1;
        }
    }
    assert!(bits > 5000, "{bits} bits");
}

#[test]
fn a_file_that_is_cut_or_longer_or_missing_is_found() {
    let (disk, map) = small();
    for (path, len) in disk.files() {
        for new in (0..len).chain([len + 1]) {
            let disk = disk.fork(0);
            disk.open(&path, stash_disk::OpenMode::Write).unwrap().set_len(new).unwrap();
            let context = format!("{new} bytes of {}", path.display());
            let found = damage(&disk, &map, &context);
            assert!(matches!(found, Some(TreeError::Damaged(_))), "{context}: {found:?}");
        }
        let disk = disk.fork(0);
        disk.remove(&path).unwrap();
        let found =
            damage(&disk, &if path.ends_with("head") { Map::new() } else { map.clone() }, "");
        // Without HEAD it is an empty tree, which its owner fills from the log.
        let fine = if path.ends_with("head") { found.is_none() } else { found.is_some() };
        assert!(fine, "{} removed", path.display());
    }
}

#[test]
fn a_run_of_another_number_or_of_another_store_is_found() {
    // Fault case 87.
    let (disk, map) = small();
    let runs: Vec<_> = disk.files().into_iter().filter(|(p, _)| !p.ends_with("head")).collect();
    let swapped = disk.fork(0);
    swapped.rename(&runs[0].0, Path::new("/s/x")).unwrap();
    swapped.rename(&runs[1].0, &runs[0].0).unwrap();
    swapped.rename(Path::new("/s/x"), &runs[1].0).unwrap();
    let found = damage(&swapped, &map, "swapped");
    assert!(matches!(found, Some(TreeError::Damaged(_))), "{found:?}");
    let other = Tree::open(&place(&disk), [4; 32], LIMITS).err();
    assert!(matches!(other, Some(TreeError::Damaged(_))), "{other:?}");
}

#[test]
fn two_blocks_that_changed_places_are_found() {
    let disk = MemDisk::new(0);
    let tree = Tree::open(&place(&disk), KEY, LIMITS).unwrap();
    let mut changes = Changes::default();
    for n in 0..500u64 {
        changes.insert(&n.to_be_bytes(), vec![0; 92]);
    }
    tree.publish(changes);
    tree.freeze(vec![]);
    tree.checkpoint().unwrap();
    let run = &tree.below().runs[0];
    let mut places = run.fences.seek(|_, _| false).unwrap();
    let mut take = || places.take(&run.fences).unwrap().unwrap();
    let (first, second, third) = (take(), take(), take());
    assert_eq!(second.len, third.len, "blocks of one length, so that all else is right");
    let file = disk.open(&run.path, stash_disk::OpenMode::Write).unwrap();
    let mut blocks = [vec![0; second.len], vec![0; third.len]];
    file.read_at(second.offset, &mut blocks[0]).unwrap();
    file.read_at(third.offset, &mut blocks[1]).unwrap();
    file.write_at(second.offset, &blocks[1]).unwrap();
    file.write_at(third.offset, &blocks[0]).unwrap();
    assert!(run.stored(first).is_ok());
    for place in [second, third] {
        assert!(matches!(run.stored(place), Err(TreeError::Damaged(_))));
    }
    assert!(matches!(all(&tree), Err(TreeError::Damaged(_))));
}

#[test]
fn a_footer_that_does_not_add_up_is_damage_whatever_its_tag() {
    let (disk, _) = small();
    let directory = place(&disk);
    let tree = Tree::open(&directory, KEY, LIMITS).unwrap();
    let run = Arc::clone(&tree.below().runs[0]);
    let (id, at) = (run.layout.id, run.len - crate::layout::FOOTER as u64);
    let file = disk.open(&run.path, stash_disk::OpenMode::Write).unwrap();
    let mut good = vec![0; crate::layout::FOOTER - crate::codec::TAG];
    file.read_at(at, &mut good).unwrap();
    for (word, value) in (0..7).flat_map(|n| [0, 1, 63, 1 << 40, u64::MAX].map(|v| (n, v))) {
        let mut footer = good.clone();
        footer[word * 8..][..8].copy_from_slice(&u64::to_le_bytes(value));
        let tag = run.keys.tag(id, at, &footer);
        file.write_at(at, &[&footer[..], &tag].concat()).unwrap();
        let opened = Run::open(&directory, run.keys, id, run.len).err();
        // How many entries there are is only told, but they have to fit.
        let fine = footer == good || (word == 3 && value < 64);
        assert_eq!(opened.is_none(), fine, "word {word} is {value}: {opened:?}");
        assert!(opened.is_none_or(|e| matches!(e, TreeError::Damaged(_))));
    }
}
