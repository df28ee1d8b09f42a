//! The two directions of a session after the handshake, each with its own key and counter.
//!
//! They are what Noise calls CipherStates, kept apart so that a reader and a writer need no lock,
//! and working in place so that each byte is touched once. Each direction rekeys (Noise section
//! 4.2) after exactly `rekey_after` messages; the counter goes on.

use std::fmt;

use aws_lc_rs::aead::{Aad, LessSafeKey};
use aws_lc_rs::error::Unspecified;
use zeroize::Zeroizing;

use crate::resolver::{TAG, aead_key, noise_nonce};

/// A message did not authenticate, or its direction is at the end of its counter. The connection
/// must be closed: the cipher is poisoned and refuses everything after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CipherError;

struct Half {
    key: LessSafeKey,
    counter: u64,
    rekey_after: u64,
    poisoned: bool,
}

/// Encrypts what leaves.
pub(crate) struct Sealer(Half);

/// Decrypts what arrives.
pub(crate) struct Opener(Half);

impl Half {
    fn new(key: &[u8; 32], rekey_after: u64) -> Self {
        Self { key: aead_key(key), counter: 0, rekey_after, poisoned: false }
    }

    fn advance(&mut self) {
        self.counter += 1;
        if self.counter.is_multiple_of(self.rekey_after) {
            let mut next = Zeroizing::new([0; 32]);
            let _tag = self
                .key
                .seal_in_place_separate_tag(
                    noise_nonce(u64::MAX),
                    Aad::empty(),
                    next.as_mut_slice(),
                )
                .expect("32 bytes are below the limit of GCM");
            self.key = aead_key(&next);
        }
    }

    fn usable(&self) -> Result<(), CipherError> {
        // 2^64 - 1 is the counter of the rekey.
        (!self.poisoned && self.counter != u64::MAX).then_some(()).ok_or(CipherError)
    }
}

impl Sealer {
    pub(crate) fn new(key: &[u8; 32], rekey_after: u64) -> Self {
        Self(Half::new(key, rekey_after))
    }

    /// Encrypts a message of two parts: `text` in place, and `rest` into `out`, where the tag follows it.
    pub(crate) fn seal(
        &mut self,
        text: &mut [u8],
        rest: &[u8],
        out: &mut [u8],
    ) -> Result<(), CipherError> {
        self.0.usable()?;
        let nonce = noise_nonce(self.0.counter);
        let sealed = self.0.key.seal_in_place_scatter(nonce, Aad::empty(), text, rest, out);
        sealed.map_err(|_| CipherError)?;
        self.0.advance();
        Ok(())
    }
}

impl Opener {
    pub(crate) fn new(key: &[u8; 32], rekey_after: u64) -> Self {
        Self(Half::new(key, rekey_after))
    }

    /// Decrypts `message` (ciphertext and tag) in place and returns the length of the text.
    pub(crate) fn open(&mut self, message: &mut [u8]) -> Result<usize, CipherError> {
        self.0.usable()?;
        let nonce = noise_nonce(self.0.counter);
        let opened = self.0.key.open_in_place(nonce, Aad::empty(), message).map(|text| text.len());
        self.opened(opened)
    }

    /// Decrypts `message` (ciphertext and tag) to `text`, which has exactly the length of the text. After an
    /// error it holds zeros.
    pub(crate) fn open_to(&mut self, message: &[u8], text: &mut [u8]) -> Result<(), CipherError> {
        self.0.usable()?;
        let nonce = noise_nonce(self.0.counter);
        let (sealed, tag) = message.split_last_chunk::<TAG>().ok_or(CipherError)?;
        let opened = self.0.key.open_separate_gather(nonce, Aad::empty(), sealed, tag, text);
        self.opened(opened)
    }

    fn opened<T>(&mut self, opened: Result<T, Unspecified>) -> Result<T, CipherError> {
        match opened {
            Ok(_) => self.0.advance(),
            Err(_) => self.0.poisoned = true,
        }
        opened.map_err(|_| CipherError)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({})", self.0.counter)
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opener({})", self.0.counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message of a text, of which a part is encrypted in place.
    fn seal(sealer: &mut Sealer, text: &[u8]) -> Result<Vec<u8>, CipherError> {
        let (front, rest) = text.split_at(text.len() / 3);
        let mut buf = [front, rest, &[0; TAG]].concat();
        let (front, out) = buf.split_at_mut(front.len());
        sealer.seal(front, rest, out)?;
        Ok(buf)
    }

    fn round(sealer: &mut Sealer, opener: &mut Opener, text: &[u8]) -> Result<(), CipherError> {
        let mut buf = seal(sealer, text)?;
        let len = opener.open(&mut buf)?;
        assert_eq!(&buf[..len], text);
        Ok(())
    }

    #[test]
    fn both_ends_rekey_at_exactly_the_same_message() {
        let (mut sealer, mut opener) = (Sealer::new(&[1; 32], 3), Opener::new(&[1; 32], 3));
        for n in 0..20_u8 {
            round(&mut sealer, &mut opener, &[n; 40]).unwrap();
        }
        // The other end rekeys one message later: the first message under the new key fails.
        let (mut sealer, mut opener) = (Sealer::new(&[1; 32], 3), Opener::new(&[1; 32], 4));
        for _ in 0..3 {
            round(&mut sealer, &mut opener, b"same key").unwrap();
        }
        assert_eq!(round(&mut sealer, &mut opener, b"new key"), Err(CipherError));
    }

    #[test]
    fn the_protocol_rekeys_after_message_2_to_the_20() {
        let rekey = crate::Limits::default().rekey_after;
        assert_eq!(rekey, 1 << 20);
        let (mut sealer, mut opener) = (Sealer::new(&[1; 32], rekey), Opener::new(&[1; 32], rekey));
        let mut never = Opener::new(&[1; 32], u64::MAX);
        let mut last = Vec::new();
        for n in 0..=rekey {
            let mut buf = seal(&mut sealer, &n.to_le_bytes()).unwrap();
            if n < rekey {
                never.open(&mut buf.clone()).unwrap();
            }
            last.clone_from(&buf);
            opener.open(&mut buf).unwrap();
        }
        assert_eq!(never.open(&mut last), Err(CipherError), "message 2^20 has the second key");
    }

    #[test]
    fn a_failed_decryption_poisons_the_direction() {
        let (mut sealer, mut opener) = (Sealer::new(&[1; 32], 9), Opener::new(&[1; 32], 9));
        let mut buf = seal(&mut sealer, b"text").unwrap();
        let good = buf.clone();
        buf[0] ^= 1;
        assert_eq!(opener.open(&mut buf), Err(CipherError));
        assert_eq!(opener.open(&mut good.clone()), Err(CipherError));
    }
}
