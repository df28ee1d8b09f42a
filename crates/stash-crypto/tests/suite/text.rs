//! Tickets and recovery texts, and the mistakes that people make with them.

use bech32::primitives::iter::Fe32IterExt;
use bech32::{Bech32m, Fe32, Hrp};
use stash_crypto::keys::*;
use stash_crypto::member::Place;
use stash_crypto::ticket::*;
use stash_crypto::*;

use crate::fixtures::*;

fn text() -> String {
    ticket().to_string()
}

fn error(text: &str) -> TicketError {
    text.parse::<Ticket>().unwrap_err()
}

/// The positions that an error names, from 1.
fn position(error: TicketError) -> usize {
    match error {
        TextError::Prefix { at, .. }
        | TextError::MixedCase { at }
        | TextError::Character { at, .. }
        | TextError::Mistyped(
            Typo::Wrong { at, .. }
            | Typo::Swapped { at }
            | Typo::Extra { at }
            | Typo::Missing { at, .. },
        ) => at,
        other => panic!("{other} names no position"),
    }
}

#[test]
fn a_ticket_is_read_back() {
    let many = Ticket { addresses: vec![places(); 4].concat(), ..ticket() };
    let long: Place = format!("{}.example.org:1", "a.".repeat(110) + "a").parse().unwrap();
    let names = [long.clone(), name(), long.clone(), long];
    let names = Ticket { addresses: Ticket::fitting(&names), ..ticket() };
    assert_eq!(names.addresses.len(), 3, "what has no room is left out");
    for ticket in [ticket(), many, named_ticket(), names] {
        let text = ticket.to_string();
        for text in
            [text.clone(), text.to_uppercase(), format!(" {text}\n"), text.replace('p', "p\n")]
        {
            let back: Ticket = text.parse().unwrap();
            assert_eq!(
                (back.stash, back.inviter, back.id),
                (ticket.stash, ticket.inviter, ticket.id)
            );
            assert_eq!((&back.addresses, back.expires), (&ticket.addresses, ticket.expires));
            assert_eq!(back.secret.expose(), ticket.secret.expose());
            assert_eq!(back.join_psk(), ticket.join_psk());
        }
    }
}

#[test]
fn join_keys_depend_on_stash_ticket_and_secret() {
    let base = ticket().join_psk();
    let other = RootSecret::from_bytes([99; 32]).stash_id();
    let others = [
        Ticket { stash: other, ..ticket() },
        Ticket { id: TicketId::from_bytes([0; 16]), ..ticket() },
        Ticket { secret: TicketSecret::from_bytes([0; 16]), ..ticket() },
    ];
    assert!(others.iter().all(|ticket| ticket.join_psk() != base));
    assert!(others.iter().all(|other| other.join_tag_key() != ticket().join_tag_key()));
}

// Fault case 112.
#[test]
fn every_wrong_character_of_a_ticket_is_refused_and_named() {
    let good = text();
    for at in 0..good.len() {
        for wrong in ' '..='~' {
            if wrong == good.as_bytes()[at].into() || wrong == ' ' {
                continue;
            }
            let mut bad = good.clone();
            bad.replace_range(at..=at, wrong.encode_utf8(&mut [0; 4]));
            assert_eq!(position(error(&bad)), at + 1, "'{wrong}' at {at}");
        }
    }
}

// Fault case 112.
#[test]
fn every_missing_character_of_a_ticket_is_refused_and_named() {
    let good = text();
    for at in 0..good.len() {
        let mut bad = good.clone();
        let missing = bad.remove(at);
        let named = position(error(&bad));
        // Within a run of equal characters nobody can tell which one is gone.
        let run = good[..at].chars().rev().take_while(|c| *c == missing).count();
        assert!((at + 1 - run..=at + 2).contains(&named), "{at}: named {named}");
    }
}

// Fault case 112.
#[test]
fn every_additional_character_of_a_ticket_is_refused_and_named() {
    let good = text();
    for at in 0..=good.len() {
        for more in "qpzry9x8gf2tvdw0s3jn54khce6mua7lb!".chars() {
            let mut bad = good.clone();
            bad.insert(at, more);
            let named = position(error(&bad));
            let near = good[..at].chars().rev().take_while(|c| *c == more).count();
            assert!((at + 1 - near..=at + 2).contains(&named), "{more} at {at}: named {named}");
        }
    }
}

#[test]
fn exchanged_neighbours_are_named_and_more_mistakes_are_only_refused() {
    let good = text();
    for at in 12..good.len() - 1 {
        if good.as_bytes()[at] != good.as_bytes()[at + 1] {
            let mut bad = good.clone().into_bytes();
            bad.swap(at, at + 1);
            let found = error(std::str::from_utf8(&bad).unwrap());
            assert_eq!(found, TextError::Mistyped(Typo::Swapped { at: at + 1 }));
        }
    }
    let mut bad = good.into_bytes();
    for at in [20, 60, 100] {
        bad[at] = if bad[at] == b'q' { b'p' } else { b'q' };
    }
    let found = error(std::str::from_utf8(&bad).unwrap());
    assert_eq!(found, TextError::Mistyped(Typo::Several));
}

#[test]
fn texts_of_other_kinds_and_other_cases_are_told_apart() {
    assert_eq!(error(""), TextError::Prefix { at: 1, expected: "stashticket" });
    assert_eq!(error("stash"), TextError::Prefix { at: 6, expected: "stashticket" });
    let recovery = recovery().to_text();
    assert_eq!(error(&recovery), TextError::Prefix { at: 7, expected: "stashticket" });
    assert_eq!(error("stashticket1qqq"), TextError::TooShort { len: 15 });
    assert_eq!(error(&"q".repeat(2000)), TextError::TooLong { len: 2000 });
    let mixed = format!("{}{}", &text()[..50], text()[50..].to_uppercase());
    assert!(matches!(error(&mixed), TextError::MixedCase { .. }));
}

/// A text with a good checksum over any body.
fn with_body(body: &[u8]) -> String {
    bech32::encode::<Bech32m>(Hrp::parse("stashticket").unwrap(), body).unwrap()
}

#[test]
fn a_good_checksum_over_bad_fields_is_refused() {
    let mut body = vec![1];
    body.extend([0; 104]);
    let v4 = [4, 192, 0, 2, 7, 0x2b, 0x1f];
    let with = |tail: &[u8]| error(&with_body(&[&body[..], tail].concat()));
    assert!(with_body(&[&body[..], &[1], &v4].concat()).parse::<Ticket>().is_ok());
    assert_eq!(error(&with_body(&[3])), TextError::Version { found: 3 });
    let named = [&[2][..], &body[1..], &[1], &v4].concat();
    assert_eq!(error(&with_body(&named)), TextError::Fields, "version 2 has a name in it");
    assert_eq!(with(&[]), TextError::Fields);
    assert_eq!(with(&[0]), TextError::Count { count: 0 });
    assert_eq!(with(&[9]), TextError::Count { count: 9 });
    assert_eq!(with(&[&[1][..], &v4, &[0]].concat()), TextError::Fields);
    assert_eq!(with(&[&[2][..], &v4].concat()), TextError::Fields);
    assert_eq!(with(&[1, 5, 0, 0, 0, 0, 1, 0]), TextError::Address { at: 0 });
    assert_eq!(with(&[1, 4, 192, 0, 2, 7, 0, 0]), TextError::Address { at: 0 });
}

#[test]
fn bits_left_over_must_be_zero() {
    let text = text();
    let (data, _checksum) = text["stashticket1".len()..].split_at(text.len() - 12 - 6);
    let mut values: Vec<Fe32> = data.chars().map(|c| Fe32::from_char(c).unwrap()).collect();
    let encode = |values: &[Fe32]| -> String {
        let hrp = Hrp::parse("stashticket").unwrap();
        values.iter().copied().with_checksum::<Bech32m>(&hrp).chars().collect()
    };
    assert_eq!(encode(&values), text);
    let last = values.last_mut().unwrap();
    *last = Fe32::try_from(last.to_u8() | 1).unwrap();
    assert_eq!(error(&encode(&values)), TextError::Fields);
}

#[test]
fn a_recovery_text_survives_paper() {
    let paper = recovery().to_text();
    assert!(paper.lines().all(|line| line.len() <= 47));
    let flat: String = paper.split_whitespace().collect();
    let alternating = flat
        .chars()
        .enumerate()
        .map(|(at, c)| if at % 2 == 0 { c.to_ascii_uppercase() } else { c });
    for text in [paper.to_string(), flat.clone(), alternating.collect()] {
        let back = RecoveryText::parse(&text).unwrap();
        assert_eq!(back.root.expose(), root().expose());
        assert_eq!(back.members, recovery().members);
    }
    let bare = RecoveryText { root: root(), members: vec![] };
    assert!(RecoveryText::parse(&bare.to_text()).unwrap().members.is_empty());
}

#[test]
fn a_mistake_on_paper_is_named_where_it_stands() {
    let paper = recovery().to_text();
    for (at, c) in paper.char_indices().filter(|(_, c)| !c.is_whitespace()) {
        let mut bad = paper.to_string();
        let wrong = if c == 'q' { "p" } else { "q" };
        bad.replace_range(at..=at, wrong);
        assert_eq!(position(RecoveryText::parse(&bad).unwrap_err()), at + 1);
    }
}
