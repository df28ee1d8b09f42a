//! Bytes whose address is established.

use std::fmt;

use crate::Address;

/// Bytes together with their address, ready to be staged.
///
/// Any owned buffer will do (`Vec<u8>`, `Arc<[u8]>`, a pooled buffer): it is never copied, and it
/// is dropped as soon as its bytes are handed over.
pub struct Blob {
    address: Address,
    bytes: Box<dyn AsRef<[u8]> + Send>,
}

/// The bytes are not those that the address names. The giver is at fault; nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes hash to {got}, not to {expected}")]
pub struct Mismatch {
    /// The address the bytes were given under.
    pub expected: Address,
    /// The address the bytes have.
    pub got: Address,
}

/// A blob that a record or a manifest names, with the length of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ref {
    /// The blob named.
    pub address: Address,
    /// Its length in bytes.
    pub sealed_len: u32,
}

impl Blob {
    /// Hashes the bytes: one BLAKE3 pass.
    pub fn hash<B: AsRef<[u8]> + Send + 'static>(bytes: B) -> Blob {
        let address = Address::of(bytes.as_ref());
        Blob::assume(address, bytes)
    }

    /// Hashes the bytes and refuses them if they are not what `address` names.
    pub fn verify<B: AsRef<[u8]> + Send + 'static>(
        address: Address,
        bytes: B,
    ) -> Result<Blob, Mismatch> {
        let got = Address::of(bytes.as_ref());
        if got != address {
            return Err(Mismatch { expected: address, got });
        }
        Ok(Blob::assume(address, bytes))
    }

    /// For a caller that has computed the address of exactly these bytes already. A wrong claim
    /// is found at the first read, as damage.
    pub fn assume<B: AsRef<[u8]> + Send + 'static>(address: Address, bytes: B) -> Blob {
        Blob { address, bytes: Box::new(bytes) }
    }

    /// The address of the bytes.
    pub fn address(&self) -> Address {
        self.address
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        (*self.bytes).as_ref()
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({:?}, {} bytes)", self.address, self.bytes().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_under_a_false_address_are_refused() {
        let expected = Address::of(b"right");
        let error = Blob::verify(expected, b"wrong".to_vec()).unwrap_err();
        assert_eq!(error, Mismatch { expected, got: Address::of(b"wrong") });
        assert!(Blob::verify(expected, b"right".to_vec()).is_ok());
    }
}
