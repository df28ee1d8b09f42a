//! Cuts, and the epochs of keys that a log hands out.

use stash_crypto::keys::*;
use stash_crypto::member::*;
use stash_crypto::record::*;
use stash_crypto::*;

use crate::fixtures::*;

fn reader() -> NodeKeys {
    NodeKeys::from_seed([51; 32])
}

/// A log with an owner, a reader and a keeper.
fn log() -> MemberLog {
    let mut log = MemberLog::new(stash());
    entries().into_iter().take(3).for_each(|entry| log.push(entry).unwrap());
    push(&mut log, admit(&reader(), Role::Reader, 14));
    log
}

fn push(log: &mut MemberLog, change: MemberChange) {
    log.push(entry(log.len(), log.head(), change)).unwrap();
}

fn begin_epoch(log: &mut MemberLog) {
    let change = next_epoch(log, &root(), &mut Counting(0)).unwrap();
    push(log, change);
}

fn epochs<T>(keys: &[T], epoch: fn(&T) -> u32) -> Vec<u32> {
    keys.iter().map(epoch).collect()
}

/// Epochs of the network keys and of the read roots that a node has from the log, beside `held`.
fn found(log: &MemberLog, keys: &NodeKeys, held: &[ReadRoot]) -> (Vec<u32>, Vec<u32>) {
    let (me, secret) = (keys.node_id(), keys.wrap_secret());
    let network = log.network_keys(Some(&me), secret);
    let read = log.read_roots(Some(&me), secret, held);
    (epochs(&network, NetworkKey::epoch), epochs(&read, ReadRoot::epoch))
}

fn dot(keys: &NodeKeys, incarnation: u8, n: u64) -> Dot {
    let incarnation = Incarnation::from_bytes([incarnation; 8]);
    Dot { writer: Writer { node: keys.node_id(), incarnation }, n }
}

fn hash(byte: u8) -> RecordHash {
    RecordHash::from_bytes([byte; 32])
}

fn cut(incarnation: u8, n: u64, byte: u8) -> Cut {
    Cut { incarnation: Incarnation::from_bytes([incarnation; 8]), n, hash: hash(byte) }
}

#[test]
fn a_member_that_was_away_finds_every_epoch_in_the_log() {
    let mut log = log();
    for _ in 0..3 {
        begin_epoch(&mut log);
    }
    let held = [root().read_root()];
    assert_eq!(found(&log, &node(), &held), (vec![1, 2, 3], vec![1, 2, 3]));
    assert_eq!(found(&log, &keeper(), &[]), (vec![1, 2, 3], vec![]), "a keeper reads nothing");
    let secret = root().wrap_secret();
    assert_eq!(epochs(&log.network_keys(None, &secret), NetworkKey::epoch), [1, 2, 3]);
    let by_root = log.read_roots(None, &secret, &held);
    let by_owner = log.read_roots(Some(&node().node_id()), node().wrap_secret(), &held);
    assert!(by_root.iter().zip(&by_owner).all(|(one, other)| one.expose() == other.expose()));
    assert_eq!(by_root.len(), 3);
}

#[test]
fn keys_of_two_epochs_have_nothing_in_common() {
    let mut log = log();
    for _ in 0..2 {
        let change = next_epoch(&log, &root(), &mut rand::rng()).unwrap();
        push(&mut log, change);
    }
    let keys = log.network_keys(Some(&node().node_id()), node().wrap_secret());
    assert_ne!(keys[0].expose(), keys[1].expose());
    assert_ne!(keys[0].peer_tag_key(), keys[1].peer_tag_key());
}

#[test]
fn a_tag_of_a_local_network_is_that_of_one_node_one_hour_and_one_epoch() {
    let (first, second) = (root().network_key(), NetworkKey::from_parts(1, [9; 32]));
    let (node, other) = (node().node_id(), keeper().node_id());
    let tags = [
        first.lan_tag(&node, 500_000),
        first.lan_tag(&node, 500_001),
        first.lan_tag(&other, 500_000),
        second.lan_tag(&node, 500_000),
    ];
    assert_eq!(tags[0], first.lan_tag(&node, 500_000));
    let distinct: std::collections::BTreeSet<_> = tags.iter().collect();
    assert_eq!(distinct.len(), tags.len());
}

#[test]
fn whoever_is_removed_finds_no_later_key() {
    let mut log = log();
    begin_epoch(&mut log);
    push(&mut log, MemberChange::Remove { node: reader().node_id(), cuts: vec![] });
    begin_epoch(&mut log);
    let held = [root().read_root()];
    assert_eq!(found(&log, &reader(), &held), (vec![1], vec![1]));
    assert_eq!(found(&log, &node(), &held), (vec![1, 2], vec![1, 2]));
    assert_eq!(found(&log, &keeper(), &[]), (vec![1, 2], vec![]));
}

#[test]
fn whoever_is_promoted_reads_what_was_written_before() {
    let mut log = log();
    begin_epoch(&mut log);
    let role = Role::Reader;
    push(&mut log, MemberChange::SetRole { node: keeper().node_id(), role, cuts: vec![] });
    assert_eq!(found(&log, &keeper(), &[]), (vec![1], vec![]), "not before the next epoch");
    begin_epoch(&mut log);
    assert_eq!(found(&log, &keeper(), &[]), (vec![1, 2], vec![0, 1, 2]));
    let (me, secret) = (keeper().node_id(), keeper());
    let roots = log.read_roots(Some(&me), secret.wrap_secret(), &[]);
    assert_eq!(roots[0].expose(), root().read_root().expose());
}

#[test]
fn whoever_reads_no_more_finds_no_later_read_root() {
    let mut log = log();
    let role = Role::Keeper;
    push(&mut log, MemberChange::SetRole { node: reader().node_id(), role, cuts: vec![] });
    begin_epoch(&mut log);
    assert_eq!(found(&log, &reader(), &[root().read_root()]), (vec![1], vec![]));
}

#[test]
fn a_wrap_that_is_no_key_of_its_epoch_is_passed_over() {
    let mut log = log();
    let plain = |grant: KeyGrant| grant.encode().unwrap();
    let wrong = [
        plain(KeyGrant { network: vec![NetworkKey::from_parts(2, [1; 32])], read: vec![] }),
        plain(KeyGrant { network: vec![], read: vec![ReadRoot::from_parts(1, [1; 32])] }),
    ];
    for (plain, epoch) in wrong.iter().zip(1..) {
        let sealed = wrap(&node().wrap_public(), &stash(), plain, &mut Counting(0)).unwrap();
        let to = Some(node().node_id());
        let wraps = vec![EpochWrap { to, kind: WrapKind::Network, sealed }];
        push(&mut log, MemberChange::Epoch { epoch, previous_read: vec![], wraps });
    }
    assert_eq!(found(&log, &node(), &[]), (vec![], vec![]));
    let lost = next_epoch(&log, &root(), &mut Counting(0));
    assert_eq!(lost.unwrap_err(), EpochError::NoReadRoot { epoch: 2 }, "nothing could be read");
}

#[test]
fn an_epoch_begins_with_a_removal_and_where_reading_is_given_or_taken() {
    let log = log();
    let role =
        |node: &NodeKeys, role| MemberChange::SetRole { node: node.node_id(), role, cuts: vec![] };
    let cases = [
        (MemberChange::Remove { node: keeper().node_id(), cuts: vec![] }, 1),
        (role(&reader(), Role::Keeper), 1),
        (role(&keeper(), Role::Reader), 1),
        (role(&reader(), Role::Owner), 0),
        (role(&node(), Role::Reader), 0),
    ];
    for (change, epoch) in cases {
        let mut changed = log.clone();
        let made = change_members(&log, &root(), change.clone(), &mut Counting(0)).unwrap();
        assert_eq!(made[0].change(), &change);
        made.into_iter().for_each(|entry| changed.push(entry).unwrap());
        assert_eq!(changed.epoch(), epoch, "{change:?}");
    }
    let stranger = NodeId::from_bytes([77; 32]);
    let nobody = MemberChange::Remove { node: stranger, cuts: vec![] };
    let refused = change_members(&log, &root(), nobody, &mut Counting(0));
    assert_eq!(refused.unwrap_err(), ChangeError::Log(MemberError::NotAMember(stranger)));
}

#[test]
fn there_is_room_for_exactly_those_members_to_whom_an_epoch_can_be_wrapped() {
    let mut log = log();
    // The owner, the reader and the keeper take five, the root two.
    let mut seed = [0; 32];
    for n in 0..(MAX_WRAPS - 8) / 2 {
        seed[..8].copy_from_slice(&(n + 1_000).to_le_bytes());
        assert!(log.has_room_for(Role::Reader), "reader {n}");
        push(&mut log, admit(&NodeKeys::from_seed(seed), Role::Reader, 0));
    }
    assert!(!log.has_room_for(Role::Owner) && log.has_room_for(Role::Keeper));
    push(&mut log, admit(&NodeKeys::from_seed([52; 32]), Role::Keeper, 0));
    assert!(!log.has_room_for(Role::Keeper));
    let MemberChange::Epoch { wraps, .. } = next_epoch(&log, &root(), &mut Counting(0)).unwrap()
    else {
        panic!("no epoch")
    };
    assert_eq!(wraps.len(), MAX_WRAPS);
    push(&mut log, admit(&NodeKeys::from_seed([53; 32]), Role::Keeper, 0));
    let beyond = next_epoch(&log, &root(), &mut Counting(0));
    assert_eq!(beyond.unwrap_err(), EpochError::TooMany { count: MAX_WRAPS + 1 });
}

#[test]
fn a_log_that_tells_no_root_begins_no_epoch() {
    let mut log = MemberLog::new(stash());
    push(&mut log, admit(&node(), Role::Owner, 0));
    let refused = next_epoch(&log, &root(), &mut Counting(0));
    assert_eq!(refused.unwrap_err(), EpochError::NoRoot);
}

// Fault case 23.
#[test]
fn a_removed_writers_records_count_up_to_its_cut_and_not_beyond() {
    let mut log = log();
    let writer = node();
    assert_eq!(log.admits(&dot(&writer, 4, 9), &hash(9)), Ok(()));
    let cuts = vec![cut(4, 7, 7), cut(5, 1, 1)];
    push(&mut log, MemberChange::Remove { node: writer.node_id(), cuts });
    let past =
        |incarnation, n| Err(Barred::PastCut { writer: dot(&writer, incarnation, 1).writer, n });
    let cases = [
        (4, 1, 99, Ok(())),
        (4, 6, 99, Ok(())),
        (4, 7, 7, Ok(())),
        (4, 7, 8, past(4, 7)),
        (4, 8, 8, past(4, 7)),
        (4, N_MAX, 8, past(4, 7)),
        (5, 1, 1, Ok(())),
        (5, 2, 2, past(5, 1)),
        (6, 1, 1, Err(Barred::NotMember(writer.node_id()))),
    ];
    for (incarnation, n, byte, expected) in cases {
        let said = log.admits(&dot(&writer, incarnation, n), &hash(byte));
        assert_eq!(said, expected, "record {n} of incarnation {incarnation}");
    }
    assert_eq!(log.cut_of(&dot(&writer, 4, 1).writer), Some(&cut(4, 7, 7)));
    assert_eq!(log.removals().map(|gone| gone.removed_at).collect::<Vec<_>>(), [4]);
}

// Fault case 23.
#[test]
fn a_demoted_writer_that_is_promoted_again_writes_under_a_new_incarnation_alone() {
    let mut log = log();
    let (writer, id) = (node(), node().node_id());
    let cuts = vec![cut(4, 7, 7)];
    push(&mut log, MemberChange::SetRole { node: id, role: Role::Reader, cuts });
    let barred = Barred::NotOwner { node: id, role: Role::Reader };
    assert_eq!(log.admits(&dot(&writer, 4, 7), &hash(7)), Ok(()));
    assert_eq!(log.admits(&dot(&writer, 6, 1), &hash(1)), Err(barred));
    push(&mut log, MemberChange::SetRole { node: id, role: Role::Owner, cuts: vec![] });
    let past = Barred::PastCut { writer: dot(&writer, 4, 1).writer, n: 7 };
    assert_eq!(log.admits(&dot(&writer, 4, 8), &hash(8)), Err(past));
    assert_eq!(log.admits(&dot(&writer, 6, 1), &hash(1)), Ok(()));
    // A second cut of what was cut already lets nothing in.
    let cuts = vec![cut(4, 90, 90)];
    push(&mut log, MemberChange::Remove { node: id, cuts });
    assert_eq!(log.admits(&dot(&writer, 4, 8), &hash(8)), Err(past));
}

/// A log in which the owner's incarnations end by a list, and the entry that says so.
fn listed() -> (MemberLog, MemberEntry) {
    let log = log();
    let (node, list) = (node().node_id(), cut_list());
    let change = MemberChange::Cuts { node, count: list.count(), list: list.hash() };
    let entry = entry(log.len(), log.head(), change);
    (log, entry)
}

// Fault case 23.
#[test]
fn an_entry_takes_effect_with_its_list_and_not_before() {
    let (mut log, entry) = listed();
    let (before, list) = (log.clone(), cut_list());
    let missing = MemberError::ListMissing { list: list.hash(), count: 3 };
    assert_eq!(log.push(entry.clone()), Err(missing));
    assert_eq!(log, before);
    let other = CutList::new(vec![cut(4, 7, 4)]).unwrap();
    log.know(other.clone());
    assert_eq!(log.push(entry.clone()), Err(missing), "another list");
    log.know(list.clone());
    log.push(entry).unwrap();
    let writer = node();
    let past = |inc, n| Err(Barred::PastCut { writer: dot(&writer, inc, 1).writer, n });
    assert_eq!(log.admits(&dot(&writer, 4, 7), &hash(4)), Ok(()));
    assert_eq!(log.admits(&dot(&writer, 4, 8), &hash(8)), past(4, 7));
    assert_eq!(log.admits(&dot(&writer, 5, 2), &hash(8)), past(5, 1));
    assert_eq!(log.admits(&dot(&writer, 9, 1), &hash(8)), Ok(()), "it is an owner still");
    assert_eq!(log.lists().collect::<Vec<_>>(), [&list], "the other one is named by nothing");
    // Of two cuts the first stands, whether it stood in a list or in an entry.
    let cuts = vec![cut(4, 90, 90), cut(9, 1, 9)];
    push(&mut log, MemberChange::Remove { node: writer.node_id(), cuts });
    assert_eq!(log.admits(&dot(&writer, 4, 8), &hash(8)), past(4, 7));
    assert_eq!(log.admits(&dot(&writer, 6, 1 << 62), &hash(6)), Ok(()));
    assert_eq!(log.admits(&dot(&writer, 9, 1), &hash(9)), Ok(()));
    let nobody = Err(Barred::NotMember(writer.node_id()));
    assert_eq!(log.admits(&dot(&writer, 10, 1), &hash(1)), nobody);
}

#[test]
fn a_list_is_of_a_current_member_and_of_the_count_that_the_entry_states() {
    let (mut log, _) = listed();
    let list = cut_list();
    log.know(list.clone());
    let of = |node: &NodeKeys, count| MemberChange::Cuts {
        node: node.node_id(),
        count,
        list: list.hash(),
    };
    let wrong = entry(log.len(), log.head(), of(&node(), 2));
    let missing = MemberError::ListMissing { list: list.hash(), count: 2 };
    assert_eq!(log.push(wrong), Err(missing));
    let stranger = NodeKeys::from_seed([77; 32]);
    let entry = entry(log.len(), log.head(), of(&stranger, 3));
    assert_eq!(log.push(entry), Err(MemberError::NotAMember(stranger.node_id())));
}

#[test]
fn a_list_has_one_encoding_and_as_many_cuts_as_its_limit() {
    let list = cut_list();
    assert_eq!(CutList::decode(&list.encode()), Ok(list));
    let cuts = |len: usize| -> Vec<Cut> {
        let incarnation = |at: usize| Incarnation::from_bytes((at as u64).to_be_bytes());
        (0..len).map(|at| Cut { incarnation: incarnation(at), n: 1, hash: hash(1) }).collect()
    };
    for len in [1, MAX_CUTS + 1, MAX_LISTED] {
        let list = CutList::new(cuts(len)).unwrap();
        assert_eq!(CutList::decode(&list.encode()), Ok(list), "{len}");
    }
    for count in [0, MAX_LISTED + 1] {
        assert_eq!(CutList::new(cuts(count)), Err(EntryError::Count { count }));
        let bytes = vec![0; count * Cut::ENCODED];
        assert_eq!(CutList::decode(&bytes), Err(EntryError::Count { count }));
    }
}

#[test]
fn a_cut_has_one_encoding() {
    let one = cut(4, 7, 7);
    assert_eq!(Cut::from_bytes(&one.to_bytes()), Some(one));
    for n in [0, N_MAX + 1, u64::MAX] {
        let mut bytes = one.to_bytes();
        bytes[8..16].copy_from_slice(&n.to_le_bytes());
        assert_eq!(Cut::from_bytes(&bytes), None, "{n}");
    }
}

// Fault case 23.
#[test]
fn a_vector_names_members_of_any_time_and_as_a_whole_only_who_was_removed_where_it_says() {
    let mut log = log();
    let (writer, stranger) = (node(), NodeKeys::from_seed([77; 32]));
    let one = |dot: Dot| {
        let mut seen = Vector::new();
        seen.insert(dot).unwrap();
        seen
    };
    let whole = |keys: &NodeKeys, at| {
        let mut seen = Vector::new();
        seen.insert_node(keys.node_id(), at).unwrap();
        seen
    };
    assert_eq!(log.names(&one(dot(&writer, 4, 1))), Ok(()));
    let unknown = Misnamed::Unknown(stranger.node_id());
    assert_eq!(log.names(&one(dot(&stranger, 4, 1))), Err(unknown));
    let early = Misnamed::Early { index: 4, len: 4 };
    assert_eq!(log.names(&whole(&writer, 4)), Err(early));
    assert!(unknown.is_passing() && early.is_passing());
    push(&mut log, MemberChange::Remove { node: writer.node_id(), cuts: vec![cut(4, 7, 7)] });
    assert_eq!(log.names(&whole(&writer, 4)), Ok(()));
    assert_eq!(log.names(&one(dot(&writer, 4, 1))), Ok(()), "it was a member");
    for (keys, index) in [(&writer, 1), (&stranger, 4), (&keeper(), 2)] {
        let wrong = Misnamed::NotRemoved { node: keys.node_id(), index };
        assert_eq!(log.names(&whole(keys, index)), Err(wrong));
        assert!(!wrong.is_passing());
    }
    assert!(log.may_count(&dot(&writer, 4, 1).writer), "up to its cut");
    assert!(!log.may_count(&dot(&writer, 5, 1).writer), "it ended before its first record");
    assert!(!log.may_count(&dot(&stranger, 4, 1).writer));
    assert!(log.may_count(&dot(&keeper(), 4, 1).writer), "it may become an owner");
}
