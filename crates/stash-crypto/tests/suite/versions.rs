//! Covering, leaves, head, checked against the definitions written out.

use std::cmp::Ordering;

use proptest::prelude::*;
use stash_crypto::keys::*;
use stash_crypto::record::*;
use stash_crypto::*;

use crate::fixtures::*;

/// One step of a history: who writes, what it holds of the records before, what it writes.
type Step = (u8, u32, bool);

/// Writes a history in which each author has seen some of the records before, with all they saw.
fn history(steps: &[Step]) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    let mut numbers = [0u64; 3];
    for (author, held, put) in steps {
        let keys = NodeKeys::from_seed([10 + author; 32]);
        let n = &mut numbers[usize::from(*author)];
        *n += 1;
        let writer = Writer { node: keys.node_id(), incarnation: Incarnation::from_bytes([0; 8]) };
        let mut seen = Vector::new();
        let mut height = 0;
        for (at, record) in records.iter().enumerate() {
            let own = record.clear().dot.writer == writer;
            if own || held >> (at % 32) & 1 == 1 {
                seen.join(&record.clear().seen).unwrap();
                seen.insert(record.clear().dot).unwrap();
                height = height.max(record.clear().height);
            }
        }
        let kind = if *put { RecordKind::Put } else { RecordKind::Tombstone };
        let clear = Clear { dot: Dot { writer, n: *n }, seen, height: height + 1, ..clear(kind) };
        let meta = if *put { inline_meta() } else { Meta::new(key(), 0) };
        let draft = RecordDraft { clear, meta: Some(meta) };
        records.push(draft.sign(keys.signer(), &meta_keys()).unwrap());
    }
    records
}

/// The definition: records that no other covers, greatest first.
fn naive_leaves(records: &[Record]) -> Vec<&Record> {
    let covered = |s: &Record| {
        records.iter().any(|r| r.clear().seen.get(&s.clear().dot.writer) >= s.clear().dot.n)
    };
    let mut leaves: Vec<_> = records.iter().filter(|record| !covered(record)).collect();
    leaves.sort_by(|a, b| compare_leaves(b, a));
    leaves
}

proptest! {
    #[test]
    fn leaves_are_what_the_definition_says(
        steps in prop::collection::vec((0u8..3, any::<u32>(), any::<bool>()), 0..12),
        rotation in 0usize..12,
    ) {
        let mut records = history(&steps);
        let expected: Vec<_> = naive_leaves(&records).into_iter().map(Record::hash).collect();
        let found = |records: &[Record]| -> Vec<_> {
            leaves(records).into_iter().map(Record::hash).collect()
        };
        prop_assert_eq!(&found(&records), &expected);
        prop_assert_eq!(head(&records).map(Record::hash), expected.first().copied());
        let middle = rotation % records.len().max(1);
        records.rotate_left(middle);
        records.extend(records.first().cloned());
        prop_assert_eq!(found(&records), expected, "order or repetition matters");
    }

    #[test]
    fn joining_vectors_is_a_least_upper_bound(
        a in prop::collection::vec((0u8..6, 1u64..9), 0..8),
        b in prop::collection::vec((0u8..6, 1u64..9), 0..8),
    ) {
        let make = |dots: &[(u8, u64)]| {
            let mut vector = Vector::new();
            for (byte, n) in dots {
                let node = NodeId::from_bytes([*byte; 32]);
                let writer = Writer { node, incarnation: Incarnation::from_bytes([0; 8]) };
                vector.insert(Dot { writer, n: *n }).unwrap();
            }
            vector
        };
        let (a, b) = (make(&a), make(&b));
        let (mut ab, mut ba) = (a.clone(), b.clone());
        ab.join(&b).unwrap();
        ba.join(&a).unwrap();
        prop_assert_eq!(&ab, &ba);
        prop_assert!(ab.includes(&a) && ab.includes(&b));
        prop_assert_eq!(a.includes(&b) && b.includes(&a), a == b);
    }
}

#[test]
fn two_writes_apart_are_siblings_and_a_write_that_saw_both_covers_them() {
    let records = history(&[(0, 0, true), (1, 0, true), (2, 0b11, true)]);
    assert_eq!(leaves(&records[..2]).len(), 2);
    assert_eq!(leaves(&records), [&records[2]]);
    assert!(covers(records[2].clear(), records[0].clear()));
    assert!(!covers(records[0].clear(), records[2].clear()));
}

#[test]
fn a_put_beats_a_higher_tombstone_and_then_height_decides() {
    let records = history(&[(0, 0, true), (0, 1, false), (1, 0, true)]);
    let found = leaves(&records);
    assert_eq!(found, [&records[2], &records[1]]);
    assert!(found[0].clear().height < found[1].clear().height);
    assert_eq!(compare_leaves(&records[2], &records[1]), Ordering::Greater);
}

#[test]
fn two_hashes_under_one_dot_are_both_kept() {
    let other = Meta { mode: Some(1), ..inline_meta() };
    let records = [
        sign(clear(RecordKind::Put), Some(inline_meta())),
        sign(clear(RecordKind::Put), Some(other)),
    ];
    assert_eq!(records[0].clear().dot, records[1].clear().dot);
    assert_ne!(records[0].hash(), records[1].hash());
    assert_eq!(leaves(&records).len(), 2);
}

#[test]
fn forgets_neither_cover_nor_are_leaves_and_names_do_not_mix() {
    let records = history(&[(0, 0, true)]);
    let mut seen = Vector::new();
    seen.insert(records[0].clear().dot).unwrap();
    let kind = RecordKind::Forget(ForgetKind::Covered);
    let forget = sign(Clear { seen: seen.clone(), ..clear(kind) }, None);
    assert!(forgets(forget.clear(), records[0].clear()));
    assert!(!covers(forget.clear(), records[0].clear()));
    let elsewhere = Clear { seen, name: NameId::from_bytes([9; 32]), ..clear(RecordKind::Put) };
    let elsewhere = sign(elsewhere, Some(inline_meta()));
    assert!(!covers(elsewhere.clear(), records[0].clear()));
    let all = [records[0].clone(), forget, elsewhere.clone()];
    assert_eq!(leaves(&all).len(), 2);
    assert_eq!(leaves(&all[..2]), [&records[0]]);
    assert_eq!(head(&[]), None);
}

#[test]
fn a_full_vector_refuses_a_new_writer_and_stays_as_it_was() {
    let mut full = seen(64);
    let before = full.clone();
    let stranger = Dot { writer: writer(&node()), n: 1 };
    assert_eq!(full.insert(stranger), Err(SeenFull));
    let known = before.iter().next().unwrap();
    let mut other = Vector::new();
    other.insert(Dot { n: 99, ..known }).unwrap();
    other.insert(stranger).unwrap();
    assert_eq!(full.join(&other), Err(SeenFull));
    assert_eq!(full, before, "not even the part that would fit");
    assert_eq!(full.insert(Dot { n: 99, ..known }), Ok(()));
    assert_eq!((full.len(), full.get(&known.writer)), (64, 99));
}

/// A put of a node under one of its incarnations, or a dead forget with this vector.
fn by(keys: &NodeKeys, incarnation: u8, n: u64, forgets: Option<Vector>) -> Record {
    let writer =
        Writer { node: keys.node_id(), incarnation: Incarnation::from_bytes([incarnation; 8]) };
    let kind = match forgets {
        Some(_) => RecordKind::Forget(ForgetKind::Dead),
        None => RecordKind::Put,
    };
    let meta = forgets.is_none().then(inline_meta);
    let seen = forgets.unwrap_or_default();
    let clear = Clear { dot: Dot { writer, n }, seen, ..clear(kind) };
    RecordDraft { clear, meta }.sign(keys.signer(), &meta_keys()).unwrap()
}

#[test]
fn a_forget_by_node_takes_all_that_the_node_wrote_and_nothing_else() {
    let (mine, bad) = (by(&node(), 1, 1, None), keeper());
    let junk: Vec<Record> = (0..80).map(|at| by(&bad, at, u64::from(at) + 1, None)).collect();
    let mut vector = Vector::new();
    vector.insert_node(bad.node_id(), 5).unwrap();
    let forget = by(&node(), 1, 2, Some(vector));
    let all = [&[mine.clone(), forget.clone()], &junk[..79]].concat();
    let settled = settle(&all);
    assert_eq!(settled.keep, [mine.clone(), forget.clone()]);
    assert!(settled.drop.iter().all(|(_, why)| *why == Gone::Dead));
    let late = settle(&[settled.keep, vec![junk[79].clone()]].concat());
    assert_eq!(late.drop, [(junk[79].clone(), Gone::Dead)], "whatever its incarnation");
    // It brings about all that a forget of some of them does, and not the other way round.
    let mut some = Vector::new();
    some.insert(junk[3].clear().dot).unwrap();
    let some = by(&node(), 2, 1, Some(some));
    assert!(includes_forget(forget.clear(), some.clear()));
    assert!(!includes_forget(some.clear(), forget.clear()));
    // Whoever writes later has seen it all.
    let later = Clear { seen: forget.clear().seen.clone(), ..mine.clear().clone() };
    assert!(covers(&later, junk[0].clear()) && !covers(&later, mine.clear()));
}

#[test]
fn a_node_stands_for_all_its_writers_in_a_vector_and_takes_one_place() {
    let (bad, other) = (keeper().node_id(), NodeId::from_bytes([1; 32]));
    let dot = |node, at: u8| {
        let incarnation = Incarnation::from_bytes([at; 8]);
        Dot { writer: Writer { node, incarnation }, n: 9 }
    };
    let mut full = Vector::new();
    (0..64).for_each(|at| full.insert(dot(bad, at)).unwrap());
    assert_eq!(full.insert(dot(other, 1)), Err(SeenFull));
    let mut folded = full.clone();
    folded.insert_node(bad, 5).unwrap();
    assert_eq!((folded.len(), folded.iter().count()), (1, 0));
    assert!(folded.includes(&full) && !full.includes(&folded));
    assert!(folded.covers(&Dot { n: N_MAX, ..dot(bad, 99) }));
    folded.insert(dot(bad, 99)).unwrap();
    assert_eq!(folded.len(), 1, "it is included already");
    (0..63).for_each(|at| folded.insert(dot(other, at)).unwrap());
    assert_eq!(folded.insert_node(NodeId::from_bytes([2; 32]), 5), Err(SeenFull));
    let mut joined = full.clone();
    joined.join(&folded).unwrap();
    assert_eq!(joined, folded, "a join makes room before it needs any");
    folded.insert_node(other, 6).unwrap();
    let named: Vec<NodeId> = folded.nodes().map(|(node, _)| node).collect();
    assert!(named.is_sorted() && named.len() == 2 && folded.len() == 2);

    let mut reached = Reached::default();
    (0..64).for_each(|at| reached.insert(dot(other, at)));
    reached.join(&full);
    assert_eq!(reached.vector(), Err(SeenFull));
    assert!(reached.includes(&full) && !reached.includes(&folded));
    reached.insert_node(bad, 5);
    assert_eq!(reached.vector(), Err(SeenFull), "65");
    reached.retain(|writer| writer.incarnation != Incarnation::from_bytes([7; 8]));
    assert_eq!(reached.vector().unwrap().len(), 64);
}
