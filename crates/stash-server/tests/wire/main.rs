//! Answers of a node on the wire, and its treatment of an initiator that breaks `docs/protocol.md`
//! part B: put streams, requests, joins and news of members.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

#[path = "../support/client/mod.rs"]
mod client;
#[path = "../support/scene.rs"]
mod scene;
#[path = "../support/mod.rs"]
mod support;

mod away;
mod join;
mod lists;
mod members;
mod put;
mod requests;

use client::{Fate, put_of, sealed};
use scene::Scene;
use stash_crypto::{Address, ChunkRef};

impl Scene {
    async fn here(&self, chunk: &ChunkRef) -> bool {
        self.node.engine.chunks_here(&[chunk.address]).await.unwrap()[0]
    }

    /// Puts one file on a stream of its own, as an honest owner does.
    async fn put(&self, key: &str, n: u64) -> (ChunkRef, Vec<u8>) {
        let (chunk, bytes) = sealed(&self.stash, key, 5_000);
        let record = put_of(&self.stash, &self.owner.keys, key, n, &[chunk]);
        let fates = self.session.give(&[(chunk, bytes.clone())], &[record.bytes()]).await;
        assert_eq!(fates, [Fate::Stored {}], "{key}");
        (chunk, bytes)
    }

    /// After a fault: nothing was kept, and the same connection still puts, gets and is a peer.
    async fn works_on(&self, records: u64) {
        let held = self.node.engine.status().await.unwrap();
        assert_eq!(held.records, records, "no record was kept");
        let (chunk, bytes) = self.put(&format!("later {records}"), 1_000 + records).await;
        assert_eq!(self.session.get(chunk.address).await, Some(bytes));
    }
}

fn unknown_chunk(n: u32, sealed_len: u32) -> ChunkRef {
    let address = Address::of(&n.to_le_bytes());
    ChunkRef { address, sealed_len }
}
