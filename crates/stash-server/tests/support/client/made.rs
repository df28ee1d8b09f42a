//! Chunks, records and proofs, as an honest owner makes them.

use stash_crypto::chunk::{CHUNK_OVERHEAD, padme};
use stash_crypto::{
    ChunkRef, Clear, Dot, Incarnation, Key, Manifest, Meta, NodeId, NodeKeys, Record, RecordDraft,
    RecordHash, RecordKind, StashId, Vector, Writer,
};

use crate::support::Stash;

/// B.4: the possession proof of one chunk.
pub(crate) fn proof(
    nonce: &[u8],
    stash: &StashId,
    verifier: &NodeId,
    prover: &NodeId,
    session: &[u8; 32],
    sealed: &[u8],
) -> [u8; 32] {
    let said = [nonce, stash.as_bytes(), verifier.as_bytes(), prover.as_bytes(), session].concat();
    let key = blake3::derive_key("stash v1 possession proof", &said);
    *blake3::keyed_hash(&key, sealed).as_bytes()
}

/// Seals one chunk of at least `len` pseudo-random bytes, of a length that needs no padding.
pub(crate) fn sealed(stash: &Stash, seed: &str, len: usize) -> (ChunkRef, Vec<u8>) {
    let len = usize::try_from(padme(len as u64)).unwrap();
    let mut bytes = vec![0; CHUNK_OVERHEAD + len];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut bytes[CHUNK_OVERHEAD..]);
    let sealed = stash.root().read_root().chunk_keys().seal_in_place(&mut bytes).unwrap();
    let sealed_len = u32::try_from(bytes.len()).unwrap();
    (ChunkRef { address: sealed.address, sealed_len }, bytes)
}

/// The clear part of a member's first record of a name: a put without chunks. Tests change it.
pub(crate) fn clear(stash: &Stash, keys: &NodeKeys, key: &str, n: u64) -> Clear {
    Clear {
        stash: stash.id(),
        kind: RecordKind::Put,
        name: stash.name(key),
        dot: Dot {
            writer: Writer { node: keys.node_id(), incarnation: Incarnation::from_bytes([3; 8]) },
            n,
        },
        previous: RecordHash::from_bytes([0; 32]),
        height: 1,
        epoch: 0,
        seen: Vector::new(),
        manifest: Manifest::Direct(Vec::new()),
    }
}

/// Seals a fitting meta under `key` and signs.
pub(crate) fn signed(stash: &Stash, keys: &NodeKeys, key: &str, clear: Clear) -> Record {
    let plain = |chunk: &ChunkRef| u64::from(chunk.sealed_len) - CHUNK_OVERHEAD as u64;
    let chunks = clear.manifest.refs();
    let size = chunks.iter().map(plain).sum();
    let inline = (chunks.is_empty() && clear.kind == RecordKind::Put).then(Vec::new);
    let chunk_size = match chunks {
        [first, _, ..] => u32::try_from(plain(first)).unwrap(),
        [_] => 4 << 20,
        [] => 0,
    };
    let meta = Meta { chunk_size, inline, ..Meta::new(Key::new(key).unwrap(), size) };
    let meta = clear.kind.is_version().then_some(meta);
    let draft = RecordDraft { clear, meta };
    draft.sign(keys.signer(), &stash.root().read_root().meta_keys()).unwrap()
}

/// A put of these chunks.
pub(crate) fn put_of(
    stash: &Stash,
    keys: &NodeKeys,
    key: &str,
    n: u64,
    chunks: &[ChunkRef],
) -> Record {
    let manifest = Manifest::Direct(chunks.to_vec());
    signed(stash, keys, key, Clear { manifest, ..clear(stash, keys, key, n) })
}

/// B.9: the leaf of a chunk on which a draw falls, and the last one, with what leads to the address.
pub(crate) fn leaf(sealed: &[u8], draw: u32) -> Vec<u8> {
    let leaves = sealed.chunks(1_024).count().max(1);
    let wanted = [draw as usize % leaves, leaves - 1];
    let (_, shown) = subtree(sealed, 0, &wanted);
    [&u32::try_from(sealed.len()).unwrap().to_le_bytes()[..], &shown.unwrap()].concat()
}

/// The chaining value of a subtree, and what is shown of it if a wanted leaf is in it.
fn subtree(bytes: &[u8], first: usize, wanted: &[usize]) -> ([u8; 32], Option<Vec<u8>>) {
    use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root};
    let leaves = bytes.chunks(1_024).count().max(1);
    if leaves == 1 {
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(first as u64 * 1_024).update(bytes);
        return (hasher.finalize_non_root(), wanted.contains(&first).then(|| bytes.to_vec()));
    }
    let half = leaves.next_power_of_two() / 2;
    let (left, left_shown) = subtree(&bytes[..half * 1_024], first, wanted);
    let (right, right_shown) = subtree(&bytes[half * 1_024..], first + half, wanted);
    let value = merge_subtrees_non_root(&left, &right, Mode::Hash);
    let shown = match (left_shown, right_shown) {
        (None, None) => None,
        (left_shown, right_shown) => {
            let or = |shown: Option<Vec<u8>>, value: [u8; 32]| shown.unwrap_or(value.to_vec());
            Some([or(left_shown, left), or(right_shown, right)].concat())
        }
    };
    (value, shown)
}
