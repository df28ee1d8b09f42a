//! Every target, from inputs that reach its end on: random, with a seed.

use stash_fuzz::{Corpus, Seed, Target, seed};

use super::config;
use crate::gate::Purpose;
use crate::preamble::{Offer, encode_choice};
use crate::wire::{END, Header, Kind, OPTIONAL};

fn replay(target: &'static str, mutations: u32, run: Target, seeds: &[Seed]) {
    Corpus::open(env!("CARGO_MANIFEST_DIR"), target, run, seeds).run(mutations);
}

fn offer() -> Offer {
    Offer { lowest: 1, highest: 3, purpose: Purpose::Bulk, counter: 77, token: [5; 32] }
}

#[test]
fn frames_and_hellos_hold_their_promises_whatever_the_bytes() {
    let frame = |kind, flags, stream, len: u32| {
        let header = Header { kind, flags, priority: 16, stream, len };
        [&header.encode()[..], &vec![7; len.try_into().unwrap()]].concat()
    };
    let every = [
        frame(Kind::Message, 0, 1, 30),
        frame(Kind::Data, END, 1, 70),
        frame(Kind::Credit, 0, 0, 4),
        frame(Kind::Reset, END, 1, 4),
        frame(Kind::Ping, 0, 0, 8),
        frame(Kind::Skip, OPTIONAL, 9, 5),
        frame(Kind::Bulk, 0, 0, 33),
        frame(Kind::GoAway, 0, 0, 4),
        frame(Kind::Reclaim, 0, 0, 4),
    ]
    .concat();
    let whole = [&[0], &every[..]].concat();
    let cut = [&[5], &every[..]].concat();
    replay("frames", 4000, super::frames, &[seed("whole", whole), seed("cut", cut)]);
    let hello = config(true, 3).hello.encode();
    let unknown = [&[0x87], &hello[1..], b"\xa6future\x93\x01\x02\x03"].concat();
    let hellos = [seed("hello", hello), seed("a-key-of-the-future", unknown)];
    replay("hello", 4000, super::hello, &hellos);
}

#[test]
fn handshakes_hold_their_promises_whatever_the_bytes() {
    let choice = seed("refused-choice", encode_choice(1));
    replay("offer", 4000, super::offer, &[seed("bulk", offer().encode()), choice]);
    let fields = [&[1, 1, 0, 3, 0][..], &77_u64.to_le_bytes(), &[5; 32]].concat();
    let with = |which: u8, place: u16, change: u8| {
        [&[which][..], &place.to_le_bytes(), &[change], &fields].concat()
    };
    let seeds = [
        seed("good", with(0, 0, 0)),
        seed("refused-first", with(0, 100, 1)),
        seed("refused-first-with-its-tag", with(1, 600, 1)),
        seed("refused-second", with(2, 70, 1)),
        seed("refused-made-up", with(3, 0, 0)),
    ];
    replay("handshake", 400, super::handshake, &seeds);
}

#[test]
fn sessions_hold_their_promises_whatever_the_bytes() {
    let frames = [&[0, 44, 1][..], &[1, 0xff, 0xff], &[1, 1, 0], &[0, 0, 0]].concat();
    let with = |cut: u16, place: u32, change: u8| {
        [&[2][..], &cut.to_le_bytes(), &place.to_le_bytes(), &[change], &frames].concat()
    };
    let seeds = [seed("whole", with(0xffff, 0, 0)), seed("cut-and-changed", with(1000, 400, 8))];
    replay("session", 1000, super::session, &seeds);
}

#[test]
fn a_hostile_remote_never_breaks_the_connection_machine() {
    // The remote opens two streams and asks; we answer one, and reset the other.
    let remote = [
        &[0][..],
        &[0, 0, 0, 1, 100, 0],
        &[0, 0, END, 3, 50, 0],
        &[15, 0xff, 0xff],
        &[12, 0, 9],
        &[8, 0, 0, 200, 0],
        &[9, 0],
        &[10, 1, 5],
        &[15, 0xff, 0xff],
        &[0, 2, 0, 0, 1, 0, 0, 0],
        &[0, 4, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8],
        &[15, 0xff, 0xff],
    ];
    // We open streams and send data; the remote answers, and goes away.
    let local = [
        &[0][..],
        &[7, 1],
        &[8, 0, 1, 0xff, 0xff],
        &[15, 0xff, 0xff],
        &[0, 1, END, 2, 9, 0],
        &[12, 0, 9],
        &[9, 0],
        &[15, 0xff, 0xff],
        &[14, 120],
        &[15, 1, 0],
        &[13, 2],
        &[0, 5, 0, 0, 0, 0, 0, 0],
        &[15, 0xff, 0xff],
    ];
    // Three streams with a message each that it may send, and together beyond the connection's window.
    let flood = [1, 3, 5].map(|stream| [0, 0, 0, stream, 0xff, 0xff]);
    // Data comes and is taken until the window has grown; then nothing, and what is asked back comes: 4
    // bytes of credit are not all.
    let mut grow = vec![0];
    for _ in 0..16 {
        grow.extend([0, 1, 0, 1, 0xff, 0x3f, 12, 0, 9, 15, 0xff, 0xff]);
    }
    grow.extend([14, 110, 15, 0xff, 0xff, 0, 9, 2, 0, 4, 0, 0, 0]);
    let seeds = [
        seed("requests-come", remote.concat()),
        seed("requests-leave", local.concat()),
        seed("refused-flood", [&[0], flood.as_flattened()].concat()),
        seed("refused-less-than-was-asked-back", grow),
    ];
    replay("mux", 3000, super::mux, &seeds);
}

#[test]
fn machines_that_keep_the_protocol_never_find_each_other_at_fault() {
    let step = |side: u8, kind: u8| (kind << 1) | side;
    let leave = |side: u8| vec![step(side, 12), 0xff, 0xff];
    let arrive = |side: u8| vec![step(side, 14), 0xff, 0xff];
    let steps = [
        vec![step(0, 0), step(0, 2), 0, 200, 0],
        vec![step(0, 4), 0, 0xff, 0xff],
        leave(0),
        arrive(1),
        vec![step(1, 9), 0, 9, step(1, 2), 0, 9, 0, step(1, 6), 0],
        leave(1),
        arrive(0),
        vec![step(0, 6), 0],
    ];
    let cut = [
        vec![step(0, 1), step(1, 0), step(0, 2), 0, 9, 0, step(1, 2), 0, 9, 0],
        leave(0),
        vec![step(1, 14), 7, 0],
        arrive(1),
        leave(1),
        vec![step(1, 7), 1, step(0, 8), 0],
        arrive(0),
        leave(1),
        arrive(0),
    ];
    let send = |stream: u8| {
        let data = [step(0, 4), stream, 0xff, 0xff];
        [&data[..], &leave(0), &arrive(1)].concat()
    };
    let open = |stream: u8| [step(0, 1), step(0, 2), stream, 9, 0];
    let mut full = [open(0), open(1), open(2)].concat();
    (0..18).for_each(|n| full.extend(send(n % 3)));
    // Credit that is not given back when a stream is reset is missing for the last one.
    let mut resets = Vec::new();
    for stream in 0..8 {
        resets.extend(open(stream));
        (0..3).for_each(|_| resets.extend(send(stream)));
        if stream < 7 {
            resets.extend([step(0, 7), stream]);
            resets.extend([leave(0), arrive(1), leave(1), arrive(0)].concat());
            resets.extend([step(1, 9), stream, 9, step(1, 7), stream]);
            resets.extend([leave(1), arrive(0)].concat());
        }
    }
    let seeds = [
        seed("a-request-and-its-response", steps.concat()),
        seed("cut", cut.concat()),
        seed("windows-are-full", full),
        seed("resets", resets),
    ];
    replay("pair", 1000, super::pair, &seeds);
}
