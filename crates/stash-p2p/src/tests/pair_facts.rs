//! Facts about the connection machine, in virtual time.

use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::pair::Pair;
use crate::Limits;
use crate::error::{CloseReason, StreamError};
use crate::frame::{Class, Frame};
use crate::mux::MuxEvent;
use crate::rate::Room;

fn message(text: &'static [u8]) -> Frame {
    Frame::Message(Bytes::from_static(text))
}

#[test]
fn a_request_gets_its_response_whatever_the_cuts_and_delays() {
    for seed in 0..200 {
        let mut pair = Pair::new(seed, &Limits::default());
        pair.settle();
        let key = pair.sides[0].mux.open(Class::Control).unwrap();
        assert_eq!(pair.sides[0].mux.push(key, &message(b"request")), Ok(true));
        pair.sides[0].mux.finish(key);
        pair.settle();
        let there = pair.opened(1).unwrap();
        assert_eq!(pair.drain(1, there), [Some(message(b"request")), None], "seed {seed}");
        pair.sides[1].mux.push(there, &message(b"response")).unwrap();
        pair.sides[1].mux.finish(there);
        pair.settle();
        assert_eq!(pair.drain(0, key), [Some(message(b"response")), None], "seed {seed}");
        assert_eq!((pair.sides[0].mux.load(), pair.sides[1].mux.load()), (0, 0));
    }
}

/// Sends `total` bytes on one stream in queue-sized steps; returns what arrived, in order.
fn transfer(pair: &mut Pair, total: usize) -> Vec<u8> {
    let key = pair.sides[0].mux.open(Class::Bulk).unwrap();
    let source: Bytes = (0..total).map(|n| n.to_le_bytes()[0]).collect();
    let (mut rest, mut got, mut finished) = (source, Vec::new(), false);
    for _ in 0..100_000 {
        while !rest.is_empty() {
            let piece = rest.slice(..rest.len().min(100_000));
            if pair.sides[0].mux.push(key, &Frame::Data(piece.clone())).unwrap() {
                rest = rest.slice(piece.len()..);
            } else {
                break;
            }
        }
        if rest.is_empty() && !finished {
            finished = true;
            pair.sides[0].mux.finish(key);
        }
        pair.settle();
        let Some(there) = pair.opened(1) else {
            continue;
        };
        for frame in pair.drain(1, there) {
            match frame {
                Some(Frame::Data(bytes)) => got.extend_from_slice(&bytes),
                Some(Frame::Message(_)) => panic!("a message among data"),
                None => return got,
            }
        }
    }
    panic!("no progress after {} bytes", got.len());
}

#[test]
fn a_large_transfer_arrives_whole_across_many_rekeys_and_credit_rounds() {
    let limits = Limits { rekey_after: 7, ..Limits::default() };
    let mut pair = Pair::new(42, &limits);
    pair.settle();
    let total = 20 << 20;
    let got = transfer(&mut pair, total);
    assert_eq!(got.len(), total);
    assert!(got.iter().enumerate().all(|(n, byte)| *byte == n.to_le_bytes()[0]));
}

// Fault case 37.
#[test]
fn a_reader_that_does_not_read_holds_no_more_than_the_window() {
    let limits = Limits::default();
    let mut pair = Pair::new(1, &limits);
    pair.settle();
    let key = pair.sides[0].mux.open(Class::Bulk).unwrap();
    let piece = Frame::Data(Bytes::from(vec![0; 256 * 1024]));
    let mut queued = 0;
    for _ in 0..100 {
        while pair.sides[0].mux.push(key, &piece).unwrap() {
            queued += 256 * 1024;
        }
        pair.settle();
    }
    let window = limits.first_window as usize;
    assert!(pair.sides[1].arrived <= window + 128 * 1024, "{}", pair.sides[1].arrived);
    assert!(queued <= window + limits.send_queue + 256 * 1024, "{queued}");
}

#[test]
fn windows_grow_by_use_and_go_back_when_nothing_comes() {
    for seed in 0..20 {
        let limits = Limits::default();
        let mut pair = Pair::new(seed, &limits);
        pair.settle();
        for _ in 0..2 {
            let got = transfer(&mut pair, 20 << 20);
            assert_eq!(got.len(), 20 << 20, "seed {seed}");
            assert_eq!(pair.sides[1].mux.window().0, limits.connection_window, "seed {seed}");
            pair.advance(Duration::from_secs(15));
            for at in 0..2 {
                let (window, allowed) = pair.sides[at].mux.window();
                assert_eq!(window, limits.first_window, "seed {seed}");
                assert_eq!(allowed, pair.sides[1 - at].mux.credit_left(), "seed {seed}");
            }
        }
        assert_eq!((&pair.sides[0].closed, &pair.sides[1].closed), (&None, &None));
    }
}

#[test]
fn the_longest_messages_pass_through_the_smallest_windows() {
    let first = Limits::default();
    let limits = Limits {
        stream_window: first.first_stream_window,
        connection_window: first.first_window,
        ..first
    };
    for seed in 0..20 {
        let mut pair = Pair::new(seed, &limits);
        pair.settle();
        let mut rng = StdRng::seed_from_u64(seed);
        let keys = [Class::Control, Class::Bulk, Class::Bulk];
        let keys = keys.map(|class| pair.sides[0].mux.open(class).unwrap());
        // Odd lengths leave odd rests of credit.
        let mut sent = Vec::from_iter((0..60).map(|n| {
            let lens =
                [crate::MAX_MESSAGE, rng.random_range(1..1000), rng.random_range(1..250_000)];
            (keys[n % 3], Bytes::from(vec![9; lens[rng.random_range(0..3)]]))
        }));
        let total: usize = sent.iter().map(|(_, bytes)| bytes.len()).sum();
        let (mut got, mut rounds) = (0, 0);
        while got < total {
            rounds += 1;
            assert!(rounds < 1000, "seed {seed}: stuck after {got} of {total} bytes");
            sent.retain(|(key, bytes)| {
                !pair.sides[0].mux.push(*key, &Frame::Message(bytes.clone())).unwrap()
            });
            pair.settle();
            let opened = pair.sides[1].events.iter().filter_map(|event| match event {
                MuxEvent::Opened(key) => Some(*key),
                _ => None,
            });
            for key in Vec::from_iter(opened) {
                for frame in pair.drain(1, key) {
                    let Some(Frame::Message(bytes)) = frame else { panic!("{frame:?}") };
                    got += bytes.len();
                }
            }
        }
    }
}

#[test]
fn a_control_message_overtakes_queued_bulk_data() {
    let mut pair = Pair::new(2, &Limits::default());
    pair.settle();
    let bulk = pair.sides[0].mux.open(Class::Bulk).unwrap();
    let piece = Frame::Data(Bytes::from(vec![0; 256 * 1024]));
    while pair.sides[0].mux.push(bulk, &piece).unwrap() {}
    let control = pair.sides[0].mux.open(Class::Control).unwrap();
    pair.sides[0].mux.push(control, &message(b"urgent")).unwrap();
    let mut segments = Vec::new();
    let now = pair.now;
    pair.sides[0].mux.poll_transmit(now, &mut segments, Room::of(1));
    assert_eq!(segments.len(), 1);
    assert_eq!(segments[0].len(), 12 + 6, "the urgent message goes first");
}

// Fault case 38.
#[test]
fn a_connection_that_falls_silent_is_dead_after_thirty_seconds() {
    let mut pair = Pair::new(3, &Limits::default());
    pair.settle();
    pair.advance(Duration::from_secs(120));
    assert_eq!(pair.sides[0].closed, None, "pings keep an idle connection alive");
    assert!(pair.sides[0].mux.rtt().is_some());
    pair.dead = [true, true];
    pair.advance(Duration::from_secs(31));
    assert_eq!(pair.sides[0].closed, Some(CloseReason::Dead));
    assert_eq!(pair.sides[1].closed, Some(CloseReason::Dead));
}

#[test]
fn a_graceful_close_lets_streams_end_and_takes_late_ones_already_opened() {
    let mut pair = Pair::new(4, &Limits::default());
    pair.settle();
    let early = pair.sides[0].mux.open(Class::Control).unwrap();
    pair.sides[0].mux.push(early, &message(b"before")).unwrap();
    // Opened, but nothing sent yet: it still has its chance.
    let late = pair.sides[0].mux.open(Class::Control).unwrap();
    pair.settle();
    let now = pair.now;
    pair.sides[1].mux.start_drain(now, CloseReason::Shutdown);
    pair.settle();
    assert_eq!(pair.sides[0].mux.open(Class::Control), None);
    pair.sides[0].mux.push(late, &message(b"after")).unwrap();
    pair.sides[0].mux.finish(late);
    pair.sides[0].mux.finish(early);
    pair.settle();
    let keys: Vec<_> = pair.sides[1]
        .events
        .iter()
        .filter_map(|event| match event {
            MuxEvent::Opened(key) => Some(*key),
            _ => None,
        })
        .collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(pair.drain(1, keys[0]), [Some(message(b"before")), None]);
    assert_eq!(pair.drain(1, keys[1]), [Some(message(b"after")), None]);
    assert_eq!(pair.sides[1].mux.finished(), None);
    keys.iter().for_each(|key| pair.sides[1].mux.finish(*key));
    pair.settle();
    for side in &pair.sides {
        assert_eq!(side.mux.finished(), Some(CloseReason::Shutdown));
        assert_eq!(side.closed, None);
    }
}

#[test]
fn an_old_connection_drains_by_itself() {
    let limits = Limits { max_age: Duration::from_secs(100), ..Limits::default() };
    let mut pair = Pair::new(5, &limits);
    pair.settle();
    pair.advance(Duration::from_secs(99));
    assert_eq!(pair.sides[0].mux.draining(), None);
    pair.advance(Duration::from_secs(2));
    assert_eq!(pair.sides[0].mux.finished(), Some(CloseReason::Aged));
}

// Fault case 36.
#[test]
fn a_stream_that_never_ends_is_cut_at_the_drain_deadline() {
    let mut pair = Pair::new(6, &Limits::default());
    pair.settle();
    let key = pair.sides[0].mux.open(Class::Control).unwrap();
    pair.sides[0].mux.push(key, &message(b"and then nothing")).unwrap();
    pair.settle();
    let now = pair.now;
    pair.sides[1].mux.start_drain(now, CloseReason::Shutdown);
    pair.advance(Duration::from_secs(31));
    assert_eq!(pair.sides[1].closed, Some(CloseReason::Shutdown));
}

#[test]
fn a_reset_reaches_both_directions_and_frees_the_stream() {
    for seed in 0..50 {
        let mut pair = Pair::new(seed, &Limits::default());
        pair.settle();
        let key = pair.sides[0].mux.open(Class::Control).unwrap();
        pair.sides[0].mux.push(key, &message(b"never mind")).unwrap();
        pair.settle();
        let there = pair.opened(1).unwrap();
        pair.sides[1].mux.push(there, &message(b"half an answer")).unwrap();
        pair.sides[0].mux.reset(key, 77);
        pair.settle();
        assert_eq!(pair.sides[1].mux.recv(there), Some(Err(StreamError::Reset(77))));
        assert_eq!(
            pair.sides[1].mux.push(there, &message(b"more")),
            Err(StreamError::Reset(77)),
            "seed {seed}"
        );
        assert_eq!((pair.sides[0].mux.load(), pair.sides[1].mux.load()), (0, 0), "seed {seed}");
        assert_eq!((&pair.sides[0].closed, &pair.sides[1].closed), (&None, &None));
    }
}

#[test]
fn a_dropped_receiver_stops_the_sender_and_gives_all_credit_back() {
    let mut pair = Pair::new(8, &Limits::default());
    pair.settle();
    for _ in 0..50 {
        let key = pair.sides[0].mux.open(Class::Bulk).unwrap();
        pair.sides[0].mux.push(key, &message(b"give me all")).unwrap();
        pair.sides[0].mux.finish(key);
        pair.settle();
        let there = pair.opened(1).unwrap();
        let piece = Frame::Data(Bytes::from(vec![0; 256 * 1024]));
        while pair.sides[1].mux.push(there, &piece).unwrap() {}
        pair.sides[0].mux.drop_receiver(key);
        pair.settle();
        pair.sides[1].mux.reset(there, 0);
        pair.sides[1].mux.drop_receiver(there);
        pair.settle();
    }
    assert_eq!((pair.sides[0].mux.load(), pair.sides[1].mux.load()), (0, 0));
    let got = transfer(&mut pair, 8 << 20);
    assert_eq!(got.len(), 8 << 20, "no credit was lost");
}

#[test]
fn open_streams_are_bounded_and_a_slot_frees_with_the_end() {
    let limits = Limits { streams: 2, ..Limits::default() };
    let mut pair = Pair::new(9, &limits);
    pair.settle();
    let first = pair.sides[0].mux.open(Class::Control).unwrap();
    pair.sides[0].mux.open(Class::Control).unwrap();
    assert_eq!(pair.sides[0].mux.open(Class::Control), None);
    pair.sides[0].mux.reset(first, 0);
    pair.settle();
    assert!(pair.sides[0].events.contains(&MuxEvent::Slot));
    assert!(pair.sides[0].mux.open(Class::Control).is_some());
}
