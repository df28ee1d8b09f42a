//! The content address of a blob.

use std::fmt;
use std::str::FromStr;

/// The BLAKE3-256 hash of a blob's bytes: its only name in the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address([u8; 32]);

impl Address {
    /// The address of these bytes: one BLAKE3 pass over all of them.
    pub fn of(bytes: &[u8]) -> Address {
        Address(*blake3::hash(bytes).as_bytes())
    }

    /// An address that came from elsewhere, such as a message or a record.
    pub const fn from_bytes(bytes: [u8; 32]) -> Address {
        Address(bytes)
    }

    /// The 32 bytes of the hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The first eight bytes of an address. Leases are kept by these: where two blobs have the same, a lease
/// on one keeps both, and nothing is collected that should not be.
pub(crate) type Mark = u64;

impl Address {
    pub(crate) fn mark(&self) -> Mark {
        let [first, ..] = self.0.as_chunks().0 else { unreachable!("32 bytes") };
        Mark::from_le_bytes(*first)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::hex::encode(&self.0))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", crate::hex::encode(&self.0[..5]))
    }
}

/// The text is not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an address is 64 lower-case hexadecimal digits")]
pub struct ParseAddressError;

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Address, ParseAddressError> {
        let bytes = crate::hex::decode(text).ok_or(ParseAddressError)?;
        Ok(Address(bytes.try_into().map_err(|_| ParseAddressError)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_is_strict_lower_case_hex() {
        let address = Address::of(b"x");
        let text = address.to_string();
        assert_eq!(text.parse::<Address>().unwrap(), address);
        assert_eq!(text.to_uppercase().parse::<Address>(), Err(ParseAddressError));
        assert_eq!(text[..62].parse::<Address>(), Err(ParseAddressError));
    }
}
