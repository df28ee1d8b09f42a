//! Members that keep less than everything: what they drop, and when; and that they count for nothing.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

use std::time::Instant;

use stash_crypto::{Address, ChunkRef, Role};
use stash_server::transfers::EvictStop;
use stash_server::{PutError, Wait};

use crate::client::within;
use crate::support::{Node, PATIENCE, Stash, addresses, all_connected, until};

const MIB: u64 = 1 << 20;

/// Length of a chunk.
const LEN: usize = 1 << 20;

/// A stash whose next node keeps so many bytes.
fn keeping(mut stash: Stash, keep: u64) -> Stash {
    stash.housekeeping.keep = keep;
    stash
}

async fn here(node: &Node, chunks: &[ChunkRef]) -> Vec<bool> {
    node.engine.chunks_here(&addresses(chunks)).await.unwrap()
}

async fn read(node: &Node, chunks: &[ChunkRef], keep: bool) -> usize {
    let mut fetch = node.engine.fetch(chunks.to_vec(), keep);
    let mut len = 0;
    while let Some(chunk) = within("a chunk", fetch.next()).await {
        len += chunk.unwrap().len();
    }
    len
}

/// Others know that this node is a cache.
async fn is_known_as_a_cache(cache: &Node, others: &[&Node]) {
    let me = cache.keys.node_id();
    for other in others {
        until("it is known as a cache", || {
            other.engine.members().iter().any(|one| one.node == me && one.keep.is_some())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_drops_what_others_have_and_reads_all_of_it() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    let stash = keeping(stash, 3 * MIB);
    let cache = stash.joined(&founder, Role::Owner).await;
    all_connected(&[&founder, &keeper, &cache]).await;
    let mut files = Vec::new();
    for file in 0..8 {
        let (chunks, outcome) = stash.put(&cache, &format!("{file}"), &[LEN], Wait::All).await;
        assert_eq!((outcome.copies, outcome.wanted, outcome.short), (2, 2, false));
        files.push(chunks);
    }
    until("there is no more than is kept", || cache.store.blob_bytes() <= 3 * MIB).await;
    for chunks in &files {
        assert_eq!(
            (here(&founder, chunks).await, here(&keeper, chunks).await),
            (vec![true], vec![true])
        );
        assert_eq!(read(&cache, chunks, true).await, chunks[0].sealed_len as usize);
    }
    assert!(cache.store.blob_bytes() <= 3 * MIB, "what is read goes no further");
    let view = cache.engine.cache().unwrap();
    assert_eq!((view.keep, view.stuck), (3 * MIB, None));
    assert_eq!(founder.engine.cache(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_used_lately_stays() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let stash = keeping(stash, 8 * MIB);
    let cache = stash.joined(&founder, Role::Owner).await;
    all_connected(&[&founder, &cache]).await;
    let mut files = Vec::new();
    for file in 0..7 {
        files.push(stash.put(&cache, &format!("{file}"), &[LEN], Wait::All).await.0);
    }
    read(&cache, &files[0], true).await;
    files.push(stash.put(&cache, "one too many", &[LEN], Wait::All).await.0);
    until("something was dropped", || cache.store.blob_bytes() <= 7 * MIB + MIB / 2).await;
    assert_eq!(here(&cache, &files[0]).await, [true], "it was read");
    assert_eq!(here(&cache, &files[1]).await, [false], "the oldest");
    assert_eq!(here(&cache, &files[7]).await, [true], "the newest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_is_no_target_of_a_put_and_proves_nothing() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let stash = keeping(stash, 100 * MIB);
    let cache = stash.joined(&founder, Role::Owner).await;
    all_connected(&[&founder, &cache]).await;
    is_known_as_a_cache(&cache, &[&founder]).await;
    let (chunks, outcome) = stash.put(&founder, "a", &[LEN], Wait::All).await;
    assert_eq!((outcome.copies, outcome.wanted, outcome.short), (1, 1, false));
    let hash = *outcome.records[0].hash().as_bytes();
    until("the record is there", || cache.store.has_records(&[hash]).unwrap()[0]).await;
    assert_eq!(here(&cache, &chunks).await, [false], "nobody asked for it");
    // It has the bytes now, and still does not prove them.
    read(&cache, &chunks, true).await;
    assert_eq!(here(&cache, &chunks).await, [true]);
    let refused = founder.engine.evict(addresses(&chunks)).await.unwrap_err();
    let EvictStop::NotProven { asked, .. } = refused.why else { panic!("{refused}") };
    assert!(asked.iter().all(|(_, why)| why == "keeps less than all"), "{asked:?}");
    assert_eq!(here(&founder, &chunks).await, [true]);
    let safety = founder.engine.safety();
    assert_eq!(safety.verdict, stash_server::housekeeping::Verdict::Alone, "{safety:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_keeps_everything_nothing_is_dropped_and_puts_end_with_the_reason() {
    let stash = keeping(Stash::new(), MIB);
    let founder = stash.founder().await;
    let (mut chunks, outcome) = stash.put(&founder, "A", &[LEN; 40], Wait::Local).await;
    assert_eq!((outcome.copies, outcome.wanted, outcome.short), (0, 0, false));
    chunks.extend(stash.put(&founder, "m", &[LEN; 40], Wait::Local).await.0);
    until("it is said why nothing goes", || {
        let stuck = founder.engine.cache().unwrap().stuck;
        stuck.is_some_and(|why| why.contains("keeps everything"))
    })
    .await;
    assert_eq!(here(&founder, &chunks).await, [true; 80]);
    let begun = Instant::now();
    let upload = founder.engine.upload(Wait::Local);
    let sealed = founder.engine.buffer(LEN).await;
    let address = Address::from_bytes(*blake3::hash(&sealed).as_bytes());
    let refused = upload.chunk(address, sealed.freeze()).await.unwrap_err();
    assert!(matches!(refused, PutError::OverKeep(_)), "{refused}");
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(here(&founder, &chunks).await, [true; 80]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_that_keeps_everything_again_gets_it_all_and_one_that_keeps_less_drops() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let second = stash.joined(&founder, Role::Keeper).await;
    let stash = keeping(stash, 0);
    let cache = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &second, &cache]).await;
    is_known_as_a_cache(&cache, &[&founder]).await;
    let (chunks, outcome) = stash.put(&founder, "a", &[LEN; 3], Wait::All).await;
    assert_eq!((outcome.copies, outcome.wanted), (2, 2));
    let hash = *outcome.records[0].hash().as_bytes();
    until("the record is there", || cache.store.has_records(&[hash]).unwrap()[0]).await;
    cache.engine.shutdown(PATIENCE).await;
    let stash = keeping(stash, u64::MAX);
    let copy = stash.restarted(cache, Role::Keeper).await;
    until("all bytes are there", || copy.store.blob_bytes() >= 3 * MIB).await;
    assert_eq!(here(&copy, &chunks).await, [true; 3]);
    copy.engine.shutdown(PATIENCE).await;
    let stash = keeping(stash, 0);
    let cache = stash.restarted(copy, Role::Keeper).await;
    until("all bytes are gone", || cache.store.blob_bytes() == 0).await;
    assert_eq!(here(&founder, &chunks).await, [true; 3]);
    assert_eq!(here(&second, &chunks).await, [true; 3]);
}
