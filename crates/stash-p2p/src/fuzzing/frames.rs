//! Frames and the hello: what a peer says after the handshake.

use arbitrary::Unstructured;
use bytes::Bytes;

use super::whole;
use crate::error::ProtocolError;
use crate::hello::Hello;
use crate::intake::{Deframer, Inbound};
use crate::wire::{HEADER, Header, Kind};

/// Any text, cut into pieces of as many bytes as its first byte says (0: whole), gives the same
/// frames, or the same error behind them.
pub fn frames(bytes: &[u8]) -> bool {
    let mut input = Unstructured::new(bytes);
    let step: u8 = input.arbitrary().unwrap_or_default();
    let (step, text) = (usize::from(step), input.take_rest());
    let (frames, at_boundary, end) = deframe(text, 0);
    let (cut, ..) = deframe(text, step);
    assert_eq!(whole(&cut), whole(&frames));
    assert_eq!(deframe(text, step).2, end);
    for item in &frames {
        let (Inbound::Whole(header, payload) | Inbound::Piece { header, bytes: payload, .. }) =
            item
        else {
            panic!("no memory was lent");
        };
        let encoded = header.encode();
        assert_eq!(Header::decode(&encoded), Ok(*header));
        assert!(payload.len() <= header.len as usize);
    }
    if let Some(Ok(header)) = text.first_chunk::<HEADER>().map(Header::decode)
        && header.kind != Kind::Skip
    {
        assert_eq!(&header.encode(), &text[..HEADER], "the header has another encoding");
    }
    end.is_ok() && at_boundary
}

type Deframed = (Vec<Inbound>, bool, Result<(), ProtocolError>);

fn deframe(text: &[u8], step: usize) -> Deframed {
    let (mut deframer, mut items) = (Deframer::default(), Vec::new());
    let step = if step == 0 { text.len().max(1) } else { step };
    let end = text
        .chunks(step)
        .try_for_each(|part| deframer.push(Bytes::copy_from_slice(part), true, &[], &mut items));
    (items, deframer.at_boundary(), end)
}

/// A hello may be encoded in more ways than one; what it says may not change.
pub fn hello(bytes: &[u8]) -> bool {
    let Ok(hello) = Hello::decode(bytes) else {
        return false;
    };
    assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
    true
}
