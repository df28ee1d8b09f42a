//! What is said, as part B of `docs/protocol.md` has it.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use stash_crypto::{Address, ChunkRef};

/// B.2: what opens a stream, and what else an initiator says on a put stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ask {
    Put {},
    Get {
        address: ByteBuf,
    },
    Have {
        chunks: ByteBuf,
    },
    Evict {
        nonce: ByteBuf,
        groups: Vec<Together>,
    },
    Members {
        from: u64,
    },
    Announce {
        entries: Vec<ByteBuf>,
        addresses: Vec<ByteBuf>,
    },
    Join {
        request: ByteBuf,
    },
    Log {
        log: ByteBuf,
        after: u64,
    },
    Find {
        hashes: ByteBuf,
    },
    All {},
    Turned {
        run: u64,
        after: u64,
    },
    News {},
    Lack {
        hashes: ByteBuf,
    },
    Holding {
        hashes: ByteBuf,
    },
    Prove {
        nonce: ByteBuf,
        chunks: ByteBuf,
    },
    Leaves {
        drawn: ByteBuf,
    },
    Writers {
        node: ByteBuf,
        from: ByteBuf,
    },
    Cuts {
        list: ByteBuf,
        from: u64,
    },
    Sums {
        prefixes: ByteBuf,
        length: u8,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        which: Option<String>,
    },
    Ids {
        parts: ByteBuf,
        size: u8,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        which: Option<String>,
    },
    Match {
        halves: ByteBuf,
    },
    Confirmed {
        confirmation: ByteBuf,
    },
}

/// B.4: chunks that the same records name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Together {
    pub(crate) chunks: ByteBuf,
    pub(crate) named: NamedBy,
}

/// B.4: the records that name chunks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NamedBy {
    Records { hashes: ByteBuf },
    Digest { digest: ByteBuf },
}

/// B.3: what an initiator says on a put stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Put {
    Offer { chunks: ByteBuf },
    Records { records: Vec<ByteBuf> },
}

/// B.2 and B.3: what a responder says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Chunk { length: u32 },
    NotHere {},
    Have { chunks: ByteBuf },
    Kept { proofs: ByteBuf, reason: String },
    Proofs { proofs: ByteBuf },
    Leaves { leaves: Vec<ByteBuf> },
    Holding { states: ByteBuf },
    Done {},
    Members { entries: Vec<ByteBuf>, addresses: Vec<ByteBuf> },
    Records { records: Vec<ByteBuf> },
    Log { known: bool, hashes: ByteBuf, log: ByteBuf, last: u64 },
    All { n: u64, sum: ByteBuf, log: u64 },
    Turned { known: bool, records: ByteBuf, run: u64, last: u64, n: u64, sum: ByteBuf },
    Sums { sums: ByteBuf },
    Ids { ids: ByteBuf, parts: u64 },
    Hashes { hashes: ByteBuf },
    Writers { last: ByteBuf },
    Cuts { cuts: ByteBuf },
    Welcome { entries: Vec<ByteBuf>, grant: ByteBuf, addresses: Vec<ByteBuf> },
    Refused { code: String, reason: String },
    Want { chunks: ByteBuf },
    Results { results: Vec<Fate> },
}

/// B.3: what became of a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fate {
    Stored {},
    Need { chunks: ByteBuf },
    Refused { reason: String },
    Failed { reason: String },
}

impl Answer {
    /// The code of a refusal; anything else fails the test.
    pub(crate) fn refusal(self) -> String {
        match self {
            Answer::Refused { code, .. } => code,
            other => panic!("not refused: {other:?}"),
        }
    }
}

impl Fate {
    /// Why a record was refused; anything else fails the test.
    pub(crate) fn refusal(self) -> String {
        match self {
            Fate::Refused { reason } => reason,
            other => panic!("not refused: {other:?}"),
        }
    }
}

pub(crate) fn pack<T: Serialize>(message: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(message).unwrap()
}

pub(crate) fn joined_up(addresses: &[Address]) -> ByteBuf {
    ByteBuf::from(addresses.iter().flat_map(|address| *address.as_bytes()).collect::<Vec<_>>())
}

pub(super) fn references(chunks: &[ChunkRef]) -> ByteBuf {
    let one = |chunk: &ChunkRef| {
        [&chunk.address.as_bytes()[..], &chunk.sealed_len.to_le_bytes()].concat()
    };
    ByteBuf::from(chunks.iter().flat_map(one).collect::<Vec<_>>())
}

pub(super) fn bit_string(bits: &[bool]) -> ByteBuf {
    let mut bytes = vec![0; bits.len().div_ceil(8)];
    for i in (0..bits.len()).filter(|i| bits[*i]) {
        bytes[i / 8] |= 1 << (i % 8);
    }
    ByteBuf::from(bytes)
}
