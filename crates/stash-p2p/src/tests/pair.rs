//! Two connection machines and the way between them, under virtual time. Everything is real but
//! the wire: handshake, ciphers, frames. One seed gives one run.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use zeroize::Zeroizing;

use crate::backlog::{Backlog, SendBudget};
use crate::cipher::Sealer;
use crate::error::CloseReason;
use crate::frame::{Frame, StreamKey};
use crate::gate::Purpose;
use crate::handshake::{Asked, Dial, Session};
use crate::hello::Hello;
use crate::intake::{Inbound, Intake};
use crate::limits::WRITE_BATCH;
use crate::mux::{Mux, MuxConfig, MuxEvent, Window};
use crate::packer::{Packed, pack};
use crate::preamble::{Offer, VERSION};
use crate::rate::Room;
use crate::{Limits, Realm, StaticSecret};

pub(super) fn realm() -> Realm {
    Realm { label: [9; 32], prologue: b"a test".to_vec(), tag_key: [1; 32], psk: [2; 32] }
}

pub(super) fn offer(counter: u64) -> Offer {
    Offer { lowest: VERSION, highest: VERSION, purpose: Purpose::Control, counter, token: [0; 32] }
}

/// A handshake from fixed keys: both sessions, initiator first.
pub(super) fn sessions(rekey_after: u64) -> (Session, Session) {
    let (low, high) = (StaticSecret::from_bytes([3; 32]), StaticSecret::from_bytes([4; 32]));
    let (preamble, dial) =
        Dial::start(&low, &high.public(), &realm(), &offer(1), Zeroizing::new([5; 32])).unwrap();
    let asked =
        Asked::read(&high, &high.public(), &[realm()], &preamble, Zeroizing::new([6; 32])).unwrap();
    let (msg2, responder) = asked.answer(rekey_after).unwrap();
    (dial.finish(&msg2, rekey_after).unwrap(), responder)
}

pub(super) fn config(initiator: bool, limits: &Limits) -> MuxConfig {
    let hello = Hello {
        run: 7 + u64::from(initiator),
        streams: limits.streams,
        stream_window: limits.first_stream_window,
        connection_window: limits.first_window,
        capabilities: vec!["unheard-of".into()],
        app: Bytes::from_static(b"hi"),
    };
    MuxConfig {
        initiator,
        control: true,
        hello,
        send_queue: limits.send_queue,
        backlog: Backlog::new(&SendBudget::new(limits.send_budget), limits.connection_queue),
        window: Window::alone(limits),
        stream_window: limits.stream_window,
        ping_interval: limits.ping_interval,
        dead_after: limits.dead_after,
        max_age: limits.max_age,
        drain: limits.drain,
    }
}

/// A side of a connection.
pub(super) struct Side {
    pub(super) mux: Mux,
    sealer: Sealer,
    intake: Intake,
    pub(super) events: Vec<MuxEvent>,
    pub(super) closed: Option<CloseReason>,
    /// Bytes under way to this side: when they arrive, and what.
    wire: VecDeque<(Duration, Vec<u8>)>,
    pub(super) arrived: usize,
}

/// Both sides; index 0 is the initiator.
pub(super) struct Pair {
    pub(super) sides: [Side; 2],
    pub(super) now: Duration,
    /// Longest way of a packet; each takes a random part of it, in order.
    pub(super) latency: Duration,
    /// Packets are cut at random places.
    pub(super) cut: bool,
    /// The way to this side is dead.
    pub(super) dead: [bool; 2],
    rng: StdRng,
}

impl Pair {
    pub(super) fn new(seed: u64, limits: &Limits) -> Self {
        let (initiator, responder) = sessions(limits.rekey_after);
        let side = |session: Session, initiator| Side {
            mux: Mux::new(config(initiator, limits)),
            sealer: session.sealer,
            intake: Intake::new(session.opener),
            events: Vec::new(),
            closed: None,
            wire: VecDeque::new(),
            arrived: 0,
        };
        Self {
            sides: [side(initiator, true), side(responder, false)],
            now: Duration::ZERO,
            latency: Duration::from_millis(20),
            cut: true,
            dead: [false; 2],
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// Lets everything happen that is due now; whether anything did.
    pub(super) fn step(&mut self) -> bool {
        let mut moved = false;
        let first = usize::from(self.rng.random_bool(0.5));
        for at in [first, 1 - first] {
            moved |= self.arrive(at);
            moved |= self.leave(at);
        }
        moved
    }

    fn arrive(&mut self, at: usize) -> bool {
        let (now, side) = (self.now, &mut self.sides[at]);
        let Some((due, _)) = side.wire.front() else {
            return false;
        };
        if *due > now || side.closed.is_some() {
            return false;
        }
        let (_, bytes) = side.wire.pop_front().unwrap();
        side.arrived += bytes.len();
        let mut items = Vec::new();
        let mut rest = &bytes[..];
        let mut result = Ok(());
        while !rest.is_empty() && result.is_ok() {
            let space: &mut BytesMut = side.intake.space();
            let room = space.capacity() - space.len();
            assert!(room > 0);
            let (now, later) = rest.split_at(rest.len().min(room));
            space.extend_from_slice(now);
            rest = later;
            let taken = side.intake.take(&[], &mut items);
            let handled =
                items.drain(..).try_for_each(|item: Inbound| side.mux.handle(self.now, item));
            result = handled.and(taken);
        }
        side.closed = result.err();
        side.events.extend(std::iter::from_fn(|| side.mux.poll_event()));
        true
    }

    fn leave(&mut self, at: usize) -> bool {
        let side = &mut self.sides[at];
        if side.closed.is_some() {
            return false;
        }
        if let Err(reason) = side.mux.handle_timeout(self.now) {
            side.closed = Some(reason);
            return true;
        }
        let (mut segments, mut bytes) = (Vec::new(), Packed::default());
        side.mux.poll_transmit(self.now, &mut segments, Room::of(WRITE_BATCH));
        side.events.extend(std::iter::from_fn(|| side.mux.poll_event()));
        pack(&mut side.sealer, &segments, &mut bytes).unwrap();
        if bytes.is_empty() || self.dead[1 - at] {
            return !bytes.is_empty();
        }
        self.send(1 - at, bytes.to_vec());
        true
    }

    fn send(&mut self, to: usize, mut bytes: Vec<u8>) {
        while !bytes.is_empty() {
            let len = if self.cut { self.rng.random_range(1..=bytes.len()) } else { bytes.len() };
            let later = bytes.split_off(len);
            let wire = &mut self.sides[to].wire;
            let way = self.latency.mul_f64(self.rng.random_range(0.0..=1.0));
            let due = (self.now + way).max(wire.back().map_or(Duration::ZERO, |(due, _)| *due));
            wire.push_back((due, bytes));
            bytes = later;
        }
    }

    /// Runs until nothing is under way, letting time pass as far as the next arrival.
    pub(super) fn settle(&mut self) {
        loop {
            while self.step() {}
            let next = self.sides.iter().filter(|side| side.closed.is_none());
            let next = next.filter_map(|side| side.wire.front()).map(|(due, _)| *due).min();
            match next {
                Some(due) => self.now = due.max(self.now),
                None => return,
            }
        }
    }

    /// Lets time pass, timers included.
    pub(super) fn advance(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.settle();
            let open = self.sides.iter().filter(|side| side.closed.is_none());
            let next = open.map(|side| side.mux.poll_timeout()).min().unwrap_or(Duration::MAX);
            if next > until || self.now >= until {
                break;
            }
            self.now = next.max(self.now + Duration::from_micros(1));
        }
        self.now = self.now.max(until);
        self.settle();
    }

    /// The stream that the remote opened last.
    pub(super) fn opened(&mut self, at: usize) -> Option<StreamKey> {
        self.sides[at].events.iter().rev().find_map(|event| match event {
            MuxEvent::Opened(key) => Some(*key),
            _ => None,
        })
    }

    /// Everything a stream can give now.
    pub(super) fn drain(&mut self, at: usize, key: StreamKey) -> Vec<Option<Frame>> {
        let mux = &mut self.sides[at].mux;
        let mut frames = Vec::new();
        while let Some(frame) = mux.recv(key) {
            let frame = frame.unwrap();
            let end = frame.is_none();
            frames.push(frame);
            if end {
                break;
            }
        }
        frames
    }
}
