//! What a node says of itself in one hour, and the bytes of it.

use std::net::IpAddr;

use rand::{CryptoRng, RngExt};
use stash_crypto::{LAN_TAG_LEN, NetworkKey, NodeId};

/// The service, `_stash._tcp.local`, as labels.
pub(crate) const SERVICE: &[u8] = b"\x06_stash\x04_tcp\x05local\0";

/// The last label of the name of a host.
pub(super) const LOCAL: &[u8] = b"\x05local\0";

/// What stands in the TXT record before the digits of the tag.
pub(super) const TAG_KEY: &[u8] = b"t=";

/// Seconds for which others keep an announcement that they do not hear again: twice as long as the questions are apart, so that
/// one lost datagram loses nobody.
pub(crate) const LIFE: u32 = 240;

/// Types of records, class IN, and the bit by which a record says that it is the only one of its name (RFC 6762, section 10.2).
pub(super) const A: u16 = 1;
pub(super) const PTR: u16 = 12;
pub(super) const TXT: u16 = 16;
pub(super) const AAAA: u16 = 28;
pub(super) const SRV: u16 = 33;
pub(super) const ANY: u16 = 255;
pub(super) const IN: u16 = 1;
pub(super) const ONLY: u16 = 0x8000;

/// Flags of a response: it is one, and it is authoritative.
pub(super) const RESPONSE: u16 = 0x8400;

/// Random digits: a label that says nothing.
type Digits = [u8; 32];

/// What a node is called and recognised by in one hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announcement {
    hour: u64,
    epoch: u32,
    pub(super) instance: Digits,
    pub(super) host: Digits,
    tag: [u8; LAN_TAG_LEN],
}

impl Announcement {
    /// New names for this hour, with the tag of a node under a key.
    pub(crate) fn new(
        node: &NodeId,
        key: &NetworkKey,
        hour: u64,
        rng: &mut impl CryptoRng,
    ) -> Announcement {
        let mut label = || digits(&rng.random());
        let (instance, host) = (label(), label());
        Announcement { hour, epoch: key.epoch(), instance, host, tag: key.lan_tag(node, hour) }
    }

    /// The hour and the epoch that it is of.
    pub(crate) fn of(&self) -> (u64, u32) {
        (self.hour, self.epoch)
    }

    /// The full name of the instance, as labels.
    pub(super) fn instance_name(&self) -> Vec<u8> {
        [&[32], &self.instance[..], SERVICE].concat()
    }

    /// The full name of the host, as labels.
    pub(super) fn host_name(&self) -> Vec<u8> {
        [&[32], &self.host[..], LOCAL].concat()
    }

    /// The datagram that says: I listen at this address and port.
    pub(crate) fn encode(&self, ip: IpAddr, port: u16) -> Vec<u8> {
        self.datagram(ip, port, LIFE)
    }

    /// The datagram that takes it back.
    pub(crate) fn goodbye(&self, ip: IpAddr, port: u16) -> Vec<u8> {
        self.datagram(ip, port, 0)
    }

    fn datagram(&self, ip: IpAddr, port: u16, life: u32) -> Vec<u8> {
        let (instance, host) = (self.instance_name(), self.host_name());
        let mut out = header(RESPONSE, 0, 4);
        record(&mut out, SERVICE, PTR, IN, life, &instance);
        let priority_and_weight = [0; 4];
        let srv = [&priority_and_weight[..], &port.to_be_bytes(), &host].concat();
        record(&mut out, &instance, SRV, IN | ONLY, life, &srv);
        let text = [TAG_KEY, &digits(&self.tag)].concat();
        let txt = [&[34], &text[..]].concat();
        record(&mut out, &instance, TXT, IN | ONLY, life, &txt);
        match ip {
            IpAddr::V4(ip) => record(&mut out, &host, A, IN | ONLY, life, &ip.octets()),
            IpAddr::V6(ip) => record(&mut out, &host, AAAA, IN | ONLY, life, &ip.octets()),
        }
        out
    }
}

/// The datagram that asks who is there.
pub(crate) fn question() -> Vec<u8> {
    let mut out = header(0, 1, 0);
    out.extend_from_slice(SERVICE);
    out.extend_from_slice(&PTR.to_be_bytes());
    out.extend_from_slice(&IN.to_be_bytes());
    out
}

fn header(flags: u16, questions: u16, answers: u16) -> Vec<u8> {
    let fields = [0, flags, questions, answers, 0, 0];
    fields.into_iter().flat_map(u16::to_be_bytes).collect()
}

/// Adds a record. Names are written out, none points at another.
fn record(out: &mut Vec<u8>, name: &[u8], kind: u16, class: u16, life: u32, data: &[u8]) {
    let length = u16::try_from(data.len()).expect("a record of a few names");
    out.extend_from_slice(name);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&class.to_be_bytes());
    out.extend_from_slice(&life.to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(data);
}

/// Bytes as lower-case hexadecimal digits.
fn digits(bytes: &[u8; LAN_TAG_LEN]) -> Digits {
    let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
    let mut out = [0; 32];
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    out
}

/// The bytes of lower-case hexadecimal digits; `None` of anything else.
pub(super) fn bytes(digits: &[u8]) -> Option<[u8; LAN_TAG_LEN]> {
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut out = [0; LAN_TAG_LEN];
    if digits.len() != 2 * out.len() {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(out)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The one of the worked example in `docs/protocol.md`.
    pub(crate) fn example() -> Announcement {
        let tag: Vec<u8> = (0..16).map(|n| n * 17).collect();
        Announcement {
            hour: 500_000,
            epoch: 0,
            instance: digits(&[0x11; 16]),
            host: digits(&[0x22; 16]),
            tag: tag.try_into().unwrap(),
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_bytes_are_those_of_the_protocol_document() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocol.md");
        let text = std::fs::read_to_string(path).unwrap();
        let document: String = text.split_whitespace().collect();
        let v4 = example().encode([192, 168, 1, 2].into(), 7979);
        let v6 = example().goodbye("fe80::1".parse().unwrap(), 7979);
        for datagram in [question(), v4, v6] {
            assert!(document.contains(&hex(&datagram)), "not in protocol.md: {}", hex(&datagram));
        }
    }

    #[test]
    fn nothing_of_one_hour_is_in_the_next() {
        let (node, key) = (NodeId::from_bytes([7; 32]), NetworkKey::from_parts(3, [5; 32]));
        let said = |hour| Announcement::new(&node, &key, hour, &mut rand::rng());
        let (one, next) = (said(500_000), said(500_001));
        assert_eq!((one.of(), next.of()), ((500_000, 3), (500_001, 3)));
        assert_ne!(one.tag, next.tag);
        assert!(one.instance != next.instance && one.host != next.host);
        assert!(one.instance != one.host, "the names say nothing of each other");
        let again = said(500_000);
        assert!(again.tag == one.tag && again.instance != one.instance);
        // What both have in common, without the bytes that every node sends.
        let (one, next) =
            (one.encode([192, 0, 2, 1].into(), 7979), next.encode([192, 0, 2, 1].into(), 7979));
        let other = Announcement::new(
            &NodeId::from_bytes([8; 32]),
            &NetworkKey::from_parts(9, [6; 32]),
            1,
            &mut rand::rng(),
        );
        let other = other.encode([192, 0, 2, 1].into(), 7979);
        let differs =
            |a: &[u8], b: &[u8]| -> Vec<bool> { a.iter().zip(b).map(|(a, b)| a != b).collect() };
        let random = differs(&one, &next).iter().filter(|differs| **differs).count();
        // Five times 32 digits, of which one in 16 is the same by chance.
        assert!(random > 5 * 32 * 3 / 4, "{random} bytes differ");
        assert_eq!(one.len(), other.len());
    }

    #[test]
    fn digits_are_lower_case_and_of_one_length() {
        let tag: [u8; 16] = std::array::from_fn(|n| u8::try_from(n * 17).unwrap());
        assert_eq!(&digits(&tag), b"00112233445566778899aabbccddeeff");
        assert_eq!(bytes(&digits(&tag)), Some(tag));
        let upper = digits(&tag).to_ascii_uppercase();
        for bad in [&upper[..], &digits(&tag)[1..], b"", b"+0112233445566778899aabbccddeeff"] {
            assert_eq!(bytes(bad), None, "{bad:?}");
        }
    }
}
