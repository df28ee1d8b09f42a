//! The connection machine against a remote that says anything, beside an application that does
//! anything.

use std::time::Duration;

use arbitrary::Unstructured;
use bytes::Bytes;

use super::{block, config, read};
use crate::error::CloseReason;
use crate::frame::{Class, Frame, StreamKey};
use crate::hello::Hello;
use crate::intake::{Deframer, Inbound};
use crate::limits::MIN_STREAM_WINDOW;
use crate::mux::{Mux, MuxEvent};
use crate::rate::Room;
use crate::wire::{Header, Kind};

/// Streams that the remote may open.
const STREAMS: u32 = 4;

const KINDS: [Kind; 10] = [
    Kind::Message,
    Kind::Data,
    Kind::Credit,
    Kind::Reset,
    Kind::Ping,
    Kind::GoAway,
    Kind::Bulk,
    Kind::Hello,
    Kind::Skip,
    Kind::Reclaim,
];

/// 1 byte: bit 0 says who dialled, bit 1 leaves the hello out; then step after step.
pub fn mux(bytes: &[u8]) -> bool {
    let mut input = Unstructured::new(bytes);
    let start: u8 = read(&mut input);
    let mut run = Run {
        mux: Mux::new(config(start & 1 == 1, STREAMS)),
        deframer: Deframer::default(),
        keys: Vec::new(),
        now: Duration::ZERO,
    };
    let mut result = Ok(());
    if start & 2 == 0 {
        let hello = config(start & 1 == 0, STREAMS).hello.encode();
        result = run.frame(Kind::Hello, 0, 0, &hello);
    }
    while result.is_ok() && !input.is_empty() {
        result = run.step(&mut input);
        run.check();
    }
    // One last word, and nothing after it.
    run.mux.close(CloseReason::Shutdown);
    run.transmit(1 << 20);
    assert!(run.mux.finished().is_some());
    assert_eq!(run.transmit(1 << 20), 0);
    result.is_ok()
}

struct Run {
    mux: Mux,
    deframer: Deframer,
    keys: Vec<StreamKey>,
    now: Duration,
}

impl Run {
    fn step(&mut self, input: &mut Unstructured<'_>) -> Result<(), CloseReason> {
        match read::<u8>(input) % 16 {
            0..=5 => self.read_frame(input)?,
            6 => {
                let text = Bytes::copy_from_slice(block(input));
                self.arrive(text)?;
            }
            7 => {
                let class = match read::<u8>(input) % 2 {
                    0 => Class::Control,
                    _ => Class::Bulk,
                };
                self.keys.extend(self.mux.open(class));
            }
            8 => {
                let key = self.key(input);
                let (message, len): (u8, u16) = read(input);
                let bytes = Bytes::from(vec![1; len.max(1).into()]);
                let frame =
                    if message % 2 == 0 { Frame::Message(bytes) } else { Frame::Data(bytes) };
                // A full queue and a stream that has ended are answers, too.
                let _ = self.mux.push(key, &frame);
            }
            9 => {
                let key = self.key(input);
                self.mux.finish(key);
            }
            10 => {
                let (key, code) = (self.key(input), read::<u8>(input));
                self.mux.reset(key, code.into());
            }
            11 => {
                let key = self.key(input);
                self.mux.drop_receiver(key);
            }
            12 => {
                let key = self.key(input);
                for _ in 0..=read::<u8>(input) {
                    if !matches!(self.mux.recv(key), Some(Ok(Some(_)))) {
                        break;
                    }
                }
            }
            13 => match read::<u8>(input) % 4 {
                0 => self.mux.want_bulk(),
                1 => self.mux.give_token(&[7; 32]),
                _ => self.mux.start_drain(self.now, CloseReason::Aged),
            },
            14 => {
                self.now += Duration::from_millis(u64::from(read::<u8>(input)) * 100);
                self.mux.handle_timeout(self.now)?;
                assert!(self.mux.poll_timeout() > self.now, "a timer that never rests");
            }
            _ => drop(self.transmit(read::<u16>(input).into())),
        }
        Ok(())
    }

    /// Some known stream, or one that never was.
    fn key(&self, input: &mut Unstructured<'_>) -> StreamKey {
        let at = usize::from(read::<u8>(input));
        self.keys.get(at % (self.keys.len() + 1)).copied().unwrap_or(at as u64)
    }

    /// A frame whose length fits its kind; the rest is as the input says.
    fn read_frame(&mut self, input: &mut Unstructured<'_>) -> Result<(), CloseReason> {
        let (kind, flags, stream): (u8, u8, u8) = read(input);
        let (kind, stream) = (KINDS[usize::from(kind) % KINDS.len()], u32::from(stream % 16));
        let payload = match kind {
            Kind::Credit | Kind::Reset | Kind::GoAway | Kind::Reclaim => fields(input, 4),
            Kind::Ping => fields(input, 8),
            Kind::Bulk if flags & 2 == 0 => fields(input, 1),
            Kind::Bulk => fields(input, 33),
            Kind::Hello => {
                let (window, streams): (u16, u8) = read(input);
                let hello = config(false, u32::from(streams).max(1)).hello;
                Hello { stream_window: MIN_STREAM_WINDOW + u32::from(window), ..hello }.encode()
            }
            // Long ones cost no input: windows are to be filled.
            Kind::Message | Kind::Data | Kind::Skip => vec![0; usize::from(read::<u16>(input)) * 2],
        };
        self.frame(kind, flags, stream, &payload)
    }

    fn frame(
        &mut self,
        kind: Kind,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> Result<(), CloseReason> {
        let len = u32::try_from(payload.len()).expect("a short payload");
        let header = Header { kind, flags, priority: flags, stream, len };
        self.arrive([&header.encode()[..], payload].concat().into())
    }

    /// As the driver does: through the deframer, whose errors end the connection.
    fn arrive(&mut self, text: Bytes) -> Result<(), CloseReason> {
        let mut items: Vec<Inbound> = Vec::new();
        let cut = self.deframer.push(text, true, &[], &mut items).map_err(CloseReason::Protocol);
        items.into_iter().try_for_each(|item| self.mux.handle(self.now, item)).and(cut)
    }

    /// Frames that left.
    fn transmit(&mut self, budget: usize) -> usize {
        let mut segments = Vec::new();
        self.mux.poll_transmit(self.now, &mut segments, Room::of(budget));
        segments.len()
    }

    fn check(&mut self) {
        while let Some(event) = self.mux.poll_event() {
            if let MuxEvent::Opened(key) = event {
                assert!(!self.keys.contains(&key), "a stream key is used twice");
                self.keys.push(key);
            }
        }
        let (window, allowed) = self.mux.window();
        let held = self.mux.held();
        assert!(held + allowed <= window.into(), "{held} bytes are held, {allowed} may come");
        let theirs = self.mux.remote_hello().map_or(0, |hello| hello.streams);
        assert!(self.mux.load() <= STREAMS + theirs, "{} streams", self.mux.load());
    }
}

/// A payload of `len` bytes; zeros once the input is used up.
fn fields(input: &mut Unstructured<'_>, len: usize) -> Vec<u8> {
    let mut payload = vec![0; len];
    input.fill_buffer(&mut payload).unwrap_or_default();
    payload
}
