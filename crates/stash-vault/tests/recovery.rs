//! Coming back by the recovery text when some members are away, behind, or not named in it.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::net::SocketAddr;

use crate::common::{Place, close, connected, get, noise, open, open_at, put, shows, until, vault};
use stash_vault::crypto::RecoveryText;
use stash_vault::server::members::{Life, RecoverError};
use stash_vault::{Home, HomeError, Node, Progress, PutOptions, RecoverOptions, Role, Wait};

async fn destroyed(place: &Place, founder: Node) {
    close(founder).await;
    std::fs::remove_dir_all(place.path("founder")).unwrap();
}

fn at(addrs: &[SocketAddr]) -> RecoverOptions {
    RecoverOptions { at: addrs.to_vec(), ..RecoverOptions::default() }
}

async fn recover(
    place: &Place,
    text: &str,
    options: RecoverOptions,
) -> Result<(Home, Life), HomeError> {
    let text = RecoveryText::parse(text).unwrap();
    Home::recover(&place.path("heir"), &text, options).await
}

fn length(node: &Node) -> u64 {
    node.engine.member_log().len()
}

/// The founder is lost while the one keeper that is in reach has missed that another one joined.
#[tokio::test(flavor = "multi_thread")]
async fn a_stale_keeper_alone_gives_everything_to_read_and_nothing_is_signed() {
    let place = Place::new();
    let founder = place.founder().await;
    let stale = place.member(&founder, "stale", Role::Keeper).await;
    let content = noise(300_000, 1);
    put(&founder, &place.file("photo", &content)).await;
    let text = founder.recovery_text().unwrap();
    let listens = stale.engine.listen();
    close(stale).await;
    let late = place.member(&founder, "late", Role::Keeper).await;
    let late_at = late.engine.listen()[0];
    // A removal begins an epoch of keys of which the stale one has not heard.
    let gone = place.member(&founder, "gone", Role::Keeper).await;
    founder.engine.remove_member(gone.engine.node_id()).await.unwrap();
    let later = noise(70_000, 2);
    put(&founder, &place.file("later", &later)).await;
    until(|| length(&late) == length(&founder)).await;
    let after = length(&founder);
    destroyed(&place, founder).await;
    let stale = open_at(&place.path("stale"), listens).await;
    let before = length(&stale);
    assert!(before < after);

    let refused = recover(&place, &text, RecoverOptions::default()).await;
    let Err(HomeError::Recover(RecoverError::Few(life))) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((life.answered, life.counted), (1, 2));
    assert!(!Home::exists(&place.path("heir")), "nothing was written");

    let paper = RecoveryText::parse(&text).unwrap();
    let (home, _) = Home::visit(&place.path("heir"), &paper, at(&[])).await.unwrap();
    assert_eq!(home.role(), Role::Reader);
    let visitor = open(&place.path("heir")).await;
    assert!(visitor.engine.visits());
    shows(&visitor, &["photo"]).await;
    get(&visitor, "photo", &place.path("back")).await;
    assert_eq!(std::fs::read(place.path("back")).unwrap(), content);
    let options = PutOptions { wait: Wait::Local, jobs: 0 };
    let more = place.file("more", b"more");
    let refused = vault(&visitor).put_path(&more, None, options, &Progress::new()).await;
    assert!(refused.is_err(), "a visitor writes nothing");
    let invited = visitor.engine.invite(Role::Keeper, std::time::Duration::from_secs(60)).await;
    assert!(invited.is_err(), "and signs nothing");
    assert_eq!(length(&stale), before);
    close(visitor).await;

    // With the other one in reach, most members agree; what was fetched stays.
    let (home, life) = recover(&place, &text, at(&[late_at])).await.unwrap();
    assert_eq!((life.answered, life.counted), (2, 3));
    assert_eq!(home.role(), Role::Owner);
    let heir = open(&place.path("heir")).await;
    assert!(!heir.engine.visits());
    connected(&[&heir, &stale]).await;
    connected(&[&heir, &late]).await;
    until(|| [&heir, &stale, &late].iter().all(|node| length(node) == after + 1)).await;
    shows(&heir, &["later", "photo"]).await;
    get(&heir, "later", &place.path("later back")).await;
    assert_eq!(std::fs::read(place.path("later back")).unwrap(), later);
    put(&heir, &more).await;
    let logs = [&heir, &stale, &late].map(|node| node.engine.member_log().head());
    assert!(logs.iter().all(|head| *head == logs[0]), "nothing forks");
    for node in [&heir, &stale, &late] {
        assert_eq!(node.engine.status().await.unwrap().alarms, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_of_the_first_run_finds_any_member_by_its_address() {
    let place = Place::new();
    let founder = place.founder().await;
    // Printed before anybody joined, it names the machine that will be lost, and nobody else.
    let text = founder.recovery_text().unwrap();
    let (one, two) = (
        place.member(&founder, "one", Role::Keeper).await,
        place.member(&founder, "two", Role::Reader).await,
    );
    put(&founder, &place.file("photo", &noise(9_000, 2))).await;
    destroyed(&place, founder).await;
    let nobody = recover(&place, &text, RecoverOptions::default()).await;
    assert!(matches!(nobody, Err(HomeError::Recover(RecoverError::Nobody))), "{nobody:?}");
    // It tells who it is, and where the other one is.
    let (_, life) = recover(&place, &text, at(&[one.engine.listen()[0]])).await.unwrap();
    assert_eq!((life.answered, life.counted), (2, 3));
    let heir = open(&place.path("heir")).await;
    connected(&[&heir, &one]).await;
    connected(&[&heir, &two]).await;
    shows(&heir, &["photo"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_behind_and_one_that_is_not_agree() {
    let place = Place::new();
    let founder = place.founder().await;
    let stale = place.member(&founder, "stale", Role::Keeper).await;
    let text = founder.recovery_text().unwrap();
    let listens = stale.engine.listen();
    close(stale).await;
    let late = place.member(&founder, "late", Role::Keeper).await;
    let late_at = late.engine.listen()[0];
    destroyed(&place, founder).await;
    let stale = open_at(&place.path("stale"), listens).await;
    let (_, life) = recover(&place, &text, at(&[late_at])).await.unwrap();
    assert_eq!((life.answered, life.counted), (2, 3));
    // It was told what it had missed.
    assert_eq!(stale.engine.member_log().head(), late.engine.member_log().head());
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_that_part_are_both_shown_and_nothing_is_signed() {
    let place = Place::new();
    let founder = place.founder().await;
    let one = place.member(&founder, "one", Role::Keeper).await;
    let two = place.member(&founder, "two", Role::Keeper).await;
    let text = founder.recovery_text().unwrap();
    let (one_at, two_at) = (one.engine.listen(), two.engine.listen());
    destroyed(&place, founder).await;
    close(two).await;
    let alone = || RecoverOptions { alone: true, ..RecoverOptions::default() };
    let paper = RecoveryText::parse(&text).unwrap();
    // Somebody says twice that the others are gone for good, and is wrong.
    Home::recover(&place.path("first"), &paper, alone()).await.unwrap();
    close(one).await;
    let two = open_at(&place.path("two"), two_at).await;
    Home::recover(&place.path("second"), &paper, alone()).await.unwrap();
    let one = open_at(&place.path("one"), one_at).await;
    for alone in [false, true] {
        let options = RecoverOptions { alone, ..RecoverOptions::default() };
        let refused = recover(&place, &text, options).await;
        let Err(HomeError::Recover(RecoverError::Parted(lives))) = refused else {
            panic!("{refused:?}");
        };
        let mut heads: Vec<_> = lives.iter().map(|life| life.head).collect();
        let mut expected = [&one, &two].map(|node| node.engine.member_log().head());
        heads.sort();
        expected.sort();
        assert_eq!(heads, expected);
        assert!(lives.iter().all(|life| life.members == 4 && life.answered == 1));
    }
    assert!(!Home::exists(&place.path("heir")));
    // It can be read all the same.
    Home::visit(&place.path("heir"), &paper, RecoverOptions::default()).await.unwrap();
}
