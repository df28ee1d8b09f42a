//! Sealed messages: what a session gives, cut and changed on the way.

use arbitrary::Unstructured;
use bytes::Bytes;

use super::whole;
use crate::cipher::{Opener, Sealer};
use crate::error::CloseReason;
use crate::intake::{Inbound, Intake};
use crate::packer::{Packed, Segment, pack};
use crate::wire::{Header, Kind};

/// Frames of one input, each of up to 64 KiB.
const FRAMES: usize = 24;

/// Bytes that one message takes at most: what [`Intake::take`] cuts is handed over then.
const READ: usize = 70_000;

/// A row of frames arrives as it was sent, however it is cut; with a byte changed, what arrives
/// is a beginning of it.
///
/// 1 byte of rekeying, 2 of cut, 4 of place, 1 of change, then of each frame 1 byte of kind and 2
/// of length.
pub fn session(bytes: &[u8]) -> bool {
    let mut input = Unstructured::new(bytes);
    let (rekey, cut): (u8, u16) = input.arbitrary().unwrap_or_default();
    let (place, change): (u32, u8) = input.arbitrary().unwrap_or_default();
    let rekey_after = 1 + u64::from(rekey % 8);
    let cut = usize::from(cut).clamp(1, READ);
    let (mut segments, mut sent) = (Vec::new(), Vec::new());
    while !input.is_empty() && sent.len() < FRAMES {
        let (kind, len): (u8, u16) = input.arbitrary().unwrap_or_default();
        let kind = if kind % 2 == 0 { Kind::Message } else { Kind::Data };
        let len = usize::from(if kind == Kind::Data { len.max(1) } else { len });
        let payload: Vec<u8> = (0..len).map(|n| n.to_le_bytes()[0]).collect();
        let wire_len = u32::try_from(len).expect("it was 16 bits");
        let header = Header { kind, flags: 0, priority: 0, stream: 1, len: wire_len };
        segments.push(Segment::new(header, Bytes::from(payload.clone())));
        sent.push((header, payload));
    }
    let mut packed = Packed::default();
    pack(&mut Sealer::new(&[1; 32], rekey_after), &segments, &mut packed).expect("a new key");
    let mut sealed = packed.to_vec();
    let (items, end, at_boundary) = arrive(&sealed, cut, rekey_after);
    assert_eq!((whole(&items), end, at_boundary), (sent.clone(), Ok(()), true));
    if change != 0 && !sealed.is_empty() {
        let place = place as usize % sealed.len();
        sealed[place] ^= change;
        let (items, end, at_boundary) = arrive(&sealed, cut, rekey_after);
        assert!(end.is_err() || !at_boundary, "byte {place} xor {change} was not noticed");
        let mut items = whole(&items);
        let last = items.pop().unwrap_or((Header::plain(Kind::Skip, 0), Vec::new()));
        assert!(sent.starts_with(&items));
        let expected = sent.get(items.len());
        let begins = expected.is_some_and(|(h, b)| *h == last.0 && b.starts_with(&last.1));
        assert!(begins || last.0.kind == Kind::Skip, "a wrong byte came out");
    }
    true
}

fn arrive(
    sealed: &[u8],
    cut: usize,
    rekey_after: u64,
) -> (Vec<Inbound>, Result<(), CloseReason>, bool) {
    let mut intake = Intake::new(Opener::new(&[1; 32], rekey_after));
    let mut items = Vec::new();
    let mut end = Ok(());
    for mut part in sealed.chunks(cut) {
        while !part.is_empty() && end.is_ok() {
            let space = intake.space();
            let room = space.capacity() - space.len();
            let (now, later) = part.split_at(part.len().min(room));
            assert!(!now.is_empty(), "no room to read into");
            space.extend_from_slice(now);
            part = later;
            end = intake.take(&[], &mut items);
        }
    }
    let at_boundary = intake.at_boundary();
    (items, end, at_boundary)
}
