//! Names in whose history somebody made writers up: they are written, removed, purged and resolved.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use crate::common::{Place, close, put, vault};
use stash_vault::crypto::record::MAX_SEEN;
use stash_vault::crypto::{
    Clear, Dot, Incarnation, Keyring, Manifest, Meta, RecordDraft, RecordKind, Vector, Writer,
};
use stash_vault::server::{Position, Write};
use stash_vault::{Key, Node, Progress, Role, Wait};

/// Writes a record of a name that says to have seen as many writers as a record can name, all of them
/// incarnations of another owner that never wrote.
async fn make_up(place: &Place, node: &Node, of: &Node, key: &str) {
    let keyring = std::fs::read(place.path("bad/keyring")).unwrap();
    let keyring = Keyring::decode(&keyring, None).unwrap();
    let (owner, root) = (keyring.node.duplicate(), keyring.read[0].meta_keys());
    let mut seen = Vector::new();
    for at in (100..).take(MAX_SEEN) {
        let incarnation = Incarnation::from_bytes([at; 8]);
        let writer = Writer { node: of.engine.node_id(), incarnation };
        seen.insert(Dot { writer, n: 1 }).unwrap();
    }
    let key = Key::new(key).unwrap();
    let name = vault(node).name_id(&key);
    let draft = move |at: Position| {
        let clear = Clear {
            stash: at.stash,
            kind: RecordKind::Put,
            name,
            dot: at.dot,
            previous: at.previous,
            height: at.height,
            epoch: 0,
            seen: seen.clone(),
            manifest: Manifest::EMPTY,
        };
        let meta = Meta { inline: Some(b"bad".to_vec()), ..Meta::new(key.clone(), 3) };
        RecordDraft { clear, meta: Some(meta) }.sign(owner.signer(), &root)
    };
    let upload = node.engine.upload(Wait::All);
    let pending = upload.commit(vec![Write { name, draft: Box::new(draft) }]).await.unwrap();
    assert_eq!(pending.wait().await.copies, 2);
}

// Fault case 23.
#[tokio::test(flavor = "multi_thread")]
async fn made_up_writers_keep_nobody_from_putting_resolving_removing_and_purging() {
    let place = Place::new();
    let founder = place.founder().await;
    let bad = place.member(&founder, "bad", Role::Owner).await;
    let (mine, progress) = (vault(&founder), Progress::new());
    for when in ["before", "after"] {
        let keys = ["put", "resolve", "rm", "purge"].map(|what| format!("{what}-{when}"));
        for key in &keys {
            make_up(&place, &bad, &founder, key).await;
        }
        if when == "after" {
            founder.engine.remove_member(bad.engine.node_id()).await.unwrap();
        }
        put(&founder, &place.file(&keys[0], b"good")).await;
        assert_eq!(mine.stat(&Key::new(&keys[0]).unwrap()).await.unwrap().size, 4);

        let key = Key::new(&keys[1]).unwrap();
        let file = place.file("other", b"other");
        mine.resolve_with_file(&key, &file, Wait::Local, &progress).await.unwrap();
        assert_eq!(mine.stat(&key).await.unwrap().size, 5);

        mine.rm(&keys[2], false, Wait::Local, &progress).await.unwrap();
        mine.purge(&keys[3], false, Wait::Local, &progress).await.unwrap();
        for key in &keys[2..] {
            assert!(mine.stat(&Key::new(key).unwrap()).await.is_err(), "{key}");
        }
        mine.purge(&keys[0], false, Wait::Local, &progress).await.unwrap();
        put(&founder, &place.file(&keys[3], b"again")).await;
    }
    close(bad).await;
    close(founder).await;
}
