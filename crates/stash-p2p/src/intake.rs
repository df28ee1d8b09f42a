//! From the bytes of a connection to frames: blocks, decryption in place, frame boundaries.
//!
//! The driver reads into [`Intake::space`] and calls [`Intake::take`]; what comes out are whole
//! messages and pieces of data that share the block they were read into.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use crate::cipher::Opener;
use crate::error::{CloseReason, ProtocolError};
use crate::lent::Memory;
use crate::limits::{READ_BLOCK, SHARE_FROM};
use crate::resolver::TAG;
use crate::wire::{HEADER, Header, Kind};

/// Length of the prefix of a Noise message, in bytes.
pub(crate) const PREFIX: usize = 2;
/// Block of a quiet connection, in bytes: one Noise message and some room.
const SMALL_BLOCK: usize = 72 * 1024;
/// A read that brings this many bytes makes large blocks worth their memory.
const BUSY: usize = 32 * 1024;
/// Blocks that a connection keeps for reuse. When all are still shared by pieces that the
/// application holds, pieces are copied out instead, so this bounds what pieces can pin.
const BLOCKS: usize = 12;
/// Bytes of another frame that may come before payload which is decrypted to lent memory: they are
/// copied.
const REST: usize = 4096;
/// Pairs of streams of which it is remembered that one came after the other.
const FOLLOWERS: usize = 64;

/// A unit for the connection machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Inbound {
    /// A whole frame of any kind but data.
    Whole(Header, Bytes),
    /// A piece of a data frame; `first` and `last` say where in the frame it lies.
    Piece { header: Header, bytes: Bytes, first: bool, last: bool },
    /// The same, whose bytes are in lent memory.
    Placed { header: Header, len: usize, first: bool, last: bool },
}

/// Decrypts and cuts what arrives on one connection.
pub(crate) struct Intake {
    opener: Opener,
    block: BytesMut,
    retired: VecDeque<BytesMut>,
    /// The last read brought a lot: large blocks pay.
    busy: bool,
    /// The current block is a large one.
    grown: bool,
    deframer: Deframer,
}

impl Intake {
    pub(crate) fn new(opener: Opener) -> Self {
        Self {
            opener,
            block: BytesMut::new(),
            retired: VecDeque::new(),
            busy: false,
            grown: false,
            deframer: Deframer::default(),
        }
    }

    /// Room to read into: never empty, and enough for the rest of the message under way.
    pub(crate) fn space(&mut self) -> &mut BytesMut {
        let need = self.message_len().map_or(PREFIX, |len| PREFIX + len) - self.block.len();
        let left = self.block.capacity() - self.block.len();
        let worthwhile = if self.busy { READ_BLOCK / 8 } else { 4096 };
        if left < need.max(worthwhile) {
            self.next_block();
        }
        &mut self.block
    }

    /// True if it holds memory that a quiet connection does not need.
    pub(crate) fn is_large(&self) -> bool {
        self.grown
    }

    /// Gives that memory back.
    pub(crate) fn shrink(&mut self) {
        self.retired.clear();
        let rest = std::mem::take(&mut self.block);
        self.block.extend_from_slice(&rest);
        self.grown = false;
        self.busy = false;
    }

    /// True if pieces should be copied because too many blocks are pinned.
    fn crowded(&self) -> bool {
        self.retired.len() >= BLOCKS
    }

    fn next_block(&mut self) {
        if !self.busy && !self.grown {
            // Reuses the block if nobody holds a piece of it.
            return self.block.reserve(SMALL_BLOCK);
        }
        let reusable = self.retired.iter_mut().position(|block| block.try_reclaim(READ_BLOCK));
        let mut next = match reusable.and_then(|at| self.retired.swap_remove_back(at)) {
            Some(block) => block,
            None => BytesMut::with_capacity(READ_BLOCK),
        };
        let mut last = std::mem::take(&mut self.block);
        next.extend_from_slice(&last);
        last.clear();
        if self.grown && self.retired.len() < BLOCKS {
            self.retired.push_back(last);
        }
        self.grown = true;
        self.block = next;
    }

    fn message_len(&self) -> Option<usize> {
        let prefix = self.block.get(..PREFIX)?;
        Some(usize::from(u16::from_le_bytes([prefix[0], prefix[1]])))
    }

    /// Cuts all whole messages that have arrived into `out`, raw bytes of streams with lent memory into
    /// that. After an error the connection must be closed; what was cut before it stands in `out`.
    pub(crate) fn take(&mut self, lent: &Lents, out: &mut Vec<Inbound>) -> Result<(), CloseReason> {
        self.busy = self.block.len() >= BUSY;
        while let Some(len) = self.message_len() {
            if len <= TAG {
                let len = u16::try_from(len).unwrap_or(0);
                return Err(CloseReason::Protocol(ProtocolError::ShortMessage(len)));
            }
            if self.block.len() < PREFIX + len {
                break;
            }
            let mut message = self.block.split_to(PREFIX + len);
            message.advance(PREFIX);
            let guess = self.deframer.guess(len - TAG, lent);
            let placed = guess.map(|guess| self.open_to(&mut message, &guess));
            let front = match placed.transpose()?.unwrap_or(Opened::No) {
                Opened::Placed(front) => front,
                Opened::Elsewhere => message.freeze().slice(..len - TAG),
                Opened::No => {
                    self.opener.open(&mut message).map_err(|_| CloseReason::Decrypt)?;
                    message.freeze().slice(..len - TAG)
                }
            };
            let count = len - TAG - front.len();
            let share = !self.crowded();
            let pushed = self.deframer.push(front, share, lent, out);
            pushed.map_err(CloseReason::Protocol)?;
            self.deframer.placed(count, lent, out);
        }
        Ok(())
    }

    /// Decrypts a message so that its payload comes to lie where it is wanted, if it is as guessed.
    fn open_to(&mut self, message: &mut [u8], guess: &Guess<'_>) -> Result<Opened, CloseReason> {
        let Self { opener, deframer, .. } = self;
        let (front, len) = (guess.front(), message.len() - TAG);
        let mut opened = Ok(Opened::No);
        guess.memory.with(&mut |memory, filled| {
            let at = *filled + guess.rest_of_same;
            let end = at + len - front;
            if at < front || end > memory.len() {
                return;
            }
            // What comes before the payload is decrypted over bytes that are there already.
            let kept = memory[at - front..at].to_vec();
            opened = opener.open_to(message, &mut memory[at - front..end]).map(|()| {
                let text = Bytes::copy_from_slice(&memory[at - front..at]);
                if deframer.is_right(guess, &text, len - front) {
                    return Opened::Placed(text);
                }
                message[..len].copy_from_slice(&memory[at - front..end]);
                Opened::Elsewhere
            });
            memory[at - front..at].copy_from_slice(&kept);
        });
        opened.map_err(|_| CloseReason::Decrypt)
    }

    /// True if the bytes so far end between two frames.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn at_boundary(&self) -> bool {
        self.block.is_empty() && self.deframer.at_boundary()
    }
}

/// Memory that was lent to streams, by their ids, that of one stream in the order in which it is filled.
pub(crate) type Lents = [(u32, Arc<dyn Memory>)];

/// The memory that the next raw bytes of a stream go to.
fn lent_to(stream: u32, lent: &Lents) -> Option<&dyn Memory> {
    let mut of_stream = lent.iter().filter(|(id, _)| *id == stream).map(|(_, memory)| &**memory);
    of_stream.find(|memory| memory.has_room())
}

/// The outcome of decrypting a message to lent memory.
enum Opened {
    /// The payload is there; this is what comes before it.
    Placed(Bytes),
    /// It was something else: the text is in place of the message.
    Elsewhere,
    /// There was no room. It is not decrypted yet.
    No,
}

/// The likely content of a message, before it is decrypted: the rest of a data frame, a header, and payload of a
/// stream that has lent memory.
struct Guess<'l> {
    memory: &'l dyn Memory,
    stream: u32,
    /// Bytes of the rest, and those of them that go to the same memory.
    rest: usize,
    rest_of_same: usize,
    /// Bytes of the header.
    header: usize,
}

impl Guess<'_> {
    /// Bytes before the payload.
    fn front(&self) -> usize {
        self.rest + self.header
    }
}

/// Finds frames in the plaintext stream. Pure.
#[derive(Default)]
pub(crate) struct Deframer {
    header: [u8; HEADER],
    header_len: usize,
    current: Option<Current>,
    /// The stream of the last data frame, and which stream came after which: streams take turns.
    last: u32,
    followers: HashMap<u32, u32>,
}

struct Current {
    header: Header,
    left: usize,
    first: bool,
    whole: BytesMut,
}

impl Deframer {
    pub(crate) fn push(
        &mut self,
        mut text: Bytes,
        share: bool,
        lent: &Lents,
        out: &mut Vec<Inbound>,
    ) -> Result<(), ProtocolError> {
        loop {
            let Some(current) = &mut self.current else {
                if !self.take_header(&mut text)? {
                    return Ok(());
                }
                continue;
            };
            if text.is_empty() && current.left > 0 {
                return Ok(());
            }
            let part = text.split_to(current.left.min(text.len()));
            current.left -= part.len();
            let last = current.left == 0;
            match current.header.kind {
                Kind::Data => current.piece(part, share, lent, out),
                Kind::Skip => {}
                _ => current.whole.extend_from_slice(&part),
            }
            if last {
                self.finish(out);
            }
        }
    }

    /// The likely content of the next message, if it has `len` bytes and the payload is worth it.
    fn guess<'l>(&self, len: usize, lent: &'l Lents) -> Option<Guess<'l>> {
        let (rest, header, last) = match &self.current {
            None => (0, HEADER - self.header_len, self.last),
            Some(current) if current.header.kind != Kind::Data => return None,
            Some(Current { header, left, .. }) if *left >= len => (0, 0, header.stream),
            Some(Current { header, left, .. }) => (*left, HEADER, header.stream),
        };
        let stream = match header {
            0 => last,
            _ => *self.followers.get(&last).unwrap_or(&last),
        };
        if rest > REST || len < rest + header + SHARE_FROM {
            return None;
        }
        let rest_of_same = if stream == last { rest } else { 0 };
        Some(Guess { memory: lent_to(stream, lent)?, stream, rest, rest_of_same, header })
    }

    /// True if what comes before `payload` bytes says that they are what was guessed.
    fn is_right(&self, guess: &Guess<'_>, front: &[u8], payload: usize) -> bool {
        if guess.header == 0 {
            return true;
        }
        let mut bytes = self.header;
        bytes[HEADER - guess.header..].copy_from_slice(&front[guess.rest..]);
        let header = Header::decode(&bytes);
        let is_it = |header: Header| {
            let long = usize::try_from(header.len).is_ok_and(|len| len >= payload);
            header.kind == Kind::Data && header.stream == guess.stream && long
        };
        header.is_ok_and(is_it)
    }

    /// Counts payload of the current frame that was decrypted to lent memory.
    fn placed(&mut self, len: usize, lent: &Lents, out: &mut Vec<Inbound>) {
        let Some(current) = self.current.as_mut().filter(|_| len > 0) else { return };
        if let Some(memory) = lent_to(current.header.stream, lent) {
            memory.with(&mut |_, filled| *filled += len);
        }
        current.left -= len;
        let (header, last) = (current.header, current.left == 0);
        out.push(Inbound::Placed { header, len, first: std::mem::take(&mut current.first), last });
        if last {
            self.current = None;
        }
    }

    fn take_header(&mut self, text: &mut Bytes) -> Result<bool, ProtocolError> {
        let part = text.split_to((HEADER - self.header_len).min(text.len()));
        self.header[self.header_len..self.header_len + part.len()].copy_from_slice(&part);
        self.header_len += part.len();
        if self.header_len < HEADER {
            return Ok(false);
        }
        self.header_len = 0;
        let header = Header::decode(&self.header)?;
        let left = usize::try_from(header.len).unwrap_or(usize::MAX);
        if header.kind == Kind::Data {
            if self.followers.len() >= FOLLOWERS {
                self.followers.clear();
            }
            self.followers.insert(self.last, header.stream);
            self.last = header.stream;
        }
        self.current = Some(Current { header, left, first: true, whole: BytesMut::new() });
        Ok(true)
    }

    fn finish(&mut self, out: &mut Vec<Inbound>) {
        let Some(current) = self.current.take() else {
            return;
        };
        if !matches!(current.header.kind, Kind::Data | Kind::Skip) {
            out.push(Inbound::Whole(current.header, current.whole.freeze()));
        }
    }

    /// True if the bytes so far end between two frames.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn at_boundary(&self) -> bool {
        self.current.is_none() && self.header_len == 0
    }
}

impl Current {
    /// A part of a data frame: put into lent memory, as far as there is some.
    fn piece(&mut self, mut part: Bytes, share: bool, lent: &Lents, out: &mut Vec<Inbound>) {
        let (header, last) = (self.header, self.left == 0);
        // Twice where one memory ends and another one begins.
        while let Some(memory) = lent_to(header.stream, lent) {
            let put = memory.put(&part);
            if put == 0 {
                // Nothing is left to put, or it was taken back meanwhile.
                break;
            }
            part.advance(put);
            let (first, last) = (std::mem::take(&mut self.first), last && part.is_empty());
            out.push(Inbound::Placed { header, len: put, first, last });
            if part.is_empty() {
                return;
            }
        }
        let bytes = if share { shared(part) } else { Bytes::copy_from_slice(&part) };
        out.push(Inbound::Piece { header, bytes, first: std::mem::take(&mut self.first), last });
    }
}

/// A short piece is copied, so that it does not pin its block.
fn shared(part: Bytes) -> Bytes {
    if part.len() < SHARE_FROM { Bytes::copy_from_slice(&part) } else { part }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::END;

    fn frames() -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, flags, stream, len) in [
            (Kind::Message, 0, 1, 300_u32),
            (Kind::Data, 0, 1, 70),
            (Kind::Data, END, 1, 0),
            (Kind::Message, END, 3, 0),
        ] {
            let header = Header { kind, flags, priority: 0, stream, len };
            bytes.extend_from_slice(&header.encode());
            bytes.extend((0..len).map(|n| n.to_le_bytes()[0]));
        }
        bytes
    }

    fn summary(items: Vec<Inbound>) -> Vec<(Header, Vec<u8>)> {
        let mut out: Vec<(Header, Vec<u8>)> = Vec::new();
        for item in items {
            match item {
                Inbound::Whole(header, bytes) => out.push((header, bytes.to_vec())),
                Inbound::Piece { header, bytes, first: true, .. } => {
                    out.push((header, bytes.to_vec()));
                }
                Inbound::Piece { bytes, .. } => out.last_mut().unwrap().1.extend(bytes),
                Inbound::Placed { .. } => panic!("no memory was lent"),
            }
        }
        out
    }

    #[test]
    fn frames_may_be_cut_anywhere() {
        let bytes = frames();
        let mut whole = Vec::new();
        Deframer::default().push(Bytes::from(bytes.clone()), true, &[], &mut whole).unwrap();
        let whole = summary(whole);
        assert_eq!(whole.len(), 4);
        for cut in 0..=bytes.len() {
            let (mut deframer, mut out) = (Deframer::default(), Vec::new());
            for part in [&bytes[..cut], &bytes[cut..]] {
                deframer.push(Bytes::copy_from_slice(part), true, &[], &mut out).unwrap();
            }
            assert!(deframer.at_boundary());
            assert_eq!(summary(out), whole, "cut at {cut}");
        }
    }

    // Fault case 31.
    #[test]
    fn a_length_bomb_is_refused_by_its_header() {
        for kind in 0x01..=0x08_u8 {
            for len in [u32::MAX, 1 << 20] {
                let mut bytes = [0; HEADER];
                bytes[0] = kind;
                bytes[4] = u8::from(kind <= 0x04);
                bytes[8..].copy_from_slice(&len.to_le_bytes());
                let mut out = Vec::new();
                let pushed =
                    Deframer::default().push(Bytes::copy_from_slice(&bytes), true, &[], &mut out);
                assert_eq!(pushed, Err(ProtocolError::BadLength { kind, len }));
            }
        }
    }

    // Fault case 34.
    #[test]
    fn an_unknown_kind_closes_unless_it_is_optional() {
        let mut bytes = vec![0x55, 0, 9, 0, 1, 0, 0, 0, 5, 0, 0, 0];
        bytes.extend_from_slice(b"12345");
        let mut out = Vec::new();
        let refused = Deframer::default().push(Bytes::from(bytes.clone()), true, &[], &mut out);
        assert_eq!(refused, Err(ProtocolError::UnknownKind(0x55)));
        bytes[1] = crate::wire::OPTIONAL;
        bytes.extend_from_slice(&frames());
        Deframer::default().push(Bytes::from(bytes), true, &[], &mut out).unwrap();
        assert_eq!(summary(out).len(), 4);
    }

    #[test]
    fn flags_reserved_byte_and_stream_id_are_checked() {
        let good = Header { kind: Kind::Data, flags: 0, priority: 0, stream: 1, len: 9 }.encode();
        assert!(Header::decode(&good).is_ok());
        for (at, value) in [(1, 2), (1, 0x80), (3, 1), (4, 0), (8, 0)] {
            let mut bad = good;
            bad[at] = value;
            assert!(Header::decode(&bad).is_err(), "offset {at}");
        }
    }
}
