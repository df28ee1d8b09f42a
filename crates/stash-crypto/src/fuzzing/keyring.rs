//! The file of a node's secrets.

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::Keyring;
use crate::keys::keyring::checksum;
use crate::keys::{KeyringError, Protection};

/// The position, in a protected file, of the memory that its passphrase takes, in KiB.
const MEMORY: usize = 16;

/// The file as it is, and with its checksum put right behind it.
pub fn keyring(bytes: &[u8]) -> bool {
    decode(bytes) | decode(&[bytes, &checksum(bytes)].concat())
}

fn decode(file: &[u8]) -> bool {
    if let Ok(keyring) = Keyring::decode(file, None) {
        let again = keyring.encode(&Protection::None, &mut StdRng::seed_from_u64(1));
        assert_eq!(again.as_deref().map(Vec::as_slice), Ok(file));
        return true;
    }
    // What is in bounds takes up to 1 GiB by design: only what is out of them is of interest.
    let memory = file[file.len().min(MEMORY)..].first_chunk().map(|kib| u32::from_le_bytes(*kib));
    if memory.is_some_and(|kib| (8 << 10..=1 << 20).contains(&kib)) {
        return false;
    }
    let result = Keyring::decode(file, Some(b"x"));
    assert!(!matches!(result, Err(KeyringError::WrongPassphrase | KeyringError::Memory { .. })));
    false
}
