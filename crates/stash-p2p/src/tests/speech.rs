//! A remote that holds the keys and breaks the protocol: every rule, by its frames.

use std::time::Duration;

use bytes::Bytes;

use super::pair::config;
use crate::Limits;
use crate::error::{CloseReason, ProtocolError};
use crate::frame::{Class, Frame};
use crate::hello::Hello;
use crate::intake::{Deframer, Inbound};
use crate::limits::{MIN_CONNECTION_WINDOW, MIN_STREAM_WINDOW};
use crate::mux::{Mux, MuxEvent};
use crate::rate::Room;
use crate::wire::{ACK, END, Header, Kind};

fn whole(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Inbound {
    let len = u32::try_from(payload.len()).unwrap();
    let header = Header { kind, flags, priority: 0, stream, len };
    let bytes = Bytes::copy_from_slice(payload);
    if kind == Kind::Data {
        return Inbound::Piece { header, bytes, first: true, last: true };
    }
    Inbound::Whole(header, bytes)
}

fn hello() -> Inbound {
    let hello = Hello {
        run: 1,
        streams: 8,
        stream_window: MIN_STREAM_WINDOW,
        connection_window: MIN_CONNECTION_WINDOW,
        capabilities: vec![],
        app: Bytes::new(),
    };
    whole(Kind::Hello, 0, 0, &hello.encode())
}

/// The verdict of an acceptor (the remote initiates, so its ids are odd) on these frames.
fn judge(frames: impl IntoIterator<Item = Inbound>) -> Result<(), ProtocolError> {
    let limits = Limits { streams: 3, ..Limits::default() };
    let mut mux = Mux::new(config(false, &limits));
    judge_on(&mut mux, frames)
}

fn judge_on(mux: &mut Mux, frames: impl IntoIterator<Item = Inbound>) -> Result<(), ProtocolError> {
    let mut segments = Vec::new();
    for frame in frames {
        let handled = mux.handle(Duration::ZERO, frame);
        mux.poll_transmit(Duration::ZERO, &mut segments, Room::of(1 << 20));
        match handled {
            Ok(()) => {}
            Err(CloseReason::Protocol(error)) => return Err(error),
            Err(other) => panic!("{other}"),
        }
    }
    Ok(())
}

#[test]
fn hello_comes_first_and_once() {
    let ping = || whole(Kind::Ping, 0, 0, &[0; 8]);
    assert_eq!(judge([ping()]), Err(ProtocolError::HelloOrder));
    assert_eq!(judge([hello(), ping(), hello()]), Err(ProtocolError::HelloOrder));
    assert_eq!(judge([hello(), ping(), ping()]), Ok(()));
}

// Fault case 35.
#[test]
fn responses_without_requests_and_reused_ids_close_the_connection() {
    let message = |flags, stream| whole(Kind::Message, flags, stream, b"m");
    let cases = [
        (vec![message(0, 2)], ProtocolError::ResponseWithoutRequest(2)),
        (vec![message(END, 5), message(0, 3)], ProtocolError::StreamReused(3)),
        (vec![message(END, 1), message(0, 1)], ProtocolError::FrameAfterEnd(1)),
        (
            vec![message(0, 1), message(0, 3), message(0, 5), message(0, 7)],
            ProtocolError::TooManyStreams(3),
        ),
        (vec![whole(Kind::Credit, 0, 9, &[1, 0, 0, 0])], ProtocolError::ResponseWithoutRequest(9)),
        (vec![whole(Kind::Credit, 0, 0, &[0; 4])], ProtocolError::BadCredit(0)),
        (vec![whole(Kind::Credit, 0, 0, &[0xff; 4])], ProtocolError::BadCredit(u32::MAX)),
        (vec![whole(Kind::Bulk, 0, 0, &[0])], ProtocolError::BulkOutOfPlace),
        (vec![whole(Kind::Bulk, 0, 0, &[2; 33])], ProtocolError::BulkOutOfPlace),
        (vec![whole(Kind::Reset, 0, 1, &[0; 4])], ProtocolError::BadFlags { kind: 4, flags: 0 }),
    ];
    for (frames, error) in cases {
        assert_eq!(judge(std::iter::once(hello()).chain(frames)), Err(error));
    }
}

#[test]
fn a_second_response_after_the_end_closes_the_connection() {
    let mut mux = Mux::new(config(false, &Limits::default()));
    judge_on(&mut mux, [hello()]).unwrap();
    let key = mux.open(Class::Control).unwrap();
    mux.finish(key);
    judge_on(&mut mux, [whole(Kind::Ping, 0, 0, &[0; 8])]).unwrap();
    judge_on(&mut mux, [whole(Kind::Message, END, 2, b"response")]).unwrap();
    let again = judge_on(&mut mux, [whole(Kind::Message, END, 2, b"response")]);
    assert_eq!(again, Err(ProtocolError::StreamReused(2)));
}

#[test]
fn more_than_the_credit_closes_the_connection() {
    let piece = |stream| whole(Kind::Data, 0, stream, &[0; 256 * 1024]);
    let flood = std::iter::once(hello()).chain((0..9).map(|_| piece(1)));
    assert_eq!(judge(flood), Err(ProtocolError::CreditExceeded(1)));
    // Each may have one long message under way.
    let message = |stream| whole(Kind::Message, 0, stream, &[0; 200 * 1024]);
    assert_eq!(judge([hello(), message(1)]), Ok(()));
    let again = [hello(), message(1), whole(Kind::Message, 0, 1, b"m")];
    assert_eq!(judge(again), Err(ProtocolError::CreditExceeded(1)));
    let flood = [hello(), message(1), message(3)];
    assert_eq!(judge(flood), Err(ProtocolError::ConnectionCreditExceeded));
}

#[test]
fn credit_and_resets_may_cross_the_end_of_a_stream() {
    let frames = [
        hello(),
        whole(Kind::Message, END, 1, b"m"),
        whole(Kind::Reset, ACK, 1, &[0; 4]),
        whole(Kind::Reset, ACK, 1, &[0; 4]),
        whole(Kind::Credit, 0, 1, &[1, 0, 0, 0]),
    ];
    assert_eq!(judge(frames), Ok(()));
}

#[test]
fn floods_of_pings_resets_and_token_requests_queue_nothing() {
    let mut mux = Mux::new(config(false, &Limits::default()));
    judge_on(&mut mux, [hello()]).unwrap();
    for _ in 0..10_000 {
        mux.handle(Duration::ZERO, whole(Kind::Ping, 0, 0, &[1; 8])).unwrap();
    }
    let mut segments = Vec::new();
    mux.poll_transmit(Duration::ZERO, &mut segments, Room::of(1 << 20));
    assert_eq!(segments.len(), 1, "only the latest ping is answered");
    // Streams opened and reset while we do not get to write count until we have answered.
    let resets = (0..2000_u32).try_for_each(|n| {
        mux.handle(Duration::ZERO, whole(Kind::Message, 0, 2 * n + 1, b"m"))?;
        mux.handle(Duration::ZERO, whole(Kind::Reset, END | ACK, 2 * n + 1, &[0; 4]))
    });
    let full = ProtocolError::TooManyStreams(Limits::default().streams);
    assert_eq!(resets, Err(CloseReason::Protocol(full)));
}

#[test]
fn who_turns_us_away_says_so_in_the_place_of_its_hello() {
    let mut mux = Mux::new(config(true, &Limits::default()));
    let no_room = whole(Kind::GoAway, ACK, 0, &CloseReason::NoRoom.code().to_le_bytes());
    assert_eq!(mux.handle(Duration::ZERO, no_room), Err(CloseReason::NoRoom));
    let drains = judge([whole(Kind::GoAway, 0, 0, &[0; 4])]);
    assert_eq!(drains, Err(ProtocolError::HelloOrder), "nothing else may stand there");
}

fn reclaim(flags: u8, amount: u32) -> Inbound {
    whole(Kind::Reclaim, flags, 0, &amount.to_le_bytes())
}

#[test]
fn credit_that_is_asked_for_or_comes_back_out_of_turn_closes_the_connection() {
    let out_of_turn = Err(ProtocolError::ReclaimOutOfTurn);
    assert_eq!(judge([hello(), reclaim(0, 0)]), out_of_turn);
    assert_eq!(judge([hello(), reclaim(ACK, 1)]), out_of_turn, "nobody asked");
    let mut mux = Mux::new(config(false, &Limits::default()));
    judge_on(&mut mux, [hello()]).unwrap();
    assert_eq!(mux.handle(Duration::ZERO, reclaim(0, 1)), Ok(()));
    let twice = mux.handle(Duration::ZERO, reclaim(0, 1));
    assert_eq!(twice, Err(CloseReason::Protocol(ProtocolError::ReclaimOutOfTurn)));
}

/// The frames that the machine sends now: header and payload of each.
fn said(mux: &mut Mux, now: Duration) -> Vec<(Header, Vec<u8>)> {
    let mut segments = Vec::new();
    mux.poll_transmit(now, &mut segments, Room::of(1 << 20));
    let (mut deframer, mut items) = (Deframer::default(), Vec::new());
    segments.iter().for_each(|segment| {
        deframer.push(Bytes::from(segment.bytes()), true, &[], &mut items).unwrap();
    });
    let frames = items.into_iter().map(|item| match item {
        Inbound::Whole(header, bytes) | Inbound::Piece { header, bytes, .. } => {
            (header, bytes.to_vec())
        }
        Inbound::Placed { .. } => panic!("no memory was lent"),
    });
    frames.collect()
}

fn reclaims(frames: &[(Header, Vec<u8>)]) -> Vec<(u8, u32)> {
    let reclaims = frames.iter().filter(|(header, _)| header.kind == Kind::Reclaim);
    let amount = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
    reclaims.map(|(header, bytes)| (header.flags, amount(bytes))).collect()
}

#[test]
fn credit_that_is_asked_back_is_given_and_not_used() {
    let mut mux = Mux::new(config(false, &Limits::default()));
    judge_on(&mut mux, [hello()]).unwrap();
    let key = mux.open(Class::Bulk).unwrap();
    mux.handle(Duration::ZERO, reclaim(0, 1000)).unwrap();
    assert_eq!(reclaims(&said(&mut mux, Duration::ZERO)), [(ACK, 1000)]);
    mux.handle(Duration::ZERO, reclaim(0, 1 << 31)).unwrap();
    let rest = MIN_CONNECTION_WINDOW - 1000;
    assert_eq!(reclaims(&said(&mut mux, Duration::ZERO)), [(ACK, rest)], "all that there is");
    mux.push(key, &Frame::Data(Bytes::from_static(b"data"))).unwrap();
    assert!(said(&mut mux, Duration::ZERO).is_empty());
    mux.handle(Duration::ZERO, whole(Kind::Credit, 0, 0, &100_u32.to_le_bytes())).unwrap();
    let sent = said(&mut mux, Duration::ZERO);
    assert!(sent.iter().any(|(header, bytes)| header.kind == Kind::Data && bytes == b"data"));
}

/// A machine whose window the remote has made grow, at so many seconds.
fn grown(seconds: u64) -> Mux {
    let mut mux = Mux::new(config(false, &Limits::default()));
    judge_on(&mut mux, [hello()]).unwrap();
    let now = Duration::from_secs(seconds);
    for _ in 0..200 {
        let data = whole(Kind::Data, 0, 1, &[0; 32 * 1024]);
        mux.handle(now, data).unwrap();
        while let Some(event) = mux.poll_event() {
            if let MuxEvent::Readable(key) = event {
                while let Some(Ok(Some(_))) = mux.recv(key) {}
            }
        }
        said(&mut mux, now);
    }
    assert_eq!(mux.window().0, Limits::default().connection_window);
    mux
}

/// Lets seconds pass in which the remote says nothing but that it is there; what is asked back.
fn alive(mux: &mut Mux, seconds: std::ops::Range<u64>) -> Result<Vec<(u8, u32)>, CloseReason> {
    let mut asked = Vec::new();
    for now in seconds.map(Duration::from_secs) {
        mux.handle(now, whole(Kind::Ping, 0, 0, &[0; 8]))?;
        mux.handle_timeout(now)?;
        asked.extend(reclaims(&said(mux, now)));
    }
    Ok(asked)
}

#[test]
fn whoever_keeps_credit_that_is_asked_back_is_closed() {
    let mut mux = grown(0);
    let unused = Limits::default().connection_window - MIN_CONNECTION_WINDOW;
    let asked = alive(&mut mux, 1..30).unwrap();
    let [(0, asked)] = asked[..] else { panic!("{asked:?}") };
    let allowed = mux.window().1;
    assert!(asked <= unused && asked >= unused / 2, "{asked}");
    assert!(u64::from(asked) <= allowed);
    assert_eq!(alive(&mut mux, 30..50), Err(CloseReason::CreditKept));
    assert_eq!(CloseReason::from_code(CloseReason::CreditKept.code()), CloseReason::CreditKept);
    // Less than was asked for is no answer, either.
    let mut mux = grown(0);
    alive(&mut mux, 1..12).unwrap();
    let less = mux.handle(Duration::from_secs(12), reclaim(ACK, asked - 1));
    assert_eq!(less, Err(CloseReason::Protocol(ProtocolError::ReclaimOutOfTurn)));
    let mut mux = grown(0);
    alive(&mut mux, 1..12).unwrap();
    mux.handle(Duration::from_secs(12), reclaim(ACK, asked)).unwrap();
    assert_eq!(mux.window().0, MIN_CONNECTION_WINDOW);
    assert_eq!(alive(&mut mux, 12..100), Ok(vec![]), "once is enough");
}

#[test]
fn any_bytes_at_all_end_in_frames_or_in_an_error() {
    use rand::{RngExt, SeedableRng};
    for seed in 0..3000 {
        let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
        let mut bytes = vec![0_u8; rng.random_range(1..400)];
        rng.fill(&mut bytes[..]);
        // Plausible headers get further than noise.
        for at in (0..bytes.len()).step_by(12) {
            bytes[at] %= 10;
            for zero in [1, 3, 5, 6, 7, 9, 10, 11] {
                if let Some(byte) = bytes.get_mut(at + zero) {
                    *byte &= u8::from(rng.random_bool(0.1));
                }
            }
        }
        let (mut deframer, mut items) = (Deframer::default(), vec![hello()]);
        let _may_refuse = deframer.push(Bytes::from(bytes), true, &[], &mut items);
        let mut mux = Mux::new(config(false, &Limits::default()));
        let mut segments = Vec::new();
        for item in items {
            if mux.handle(Duration::ZERO, item).is_err() {
                break;
            }
            mux.poll_transmit(Duration::ZERO, &mut segments, Room::of(1 << 20));
        }
    }
}
