//! The member log, joins and addresses.

use stash_crypto::keys::*;
use stash_crypto::member::*;
use stash_crypto::record::*;
use stash_crypto::*;

use crate::fixtures::*;

fn log() -> MemberLog {
    let mut log = MemberLog::new(stash());
    entries().into_iter().for_each(|entry| log.push(entry).unwrap());
    log
}

/// The log with its first `len` entries.
fn log_of(len: usize) -> MemberLog {
    let mut log = MemberLog::new(stash());
    entries().into_iter().take(len).for_each(|entry| log.push(entry).unwrap());
    log
}

fn next(log: &MemberLog, change: MemberChange) -> MemberEntry {
    entry(log.len(), log.head(), change)
}

#[test]
fn the_log_folds_to_its_members() {
    let admitted = log_of(3);
    let members: Vec<_> =
        admitted.members().map(|member| (member.identity.node, member.role)).collect();
    assert_eq!(members, [(node().node_id(), Role::Owner), (keeper().node_id(), Role::Keeper)]);
    let member = admitted.by_noise(&keeper().noise_public()).unwrap();
    assert_eq!((member.identity, member.admitted_at), (keeper().identity(), 2));
    let label = root().read_root().label_keys().open(&member.label, &member.identity.node);
    assert_eq!(label.unwrap(), "attic");
    assert_eq!(log_of(4).member(&keeper().node_id()).unwrap().role, Role::Reader);

    let log = log();
    assert_eq!((log.len(), log.epoch()), (6, 1));
    assert_eq!(log.member(&keeper().node_id()), None);
    assert_eq!(log.by_noise(&keeper().noise_public()), None);
    let removal = log.removal(&keeper().node_id()).unwrap();
    assert_eq!((removal.removed_at, removal.cuts[0].n), (4, 7));
    assert_eq!(log.root_noise(), Some(&root().noise_static().public()));
    assert_eq!(log.root_wrap(), Some(&root().wrap_public()));
}

#[test]
fn an_entry_that_is_held_already_changes_nothing() {
    let mut log = log();
    for entry in entries() {
        assert_eq!(log.push(entry), Ok(()));
    }
    assert_eq!(log.len(), 6);
}

#[test]
fn a_held_entry_that_comes_with_another_signature_is_verified() {
    let mut log = log_of(3);
    for at in 0..3 {
        let mut bytes = entries()[at].encode();
        *bytes.last_mut().unwrap() ^= 1;
        let refused = log.push(MemberEntry::decode(&bytes).unwrap());
        assert!(matches!(refused, Err(MemberError::BadSignature(_))), "{refused:?}");
    }
    assert_eq!(log, log_of(3));
}

#[test]
fn a_second_history_is_a_fork_and_missing_entries_are_a_gap() {
    let mut log = log_of(3);
    let fork = entry(2, log.entries()[1].hash(), admit(&keeper(), Role::Reader, 13));
    let (held, offered) = (log.head(), fork.hash());
    assert_eq!(log.push(fork), Err(MemberError::Fork { index: 2, held, offered }));

    let role = MemberChange::SetRole { node: keeper().node_id(), role: Role::Owner, cuts: vec![] };
    let offered = EntryHash::from_bytes([1; 32]);
    let beside = entry(3, offered, role.clone());
    assert_eq!(log.push(beside), Err(MemberError::Fork { index: 2, held, offered }));

    let later = entry(5, offered, role);
    assert_eq!(log.push(later), Err(MemberError::Gap { expected: 3, got: 5 }));
    assert_eq!(log.len(), 3);
}

#[test]
fn only_the_root_signs_and_only_for_its_stash() {
    let mut log = log_of(2);
    let thief = RootSecret::from_bytes([99; 32]);
    let change = admit(&keeper(), Role::Owner, 12);
    let forged = MemberEntry::sign(&thief.root_signer(), 2, log.head(), change).unwrap();
    assert_eq!(log.push(forged.clone()), Err(MemberError::OtherStash { got: thief.stash_id() }));
    let mut bytes = forged.encode();
    bytes[4..36].copy_from_slice(stash().as_bytes());
    let key = *stash().as_bytes();
    assert_eq!(
        log.push(MemberEntry::decode(&bytes).unwrap()),
        Err(MemberError::BadSignature(SignatureError::Signature { key }))
    );
    assert_eq!(log, log_of(2));
}

#[test]
fn the_root_admits_nobody_without_the_nodes_own_signature() {
    let mut log = log_of(2);
    let MemberChange::Admit { identity, role, label, node_signature, .. } =
        admit(&keeper(), Role::Keeper, 12)
    else {
        unreachable!()
    };
    let ticket = TicketId::from_bytes([13; 16]);
    let change = MemberChange::Admit { identity, role, ticket, label, node_signature };
    let key = *keeper().node_id().as_bytes();
    assert_eq!(
        log.push(next(&log, change)),
        Err(MemberError::BadSignature(SignatureError::Signature { key }))
    );
}

#[test]
fn changes_that_make_no_sense_are_refused_and_change_nothing() {
    let stranger = NodeId::from_bytes([77; 32]);
    let all = log();
    let known = MemberError::Known(keeper().node_id());
    let again =
        MemberChange::Root { noise: root().noise_static().public(), wrap: root().wrap_public() };
    let epoch = |epoch| MemberChange::Epoch { epoch, previous_read: vec![], wraps: vec![] };
    let cases = [
        (admit(&keeper(), Role::Reader, 14), known),
        (
            admit(&NodeKeys::from_seed([50; 32]), Role::Reader, 12),
            MemberError::TicketUsed(TicketId::from_bytes([12; 16])),
        ),
        (
            MemberChange::SetRole { node: stranger, role: Role::Owner, cuts: vec![] },
            MemberError::NotAMember(stranger),
        ),
        (
            MemberChange::Remove { node: keeper().node_id(), cuts: vec![] },
            MemberError::NotAMember(keeper().node_id()),
        ),
        (
            MemberChange::Lapse { node: keeper().node_id(), lapsed: true },
            MemberError::NotAMember(keeper().node_id()),
        ),
        (
            MemberChange::Lapse { node: node().node_id(), lapsed: false },
            MemberError::SameLapse { node: node().node_id(), lapsed: false },
        ),
        (epoch(1), MemberError::Epoch { current: 1, got: 1 }),
        (epoch(3), MemberError::Epoch { current: 1, got: 3 }),
        (again, MemberError::RootTwice),
    ];
    for (change, error) in cases {
        let mut log = log();
        assert_eq!(log.push(next(&all, change)), Err(error));
        assert_eq!(log, all, "{error}");
    }
}

#[test]
fn a_lapse_changes_that_a_member_counts_and_nothing_else() {
    let before = log();
    let mut log = before.clone();
    log.push(lapse(true)).unwrap();
    let member = log.member(&node().node_id()).unwrap();
    assert_eq!(
        *member,
        Member { lapsed: true, ..before.member(&node().node_id()).unwrap().clone() }
    );
    let again = MemberChange::Lapse { node: node().node_id(), lapsed: true };
    let same = MemberError::SameLapse { node: node().node_id(), lapsed: true };
    assert_eq!(log.push(next(&log, again)), Err(same));
    let writer = Writer { node: node().node_id(), incarnation: Incarnation::from_bytes([9; 8]) };
    assert_eq!(log.admits(&Dot { writer, n: 1 }, &put_chunks().hash()), Ok(()));
    assert_eq!(log.epoch(), before.epoch());
    let back = MemberChange::Lapse { node: node().node_id(), lapsed: false };
    log.push(next(&log, back)).unwrap();
    assert_eq!(log.member(&node().node_id()), before.member(&node().node_id()));
}

#[test]
fn the_first_entry_founds() {
    for change in [admit(&node(), Role::Keeper, 0), entries()[3].change().clone()] {
        let mut log = MemberLog::new(stash());
        assert_eq!(log.push(next(&log, change)), Err(MemberError::First));
    }
    let mut log = MemberLog::new(stash());
    let late = entry(0, EntryHash::from_bytes([1; 32]), admit(&node(), Role::Owner, 0));
    assert_eq!(log.push(late), Err(MemberError::First));
    assert_eq!(log.push(next(&log, admit(&node(), Role::Owner, 0))), Ok(()));
}

#[test]
fn an_identity_with_a_key_of_small_order_is_refused() {
    let mut request = JoinRequest::sign(&node(), &stash(), ticket().id, "x").unwrap();
    request.identity.noise = NoisePublic::from_bytes([0; 32]);
    assert_eq!(request.verify(&stash()), Err(SignatureError::Key { key: [0; 32] }));
}

#[test]
fn a_join_request_holds_for_one_stash_one_ticket_and_one_identity() {
    let request = JoinRequest::sign(&keeper(), &stash(), ticket().id, "attic").unwrap();
    assert_eq!(request.verify(&stash()), Ok(()));
    assert_eq!(JoinRequest::decode(&request.encode()), Ok(request.clone()));
    let other = RootSecret::from_bytes([99; 32]).stash_id();
    let changed = [
        JoinRequest { ticket: TicketId::from_bytes([0; 16]), ..request.clone() },
        JoinRequest { identity: node().identity(), ..request.clone() },
    ];
    assert!(request.verify(&other).is_err());
    assert!(changed.iter().all(|request| request.verify(&stash()).is_err()));
    let long = "a".repeat(65);
    let signed = JoinRequest::sign(&keeper(), &stash(), ticket().id, &long);
    assert_eq!(signed, Err(LabelError::TooLong { len: 65 }));
}

#[test]
fn a_statement_holds_for_one_node_and_one_stash_and_as_it_was_made() {
    let signed = statement();
    assert_eq!(signed.encode().len(), STATEMENT);
    assert_eq!(signed.verify(&stash()), Ok(()));
    assert_eq!(Statement::decode(&signed.encode()), Ok(signed));
    let other = RootSecret::from_bytes([99; 32]).stash_id();
    assert!(signed.verify(&other).is_err());
    assert!(Statement { sequence: 43, ..signed }.verify(&stash()).is_err());
    assert!(Statement { node: keeper().node_id(), ..signed }.verify(&stash()).is_err());
    let better = Figures { whole: signed.figures.held, ..signed.figures };
    assert!(Statement { figures: better, ..signed }.verify(&stash()).is_err());
    let mut flags = signed.encode();
    flags[3] |= 4;
    assert_eq!(Statement::decode(&flags), Err(StatementError::Flags { found: 5 }));
}

#[test]
fn signed_addresses_hold_for_one_node_and_one_stash() {
    let signed = signed_addresses();
    assert_eq!(signed.verify(&stash()), Ok(()));
    assert_eq!(SignedAddresses::decode(&signed.encode()), Ok(signed.clone()));
    let other = RootSecret::from_bytes([99; 32]).stash_id();
    assert!(signed.verify(&other).is_err());
    assert!(SignedAddresses { sequence: 43, ..signed.clone() }.verify(&stash()).is_err());
    assert!(SignedAddresses { made: Some(7), ..signed.clone() }.verify(&stash()).is_err());
    assert!(SignedAddresses { made: None, ..signed.clone() }.verify(&stash()).is_err());
    assert!(SignedAddresses { node: keeper().node_id(), ..signed }.verify(&stash()).is_err());
    let lan = |place| Announced { kind: AddressKind::Lan, place };
    let many = vec![lan(places()[0].clone()); 9];
    let refused = SignedAddresses::sign(node().signer(), &stash(), 1, 7, many);
    assert_eq!(refused, Err(AddressesError::Count { count: 9 }));
    let zero = vec![lan(Place::Address("192.0.2.1:0".parse().unwrap()))];
    let refused = SignedAddresses::sign(node().signer(), &stash(), 1, 7, zero);
    assert_eq!(refused, Err(AddressesError::Address { at: 0 }));
}

#[test]
fn there_is_always_room_for_a_next_sequence() {
    let sign = |sequence| SignedAddresses::sign(node().signer(), &stash(), sequence, 7, vec![]);
    let signed = sign(u64::MAX).unwrap();
    assert_eq!(signed.sequence, MAX_SEQUENCE);
    let mut bytes = signed.encode();
    bytes[36..44].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(SignedAddresses::decode(&bytes), Err(AddressesError::Sequence));
}

#[test]
fn a_place_is_an_address_or_a_name_with_a_port() {
    let good = [
        ("192.0.2.7:7979", "192.0.2.7:7979"),
        ("[2001:db8::1]:1", "[2001:db8::1]:1"),
        ("NAS.example.org:80", "nas.example.org:80"),
        ("nas:7979", "nas:7979"),
        ("_x.a-b.c2:65535", "_x.a-b.c2:65535"),
    ];
    for (text, shown) in good {
        let place: Place = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(place.to_string(), shown);
        assert_eq!(shown.parse(), Ok(place));
    }
    let label = "a".repeat(64);
    let long = "a.".repeat(127) + "aa";
    let bad = [
        "",
        ":1",
        "nas",
        "nas:",
        "nas:0",
        "nas:65536",
        "nas:+1",
        "192.0.2.7:0",
        "192.0.2.300:1",
        "1.2.3:1",
        "-a.b:1",
        "a-.b:1",
        "a..b:1",
        "a b:1",
        "ä.de:1",
        "a.de.:1",
        "2001:db8::g:1",
        &format!("{label}:1"),
        &format!("{long}:1"),
    ];
    for text in bad {
        assert!(text.parse::<Place>().is_err(), "{text}");
    }
    assert_eq!(Place::parse("nas", 7979).unwrap().to_string(), "nas:7979");
    assert_eq!(Place::parse("::1", 7979).unwrap().to_string(), "[::1]:7979");
}

#[test]
fn a_confirmation_holds_for_one_stash_and_a_later_one_replaces_it() {
    let signed = confirmation();
    assert_eq!(signed.verify(&stash()), Ok(()));
    assert_eq!(Confirmation::decode(&signed.encode()), Ok(signed));
    assert_eq!(signed.encode().len(), CONFIRMATION);
    assert!(signed.verify(&RootSecret::from_bytes([99; 32]).stash_id()).is_err());
    assert!(Confirmation { time: signed.time + 1, ..signed }.verify(&stash()).is_err());
    let later = Confirmation { counter: signed.counter + 1, time: 0, ..signed };
    assert!(later.is_newer_than(&signed) && !signed.is_newer_than(&later), "time orders nothing");
    let longer = Confirmation { length: signed.length + 1, counter: 0, ..signed };
    assert!(longer.is_newer_than(&later) && !later.is_newer_than(&longer));
    assert!(!signed.is_newer_than(&signed));
}

#[test]
fn labels_open_only_for_their_node_and_all_have_one_length() {
    let keys = root().read_root().label_keys();
    for name in ["", "attic", "Dachboden über der Küche", &"x".repeat(64)] {
        let label = keys.seal(name, &node().node_id()).unwrap();
        assert_eq!((label.len(), label_epoch(&label)), (100, Some(0)));
        assert_eq!(keys.open(&label, &node().node_id()).unwrap(), name);
        assert_eq!(keys.open(&label, &keeper().node_id()), Err(OpenLabelError::NotAuthentic));
    }
    assert_eq!(keys.seal("a\0b", &node().node_id()), Err(LabelError::Control { at: 1 }));
}

#[test]
fn lists_of_an_entry_must_be_sorted_and_bounded() {
    let cut = |byte| Cut {
        incarnation: Incarnation::from_bytes([byte; 8]),
        n: 1,
        hash: RecordHash::ZERO,
    };
    let remove = |cuts| MemberChange::Remove { node: node().node_id(), cuts };
    let sign = |change| MemberEntry::sign(&root().root_signer(), 0, EntryHash::ZERO, change);
    assert_eq!(sign(remove(vec![cut(2), cut(1)])), Err(EntryError::Order { at: 1 }));
    assert_eq!(sign(remove(vec![cut(1), cut(1)])), Err(EntryError::Order { at: 1 }));
    let count = MAX_CUTS + 1;
    assert_eq!(sign(remove(vec![cut(1); count])), Err(EntryError::Count { count }));
    let wraps = (0..MAX_WRAPS).map(|i| EpochWrap {
        to: Some(NodeId::from_bytes(std::array::from_fn(|at| match at {
            0 => i.to_be_bytes()[6],
            1 => i.to_be_bytes()[7],
            _ => 1,
        }))),
        kind: WrapKind::Read,
        sealed: vec![0; MAX_EPOCH_WRAP],
    });
    let full = MemberChange::Epoch { epoch: 1, previous_read: vec![], wraps: wraps.collect() };
    assert!(sign(full).unwrap().bytes().len() <= MAX_ENTRY);
}

#[test]
fn roles_have_one_spelling() {
    for role in [Role::Owner, Role::Reader, Role::Keeper] {
        assert_eq!(role.to_string().parse(), Ok(role));
    }
    assert_eq!("Owner".parse::<Role>(), Err(RoleError));
    assert!(Role::Owner.writes() && !Role::Reader.writes() && !Role::Keeper.reads());
}
