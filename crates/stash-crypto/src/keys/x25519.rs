//! The one rule for X25519 public keys that come from others.

use x25519_dalek::{PublicKey, StaticSecret};

/// True if an X25519 public key gives a secret that depends on both sides.
pub(crate) fn is_contributory(public: &[u8; 32]) -> bool {
    StaticSecret::from([1; 32]).diffie_hellman(&PublicKey::from(*public)).was_contributory()
}
