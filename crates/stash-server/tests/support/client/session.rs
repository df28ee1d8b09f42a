//! A connection to a node, and a put stream on it.

use serde_bytes::ByteBuf;
use stash_crypto::{Address, ChunkRef};
use stash_p2p::{Class, Frame, Peer, RecvStream, SendStream, StreamError};

use super::message::{Answer, Ask, Fate, Put, pack, references};
use super::within;

/// A connection.
pub(crate) struct Session {
    pub(crate) peer: Peer,
}

impl Session {
    pub(crate) async fn open(&self) -> PutStream {
        let stream = within("a stream", self.peer.open(Class::Control)).await.unwrap();
        let (send, recv) = stream.split();
        PutStream { send, recv }
    }

    /// Asks one question on a stream of its own.
    pub(crate) async fn ask(&self, ask: &Ask) -> Answer {
        self.ask_raw(pack(ask)).await
    }

    /// Sends any bytes as the first message of a stream.
    pub(crate) async fn ask_raw(&self, bytes: Vec<u8>) -> Answer {
        let PutStream { mut send, recv } = self.open().await;
        send.message(bytes).await.unwrap();
        send.finish();
        within("an answer", next(&mut { recv })).await.unwrap().expect("an answer")
    }

    /// Opens a put stream.
    pub(crate) async fn put(&self) -> PutStream {
        let mut put = self.open().await;
        put.send.message(pack(&Ask::Put {})).await.unwrap();
        put
    }

    /// Offers and sends chunks and records on a put stream of their own, as an honest owner would.
    pub(crate) async fn give(
        &self,
        chunks: &[(ChunkRef, Vec<u8>)],
        records: &[&[u8]],
    ) -> Vec<Fate> {
        let mut put = self.put().await;
        for chunks in chunks.chunks(256) {
            let offered: Vec<_> = chunks.iter().map(|(chunk, _)| *chunk).collect();
            for (wanted, (_, bytes)) in put.offer(&offered).await.into_iter().zip(chunks) {
                if wanted {
                    put.data(bytes.clone()).await.unwrap();
                }
            }
        }
        put.records(records).await
    }

    /// Gets a chunk; `None` when it is not there.
    pub(crate) async fn get(&self, address: Address) -> Option<Vec<u8>> {
        let PutStream { mut send, mut recv } = self.open().await;
        let address = ByteBuf::from(address.as_bytes().to_vec());
        send.message(pack(&Ask::Get { address })).await.unwrap();
        send.finish();
        let length = match within("an answer", next(&mut recv)).await.unwrap() {
            Some(Answer::Chunk { length }) => length as usize,
            Some(Answer::NotHere {}) => return None,
            other => panic!("answered a get with {other:?}"),
        };
        let mut bytes = Vec::new();
        while let Some(frame) = within("chunk bytes", recv.next()).await.unwrap() {
            let Frame::Data(piece) = frame else { panic!("{frame:?} in a chunk") };
            bytes.extend_from_slice(&piece);
        }
        assert_eq!(bytes.len(), length, "a chunk is as long as was said");
        Some(bytes)
    }
}

/// B.3: a put stream.
pub(crate) struct PutStream {
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
}

impl PutStream {
    pub(crate) async fn say(&mut self, put: &Put) -> Result<(), StreamError> {
        self.send.message(pack(put)).await
    }

    pub(crate) async fn data(&mut self, bytes: Vec<u8>) -> Result<(), StreamError> {
        self.send.data(bytes).await
    }

    pub(crate) async fn say_offer(&mut self, chunks: &[ChunkRef]) -> Result<(), StreamError> {
        self.say(&Put::Offer { chunks: references(chunks) }).await
    }

    /// Offers chunks; which ones are wanted.
    pub(crate) async fn offer(&mut self, chunks: &[ChunkRef]) -> Vec<bool> {
        self.say_offer(chunks).await.unwrap();
        match within("a want", next(&mut self.recv)).await.unwrap() {
            Some(Answer::Want { chunks: bits }) => {
                assert_eq!(bits.len(), chunks.len().div_ceil(8), "the least length");
                let bit = |i: usize| bits[i / 8] >> (i % 8) & 1 == 1;
                assert!((chunks.len()..bits.len() * 8).all(|i| !bit(i)), "unused bits are zero");
                (0..chunks.len()).map(bit).collect()
            }
            other => panic!("answered an offer with {other:?}"),
        }
    }

    pub(crate) async fn say_records(&mut self, records: &[&[u8]]) -> Result<(), StreamError> {
        let records = records.iter().map(|bytes| ByteBuf::from(bytes.to_vec())).collect();
        self.say(&Put::Records { records }).await
    }

    /// Sends records in one message; what became of each.
    pub(crate) async fn records(&mut self, records: &[&[u8]]) -> Vec<Fate> {
        self.say_records(records).await.unwrap();
        match within("results", next(&mut self.recv)).await.unwrap() {
            Some(Answer::Results { results }) => {
                assert_eq!(results.len(), records.len(), "one result a record");
                results
            }
            other => panic!("answered records with {other:?}"),
        }
    }

    /// B.3, 2: the responder must reset the stream; no further answer may come before.
    pub(crate) async fn must_be_reset(mut self, why: &str) {
        match within(why, next(&mut self.recv)).await {
            Err(StreamError::Reset(_)) => {}
            other => panic!("{why}: the stream was not reset, but ended with {other:?}"),
        }
    }
}

/// The next message; `None` when the other side ended its direction in good order.
pub(crate) async fn next(recv: &mut RecvStream) -> Result<Option<Answer>, StreamError> {
    match recv.next().await? {
        Some(Frame::Message(bytes)) => {
            Ok(Some(rmp_serde::from_slice(&bytes).expect("an answer of the document")))
        }
        Some(Frame::Data(_)) => panic!("data where a message is due"),
        None => Ok(None),
    }
}
