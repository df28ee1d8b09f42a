//! The sealing construction that every sealed object shares.
//!
//! `T = BLAKE3-keyed(K_mac, input)`, `IV = T[0..16]`, `C = AES-256-CTR(K_enc, IV, plaintext)` with a
//! 128-bit big-endian counter. A synthetic IV in the sense of Rogaway and Shrimpton ("Deterministic
//! Authenticated-Encryption", 2006): equal inputs give equal outputs, different ones never share a
//! keystream short of a collision in T. The whole of T is stored and compared, so the object
//! commits to its keys.

use aes::Aes256;
use ctr::cipher::{KeyIvInit, StreamCipher};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::contexts;

/// Length of T in bytes.
pub(crate) const TAG: usize = 32;

/// A pair of keys for one purpose.
pub(crate) struct Siv {
    mac: Zeroizing<[u8; 32]>,
    enc: Zeroizing<[u8; 32]>,
}

impl Siv {
    /// Derives both keys from the same material under two contexts.
    pub(crate) fn derive(mac: &str, enc: &str, material: &[&[u8]]) -> Self {
        Self {
            mac: contexts::derive_parts(mac, material),
            enc: contexts::derive_parts(enc, material),
        }
    }

    /// T over the parts in a row. The caller makes the boundary unambiguous.
    pub(crate) fn tag(&self, parts: &[&[u8]]) -> [u8; TAG] {
        let mut hasher = blake3::Hasher::new_keyed(&self.mac);
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize().into()
    }

    /// Encrypts or decrypts in place under the IV that `tag` begins with.
    pub(crate) fn apply(&self, tag: &[u8; TAG], data: &mut [u8]) {
        let mut iv = [0; 16];
        iv.copy_from_slice(&tag[..16]);
        ctr::Ctr128BE::<Aes256>::new(&(*self.enc).into(), &iv.into()).apply_keystream(data);
    }

    /// T of a small object, over `len(AD) as u64 ‖ AD ‖ plaintext`.
    pub(crate) fn tag_of(&self, ad: &[u8], plain: &[u8]) -> [u8; TAG] {
        self.tag(&[&(ad.len() as u64).to_le_bytes(), ad, plain])
    }

    /// Puts `T ‖ C` behind what stands in `out`.
    pub(crate) fn seal_behind(&self, out: &mut Vec<u8>, tag: &[u8; TAG], plain: &[u8]) {
        out.extend_from_slice(tag);
        let start = out.len();
        out.extend_from_slice(plain);
        self.apply(tag, &mut out[start..]);
    }

    /// Seals a small object: `T ‖ C`.
    pub(crate) fn seal(&self, ad: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(TAG + plain.len());
        self.seal_behind(&mut sealed, &self.tag_of(ad, plain), plain);
        sealed
    }

    /// Opens what [`seal`](Self::seal) made; `None` if any bit of it, or of `ad`, is not the same.
    pub(crate) fn open(&self, ad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (tag, cipher) = sealed.split_first_chunk::<TAG>()?;
        let mut plain = Zeroizing::new(cipher.to_vec());
        self.apply(tag, &mut plain);
        let expected = self.tag_of(ad, &plain);
        if equal(&expected, tag) {
            Some(plain)
        } else {
            plain.zeroize();
            None
        }
    }
}

/// Compares in a time that does not depend on where the first difference lies.
pub(crate) fn equal(a: &[u8; TAG], b: &[u8; TAG]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contexts::tests::{hex, vector};

    fn siv(mac: &[u8], enc: &[u8]) -> Siv {
        let key = |bytes: &[u8]| Zeroizing::new(bytes.try_into().unwrap());
        Siv { mac: key(mac), enc: key(enc) }
    }

    fn ctr(key: &[u8], counter: &[u8], data: &[u8]) -> Vec<u8> {
        let mut tag = [0; TAG];
        tag[..16].copy_from_slice(counter);
        let mut data = data.to_vec();
        siv(&[0; 32], key).apply(&tag, &mut data);
        data
    }

    #[test]
    fn encryption_is_ctr_aes256_of_sp_800_38a() {
        let file = include_str!("../vectors/aes256ctr-sp800-38a-f5-5.txt");
        let field = |name: &str| hex(vector(file, name));
        let sealed = ctr(&field("key"), &field("counter"), &field("plaintext"));
        assert_eq!(sealed, field("ciphertext"));
    }

    // Fault case 53.
    #[test]
    fn the_counter_wraps_and_carries_as_openssl_does() {
        let file = include_str!("../vectors/aes256ctr-counter-wrap.txt");
        let field = |name: &str| hex(vector(file, name));
        for case in ["wrap", "carry"] {
            let counter = field(&format!("counter-{case}"));
            let sealed = ctr(&field("key"), &counter, &field("plaintext"));
            assert_eq!(sealed, field(&format!("ciphertext-{case}")), "{case}");
        }
    }

    #[test]
    fn the_tag_is_keyed_blake3_of_the_official_vectors() {
        let file = include_str!("../vectors/blake3.txt");
        let input: Vec<u8> = (0..251).cycle().take(8192).collect();
        for len in [0, 1, 1023, 1024, 1025, 2049, 4096, 4097, 6145] {
            let siv = siv(&hex(vector(file, "key")), &[0; 32]);
            let (front, back) = input[..len].split_at(len.min(16));
            let expected = hex(vector(file, &format!("keyed-{len}")));
            assert_eq!(siv.tag(&[front, back]).to_vec(), expected, "{len}");
        }
    }

    // Fault case 56.
    #[test]
    fn moving_a_byte_between_associated_data_and_plaintext_changes_the_tag() {
        let siv = siv(&[1; 32], &[2; 32]);
        assert_ne!(siv.seal(b"ab", b"c")[..TAG], siv.seal(b"a", b"bc")[..TAG]);
        assert_eq!(siv.open(b"a", &siv.seal(b"ab", b"c")), None);
    }

    // Fault case 54.
    #[test]
    fn a_sealed_object_opens_under_no_other_key() {
        let sealed = siv(&[1; 32], &[2; 32]).seal(b"ad", b"plaintext");
        assert!(siv(&[1; 32], &[2; 32]).open(b"ad", &sealed).is_some());
        assert_eq!(siv(&[1; 32], &[3; 32]).open(b"ad", &sealed), None);
        assert_eq!(siv(&[3; 32], &[2; 32]).open(b"ad", &sealed), None);
    }

    // Fault case 51.
    #[test]
    fn every_flipped_bit_and_every_truncation_is_refused() {
        let siv = siv(&[1; 32], &[2; 32]);
        let sealed = siv.seal(b"ad", b"forty bytes of plaintext, more or less..");
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(siv.open(b"ad", &flipped), None, "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert_eq!(siv.open(b"ad", &sealed[..len]), None, "{len} bytes");
        }
    }
}
