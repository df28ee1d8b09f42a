//! Two nodes that hold the root secret, what the founder confirms, and its tickets.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::net::SocketAddr;
use std::time::Duration;

use crate::common::{Place, close, connected, open, open_at, until};
use stash_vault::crypto::{RecoveryText, TicketId};
use stash_vault::server::JoinError;
use stash_vault::server::members::RevokeError;
use stash_vault::{Home, HomeError, JoinOptions, Node, RecoverOptions, Role};

async fn alarms(node: &Node) -> Vec<String> {
    node.engine.status().await.unwrap().alarms
}

/// Waits until a node shows an alarm that has these words.
async fn alarmed(node: &Node, words: &str) {
    let wait = async {
        while !alarms(node).await.iter().any(|alarm| alarm.contains(words)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let done = tokio::time::timeout(crate::common::SOON, wait).await;
    if done.is_err() {
        panic!("{:?} and not {words:?}", alarms(node).await);
    }
}

async fn recovered(place: &Place, name: &str, text: &str, at: Option<SocketAddr>) -> Node {
    let options =
        RecoverOptions { at: at.into_iter().collect(), alone: true, ..RecoverOptions::default() };
    let text = RecoveryText::parse(text).unwrap();
    Home::recover(&place.path(name), &text, options).await.unwrap();
    open(&place.path(name)).await
}

/// The founder comes back after somebody took its place: everybody who sees both says so, they too.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_founder_that_comes_back_is_an_alarm_on_every_node() {
    let place = Place::new();
    let founder = place.founder().await;
    let keeper = place.member(&founder, "keeper", Role::Keeper).await;
    let text = founder.recovery_text().unwrap();
    let listens = founder.engine.listen();
    let old = founder.engine.node_id();
    close(founder).await;
    let heir = recovered(&place, "heir", &text, None).await;
    connected(&[&heir, &keeper]).await;
    assert!(alarms(&keeper).await.is_empty() && alarms(&heir).await.is_empty());
    let founder = open_at(&place.path("founder"), listens).await;
    connected(&[&founder, &keeper]).await;
    for node in [&founder, &keeper, &heir] {
        alarmed(node, "both hold the root secret").await;
    }
    // Its removal ends that.
    heir.engine.remove_member(old).await.unwrap();
    let settled = || async {
        for node in [&keeper, &heir] {
            while !alarms(node).await.is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    tokio::time::timeout(crate::common::SOON, settled()).await.unwrap();
}

/// It was removed while it was away: no member answers it, and it finds out by the root's name.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_founder_that_was_removed_learns_it_though_all_are_silent() {
    let place = Place::new();
    let founder = place.founder().await;
    let keeper = place.member(&founder, "keeper", Role::Keeper).await;
    let text = founder.recovery_text().unwrap();
    let old = founder.engine.node_id();
    close(founder).await;
    let heir = recovered(&place, "heir", &text, None).await;
    connected(&[&heir, &keeper]).await;
    heir.engine.remove_member(old).await.unwrap();
    until(|| keeper.engine.removed().len() == 1).await;
    let founder = open(&place.path("founder")).await;
    founder.engine.ask_silent_members().await;
    alarmed(&founder, "no member any more").await;
    let members = founder.engine.members();
    assert!(members.iter().all(|member| !member.connected), "they stay silent to it: {members:?}");
}

/// Two lives of one root that never speak to each other: whoever speaks to both passes on what it saw.
#[tokio::test(flavor = "multi_thread")]
async fn a_fork_that_one_member_sees_is_an_alarm_on_both_sides() {
    let place = Place::new();
    let founder = place.founder().await;
    let one = place.member(&founder, "one", Role::Keeper).await;
    let two = place.member(&founder, "two", Role::Keeper).await;
    let text = founder.recovery_text().unwrap();
    let (one_at, two_at) = (one.engine.listen(), two.engine.listen());
    close(founder).await;
    close(two).await;
    let first = recovered(&place, "first", &text, Some(one_at[0])).await;
    connected(&[&first, &one]).await;
    close(one).await;
    let two = open_at(&place.path("two"), two_at).await;
    let second = recovered(&place, "second", &text, Some(two.engine.listen()[0])).await;
    connected(&[&second, &two]).await;
    let one = open_at(&place.path("one"), one_at).await;
    for node in [&one, &two, &first, &second] {
        alarmed(node, "forks").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_told_what_the_founder_confirms_and_see_when_they_lack_some() {
    let place = Place::new();
    let founder = place.founder().await;
    let one = place.member(&founder, "one", Role::Keeper).await;
    let two = place.member(&founder, "two", Role::Reader).await;
    let length = founder.engine.member_log().len();
    let knows = |node: &Node| {
        node.engine.confirmed().is_some_and(|told| told.missing == 0 && told.at > 1_700_000_000)
    };
    until(|| [&founder, &one, &two].into_iter().all(knows)).await;
    // It is kept, and travels with whoever brings it.
    let (id, listens) = (two.engine.node_id(), one.engine.listen());
    close(one).await;
    founder.engine.remove_member(id).await.unwrap();
    let founder_at = founder.engine.listen();
    close(founder).await;
    let one = open_at(&place.path("one"), listens).await;
    assert!(knows(&one));
    assert_eq!(one.engine.member_log().len(), length, "nobody was there to tell it more");
    let founder = open_at(&place.path("founder"), founder_at).await;
    connected(&[&founder, &one]).await;
    until(|| one.engine.member_log().len() > length && knows(&one)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_listed_and_void_once_it_is_revoked() {
    let place = Place::new();
    let founder = place.founder().await;
    let keeper = place.member(&founder, "keeper", Role::Keeper).await;
    let hour = Duration::from_secs(3_600);
    let ticket = founder.engine.invite(Role::Owner, hour).await.unwrap();
    let tickets = founder.engine.tickets().await.unwrap();
    assert_eq!(tickets.len(), 2);
    let used = tickets.iter().find(|ticket| !ticket.is_open()).unwrap();
    let (by, at) = used.used.unwrap();
    assert_eq!(by, keeper.engine.node_id());
    assert!(at.is_some() && used.made.is_some() && !used.over);
    let open = tickets.iter().find(|ticket| ticket.is_open()).unwrap();
    assert_eq!((open.id, open.role), (ticket.id, Role::Owner));
    let refused = founder.engine.revoke_ticket(used.id).await;
    assert!(matches!(refused, Err(RevokeError::Used { node, .. }) if node == by), "{refused:?}");
    let unknown = TicketId::from_bytes([7; 16]);
    let refused = founder.engine.revoke_ticket(unknown).await;
    assert!(matches!(refused, Err(RevokeError::Unknown(_))), "{refused:?}");
    let refused = keeper.engine.revoke_ticket(ticket.id).await;
    assert!(matches!(refused, Err(RevokeError::NotFounder)), "{refused:?}");

    founder.engine.revoke_ticket(ticket.id).await.unwrap();
    assert_eq!(founder.engine.tickets().await.unwrap().len(), 1);
    let joined = Home::join(&place.path("guest"), &ticket, JoinOptions::default()).await;
    let Err(HomeError::Join(error)) = joined else { panic!("{joined:?}") };
    assert!(matches!(error, JoinError::NoAnswer(_)), "as if it had never been made: {error}");
    assert_eq!(founder.engine.members().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_founder_knows_whether_the_text_on_paper_still_finds_somebody() {
    let place = Place::new();
    let founder = place.founder().await;
    let finds = || async { founder.engine.recovery_text_finds().await.unwrap() };
    assert_eq!(finds().await, None);
    founder.print_recovery_text().await.unwrap();
    let paper = finds().await.unwrap();
    assert_eq!((paper.named, paper.found), (0, 0), "it names this node alone");
    let keeper = place.member(&founder, "keeper", Role::Keeper).await;
    // Where it listens is told after it has connected.
    let named = async {
        loop {
            founder.print_recovery_text().await.unwrap();
            let paper = finds().await.unwrap();
            if (paper.named, paper.found) == (1, 1) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::common::SOON, named).await.unwrap();
    // It moves.
    close(keeper).await;
    let keeper = open(&place.path("keeper")).await;
    connected(&[&founder, &keeper]).await;
    let moved = async {
        while finds().await.unwrap().found > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::common::SOON, moved).await.unwrap();
}
