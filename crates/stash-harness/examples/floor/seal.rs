//! A sealed chunk: header (16) ‖ T (32) ‖ AES-256-CTR, T = keyed BLAKE3 over header and plaintext, IV = T[..16].

use aes::Aes256;
use aes::cipher::{KeyIvInit, StreamCipher};
use anyhow::{Result, bail};
use ctr::Ctr128BE;

/// Plaintext bytes of a chunk.
pub(crate) const CHUNK: usize = 1 << 20;

/// Bytes before the ciphertext.
pub(crate) const OVERHEAD: usize = HEADER + 32;

const HEADER: usize = 16;

/// Keys of a measurement protect nothing.
const TAG_KEY: [u8; 32] = [1; 32];
const CIPHER_KEY: [u8; 32] = [2; 32];

/// Seals `buffer[OVERHEAD..]` in place and returns the address of the whole.
pub(crate) fn seal(buffer: &mut [u8]) -> [u8; 32] {
    let (head, text) = buffer.split_at_mut(OVERHEAD);
    head[..HEADER].copy_from_slice(b"floor chunk, 1.0");
    let tag = tag(&head[..HEADER], text);
    head[HEADER..].copy_from_slice(&tag);
    cipher(&tag).apply_keystream(text);
    *blake3::hash(buffer).as_bytes()
}

/// Opens a sealed chunk in place; the plaintext is `buffer[OVERHEAD..]`.
pub(crate) fn open(buffer: &mut [u8]) -> Result<()> {
    let (head, text) = buffer.split_at_mut(OVERHEAD);
    let mut expected = [0; 32];
    expected.copy_from_slice(&head[HEADER..]);
    cipher(&expected).apply_keystream(text);
    if blake3::Hash::from_bytes(tag(&head[..HEADER], text)) != blake3::Hash::from_bytes(expected) {
        bail!("a chunk does not open");
    }
    Ok(())
}

fn tag(header: &[u8], text: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(&TAG_KEY);
    hasher.update(header).update(text);
    *hasher.finalize().as_bytes()
}

fn cipher(tag: &[u8; 32]) -> Ctr128BE<Aes256> {
    let mut iv = [0; 16];
    iv.copy_from_slice(&tag[..16]);
    Ctr128BE::<Aes256>::new(&CIPHER_KEY.into(), &iv.into())
}
