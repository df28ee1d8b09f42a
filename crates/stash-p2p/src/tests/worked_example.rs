//! The worked example of `docs/protocol.md` is made here, and must stand there byte for byte.

use std::fmt::Write;
use std::fs;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use crate::backlog::{Backlog, SendBudget};
use crate::frame::{Class, Frame};
use crate::gate::Purpose;
use crate::handshake::{Asked, Dial};
use crate::hello::Hello;
use crate::intake::Intake;
use crate::mux::{Mux, MuxConfig, MuxEvent, Window};
use crate::packer::{Packed, pack};
use crate::preamble::Offer;
use crate::rate::Room;
use crate::{Limits, Realm, StaticSecret};

/// Only the repository has it.
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocol.md");

fn show(out: &mut String, name: &str, bytes: &[u8]) {
    writeln!(out, "{name} ({} bytes)", bytes.len()).unwrap();
    for line in bytes.chunks(32) {
        writeln!(out, "  {}", HEXLOWER.encode(line)).unwrap();
    }
}

fn config(initiator: bool, run: u64, app: &'static [u8]) -> MuxConfig {
    let limits = Limits::default();
    MuxConfig {
        initiator,
        control: true,
        hello: Hello {
            run,
            streams: 1024,
            stream_window: 64 << 10,
            connection_window: 320 << 10,
            capabilities: vec![],
            app: Bytes::from_static(app),
        },
        send_queue: limits.send_queue,
        backlog: Backlog::new(&SendBudget::new(limits.send_budget), limits.connection_queue),
        window: Window::alone(&limits),
        stream_window: limits.stream_window,
        ping_interval: limits.ping_interval,
        dead_after: limits.dead_after,
        max_age: limits.max_age,
        drain: limits.drain,
    }
}

fn transmit(mux: &mut Mux, sealer: &mut crate::cipher::Sealer) -> Vec<u8> {
    let (mut segments, mut bytes) = (Vec::new(), Packed::default());
    mux.poll_transmit(Duration::ZERO, &mut segments, Room::of(1 << 20));
    pack(sealer, &segments, &mut bytes).unwrap();
    bytes.to_vec()
}

fn receive(mux: &mut Mux, intake: &mut Intake, bytes: &[u8]) {
    let mut items = Vec::new();
    intake.space().extend_from_slice(bytes);
    intake.take(&[], &mut items).unwrap();
    for item in items {
        mux.handle(Duration::ZERO, item).unwrap();
    }
    assert!(intake.at_boundary());
}

fn example() -> String {
    let mut out = String::new();
    let initiator = StaticSecret::from_bytes([0x11; 32]);
    let responder = StaticSecret::from_bytes([0x22; 32]);
    let realm = Realm {
        label: [0; 32],
        prologue: b"example prologue".to_vec(),
        tag_key: [0x33; 32],
        psk: [0x44; 32],
    };
    show(&mut out, "initiator static secret", initiator.expose());
    show(&mut out, "initiator static public", initiator.public().as_bytes());
    show(&mut out, "responder static secret", responder.expose());
    show(&mut out, "responder static public", responder.public().as_bytes());
    show(&mut out, "initiator ephemeral secret", &[0x55; 32]);
    show(&mut out, "responder ephemeral secret", &[0x66; 32]);
    show(&mut out, "prologue", &realm.prologue);
    show(&mut out, "tag key", &realm.tag_key);
    show(&mut out, "pre-shared key", &realm.psk);

    let offer =
        Offer { lowest: 2, highest: 2, purpose: Purpose::Control, counter: 1, token: [0; 32] };
    show(
        &mut out,
        "payload of message 1, first 48 bytes (464 zeros follow)",
        &offer.encode()[..48],
    );
    let ephemeral = Zeroizing::new([0x55; 32]);
    let (preamble, dial) =
        Dial::start(&initiator, &responder.public(), &realm, &offer, ephemeral).unwrap();
    show(&mut out, "initiator sends: tag, message 1", preamble.as_slice());
    let ephemeral = Zeroizing::new([0x66; 32]);
    let asked =
        Asked::read(&responder, &responder.public(), &[realm], &preamble, ephemeral).unwrap();
    let (msg2, mut there) = asked.answer(1 << 20).unwrap();
    show(&mut out, "responder sends: message 2", &msg2);
    let mut here = dial.finish(&msg2, 1 << 20).unwrap();
    assert_eq!(here.hash, there.hash);
    show(&mut out, "handshake hash", &here.hash);

    let mut muxes =
        [Mux::new(config(true, 7, b"hello from 1")), Mux::new(config(false, 8, b"hello from 2"))];
    let mut to_initiator = Intake::new(here.opener);
    let mut to_responder = Intake::new(there.opener);
    show(&mut out, "initiator's hello, decrypted payload", &muxes[0_usize].hello_bytes());
    let bytes = transmit(&mut muxes[1], &mut there.sealer);
    show(&mut out, "responder sends: hello", &bytes);
    receive(&mut muxes[0], &mut to_initiator, &bytes);
    let key = muxes[0].open(Class::Control).unwrap();
    muxes[0].push(key, &Frame::Message(Bytes::from_static(b"ping me"))).unwrap();
    muxes[0].finish(key);
    let bytes = transmit(&mut muxes[0], &mut here.sealer);
    show(&mut out, "initiator sends: hello; message \"ping me\" with END on stream 1", &bytes);
    receive(&mut muxes[1], &mut to_responder, &bytes);
    let Some(MuxEvent::Opened(there_key)) = muxes[1].poll_event() else { panic!("not opened") };
    muxes[1].push(there_key, &Frame::Data(Bytes::from_static(b"raw answer"))).unwrap();
    muxes[1].finish(there_key);
    let bytes = transmit(&mut muxes[1], &mut there.sealer);
    show(&mut out, "responder sends: data \"raw answer\" with END on stream 1", &bytes);
    receive(&mut muxes[0], &mut to_initiator, &bytes);
    assert_eq!(muxes[0].recv(key), Some(Ok(Some(Frame::Data(Bytes::from_static(b"raw answer"))))));
    out
}

#[test]
fn the_documents_worked_example_is_what_the_code_does() {
    let example = example();
    let document = fs::read_to_string(DOCUMENT).expect("docs/protocol.md of the repository");
    assert!(
        document.contains(&example),
        "docs/protocol.md must contain, in its worked example:\n\n{example}"
    );
}
