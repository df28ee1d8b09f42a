use stash_crypto::{
    Clear, Dot, Incarnation, Manifest, NodeKeys, RecordDraft, RootSecret, Vector, Writer,
};

use super::*;

struct Author {
    root: RootSecret,
    node: NodeKeys,
    keys: ReadKeys,
    n: u64,
}

impl Author {
    fn new() -> Author {
        let root = RootSecret::generate(&mut rand::rng());
        let node = NodeKeys::generate(&mut rand::rng());
        let keys = ReadKeys::new(&[root.read_root()]).unwrap();
        Author { root, node, keys, n: 0 }
    }

    fn clear(&mut self, name: NameId, kind: RecordKind, seen: Vector) -> Clear {
        self.n += 1;
        let writer =
            Writer { node: self.node.node_id(), incarnation: Incarnation::from_bytes([1; 8]) };
        Clear {
            stash: self.root.stash_id(),
            kind,
            name,
            dot: Dot { writer, n: self.n },
            previous: RecordHash::ZERO,
            height: self.n,
            epoch: 0,
            seen,
            manifest: Manifest::EMPTY,
        }
    }

    fn sign(&self, clear: Clear, meta: Option<Meta>) -> Record {
        let draft = RecordDraft { clear, meta };
        draft.sign(self.node.signer(), &self.root.read_root().meta_keys()).unwrap()
    }

    fn put(&mut self, key: &str, content: &[u8], seen: Vector) -> Record {
        let key = Key::new(key).unwrap();
        let name = self.keys.name_id(&key);
        let mut meta = Meta::new(key, content.len() as u64);
        meta.inline = Some(content.to_vec());
        let clear = self.clear(name, RecordKind::Put, seen);
        self.sign(clear, Some(meta))
    }

    fn tombstone(&mut self, key: &str, seen: Vector) -> Record {
        let key = Key::new(key).unwrap();
        let clear = self.clear(self.keys.name_id(&key), RecordKind::Tombstone, seen);
        self.sign(clear, Some(Meta::new(key, 0)))
    }
}

fn seen(records: &[&Record]) -> Vector {
    let mut seen = Vector::new();
    for record in records {
        seen.join(&record.clear().seen).unwrap();
        seen.insert(record.clear().dot).unwrap();
    }
    seen
}

fn content(view: &NameView) -> Option<Vec<u8>> {
    view.head.as_ref().and_then(|head| head.meta.inline.clone())
}

#[test]
fn the_head_is_the_version_that_nobody_covers() {
    let mut author = Author::new();
    let one = author.put("k", b"1", Vector::new());
    let two = author.put("k", b"2", seen(&[&one]));
    let view = view(&author.keys, &[two.clone(), one]);
    assert_eq!(content(&view), Some(b"2".to_vec()));
    assert_eq!((view.siblings, view.alarms.len()), (0, 0));
    assert_eq!(view.key.unwrap().as_str(), "k");
}

#[test]
fn concurrent_versions_are_counted_as_siblings() {
    let mut author = Author::new();
    let one = author.put("k", b"1", Vector::new());
    let two = author.put("k", b"2", seen(&[&one]));
    let three = author.put("k", b"3", seen(&[&one]));
    let view = view(&author.keys, &[one, two, three]);
    assert_eq!((content(&view), view.siblings), (Some(b"3".to_vec()), 1));
}

#[test]
fn a_removed_name_has_a_key_and_no_head() {
    let mut author = Author::new();
    let one = author.put("k", b"1", Vector::new());
    let gone = author.tombstone("k", seen(&[&one]));
    let view = view(&author.keys, &[one, gone]);
    assert!(view.head.is_none());
    assert_eq!(view.key.unwrap().as_str(), "k");
}

#[test]
fn what_a_dead_forget_names_counts_for_nothing() {
    let mut author = Author::new();
    let one = author.put("k", b"1", Vector::new());
    let gone = author.tombstone("k", seen(&[&one]));
    let name = one.clear().name;
    let dead = RecordKind::Forget(ForgetKind::Dead);
    let clear = author.clear(name, dead, seen(&[&gone]));
    let forget = author.sign(clear, None);
    let view = view(&author.keys, &[one, gone, forget]);
    assert!(view.head.is_none() && view.key.is_none() && view.alarms.is_empty());
}

/// Issue 2, show 10: the meta of one record under the clear part of another, signed by an owner's
/// own key, does not open.
#[test]
fn a_transplanted_meta_is_set_aside_and_never_listed() {
    let mut author = Author::new();
    let good = author.put("k", b"good", Vector::new());
    let other = author.put("k", b"other", Vector::new());
    // The sealed part is bound to the clear part; splice one record's into the other's bytes.
    let (from, to) = (other.bytes(), good.bytes());
    assert_eq!(from.len(), to.len());
    let cut = to.len() - 64 - 32;
    let spliced = [&to[..cut - 256], &from[cut - 256..]].concat();
    let spliced = Record::decode(&spliced).unwrap();
    let view = view(&author.keys, &[good, spliced.clone()]);
    assert_eq!(content(&view), Some(b"good".to_vec()));
    assert_eq!(view.alarms.len(), 1);
    assert_eq!(view.alarms[0].record, spliced.hash());
    assert!(matches!(view.alarms[0].reason, AlarmReason::Sealed(_)));
}

/// Issue 2, show 10: a record under the name id of another key is never listed under either.
#[test]
fn a_record_under_another_name_is_set_aside() {
    let mut author = Author::new();
    let wanted = Key::new("victim").unwrap();
    let name = author.keys.name_id(&wanted);
    let mut meta = Meta::new(Key::new("other").unwrap(), 1);
    meta.inline = Some(vec![1]);
    let clear = author.clear(name, RecordKind::Put, Vector::new());
    let record = author.sign(clear, Some(meta));
    let view = view(&author.keys, &[record]);
    assert!(view.head.is_none() && view.key.is_none());
    assert_eq!(view.alarms[0].reason, AlarmReason::WrongName);
}

#[test]
fn a_record_of_an_unknown_epoch_is_set_aside_by_number() {
    let mut author = Author::new();
    let record = author.put("k", b"1", Vector::new());
    let later = stash_crypto::ReadRoot::from_parts(7, [9; 32]);
    let mut clear = record.clear().clone();
    clear.epoch = 7;
    let meta = record.open_meta(&author.root.read_root().meta_keys()).unwrap();
    let draft = RecordDraft { clear, meta: Some(meta) };
    let record = draft.sign(author.node.signer(), &later.meta_keys()).unwrap();
    let view = view(&author.keys, &[record]);
    assert_eq!(view.alarms[0].reason, AlarmReason::UnknownEpoch { epoch: 7 });
}

/// Fault case 61: another stash's keys open nothing.
#[test]
fn records_of_another_stash_are_set_aside() {
    let (mut author, stranger) = (Author::new(), Author::new());
    let record = author.put("k", b"1", Vector::new());
    let view = view(&stranger.keys, &[record]);
    assert!(view.head.is_none());
    assert_eq!(view.alarms.len(), 1);
}

fn brought_back(author: &Author, records: &[Record]) -> Option<Vec<u8>> {
    let versions = versions(&author.keys, records);
    versions.restorable().and_then(|version| version.meta.inline.clone())
}

#[test]
fn what_comes_back_is_what_the_name_showed_before_it_was_removed() {
    let mut author = Author::new();
    let one = author.put("k", b"1", Vector::new());
    let two = author.put("k", b"2", seen(&[&one]));
    let three = author.put("k", b"3", seen(&[&one]));
    assert_eq!(brought_back(&author, &[one.clone(), two.clone()]), None, "nothing is removed");
    let gone = author.tombstone("k", seen(&[&one, &two, &three]));
    let all = [gone.clone(), one.clone(), three.clone(), two.clone()];
    assert_eq!(brought_back(&author, &all), Some(b"3".to_vec()), "the head among siblings");
    assert_eq!(brought_back(&author, std::slice::from_ref(&gone)), None, "it is not held");
    // Two nodes removed it at once.
    let also = author.tombstone("k", seen(&[&one, &two]));
    let all = [one.clone(), two.clone(), three.clone(), also, gone.clone()];
    assert_eq!(brought_back(&author, &all), Some(b"3".to_vec()));
    // What was removed already is removed once more.
    let again = author.tombstone("k", seen(&[&gone]));
    let all = [one, two, three, gone, again];
    assert_eq!(brought_back(&author, &all), Some(b"3".to_vec()));
}

#[test]
fn a_version_stands_before_what_it_covers_and_after_the_leaves() {
    let mut author = Author::new();
    let one = author.put("k", b"1", Vector::new());
    let two = author.put("k", b"2", seen(&[&one]));
    let gone = author.tombstone("k", seen(&[&two]));
    let beside = author.put("k", b"3", seen(&[&one]));
    let versions = versions(&author.keys, &[one, two, gone, beside]);
    let order: Vec<_> = versions
        .all
        .iter()
        .map(|version| (version.record.clear().height, version.standing))
        .collect();
    let head = Standing::Head { siblings: 1 };
    let covered = Standing::Covered;
    assert_eq!(order, [(4, head), (3, Standing::Sibling), (2, covered), (1, covered)]);
    assert_eq!(versions.leaves, 2);
}
