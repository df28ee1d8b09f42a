//! A node whose chunk files are away says so, and neither that it has them nor that it has not.

use serde_bytes::ByteBuf;
use stash_crypto::ChunkRef;
use stash_server::FetchError;
use stash_server::store::ReadError;

use crate::client::{Answer, Ask, Fate, NamedBy, Together, joined_up, put_of, sealed, within};
use crate::scene::{Scene, scene};

/// Puts a chunk that is a file of its own, and its record.
async fn file(scene: &Scene, key: &str, n: u64) -> (ChunkRef, Vec<u8>) {
    let (chunk, bytes) = sealed(&scene.stash, key, 300_000);
    let record = put_of(&scene.stash, &scene.owner.keys, key, n, &[chunk]);
    let fates = scene.session.give(&[(chunk, bytes.clone())], &[record.bytes()]).await;
    assert_eq!(fates, [Fate::Stored {}], "{key}");
    (chunk, bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_asked_about_a_file_that_is_away_is_unavailable() {
    let scene = scene().await;
    let (chunk, bytes) = file(&scene, "file", 1).await;
    let (small, small_bytes) = scene.put("in the log", 2).await;
    let start = Ask::Log { log: ByteBuf::from(vec![0; 16]), after: 0 };
    let Answer::Log { hashes, .. } = scene.session.ask(&start).await else { panic!("no page") };
    let store = scene.node.dir.path().join("store");
    std::fs::rename(store.join("chunks"), store.join("elsewhere")).unwrap();

    let nonce = ByteBuf::from(vec![3; 32]);
    let chunks = joined_up(&[small.address, chunk.address]);
    for ask in [
        Ask::Get { address: ByteBuf::from(chunk.address.as_bytes().to_vec()) },
        Ask::Have { chunks: chunks.clone() },
        Ask::Evict {
            nonce: nonce.clone(),
            groups: vec![Together {
                chunks: chunks.clone(),
                named: NamedBy::Records { hashes: ByteBuf::from(vec![1; 32]) },
            }],
        },
        Ask::Prove { nonce: nonce.clone(), chunks },
        Ask::Leaves { drawn: ByteBuf::from([&chunk.address.as_bytes()[..], &[0; 4]].concat()) },
        Ask::Holding { hashes: hashes.clone() },
    ] {
        assert_eq!(scene.session.ask(&ask).await.refusal(), "unavailable", "{ask:?}");
    }
    // What it can tell from its log, it tells.
    assert_eq!(scene.session.get(small.address).await, Some(small_bytes));
    let have = Ask::Have { chunks: joined_up(&[small.address]) };
    let bits = Answer::Have { chunks: ByteBuf::from(vec![1]) };
    assert_eq!(scene.session.ask(&have).await, bits);
    // Whoever reads it here hears what is wrong here, and not only that nobody else has it.
    let mut fetch = scene.node.engine.fetch(vec![chunk], true);
    let error = within("an error", fetch.next()).await.unwrap().unwrap_err();
    let FetchError::Here { source, tried, .. } = error else { panic!("{error}") };
    assert!(matches!(&*source, ReadError::Away(_)), "{source}");
    assert_eq!(tried.len(), 1, "the owner was asked: {tried:?}");
    let inline = put_of(&scene.stash, &scene.owner.keys, "inline", 3, &[]);
    assert_eq!(scene.session.give(&[], &[inline.bytes()]).await, [Fate::Stored {}]);
    // Nothing that names a chunk of which it cannot tell is stored.
    let again = put_of(&scene.stash, &scene.owner.keys, "again", 4, &[chunk]);
    let fates = scene.session.give(&[], &[again.bytes()]).await;
    assert!(matches!(&fates[..], [Fate::Failed { .. }]), "{fates:?}");
    let (new, _) = sealed(&scene.stash, "new", 300_000);
    let mut put = scene.session.put().await;
    put.say_offer(&[new, chunk]).await.unwrap();
    put.must_be_reset("it cannot say what it wants").await;

    std::fs::rename(store.join("elsewhere"), store.join("chunks")).unwrap();
    assert_eq!(scene.session.get(chunk.address).await, Some(bytes));
    assert_eq!(scene.session.give(&[], &[again.bytes()]).await, [Fate::Stored {}]);
    file(&scene, "later", 5).await;
}
