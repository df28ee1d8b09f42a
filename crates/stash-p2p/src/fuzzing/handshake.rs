//! The first bytes of a connection: what a stranger can make a node compute.

use arbitrary::Unstructured;
use zeroize::Zeroizing;

use crate::gate::Purpose;
use crate::handshake::{Asked, Dial, HandshakeError};
use crate::preamble::{
    CHOICE_LEN, OFFER_LEN, Offer, PREAMBLE_LEN, TAG_LEN, decode_choice, encode_choice, tag,
};
use crate::{Realm, StaticSecret};

/// Messages under one key: of no importance here.
const REKEY: u64 = 1 << 20;

/// The payloads of both messages: 512 bytes, of which the first 32 are also read as the second.
pub fn offer(bytes: &[u8]) -> bool {
    let mut payload = [0; OFFER_LEN];
    let given = bytes.len().min(OFFER_LEN);
    payload[..given].copy_from_slice(&bytes[..given]);
    let mut choice = [0; CHOICE_LEN];
    choice.copy_from_slice(&payload[..CHOICE_LEN]);
    if let Some(version) = decode_choice(&choice) {
        assert_eq!(encode_choice(version), choice);
    }
    let offer = Offer::decode(&payload);
    if let Some(offer) = &offer {
        assert_eq!(offer.encode(), payload, "the offer has another encoding");
        assert!(offer.common_version().is_none_or(|v| (offer.lowest..=offer.highest).contains(&v)));
    }
    offer.is_some()
}

fn realm() -> Realm {
    Realm { label: [9; 32], prologue: b"a fuzzer".to_vec(), tag_key: [1; 32], psk: [2; 32] }
}

/// A whole handshake of which at most one byte is changed on the way: 1 byte of which message (0:
/// the first, 1: the first with its tag put right, 2: the second, 3: the first is made up of what
/// follows), 2 of place, 1 of change, then the fields of the offer.
pub fn handshake(bytes: &[u8]) -> bool {
    let mut input = Unstructured::new(bytes);
    let (which, place, change): (u8, u16, u8) = input.arbitrary().unwrap_or_default();
    let (which, place) = (which % 4, usize::from(place));
    let (ours, theirs) = (StaticSecret::from_bytes([3; 32]), StaticSecret::from_bytes([4; 32]));
    if which == 3 {
        let mut message = [0; PREAMBLE_LEN - TAG_LEN];
        input.fill_buffer(&mut message).unwrap_or_default();
        made_up(&theirs, message);
        return false;
    }
    let offer = read_offer(&mut input);
    let ephemeral = || Zeroizing::new([5; 32]);
    let (mut preamble, dial) =
        Dial::start(&ours, &theirs.public(), &realm(), &offer, ephemeral()).expect("good keys");
    if which < 2 {
        preamble[place % PREAMBLE_LEN] ^= change;
    }
    if which == 1 {
        let right = tag(&realm(), &theirs.public(), &preamble[TAG_LEN..]);
        preamble[..TAG_LEN].copy_from_slice(&right);
    }
    let in_the_tag = which == 1 && place % PREAMBLE_LEN < TAG_LEN;
    let changed = which < 2 && change != 0 && !in_the_tag;
    let asked =
        Asked::read(&theirs, &theirs.public(), &[realm()], &preamble, Zeroizing::new([6; 32]));
    let Some(asked) = judge(asked, &offer, changed) else {
        return false;
    };
    assert_eq!((asked.remote, &asked.offer), (ours.public(), &offer));
    let (mut msg2, responder) = asked.answer(REKEY).expect("the first message was good");
    let place = place % msg2.len();
    msg2[place] ^= if which == 2 { change } else { 0 };
    match dial.finish(&msg2, REKEY) {
        Ok(initiator) => {
            assert!(which != 2 || change == 0, "byte {place} xor {change}");
            assert_eq!(initiator.hash, responder.hash);
            true
        }
        Err(_) => {
            assert!(which == 2 && change != 0);
            false
        }
    }
}

/// A change anywhere is refused; without one, what is offered decides.
fn judge(asked: Result<Asked, HandshakeError>, offer: &Offer, changed: bool) -> Option<Asked> {
    match asked {
        Ok(asked) => {
            assert!(!changed);
            return Some(asked);
        }
        Err(HandshakeError::Stranger | HandshakeError::Noise) => assert!(changed),
        Err(HandshakeError::Version) => assert_eq!(offer.common_version(), None),
        Err(HandshakeError::Payload) => assert_eq!(Offer::decode(&offer.encode()), None),
        Err(HandshakeError::Reflection) => panic!("it was another node"),
    }
    None
}

/// 608 bytes by somebody who knows the tag key and nothing else.
fn made_up(theirs: &StaticSecret, message: [u8; PREAMBLE_LEN - TAG_LEN]) {
    let mut preamble = [0; PREAMBLE_LEN];
    let read = |preamble: &[u8; PREAMBLE_LEN]| {
        let ephemeral = Zeroizing::new([6; 32]);
        Asked::read(theirs, &theirs.public(), &[realm()], preamble, ephemeral).map(|_| ())
    };
    preamble[TAG_LEN..].copy_from_slice(&message);
    assert_eq!(read(&preamble), Err(HandshakeError::Stranger));
    preamble[..TAG_LEN].copy_from_slice(&tag(&realm(), &theirs.public(), &message));
    assert_eq!(read(&preamble), Err(HandshakeError::Noise));
}

fn read_offer(input: &mut Unstructured<'_>) -> Offer {
    let purpose: u8 = input.arbitrary().unwrap_or_default();
    let purpose = if purpose.is_multiple_of(2) { Purpose::Control } else { Purpose::Bulk };
    let (lowest, highest, counter, token) = input.arbitrary().unwrap_or_default();
    Offer { lowest, highest, purpose, counter, token }
}
