//! The preamble and the inside of the handshake: the tag, and the fixed payloads of both messages.
//!
//! Payload of message 1, 512 bytes, little-endian:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 2 | lowest protocol version spoken |
//! | 2 | 2 | highest protocol version spoken |
//! | 4 | 1 | purpose: 0 control, 1 bulk |
//! | 5 | 3 | zeros |
//! | 8 | 8 | counter |
//! | 16 | 32 | bulk token, zeros for control |
//! | 48 | 464 | zeros |
//!
//! Payload of message 2, 32 bytes: the chosen version (2), zeros (30).

use subtle::ConstantTimeEq;

use crate::gate::{Purpose, SharedRealm};
use crate::{PublicKey, Realm};

/// The one version of the protocol that this crate speaks.
pub(crate) const VERSION: u16 = 2;
/// Length of the tag before message 1, in bytes.
pub(crate) const TAG_LEN: usize = 16;
/// Length of the payload of message 1, in bytes.
pub(crate) const OFFER_LEN: usize = 512;
/// Length of the payload of message 2, in bytes.
pub(crate) const CHOICE_LEN: usize = 32;
/// Length of Noise message 1: ephemeral, sealed static, sealed payload.
pub(crate) const MSG1_LEN: usize = 32 + 48 + OFFER_LEN + 16;
/// Length of everything the initiator sends first.
pub(crate) const PREAMBLE_LEN: usize = TAG_LEN + MSG1_LEN;
/// Length of Noise message 2: ephemeral, sealed payload.
pub(crate) const MSG2_LEN: usize = 32 + CHOICE_LEN + 16;

/// The fields of message 1, by the initiator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) lowest: u16,
    pub(crate) highest: u16,
    pub(crate) purpose: Purpose,
    pub(crate) counter: u64,
    pub(crate) token: [u8; 32],
}

/// The 16 bytes that pick the realm and drop strangers before any Diffie-Hellman.
pub(crate) fn tag(realm: &Realm, responder: &PublicKey, msg1: &[u8]) -> [u8; TAG_LEN] {
    let mut hasher = blake3::Hasher::new_keyed(&realm.tag_key);
    hasher.update(responder.as_bytes()).update(msg1);
    let mut tag = [0; TAG_LEN];
    tag.copy_from_slice(&hasher.finalize().as_bytes()[..TAG_LEN]);
    tag
}

/// The realm under whose tag key the preamble was made for us, if any. All are tried, so the time
/// does not tell which one it was.
pub(crate) fn find_realm<'a>(
    realms: &'a [Realm],
    responder: &PublicKey,
    preamble: &[u8; PREAMBLE_LEN],
) -> Option<&'a Realm> {
    let (given, msg1) = preamble.split_at(TAG_LEN);
    let mut found = None;
    for realm in realms {
        if bool::from(tag(realm, responder, msg1).ct_eq(given)) {
            found = Some(realm);
        }
    }
    found
}

impl SharedRealm {
    /// True if the preamble was made for this realm.
    pub(crate) fn is_meant(&self, preamble: &[u8; PREAMBLE_LEN]) -> bool {
        find_realm(std::slice::from_ref(&self.realm), &self.public, preamble).is_some()
    }
}

impl Offer {
    pub(crate) fn encode(&self) -> [u8; OFFER_LEN] {
        let mut bytes = [0; OFFER_LEN];
        bytes[0..2].copy_from_slice(&self.lowest.to_le_bytes());
        bytes[2..4].copy_from_slice(&self.highest.to_le_bytes());
        bytes[4] = match self.purpose {
            Purpose::Control => 0,
            Purpose::Bulk => 1,
        };
        bytes[8..16].copy_from_slice(&self.counter.to_le_bytes());
        bytes[16..48].copy_from_slice(&self.token);
        bytes
    }

    /// `None` if any byte is not as the table says. The initiator's fault; it gets silence.
    pub(crate) fn decode(bytes: &[u8; OFFER_LEN]) -> Option<Self> {
        let purpose = match bytes[4] {
            0 => Purpose::Control,
            1 => Purpose::Bulk,
            _ => return None,
        };
        let offer = Self {
            lowest: u16::from_le_bytes([bytes[0], bytes[1]]),
            highest: u16::from_le_bytes([bytes[2], bytes[3]]),
            purpose,
            counter: u64::from_le_bytes(bytes[8..16].try_into().ok()?),
            token: bytes[16..48].try_into().ok()?,
        };
        let zeros = bytes[5..8].iter().chain(&bytes[48..]).all(|byte| *byte == 0);
        let token_fits = purpose == Purpose::Bulk || offer.token == [0; 32];
        (zeros && token_fits && offer.lowest <= offer.highest).then_some(offer)
    }

    /// The highest version that both sides speak.
    pub(crate) fn common_version(&self) -> Option<u16> {
        (self.lowest..=self.highest).contains(&VERSION).then_some(VERSION)
    }
}

/// The payload of message 2 for a version.
pub(crate) fn encode_choice(version: u16) -> [u8; CHOICE_LEN] {
    let mut bytes = [0; CHOICE_LEN];
    bytes[..2].copy_from_slice(&version.to_le_bytes());
    bytes
}

/// The version in a payload of message 2, if it is one that was offered and the rest is zeros.
pub(crate) fn decode_choice(bytes: &[u8; CHOICE_LEN]) -> Option<u16> {
    let version = u16::from_le_bytes([bytes[0], bytes[1]]);
    (version == VERSION && bytes[2..].iter().all(|byte| *byte == 0)).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> Offer {
        Offer { lowest: 1, highest: 3, purpose: Purpose::Bulk, counter: 77, token: [5; 32] }
    }

    #[test]
    fn an_offer_survives_its_encoding() {
        assert_eq!(Offer::decode(&offer().encode()), Some(offer()));
    }

    #[test]
    fn every_byte_that_must_be_zero_is_checked() {
        for at in (5..8).chain(48..OFFER_LEN) {
            let mut bytes = offer().encode();
            bytes[at] = 1;
            assert_eq!(Offer::decode(&bytes), None, "offset {at}");
        }
        for at in 2..CHOICE_LEN {
            let mut bytes = encode_choice(VERSION);
            bytes[at] = 1;
            assert_eq!(decode_choice(&bytes), None, "offset {at}");
        }
    }

    #[test]
    fn a_control_offer_with_a_token_is_refused() {
        let bytes = Offer { purpose: Purpose::Control, ..offer() }.encode();
        assert_eq!(Offer::decode(&bytes), None);
    }

    // Fault case 5.
    #[test]
    fn versions_are_chosen_once_and_never_lower_than_offered() {
        assert_eq!(offer().common_version(), Some(2));
        assert_eq!(Offer { lowest: 3, ..offer() }.common_version(), None);
        assert_eq!(Offer { highest: 1, ..offer() }.common_version(), None);
        assert_eq!(Offer::decode(&Offer { lowest: 4, ..offer() }.encode()), None);
        assert_eq!(decode_choice(&encode_choice(1)), None);
        assert_eq!(decode_choice(&encode_choice(3)), None);
    }
}
