//! A recorded session, changed or cut at every place: closed, and never a wrong byte.

use std::time::Duration;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::pair::{config, offer, realm};
use crate::frame::{Class, Frame, StreamKey};
use crate::handshake::{Asked, Dial};
use crate::intake::{Inbound, Intake};
use crate::mux::Mux;
use crate::packer::{Packed, pack};
use crate::preamble::{MSG2_LEN, PREAMBLE_LEN};
use crate::rate::Room;
use crate::resolver::TAG;
use crate::{Limits, StaticSecret};

fn initiator() -> StaticSecret {
    StaticSecret::from_bytes([3; 32])
}

fn responder() -> StaticSecret {
    StaticSecret::from_bytes([4; 32])
}

fn start() -> (Box<[u8; PREAMBLE_LEN]>, Dial) {
    let remote = responder().public();
    Dial::start(&initiator(), &remote, &realm(), &offer(1), Zeroizing::new([5; 32])).unwrap()
}

/// The bytes and the frames of an initiator's session: three messages and some data.
fn record() -> (Vec<u8>, Vec<Frame>) {
    let (preamble, dial) = start();
    let (msg2, _) = answer(&preamble).unwrap();
    let mut session = dial.finish(&msg2, 1 << 20).unwrap();
    let mut mux = Mux::new(config(true, &Limits::default()));
    let peer_hello = config(false, &Limits::default()).hello.encode();
    let header = crate::wire::Header::plain(
        crate::wire::Kind::Hello,
        u32::try_from(peer_hello.len()).unwrap(),
    );
    mux.handle(Duration::ZERO, Inbound::Whole(header, peer_hello.into())).unwrap();
    let frames = vec![
        Frame::Message(Bytes::from_static(b"the first message")),
        Frame::Data(Bytes::from_static(b"raw bytes, not a message")),
        Frame::Message(Bytes::from_static(b"the last message")),
    ];
    let key = mux.open(Class::Control).unwrap();
    let mut bytes = Packed::from(preamble.to_vec());
    for frame in &frames {
        mux.push(key, frame).unwrap();
        let mut segments = Vec::new();
        mux.poll_transmit(Duration::ZERO, &mut segments, Room::of(1 << 20));
        pack(&mut session.sealer, &segments, &mut bytes).unwrap();
    }
    (bytes.to_vec(), frames)
}

fn answer(preamble: &[u8; PREAMBLE_LEN]) -> Option<([u8; MSG2_LEN], crate::handshake::Session)> {
    let secret = responder();
    let ephemeral = Zeroizing::new([6; 32]);
    let asked = Asked::read(&secret, &secret.public(), &[realm()], preamble, ephemeral).ok()?;
    Some(asked.answer(1 << 20).unwrap())
}

/// Plays bytes to a responder: what its application got, and whether the connection was closed.
fn play(bytes: &[u8]) -> (Vec<Frame>, bool) {
    let Some((preamble, rest)) = bytes.split_first_chunk::<PREAMBLE_LEN>() else {
        return (Vec::new(), false);
    };
    let Some((_, session)) = answer(preamble) else {
        return (Vec::new(), true);
    };
    play_transport(Intake::new(session.opener), rest)
}

fn play_transport(mut intake: Intake, bytes: &[u8]) -> (Vec<Frame>, bool) {
    let mut mux = Mux::new(config(false, &Limits::default()));
    let mut items = Vec::new();
    intake.space().extend_from_slice(bytes);
    let taken = intake.take(&[], &mut items);
    let handled = items.drain(..).try_for_each(|item| mux.handle(Duration::ZERO, item));
    let closed = taken.is_err() || handled.is_err();
    let mut frames = Vec::new();
    let key: StreamKey = 0;
    while let Some(Ok(Some(frame))) = mux.recv(key) {
        frames.push(frame);
    }
    (frames, closed)
}

// Fault case 10.
#[test]
fn every_flipped_bit_ends_the_session_and_never_gives_a_wrong_byte() {
    let (bytes, frames) = record();
    assert_eq!(play(&bytes), (frames.clone(), false));
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let (got, closed) = play(&flipped);
        assert!(frames.starts_with(&got) && got.len() < frames.len(), "bit {bit}: {got:?}");
        // A longer length waits for bytes that never come; the dead timer closes that.
        let longer = !closed;
        if longer {
            let more = [&flipped[..], &[0; 70_000]].concat();
            let (got, closed) = play(&more);
            assert!(closed && frames.starts_with(&got), "bit {bit} with more bytes");
        }
    }
}

#[test]
fn every_flipped_bit_of_the_answer_ends_the_dial() {
    let (preamble, _) = start();
    let (msg2, _) = answer(&preamble).unwrap();
    for bit in 0..msg2.len() * 8 {
        let mut flipped = msg2;
        flipped[bit / 8] ^= 1 << (bit % 8);
        let (_, dial) = start();
        assert!(dial.finish(&flipped, 1 << 20).is_err(), "bit {bit}");
    }
    assert!(start().1.finish(&msg2, 1 << 20).is_ok());
}

// Fault case 33.
#[test]
fn a_session_cut_at_any_byte_gives_whole_frames_and_no_error() {
    let (bytes, frames) = record();
    let mut most = 0;
    for cut in 0..bytes.len() {
        let (got, closed) = play(&bytes[..cut]);
        assert!(frames.starts_with(&got) && got.len() >= most, "cut at {cut}");
        assert!(!closed, "cut at {cut}");
        most = got.len();
    }
    assert_eq!(most, frames.len() - 1);
}

// Fault case 7.
#[test]
fn own_messages_sent_back_are_refused() {
    let (preamble, dial) = start();
    let secret = initiator();
    let reflected =
        Asked::read(&secret, &secret.public(), &[realm()], &preamble, Zeroizing::new([6; 32]));
    assert_eq!(reflected.err(), Some(crate::handshake::HandshakeError::Stranger));
    let (msg2, responder_session) = answer(&preamble).unwrap();
    let mut session = dial.finish(&msg2, 1 << 20).unwrap();
    let text = b"from the initiator";
    let mut own = vec![0; text.len() + TAG];
    session.sealer.seal(&mut [], text, &mut own).unwrap();
    assert!(session.opener.open(&mut own.clone()).is_err(), "each direction has its own key");
    let mut opener = responder_session.opener;
    assert!(opener.open(&mut own).is_ok());
}

// Fault case 7.
#[test]
fn a_dial_to_oneself_is_told_from_a_member() {
    let secret = responder();
    let (preamble, _) =
        Dial::start(&secret, &secret.public(), &realm(), &offer(1), Zeroizing::new([5; 32]))
            .unwrap();
    assert_eq!(
        Asked::read(&secret, &secret.public(), &[realm()], &preamble, Zeroizing::new([6; 32]))
            .err(),
        Some(crate::handshake::HandshakeError::Reflection)
    );
}
