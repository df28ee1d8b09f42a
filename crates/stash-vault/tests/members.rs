//! Several nodes: who reads what, evict, remove, recover.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::time::Duration;

use crate::common::{Place, all, close, connected, get, noise, open, planted, put, shows, vault};
use stash_vault::crypto::RecoveryText;
use stash_vault::names::LocationState;
use stash_vault::{
    Class, GetOptions, Here, Home, InitOptions, JoinOptions, Key, Progress, Role, Wait,
};

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn every_owner_and_reader_gets_what_one_owner_put_and_a_keeper_nothing() {
    let place = Place::new();
    let founder = place.founder().await;
    let owner = place.member(&founder, "owner", Role::Owner).await;
    let reader = place.member(&founder, "reader", Role::Reader).await;
    let keeper = place.member(&founder, "keeper", Role::Keeper).await;
    connected(&[&founder, &owner, &reader, &keeper]).await;
    let bytes = noise(3 * MIB + 1, 1);
    place.file("t/large", &bytes);
    place.file("t/small", b"small");
    let report = put(&owner, &place.path("t")).await;
    assert_eq!((report.copies, report.wanted, report.missing.len()), (4, 4, 0));
    for (node, name) in [(&founder, "founder"), (&owner, "owner"), (&reader, "reader")] {
        let out = place.path(&format!("out-{name}"));
        assert_eq!(get(node, "t", &out).await.files, 2);
        assert!(std::fs::read(out.join("large")).unwrap() == bytes);
        assert_eq!(vault(node).ls("", None, 10).await.unwrap().len(), 2);
        assert_eq!(vault(node).files().await.unwrap(), Some(2));
        assert_eq!(node.member_names()[&keeper.engine.node_id()], "keeper");
    }
    assert!(keeper.vault.is_none() && keeper.member_names().is_empty());
    assert!(keeper.recovery_text().is_err() && owner.recovery_text().is_err());

    let reader_vault = vault(&reader);
    let path = place.file("mine", b"mine");
    let refused = reader_vault.put_path(&path, None, all(), &Progress::new()).await;
    assert_eq!(refused.unwrap_err().class(), Class::Refused);
    let refused = reader_vault.rm("t/small", false, Wait::All, &Progress::new()).await;
    assert_eq!(refused.unwrap_err().class(), Class::Refused);
    for node in [keeper, reader, owner, founder] {
        close(node).await;
    }
}

/// Issue 2, show 7: no read key and no byte of the root stand in a keeper's directory.
#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_holds_neither_a_read_key_nor_the_root() {
    let place = Place::new();
    let founder = place.founder().await;
    let keeper = place.member(&founder, "keeper", Role::Keeper).await;
    let reader = place.member(&founder, "reader", Role::Reader).await;
    put(&founder, &place.file("a", b"a")).await;
    let text = founder.recovery_text().unwrap();
    let root = RecoveryText::parse(&text).unwrap().root;
    for node in [keeper, reader, founder] {
        close(node).await;
    }
    let (secret, read, network) =
        (*root.expose(), *root.read_root().expose(), *root.network_key().expose());
    let keeper = place.path("keeper");
    for (what, bytes) in [("root", secret), ("read root", read)] {
        assert_eq!(planted(&keeper, &bytes[..16]), None, "{what}");
        assert_eq!(planted(&keeper, &bytes[16..]), None, "{what}");
    }
    assert!(planted(&keeper, &network).is_some(), "the search finds what is there");
    assert!(!keeper.join("names").exists() && !keeper.join("tags").exists());
    assert_eq!(planted(&place.path("reader"), &secret[..16]), None);
    assert!(planted(&place.path("reader"), &read).is_some());
    assert!(place.path("reader/names").exists() && !place.path("reader/tags").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_evicted_stays_listed_and_comes_back_from_a_keeper() {
    let place = Place::new();
    let founder = place.founder().await;
    let (vault, progress) = (vault(&founder), Progress::new());
    let bytes = noise(66 * MIB, 1);
    place.file("t/large", &bytes);
    place.file("t/small", b"small");
    put(&founder, &place.path("t")).await;
    let alone = vault.evict("t/large", false, Some(1), &progress).await;
    let alone = alone.unwrap_err();
    assert_eq!(alone.class(), Class::Refused, "{alone}");
    assert_eq!(vault.stat(&Key::new("t/large").unwrap()).await.unwrap().here, Here::Local);

    let keeper = place.member(&founder, "keeper", Role::Keeper).await;
    put(&founder, &place.path("t")).await;
    let tree = vault.evict("t", false, Some(1), &progress).await;
    assert_eq!(tree.unwrap_err().class(), Class::Usage);
    let report = vault.evict("t", true, Some(1), &progress).await.unwrap();
    assert_eq!((report.files, report.chunks), (2, 66));
    assert_eq!(report.proven_by, [keeper.engine.node_id()].into());
    let listed = vault.ls("t", None, 10).await.unwrap();
    let here: Vec<_> = listed.iter().map(|entry| (entry.key.as_str(), entry.here)).collect();
    assert_eq!(here, [("t/large", Here::Evicted), ("t/small", Here::Local)]);
    let places = vault.locations(&Key::new("t/large").unwrap()).await.unwrap();
    let states: Vec<_> = places.nodes.iter().map(|node| (node.chunks, node.state)).collect();
    assert!(states.contains(&(Some(66), LocationState::Complete)), "{states:?}");
    assert!(states.contains(&(Some(0), LocationState::None)), "{states:?}");

    let out = place.path("unkept");
    let options = GetOptions { keep: false, ..GetOptions::default() };
    vault.get_path("t/large", Some(&out), options, &progress).await.unwrap();
    assert!(std::fs::read(out).unwrap() == bytes);
    assert_eq!(vault.stat(&Key::new("t/large").unwrap()).await.unwrap().here, Here::Evicted);
    let out = place.path("kept");
    get(&founder, "t/large", &out).await;
    assert!(std::fs::read(out).unwrap() == bytes);
    assert_eq!(vault.stat(&Key::new("t/large").unwrap()).await.unwrap().here, Here::Local);
    close(keeper).await;
    close(founder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evicting_one_name_spares_chunks_that_another_uses() {
    let place = Place::new();
    let founder = place.founder().await;
    let keeper = place.member(&founder, "keeper", Role::Keeper).await;
    let bytes = noise(3 * MIB, 1);
    put(&founder, &place.file("one", &bytes)).await;
    put(&founder, &place.file("two", &bytes[..2 * MIB])).await;
    let report = vault(&founder).evict("one", false, Some(1), &Progress::new()).await.unwrap();
    assert_eq!((report.files, report.chunks), (1, 1));
    let stat = |name: &str| {
        let (vault, key) = (vault(&founder), Key::new(name).unwrap());
        async move { vault.stat(&key).await.unwrap().here }
    };
    assert_eq!((stat("one").await, stat("two").await), (Here::Partial, Here::Local));
    close(keeper).await;
    close(founder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_is_gone_on_every_connected_node() {
    let place = Place::new();
    let founder = place.founder().await;
    let owner = place.member(&founder, "owner", Role::Owner).await;
    for name in ["a/1", "a/2", "a-b", "c"] {
        place.file(&format!("t/{name}"), name.as_bytes());
    }
    put(&founder, &place.path("t")).await;
    let (vault, progress) = (vault(&owner), Progress::new());
    let tree = vault.rm("t/a", false, Wait::All, &progress).await;
    assert_eq!(tree.unwrap_err().class(), Class::Usage);
    let report = vault.rm("t/a", true, Wait::All, &progress).await.unwrap();
    assert_eq!((report.removed, report.copies, report.wanted, report.short), (2, 2, 2, false));
    let report = vault.rm("t/c", false, Wait::All, &progress).await.unwrap();
    assert_eq!(report.removed, 1);
    for node in [&founder, &owner] {
        let listed = crate::common::vault(node).ls("", None, 10).await.unwrap();
        let keys: Vec<_> = listed.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["t/a-b"]);
        let gone = crate::common::vault(node).stat(&Key::new("t/c").unwrap()).await;
        assert_eq!(gone.unwrap_err().class(), Class::NotFound);
    }
    let again = vault.rm("t/c", false, Wait::All, &progress).await;
    assert_eq!(again.unwrap_err().class(), Class::NotFound);
    put(&owner, &place.path("t")).await;
    assert_eq!(crate::common::vault(&founder).ls("", None, 10).await.unwrap().len(), 4);
    close(owner).await;
    close(founder).await;
}

/// Issue 2, show 9: all owners destroyed, recovery text plus one keeper gives every byte back.
#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_text_and_one_keeper_give_every_byte_back() {
    let place = Place::new();
    let founder = place.founder().await;
    let keeper = place.member(&founder, "keeper", Role::Keeper).await;
    let bytes = noise(70 * MIB, 1);
    place.file("t/large", &bytes);
    place.file("t/small", b"small");
    put(&founder, &place.path("t")).await;
    let text = founder.recovery_text().unwrap();
    close(founder).await;

    let node = place.recovered(&text).await;
    connected(&[&node, &keeper]).await;
    shows(&node, &["t/large", "t/small"]).await;
    let out = place.path("out");
    get(&node, "t", &out).await;
    assert!(std::fs::read(out.join("large")).unwrap() == bytes);
    assert_eq!(std::fs::read(out.join("small")).unwrap(), b"small");
    put(&node, &place.file("new", b"new")).await;
    assert!(node.recovery_text().is_ok() && node.is_founder());
    close(node).await;
    close(keeper).await;
}

/// Fault case 113.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_good_for_one_node_and_may_be_repeated_by_it() {
    let place = Place::new();
    let founder = place.founder().await;
    let ticket = founder.engine.invite(Role::Owner, Duration::from_secs(600)).await.unwrap();
    let dir = place.path("interrupted");
    // What a crash between the welcome and the writing of the keyring leaves.
    std::fs::create_dir_all(&dir).unwrap();
    let block = dir.join(format!("new-{}", ticket.id));
    std::fs::write(&block, b"").unwrap();
    assert!(Home::join(&dir, &ticket, JoinOptions::default()).await.is_err());
    assert!(!Home::exists(&dir));

    let thief = Home::join(&place.path("other"), &ticket, JoinOptions::default()).await;
    let thief = thief.unwrap_err();
    assert_eq!(thief.class(), Class::Temporary, "{thief}");
    assert!(!Home::exists(&place.path("other")));

    std::fs::remove_file(&block).unwrap();
    let home = Home::join(&dir, &ticket, JoinOptions::default()).await.unwrap();
    assert_eq!((home.role(), home.stash_id()), (Role::Owner, founder.engine.stash()));
    let node = open(&dir).await;
    connected(&[&founder, &node]).await;
    close(node).await;
    close(founder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn joining_replaces_an_empty_stash_and_refuses_one_with_files() {
    let place = Place::new();
    let founder = place.founder().await;
    let dir = place.path("mine");
    let own = Home::init(&dir, InitOptions::default()).unwrap();
    let node = open(&dir).await;
    let ticket = founder.engine.invite(Role::Owner, Duration::from_secs(600)).await.unwrap();
    let running = Home::join(&dir, &ticket, JoinOptions::default()).await;
    assert_eq!(running.unwrap_err().class(), Class::Locked);
    put(&node, &place.file("a", b"a")).await;
    close(node).await;
    let refused = Home::join(&dir, &ticket, JoinOptions::default()).await;
    assert_eq!(refused.unwrap_err().class(), Class::Refused);
    let node = open(&dir).await;
    assert_eq!(node.engine.stash(), own.stash_id(), "nothing was changed");
    close(node).await;

    let dir = place.path("empty");
    let own = Home::init(&dir, InitOptions::default()).unwrap();
    let home = Home::join(&dir, &ticket, JoinOptions::default()).await.unwrap();
    assert_eq!(home.stash_id(), founder.engine.stash());
    let kept = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
    let kept: Vec<_> = kept
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("replaced-"))
        .collect();
    assert_eq!(kept.len(), 1);
    let old = open(&kept[0]).await;
    assert_eq!(old.engine.stash(), own.stash_id(), "the old stash still opens");
    close(old).await;
    close(founder).await;
}
