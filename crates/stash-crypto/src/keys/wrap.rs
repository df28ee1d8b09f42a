//! Wrapping: secrets sealed to one X25519 key.
//!
//! An ephemeral X25519 key, the shared secret and all public parts hashed into two SIV keys, and
//! the recipient, the ephemeral key and the stash as associated data. A repeated ephemeral key (a
//! cloned machine) shows at most that two wraps are equal.

use rand::CryptoRng;
use thiserror::Error;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::codec::Reader;
use crate::contexts;
use crate::ids::{StashId, WrapPublic};
use crate::keys::node::WrapSecret;
use crate::random::random;
use crate::siv::{Siv, TAG};

const FORMAT: u8 = 1;
/// Bytes that wrapping adds: format, ephemeral key, T.
pub const WRAP_OVERHEAD: usize = 1 + 32 + TAG;

/// Why something cannot be wrapped or unwrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WrapError {
    /// A public key of small order: with it, anyone could open the wrap. The node that chose it is
    /// at fault.
    #[error("the public key is of small order")]
    WeakKey,
    /// Fewer bytes than any wrap has.
    #[error("a wrap has at least {WRAP_OVERHEAD} bytes, got {got}")]
    TooShort {
        /// Bytes given.
        got: usize,
    },
    /// A format of a later version.
    #[error("wrap format {found} is not known")]
    Format {
        /// The format byte.
        found: u8,
    },
    /// Made for another key or stash, or at least one bit changed.
    #[error("the wrap does not open with this key for this stash")]
    NotAuthentic,
}

struct Parts<'a> {
    ephemeral: &'a [u8; 32],
    to: &'a WrapPublic,
    stash: &'a StashId,
}

impl Parts<'_> {
    fn siv(&self, secret: &[u8; 32], other: &[u8; 32]) -> Result<Siv, WrapError> {
        let shared = StaticSecret::from(*secret).diffie_hellman(&PublicKey::from(*other));
        if !shared.was_contributory() {
            return Err(WrapError::WeakKey);
        }
        let (to, stash) = (self.to.as_bytes(), self.stash.as_bytes());
        let material: [&[u8]; 4] = [shared.as_bytes(), self.ephemeral, to, stash];
        Ok(Siv::derive(contexts::WRAP_MAC, contexts::WRAP_ENC, &material))
    }

    fn ad(&self) -> [u8; 97] {
        let mut ad = [FORMAT; 97];
        ad[1..33].copy_from_slice(self.ephemeral);
        ad[33..65].copy_from_slice(self.to.as_bytes());
        ad[65..].copy_from_slice(self.stash.as_bytes());
        ad
    }
}

/// Seals `plaintext` so that only the holder of `to`'s secret half can open it.
pub fn wrap(
    to: &WrapPublic,
    stash: &StashId,
    plaintext: &[u8],
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<Vec<u8>, WrapError> {
    let secret = random::<32>(rng);
    let ephemeral = PublicKey::from(&StaticSecret::from(*secret)).to_bytes();
    let parts = Parts { ephemeral: &ephemeral, to, stash };
    let sealed = parts.siv(&secret, to.as_bytes())?.seal(&parts.ad(), plaintext);
    let mut out = Vec::with_capacity(33 + sealed.len());
    out.push(FORMAT);
    out.extend_from_slice(&ephemeral);
    out.extend_from_slice(&sealed);
    Ok(out)
}

/// Opens what [`wrap`] made for this key and stash.
pub fn unwrap(
    secret: &WrapSecret,
    stash: &StashId,
    bytes: &[u8],
) -> Result<Zeroizing<Vec<u8>>, WrapError> {
    if bytes.len() < WRAP_OVERHEAD {
        return Err(WrapError::TooShort { got: bytes.len() });
    }
    let short = |_| WrapError::TooShort { got: bytes.len() };
    let mut reader = Reader::new(bytes);
    match reader.u8().map_err(short)? {
        FORMAT => {}
        found => return Err(WrapError::Format { found }),
    }
    let ephemeral = reader.array().map_err(short)?;
    let parts = Parts { ephemeral: &ephemeral, to: &secret.public(), stash };
    let siv = parts.siv(secret.expose(), &ephemeral)?;
    siv.open(&parts.ad(), reader.rest()).ok_or(WrapError::NotAuthentic)
}
