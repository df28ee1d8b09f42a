//! Proof that a peer can produce the bytes of a chunk.
//!
//! The key binds the proof to one question, one stash, one pair of nodes and one session, so that
//! it cannot be replayed or passed on. It does not show where the bytes lie: a peer that fetches
//! them from a third node while it answers proves as well (see `docs/threat-model.md`).

use stash_crypto::{NodeId, StashId};

/// Key derivation context of possession proofs.
const CONTEXT: &str = "stash v1 possession proof";

/// Everything that a proof is bound to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub nonce: &'a [u8; 32],
    pub stash: &'a StashId,
    pub verifier: &'a NodeId,
    pub prover: &'a NodeId,
    /// Handshake hash of the connection.
    pub session: &'a [u8; 32],
}

impl Question<'_> {
    /// The proof of one chunk: BLAKE3 over its sealed bytes, keyed by everything in the question.
    pub(crate) fn answer(&self, sealed: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(self.nonce).update(self.stash.as_bytes());
        hasher.update(self.verifier.as_bytes()).update(self.prover.as_bytes());
        hasher.update(self.session);
        let key = hasher.finalize();
        *blake3::keyed_hash(key.as_bytes(), sealed).as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_only_for_its_own_question_and_bytes() {
        let (stash, verifier, prover) = (
            StashId::from_bytes([1; 32]),
            NodeId::from_bytes([2; 32]),
            NodeId::from_bytes([3; 32]),
        );
        let asked = Question {
            nonce: &[4; 32],
            stash: &stash,
            verifier: &verifier,
            prover: &prover,
            session: &[5; 32],
        };
        let proof = asked.answer(b"sealed");
        assert_eq!(asked.answer(b"sealed"), proof);
        assert_ne!(asked.answer(b"sealee"), proof, "other bytes");
        let other = [
            Question { nonce: &[9; 32], ..asked },
            Question { stash: &StashId::from_bytes([9; 32]), ..asked },
            Question { verifier: &prover, prover: &verifier, ..asked },
            Question { session: &[9; 32], ..asked },
        ];
        assert!(other.iter().all(|question| question.answer(b"sealed") != proof));
        // Computed by another program (Python's blake3) from `docs/protocol.md` B.4.
        let frozen = "c1ba3853fa129b7b910d4abf34f9806f9f1db1eed67186963eef45909b3b569c";
        assert_eq!(blake3::Hash::from_bytes(proof).to_hex().as_str(), frozen);
    }
}
