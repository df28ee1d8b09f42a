//! Two connection machines that keep the protocol, with everything real between them: whatever
//! their applications do and however the bytes are cut, neither may find the other at fault, and
//! what one sends the other gets, in order and once.

use std::collections::BTreeMap;
use std::time::Duration;

use arbitrary::Unstructured;
use bytes::Bytes;

use super::{config, read};
use crate::cipher::{Opener, Sealer};
use crate::error::CloseReason;
use crate::frame::{Class, Frame, StreamKey};
use crate::intake::Intake;
use crate::limits::MIN_CONNECTION_WINDOW;
use crate::mux::{Mux, MuxEvent};
use crate::packer::{Packed, pack};
use crate::rate::Room;

/// Streams that each side may open.
const STREAMS: u32 = 3;

/// Rounds of settling at the end: each moves a window at least, and what is queued is bounded.
const ROUNDS: usize = 1000;

/// Bytes of a message before its filling: who sent it on which stream, and which of its messages
/// it is.
const MARK: usize = 1 + 8 + 4;

/// 1 byte of streams to begin with, then step after step: of each, 1 byte of side and step.
pub fn pair(bytes: &[u8]) -> bool {
    let mut input = Unstructured::new(bytes);
    let (ours, theirs) = ([1; 32], [2; 32]);
    let mut sides = [Side::new(0, &ours, &theirs), Side::new(1, &theirs, &ours)];
    let mut now = Duration::ZERO;
    let mut ended = false;
    settle(&mut sides, now);
    while !input.is_empty() && !ended {
        let choice: u8 = read(&mut input);
        let at = usize::from(choice & 1);
        // Far below what makes a side give the other up.
        now += Duration::from_millis(1);
        let step = Step::read(choice >> 1, &mut input);
        match step {
            Step::Leave { budget } => sides[at].leave(now, budget).into_iter().for_each(|sealed| {
                sides[1 - at].wire.extend_from_slice(&sealed);
            }),
            Step::Arrive { bytes } => ended |= sides[at].arrive(now, bytes),
            other => sides[at].apply(now, &other),
        }
    }
    let settled = ended || settle(&mut sides, now);
    assert!(settled, "still busy after {ROUNDS} rounds");
    if !ended {
        rest(&mut sides, now + Duration::from_secs(11));
    }
    for at in 0..2 {
        sides[at].delivered_to(&sides[1 - at]);
    }
    !ended
}

/// The next event on one side.
enum Step {
    Open { class: Class },
    Message { stream: u8, len: u16 },
    Data { stream: u8, len: u16 },
    Finish { stream: u8 },
    Reset { stream: u8 },
    DropReceiver { stream: u8 },
    Receive { stream: u8, frames: u8 },
    Drain,
    Leave { budget: usize },
    Arrive { bytes: usize },
}

impl Step {
    fn read(choice: u8, input: &mut Unstructured<'_>) -> Step {
        match choice % 16 {
            0 => Step::Open { class: Class::Control },
            1 => Step::Open { class: Class::Bulk },
            2 | 3 => Step::Message { stream: read(input), len: read(input) },
            4 | 5 => Step::Data { stream: read(input), len: read(input) },
            6 => Step::Finish { stream: read(input) },
            7 => Step::Reset { stream: read(input) },
            8 => Step::DropReceiver { stream: read(input) },
            9 | 10 => Step::Receive { stream: read(input), frames: read(input) },
            11 if read::<u8>(input) == 0xff => Step::Drain,
            12 | 13 => Step::Leave { budget: usize::from(read::<u16>(input)) * 4 },
            _ => Step::Arrive { bytes: usize::from(read::<u16>(input)) * 4 },
        }
    }
}

/// A direction of a stream, as its sender or its receiver knows it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Row {
    /// The side that sends the stream, and its key there, once a message said them.
    mark: Option<(u8, StreamKey)>,
    messages: u32,
    data: u64,
    /// Cut short by somebody, so that not everything need arrive.
    cut: bool,
}

struct Side {
    name: u8,
    mux: Mux,
    sealer: Sealer,
    intake: Intake,
    /// Sealed bytes under way to this side.
    wire: Vec<u8>,
    keys: Vec<StreamKey>,
    sent: BTreeMap<StreamKey, Row>,
    got: BTreeMap<StreamKey, Row>,
}

impl Side {
    fn new(name: u8, send: &[u8; 32], receive: &[u8; 32]) -> Side {
        Side {
            name,
            mux: Mux::new(config(name == 0, STREAMS)),
            sealer: Sealer::new(send, 5),
            intake: Intake::new(Opener::new(receive, 5)),
            wire: Vec::new(),
            keys: Vec::new(),
            sent: BTreeMap::new(),
            got: BTreeMap::new(),
        }
    }

    fn key(&self, stream: u8) -> Option<StreamKey> {
        self.keys.get(usize::from(stream) % self.keys.len().max(1)).copied()
    }

    fn apply(&mut self, now: Duration, step: &Step) {
        match *step {
            Step::Open { class } => self.keys.extend(self.mux.open(class)),
            Step::Message { stream, len } => self.send(stream, len, true),
            Step::Data { stream, len } => self.send(stream, len, false),
            Step::Receive { stream, frames } => {
                if let Some(key) = self.key(stream) {
                    (0..=frames).take_while(|_| self.receive(key)).for_each(drop);
                }
            }
            Step::Finish { stream } => {
                if let Some(key) = self.key(stream) {
                    self.mux.finish(key);
                }
            }
            Step::Reset { stream } => {
                if let Some(key) = self.key(stream) {
                    self.mux.reset(key, 1);
                    self.sent.entry(key).or_default().cut = true;
                    self.got.entry(key).or_default().cut = true;
                }
            }
            Step::DropReceiver { stream } => {
                if let Some(key) = self.key(stream) {
                    self.mux.drop_receiver(key);
                    self.got.entry(key).or_default().cut = true;
                }
            }
            Step::Drain => self.mux.start_drain(now, CloseReason::Aged),
            Step::Leave { .. } | Step::Arrive { .. } => {}
        }
    }

    /// Each direction begins with a message, which says whose it is.
    fn send(&mut self, stream: u8, len: u16, message: bool) {
        let Some(key) = self.key(stream) else {
            return;
        };
        let row = self.sent.entry(key).or_default();
        let message = message || row.messages == 0;
        let frame = if message {
            let mut bytes = vec![self.name];
            bytes.extend_from_slice(&key.to_le_bytes());
            bytes.extend_from_slice(&row.messages.to_le_bytes());
            bytes.resize(MARK + usize::from(len), 0xaa);
            Frame::Message(bytes.into())
        } else {
            let from = row.data;
            Frame::Data((0..u64::from(len.max(1))).map(|n| counted(from + n)).collect())
        };
        match self.mux.push(key, &frame) {
            Ok(true) if message => row.messages += 1,
            Ok(true) => row.data += u64::from(len.max(1)),
            Ok(false) => {}
            // Stopped by the other side, or ended before.
            Err(_) => row.cut = true,
        }
    }

    /// Takes one frame, if there is one.
    fn receive(&mut self, key: StreamKey) -> bool {
        let row = self.got.entry(key).or_default();
        match self.mux.recv(key) {
            Some(Ok(Some(Frame::Message(bytes)))) => row.message(&bytes, self.name),
            Some(Ok(Some(Frame::Data(bytes)))) => {
                assert!(!bytes.is_empty(), "an empty piece");
                for (n, byte) in (row.data..).zip(&bytes) {
                    assert_eq!(*byte, counted(n), "byte {n} of {key}");
                }
                row.data += bytes.len() as u64;
            }
            Some(Err(_)) => {
                row.cut = true;
                return false;
            }
            Some(Ok(None)) | None => return false,
        }
        true
    }

    /// Sealed bytes for the other side.
    fn leave(&mut self, now: Duration, budget: usize) -> Option<Vec<u8>> {
        let (mut segments, mut sealed) = (Vec::new(), Packed::default());
        self.mux.poll_transmit(now, &mut segments, Room::of(budget));
        pack(&mut self.sealer, &segments, &mut sealed).expect("the counter is far from its end");
        (!sealed.is_empty()).then(|| sealed.to_vec())
    }

    /// Takes bytes that are under way. True once the connection is over.
    fn arrive(&mut self, now: Duration, bytes: usize) -> bool {
        let later = self.wire.split_off(bytes.min(self.wire.len()));
        let arrived = std::mem::replace(&mut self.wire, later);
        let mut rest = &arrived[..];
        while !rest.is_empty() {
            let space = self.intake.space();
            let (part, later) = rest.split_at(rest.len().min(space.capacity() - space.len()));
            space.extend_from_slice(part);
            rest = later;
            let mut items = Vec::new();
            self.intake.take(&[], &mut items).expect("nothing was changed on the way");
            for item in items {
                if let Err(reason) = self.mux.handle(now, item) {
                    panic!("side {}: {reason}", self.name);
                }
            }
        }
        while let Some(event) = self.mux.poll_event() {
            if let MuxEvent::Opened(key) = event {
                self.keys.push(key);
            }
        }
        self.mux.finished().is_some()
    }

    /// Asserts that all arrived that was sent and not cut short.
    fn delivered_to(&self, other: &Side) {
        for (key, sent) in self.sent.iter().filter(|(_, row)| row.messages > 0 && !row.cut) {
            let there = other.got.values().find(|row| row.mark == Some((self.name, *key)));
            match there {
                Some(got) if got.cut => assert!(got.messages <= sent.messages),
                Some(got) => assert_eq!(
                    (got.messages, got.data),
                    (sent.messages, sent.data),
                    "stream {key} of side {}",
                    self.name
                ),
                // Cut before its first message was taken.
                None => assert!(
                    other.got.values().any(|row| row.cut && row.mark.is_none()),
                    "stream {key} of side {} never arrived",
                    self.name
                ),
            }
        }
    }
}

impl Row {
    fn message(&mut self, bytes: &Bytes, me: u8) {
        let (mark, filling) = bytes.split_at(MARK);
        let key = u64::from_le_bytes(mark[1..9].try_into().expect("8 bytes"));
        let number = u32::from_le_bytes(mark[9..].try_into().expect("4 bytes"));
        assert_ne!(mark[0], me, "an own message came back");
        assert_eq!(*self.mark.get_or_insert((mark[0], key)), (mark[0], key), "streams are mixed");
        assert_eq!(number, self.messages, "a message is missing or doubled");
        assert!(filling.iter().all(|byte| *byte == 0xaa));
        self.messages += 1;
    }
}

fn counted(n: u64) -> u8 {
    u8::try_from(n % 251).unwrap_or(0)
}

/// Nothing is used any more: windows go back to their first size, and what one side may send is what the
/// other side lets it.
fn rest(sides: &mut [Side; 2], now: Duration) {
    let over = |side: &Side| side.mux.finished().is_some();
    for side in &mut *sides {
        side.mux.handle_timeout(now).expect("nobody is late");
    }
    if !settle(sides, now) || sides.iter().any(over) {
        return;
    }
    for at in 0..2 {
        let (window, allowed) = sides[at].mux.window();
        assert_eq!(window, MIN_CONNECTION_WINDOW, "side {at}");
        assert_eq!(allowed, sides[1 - at].mux.credit_left(), "side {at}");
    }
}

/// Lets everything that is under way arrive and be taken. False if it never ends.
fn settle(sides: &mut [Side; 2], now: Duration) -> bool {
    for _ in 0..ROUNDS {
        let mut busy = false;
        for at in 0..2 {
            if let Some(sealed) = sides[at].leave(now, 1 << 20) {
                sides[1 - at].wire.extend_from_slice(&sealed);
                busy = true;
            }
            let side = &mut sides[1 - at];
            let bytes = side.wire.len();
            busy |= bytes > 0;
            if side.arrive(now, bytes) {
                return true;
            }
            for key in side.keys.clone() {
                while side.receive(key) {
                    busy = true;
                }
            }
        }
        if !busy {
            return true;
        }
    }
    false
}
