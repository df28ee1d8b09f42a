//! X25519 static keys, which identify peers.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// An X25519 public key: the identity of a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

/// An X25519 secret key. Zeroised on drop, redacted in `Debug`, not `Clone`.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct StaticSecret([u8; 32]);

/// A text is not the 64 lower-case hexadecimal digits of a key. The caller's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a public key is 64 lower-case hexadecimal digits")]
pub struct ParseKeyError;

impl PublicKey {
    /// Takes the 32 bytes as they stand; any value is accepted here, and a key of low order is
    /// refused by the handshake.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first ten hexadecimal digits, for logs.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(10);
        text
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.short())
    }
}

impl FromStr for PublicKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        let mut key = [0; 32];
        if text.len() != 2 * key.len() {
            return Err(ParseKeyError);
        }
        HEXLOWER.decode_mut(text.as_bytes(), &mut key).map_err(|_| ParseKeyError)?;
        Ok(Self(key))
    }
}

impl StaticSecret {
    /// Takes 32 secret bytes; they are clamped where they are used.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let secret = x25519_dalek::StaticSecret::from(self.0);
        PublicKey(x25519_dalek::PublicKey::from(&secret).to_bytes())
    }

    /// The secret bytes, for those who must store them.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for StaticSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StaticSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text_and_only_its_text() {
        let key = StaticSecret::from_bytes([7; 32]).public();
        assert_eq!(key.to_string().parse(), Ok(key));
        let upper = key.to_string().to_uppercase();
        assert_eq!(upper.parse::<PublicKey>(), Err(ParseKeyError));
        assert_eq!("00".parse::<PublicKey>(), Err(ParseKeyError));
    }

    #[test]
    fn a_secret_is_not_in_its_debug_text() {
        assert_eq!(format!("{:?}", StaticSecret::from_bytes([7; 32])), "StaticSecret(..)");
    }
}
