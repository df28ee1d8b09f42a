//! A founder that may know less of the member log than others do: it signs nothing that could fork
//! it.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::client::{Answer, Ask, Client};
use crate::support::{Node, Stash, all_connected, copy, now, until};
use serde_bytes::ByteBuf;
use stash_crypto::member::Confirmation;
use stash_crypto::{NodeId, NodeKeys, Role};
use stash_server::members::{ChangeMemberError, NotMet};
use stash_server::store::{Options, Store};
use stash_server::{InviteError, JoinError, found, join};
use tempfile::TempDir;

const MINUTE: Duration = Duration::from_secs(60);

async fn stopped(node: &Node) {
    node.engine.shutdown(Duration::from_secs(5)).await;
}

/// A founder that does not run.
struct Stopped {
    keys: NodeKeys,
    dir: TempDir,
    there: SocketAddr,
}

impl Stopped {
    async fn of(node: Node) -> Stopped {
        stopped(&node).await;
        let there = node.engine.listen()[0];
        let Node { engine, keys, store, dir } = node;
        drop((engine, store));
        Stopped { keys: Arc::into_inner(keys).unwrap(), dir, there }
    }

    async fn started(self, stash: &Stash, fresh: bool) -> Node {
        let Stopped { keys, dir, there } = self;
        let store = Store::open(&dir.path().join("store"), &Options::default()).unwrap();
        stash.run_as(store, keys, Role::Owner, dir, true, fresh, there).await
    }
}

/// Checks that the founder refuses every change among members, and has changed nothing.
async fn signs_nothing(founder: &Node, keeper: &Node) {
    let (id, before) = (keeper.engine.node_id(), founder.engine.member_log().head());
    for refused in
        [founder.engine.remove_member(id).await, founder.engine.set_role(id, Role::Reader).await]
    {
        assert!(matches!(refused, Err(ChangeMemberError::NotMet(_))), "{refused:?}");
    }
    let refused = founder.engine.invite(Role::Keeper, MINUTE).await;
    assert!(matches!(refused, Err(InviteError::NotMet(_))), "{refused:?}");
    assert_eq!(founder.engine.member_log().head(), before);
}

// Fault cases 17 and 114.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_founder_from_an_older_copy_signs_nothing_before_it_has_met_a_member() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    let open = founder.engine.invite(Role::Reader, 10 * MINUTE).await.unwrap();
    let used = founder.engine.invite(Role::Reader, 10 * MINUTE).await.unwrap();
    let founder = Stopped::of(founder).await;
    let (dir, older) = (founder.dir.path().join("store"), founder.dir.path().join("older"));
    copy(&dir, &older);
    let founder = founder.started(&stash, false).await;
    all_connected(&[&founder, &keeper]).await;
    let late = NodeKeys::generate(&mut rand::rng());
    let joined = join(&used, &late, "late").await.unwrap();
    until("the keeper knows the late one", || keeper.engine.members().len() == 3).await;
    stopped(&keeper).await;
    let founder = Stopped::of(founder).await;
    std::fs::remove_dir_all(&dir).unwrap();
    std::fs::rename(&older, &dir).unwrap();

    let founder = founder.started(&stash, false).await;
    assert_eq!(founder.engine.members().len(), 2, "as it was before");
    signs_nothing(&founder, &keeper).await;
    let joiner = NodeKeys::generate(&mut rand::rng());
    let refused = join(&open, &joiner, "joiner").await.unwrap_err();
    assert!(matches!(refused, JoinError::Refused(_)), "{refused}");
    assert!(refused.to_string().contains("has not met another member"), "{refused}");

    let keeper = stash.restarted_there(keeper, Role::Keeper).await;
    let id = keeper.engine.node_id();
    // What it hears there it has not signed in this life: there may be more.
    is_refused_by(&founder, id, NotMet::Few { met: 1, others: 2 }).await;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(&dir.path().join("store"), &Options::default()).unwrap();
    found(&store, &joined.log, &joined.addresses, false).unwrap();
    let _late = stash.run(store, late.duplicate(), Role::Reader, dir, false).await;
    until("it has met both", || now(founder.engine.set_role(id, Role::Reader)).is_ok()).await;
    join(&open, &joiner, "joiner").await.expect("the ticket was not used up");
    let known: Vec<_> = founder.engine.members().iter().map(|member| member.node).collect();
    assert!(known.contains(&late.node_id()), "what it had signed in its other life");
    let other = NodeKeys::generate(&mut rand::rng());
    let silent = join(&used, &other, "other").await.unwrap_err();
    assert!(matches!(silent, JoinError::NoAnswer(_)), "somebody else has used it: {silent}");
    join(&used, &late, "late").await.expect("it may not have heard the answer");
    until("both have one log", || {
        keeper.engine.member_log().head() == founder.engine.member_log().head()
    })
    .await;
    for node in [&founder, &keeper] {
        let alarms = node.engine.status().await.unwrap().alarms;
        assert!(alarms.iter().all(|alarm| !alarm.contains("fork")), "{alarms:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_founder_whose_members_are_gone_for_good_removes_them_once_it_vouches() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    stopped(&keeper).await;
    let founder = Stopped::of(founder).await.started(&stash, false).await;
    signs_nothing(&founder, &keeper).await;
    founder.engine.vouch();
    founder.engine.remove_member(keeper.engine.node_id()).await.unwrap();
    founder.engine.invite(Role::Keeper, MINUTE).await.unwrap();

    let founder = Stopped::of(founder).await.started(&stash, false).await;
    founder.engine.invite(Role::Keeper, MINUTE).await.expect("there is nobody to meet");
    // A store that is not the one that it left: there may be members of whom it does not know.
    let founder = Stopped::of(founder).await.started(&stash, true).await;
    let refused = founder.engine.invite(Role::Keeper, MINUTE).await;
    assert!(matches!(refused, Err(InviteError::NotMet(NotMet::Nobody))), "{refused:?}");
    founder.engine.vouch();
    founder.engine.invite(Role::Keeper, MINUTE).await.unwrap();
}

/// The founder as an older copy of its store has it.
async fn put_back(founder: Stopped, older: &std::path::Path, stash: &Stash, fresh: bool) -> Node {
    let dir = founder.dir.path().join("store");
    std::fs::remove_dir_all(&dir).unwrap();
    copy(older, &dir);
    founder.started(stash, fresh).await
}

async fn is_refused_by(founder: &Node, keeper: NodeId, why: NotMet) {
    until(&format!("{why:?}"), || {
        matches!(
            now(founder.engine.set_role(keeper, Role::Reader)),
            Err(ChangeMemberError::NotMet(error)) if error == why
        )
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_founder_that_was_put_back_signs_once_it_has_met_more_than_half_of_the_members() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let [one, two, knows] = [
        stash.joined(&founder, Role::Keeper).await,
        stash.joined(&founder, Role::Keeper).await,
        stash.joined(&founder, Role::Keeper).await,
    ];
    all_connected(&[&founder, &one, &two, &knows]).await;
    let founder = Stopped::of(founder).await;
    let older = founder.dir.path().join("older");
    copy(&founder.dir.path().join("store"), &older);
    let founder = founder.started(&stash, false).await;
    stopped(&one).await;
    stopped(&two).await;
    until("it is back", || {
        now(founder.engine.set_role(knows.engine.node_id(), Role::Owner)).is_ok()
    })
    .await;
    let late = NodeKeys::generate(&mut rand::rng());
    let ticket = founder.engine.invite(Role::Reader, MINUTE).await.unwrap();
    join(&ticket, &late, "late").await.unwrap();
    until("it knows of the late one", || knows.engine.members().len() == 5).await;
    stopped(&knows).await;

    let founder = put_back(Stopped::of(founder).await, &older, &stash, true).await;
    let id = one.engine.node_id();
    is_refused_by(&founder, id, NotMet::Few { met: 0, others: 3 }).await;
    let one = stash.restarted_there(one, Role::Keeper).await;
    is_refused_by(&founder, id, NotMet::Few { met: 1, others: 3 }).await;
    signs_nothing(&founder, &one).await;
    stopped(&one).await;
    // A start that follows does not make it know more, and whom it has met it need not meet again.
    let founder = Stopped::of(founder).await.started(&stash, false).await;
    is_refused_by(&founder, id, NotMet::Few { met: 1, others: 3 }).await;
    let knows = stash.restarted_there(knows, Role::Owner).await;
    is_refused_by(&founder, id, NotMet::Few { met: 2, others: 4 }).await;
    let two = stash.restarted_there(two, Role::Keeper).await;
    until("it has met most", || now(founder.engine.set_role(id, Role::Reader)).is_ok()).await;
    let log = founder.engine.member_log();
    assert!(log.member(&late.node_id()).is_some(), "what it had signed in its other life");
    until("all have one log", || {
        [&two, &knows].iter().all(|node| node.engine.member_log().head() == log.head())
    })
    .await;
    for node in [&founder, &two, &knows] {
        let alarms = node.engine.status().await.unwrap().alarms;
        assert!(alarms.iter().all(|alarm| !alarm.contains("fork")), "{alarms:?}");
    }
    // The doubt is over: after a start one of them is enough.
    stopped(&two).await;
    let founder = Stopped::of(founder).await.started(&stash, false).await;
    until("it signs", || now(founder.engine.set_role(id, Role::Keeper)).is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_member_that_is_removed_as_it_is_gone_for_good() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let (gone, keeper) =
        (stash.joined(&founder, Role::Keeper).await, stash.joined(&founder, Role::Keeper).await);
    all_connected(&[&founder, &gone, &keeper]).await;
    stopped(&gone).await;
    let founder = Stopped::of(founder).await.started(&stash, true).await;
    is_refused_by(&founder, keeper.engine.node_id(), NotMet::Few { met: 1, others: 2 }).await;
    founder.engine.remove_member(gone.engine.node_id()).await.unwrap();
    founder.engine.invite(Role::Keeper, MINUTE).await.expect("all that are left were met");
    // The doubt is over, and a start is one as any other: somebody has to be met.
    stopped(&keeper).await;
    let founder = Stopped::of(founder).await.started(&stash, false).await;
    let refused = founder.engine.invite(Role::Keeper, MINUTE).await;
    assert!(matches!(refused, Err(InviteError::NotMet(NotMet::Nobody))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_founder_that_hears_what_it_signed_and_does_not_know_meets_most_members_first() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let [one, two] =
        [stash.joined(&founder, Role::Keeper).await, stash.joined(&founder, Role::Keeper).await];
    all_connected(&[&founder, &one, &two]).await;
    let scripted = Client::member(&stash, &founder, Role::Keeper).await;
    stopped(&one).await;
    stopped(&two).await;
    let id = one.engine.node_id();
    founder.engine.set_role(id, Role::Reader).await.expect("it is the only one that signs");
    let founder = Stopped::of(founder).await.started(&stash, false).await;

    let session = scripted.connect(&founder).await;
    let log = founder.engine.member_log();
    let tell = async |length| {
        let told = Confirmation::sign(&stash.root().root_signer(), (length, log.head()), 3, 5);
        let confirmation = ByteBuf::from(told.encode());
        assert_eq!(session.ask(&Ask::Confirmed { confirmation }).await, Answer::Done {});
    };
    tell(log.len()).await;
    let refused = founder.engine.set_role(id, Role::Keeper).await;
    let few =
        matches!(refused, Err(ChangeMemberError::NotMet(NotMet::Few { met: 0 | 1, others: 3 })));
    assert!(few, "{refused:?}");
    let (one, two) = (
        stash.restarted_there(one, Role::Keeper).await,
        stash.restarted_there(two, Role::Keeper).await,
    );
    until("it has met most", || now(founder.engine.set_role(id, Role::Keeper)).is_ok()).await;
    drop((one, two));

    // Nobody here has what is confirmed.
    tell(founder.engine.member_log().len() + 2).await;
    is_refused_by(&founder, id, NotMet::Behind(2)).await;
    founder.engine.vouch();
    founder.engine.set_role(id, Role::Reader).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lapses_is_said_after_a_restart_only_when_nobody_is_left_to_be_met() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let (keeper, other) =
        (stash.joined(&founder, Role::Keeper).await, stash.joined(&founder, Role::Keeper).await);
    all_connected(&[&founder, &keeper, &other]).await;
    founder.engine.repair(false, |_| true).await.unwrap();
    stopped(&keeper).await;
    until("it is away", || founder.engine.members().iter().any(|one| !one.connected)).await;
    let ninety_days = Duration::from_secs(90 * 24 * 3_600);
    founder.store.add_uptime(ninety_days - MINUTE).unwrap();
    founder.engine.repair(false, |_| true).await.unwrap();
    stopped(&other).await;
    let founder = Stopped::of(founder).await.started(&stash, false).await;
    founder.store.add_uptime(2 * MINUTE).unwrap();
    founder.engine.repair(false, |_| true).await.unwrap();
    let lapsed = || founder.engine.members().iter().filter(|one| one.lapsed).count();
    assert_eq!(lapsed(), 0, "the other one may come, and know more");
    founder.store.add_uptime(ninety_days).unwrap();
    founder.engine.repair(false, |_| true).await.unwrap();
    assert_eq!(lapsed(), 2);
}
