//! The functions that a fuzzer runs, one for each reader of a peer's bytes. Each panics when a
//! promise is broken.
//!
//! Compiled for tests and with `cfg(fuzzing)` only. `fuzz/` has a target for each function, and
//! the inputs from which both the fuzzer and the tests below begin.

mod frames;
mod handshake;
mod mux;
mod pair;
mod session;

#[cfg(test)]
mod tests;

pub use frames::{frames, hello};
pub use handshake::{handshake, offer};
pub use mux::mux;
pub use pair::pair;
pub use session::session;

use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;

use crate::Limits;
use crate::backlog::{Backlog, SendBudget};
use crate::hello::Hello;
use crate::intake::Inbound;
use crate::limits::{MIN_CONNECTION_WINDOW, MIN_STREAM_WINDOW};
use crate::mux::{MuxConfig, Window};
use crate::wire::Header;

/// A connection with windows so small that an input of a few bytes can fill them.
fn config(initiator: bool, streams: u32) -> MuxConfig {
    let limits = Limits {
        stream_window: 256 << 10,
        connection_window: 1 << 20,
        process_budget: 2 << 20,
        ..Limits::default()
    };
    let hello = Hello {
        run: u64::from(initiator),
        streams,
        stream_window: MIN_STREAM_WINDOW,
        connection_window: MIN_CONNECTION_WINDOW,
        capabilities: Vec::new(),
        app: Bytes::new(),
    };
    MuxConfig {
        initiator,
        control: true,
        hello,
        send_queue: 64 * 1024,
        backlog: Backlog::new(&SendBudget::new(limits.send_budget), 128 * 1024),
        window: Window::alone(&limits),
        stream_window: limits.stream_window,
        ping_interval: limits.ping_interval,
        dead_after: limits.dead_after,
        max_age: Duration::from_secs(60),
        drain: limits.drain,
    }
}

/// Frames with their payloads, however their data was cut.
fn whole(items: &[Inbound]) -> Vec<(Header, Vec<u8>)> {
    let mut frames: Vec<(Header, Vec<u8>)> = Vec::new();
    for item in items {
        match item {
            Inbound::Piece { header, bytes, first: false, .. } => {
                let frame = frames.last_mut().expect("a first piece comes first");
                assert_eq!(frame.0, *header);
                frame.1.extend_from_slice(bytes);
            }
            Inbound::Whole(header, bytes) | Inbound::Piece { header, bytes, .. } => {
                frames.push((*header, bytes.to_vec()));
            }
            Inbound::Placed { .. } => panic!("no memory was lent"),
        }
    }
    frames
}

/// The next value, little-endian. An input that is used up reads as zeros, so that every input is one.
fn read<'a, T: Arbitrary<'a> + Default>(input: &mut Unstructured<'a>) -> T {
    input.arbitrary().unwrap_or_default()
}

/// Bytes with their length, a u16, before them; as many as there are.
fn block<'a>(input: &mut Unstructured<'a>) -> &'a [u8] {
    let len: u16 = read(input);
    input.bytes(input.len().min(len.into())).unwrap_or_default()
}
