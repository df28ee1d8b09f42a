//! Signatures: one message shape, strict verification, two kinds of signer.

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use thiserror::Error;

use crate::contexts;
use crate::ids::StashId;

pub(crate) const SIGNATURE: usize = 64;

/// Why a signature does not hold. The signer, or a relay of the bytes, is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// The claimed public key is no point of the curve, or of small order.
    #[error("the public key {} is not usable", data_encoding::HEXLOWER.encode(key))]
    Key {
        /// The key as claimed.
        key: [u8; 32],
    },
    /// The signature was not made by this key over this message, or is not in canonical form.
    #[error("the signature does not verify under {}", data_encoding::HEXLOWER.encode(key))]
    Signature {
        /// The key as claimed.
        key: [u8; 32],
    },
}

/// The public key that was used last, decoded: records of a batch are of few writers.
#[derive(Debug, Default)]
pub(crate) struct RecentKey(Option<([u8; 32], VerifyingKey)>);

impl RecentKey {
    fn decoded(&mut self, key: &[u8; 32]) -> Result<&VerifyingKey, SignatureError> {
        if self.0.as_ref().is_none_or(|(known, _)| known != key) {
            self.0 = Some((*key, decode(key)?));
        }
        let (_, decoded) = self.0.as_ref().expect("it was just put there");
        Ok(decoded)
    }

    /// As [`verify`].
    pub(crate) fn verify(
        &mut self,
        key: &[u8; 32],
        tag: &str,
        stash: &StashId,
        body: &[u8],
        signature: &[u8; SIGNATURE],
    ) -> Result<(), SignatureError> {
        self.decoded(key)?
            .verify_strict(&message(tag, stash, body), &Signature::from_bytes(signature))
            .map_err(|_| SignatureError::Signature { key: *key })
    }
}

fn decode(key: &[u8; 32]) -> Result<VerifyingKey, SignatureError> {
    let point = VerifyingKey::from_bytes(key).map_err(|_| SignatureError::Key { key: *key })?;
    if point.is_weak() {
        return Err(SignatureError::Key { key: *key });
    }
    Ok(point)
}

fn message(tag: &str, stash: &StashId, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(64 + body.len());
    message.extend_from_slice(&contexts::tag(tag));
    message.extend_from_slice(stash.as_bytes());
    message.extend_from_slice(body);
    message
}

pub(crate) fn sign(key: &SigningKey, tag: &str, stash: &StashId, body: &[u8]) -> [u8; SIGNATURE] {
    key.sign(&message(tag, stash, body)).to_bytes()
}

/// Strict verification: small-order keys and points, and non-canonical scalars, are refused.
pub(crate) fn verify(
    key: &[u8; 32],
    tag: &str,
    stash: &StashId,
    body: &[u8],
    signature: &[u8; SIGNATURE],
) -> Result<(), SignatureError> {
    RecentKey::default().verify(key, tag, stash, body, signature)
}

/// The root's signing half: signs member entries and nothing else. Made by
/// [`RootSecret::root_signer`](crate::RootSecret::root_signer).
pub struct RootSigner(SigningKey);

impl RootSigner {
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The stash that this root signs for.
    pub fn stash_id(&self) -> StashId {
        StashId::from_bytes(self.0.verifying_key().to_bytes())
    }

    pub(crate) fn sign(&self, tag: &str, body: &[u8]) -> [u8; SIGNATURE] {
        sign(&self.0, tag, &self.stash_id(), body)
    }
}

impl fmt::Debug for RootSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootSigner({})", self.stash_id().short())
    }
}
