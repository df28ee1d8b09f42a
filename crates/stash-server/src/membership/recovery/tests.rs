//! The rules by which an entry is signed after a loss.

use stash_crypto::member::Confirmation;
use stash_crypto::{
    JoinRequest, MemberChange, MemberEntry, MemberLog, NodeKeys, Role, RootSecret, TicketId,
};

use super::*;

fn root() -> RootSecret {
    RootSecret::from_bytes([7; 32])
}

fn keys(seed: u8) -> NodeKeys {
    NodeKeys::from_seed([seed; 32])
}

fn with(log: &MemberLog, change: MemberChange) -> MemberLog {
    let mut log = log.clone();
    let entry = MemberEntry::sign(&root().root_signer(), log.len(), log.head(), change);
    log.push(entry.unwrap()).unwrap();
    log
}

fn admits(log: &MemberLog, seed: u8) -> MemberLog {
    let request =
        JoinRequest::sign(&keys(seed), &root().stash_id(), TicketId::from_bytes([0; 16]), "");
    let request = request.unwrap();
    let (identity, node_signature) = (request.identity, request.signature);
    let (role, label, ticket) = (Role::Owner, Vec::new(), request.ticket);
    with(log, MemberChange::Admit { identity, role, ticket, label, node_signature })
}

/// A stash of these members.
fn log(seeds: &[u8]) -> MemberLog {
    let empty = MemberLog::new(root().stash_id());
    let told =
        MemberChange::Root { noise: root().noise_static().public(), wrap: root().wrap_public() };
    seeds.iter().fold(with(&empty, told), |log, seed| admits(&log, *seed))
}

fn shows(seed: u8, log: &MemberLog) -> Shown {
    Shown { by: keys(seed).noise_public(), length: log.len(), head: log.head() }
}

/// The verdict when these members show these logs: answered and counted, or why not.
fn verdict(shown: &[(u8, &MemberLog)], alone: bool) -> Result<(u64, usize, usize), String> {
    let mut lives = Lives::default();
    shown.iter().for_each(|(_, log)| lives.learn((*log).clone()));
    let shown: Vec<Shown> = shown.iter().map(|(seed, log)| shows(*seed, log)).collect();
    match lives.agreed(&shown, alone) {
        Ok((life, _)) => Ok((life.length, life.answered, life.counted)),
        Err(RecoverError::Parted(lives)) => Err(format!("{} lives", lives.len())),
        Err(RecoverError::Few(life)) => Err(format!("{} of {}", life.answered, life.counted)),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn more_than_half_of_the_members_have_to_agree() {
    let four = log(&[1, 2, 3, 4]);
    let few = |seeds: &[u8]| seeds.iter().map(|seed| (*seed, &four)).collect::<Vec<_>>();
    assert_eq!(verdict(&few(&[2, 3]), false), Err("2 of 4".to_owned()));
    assert_eq!(verdict(&few(&[2, 3]), true), Ok((5, 2, 4)));
    assert_eq!(verdict(&few(&[2, 3, 4]), false), Ok((5, 3, 4)));
    assert_eq!(
        verdict(&few(&[2, 2, 2]), false),
        Err("1 of 4".to_owned()),
        "one that answers twice"
    );
    assert_eq!(verdict(&[], true), Err("no member answers".to_owned()));
}

#[test]
fn a_member_that_shows_a_beginning_agrees_and_the_longest_log_decides() {
    let (short, long) = (log(&[1, 2]), log(&[1, 2, 3]));
    for shown in [[(2, &short), (3, &long)], [(3, &long), (2, &short)]] {
        assert_eq!(verdict(&shown, false), Ok((4, 2, 3)));
    }
    // Alone it is half of the members that it shows: itself, and the founder that is lost.
    assert_eq!(verdict(&[(2, &short)], false), Err("1 of 2".to_owned()));
}

#[test]
fn who_was_removed_or_has_lapsed_does_not_count() {
    let four = log(&[1, 2, 3, 4]);
    let lapsed = with(&four, MemberChange::Lapse { node: keys(1).node_id(), lapsed: true });
    assert_eq!(verdict(&[(2, &lapsed), (3, &lapsed)], false), Ok((6, 2, 3)));
    assert_eq!(verdict(&[(1, &lapsed), (3, &lapsed)], false), Err("1 of 3".to_owned()));
    let gone = with(&four, MemberChange::Remove { node: keys(2).node_id(), cuts: Vec::new() });
    assert_eq!(verdict(&[(2, &four), (3, &gone)], false), Err("1 of 3".to_owned()));
}

#[test]
fn logs_that_part_are_told_apart_and_nothing_is_signed() {
    let three = log(&[1, 2, 3]);
    let (one, other) = (admits(&three, 8), admits(&three, 9));
    for alone in [false, true] {
        assert_eq!(verdict(&[(2, &one), (3, &other)], alone), Err("2 lives".to_owned()));
        assert_eq!(
            verdict(&[(1, &three), (2, &one), (3, &other)], alone),
            Err("2 lives".to_owned())
        );
    }
    let mut lives = Lives::default();
    [&one, &other, &three].into_iter().for_each(|log| lives.learn(log.clone()));
    let shown = [shows(1, &three), shows(2, &one), shows(3, &other), shows(9, &other)];
    let views: Vec<_> = lives.views(&shown).into_iter().map(|(life, _)| life).collect();
    assert_eq!((views[0].head, views[0].answered), (other.head(), 3), "the beginning is of both");
    assert_eq!((views[1].head, views[1].answered), (one.head(), 2));
}

#[test]
fn more_lives_than_are_kept_are_still_more_than_one() {
    let two = log(&[1, 2]);
    let mut lives = Lives::default();
    (10..30).for_each(|seed| lives.learn(admits(&two, seed)));
    assert_eq!(lives.logs.len(), MAX_LIVES);
    assert!(matches!(lives.agreed(&[shows(1, &two)], true), Err(RecoverError::Parted(_))));
}

#[test]
fn a_longer_log_that_was_confirmed_keeps_the_others_from_signing() {
    let (short, long) = (log(&[1, 2, 3]), log(&[1, 2, 3, 4]));
    let told = |log: &MemberLog, time| {
        Confirmation::sign(&root().root_signer(), (log.len(), log.head()), 1, time)
    };
    let mut lives = Lives::default();
    lives.learn(short.clone());
    lives.confirm(told(&short, 50));
    let shown = [shows(2, &short), shows(3, &short)];
    assert_eq!(lives.agreed(&shown, false).unwrap().0.confirmed, Some(50));
    lives.confirm(told(&long, 60));
    assert!(matches!(lives.agreed(&shown, false), Err(RecoverError::Few(_))));
    lives.learn(long);
    let shown = [shown[0], shown[1], shows(4, &lives.logs[0].clone())];
    assert_eq!(lives.agreed(&shown, false).unwrap().0.confirmed, Some(60));
}
