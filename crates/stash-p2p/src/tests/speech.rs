//! A remote that holds the keys and breaks the protocol: every rule, by its frames.

use std::time::Duration;

use bytes::Bytes;

use super::pair::config;
use crate::Limits;
use crate::error::CloseReason;
use crate::hello::Hello;
use crate::intake::{Deframer, Inbound};
use crate::limits::{MIN_CONNECTION_WINDOW, MIN_STREAM_WINDOW};
use crate::mux::Mux;
use crate::peer::Class;
use crate::rate::Room;
use crate::wire::{ACK, END, Header, Kind, ProtocolError};

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

/// What an acceptor (the remote initiates, so its ids are odd) says to these frames.
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
    let both = [1, 3, 5].into_iter().flat_map(|stream| (0..7).map(move |_| piece(stream)));
    let flood = std::iter::once(hello()).chain(both);
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
        let _may_refuse = deframer.push(Bytes::from(bytes), true, &mut items);
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
