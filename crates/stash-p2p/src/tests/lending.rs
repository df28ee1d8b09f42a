//! Raw bytes that go to memory of the application.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use tokio::io::AsyncReadExt;

use super::node::{Node, networks, test_limits, within};
use crate::cipher::{Opener, Sealer};
use crate::intake::{Inbound, Intake, Lents};
use crate::lent::{Lent, Memory};
use crate::packer::{Packed, Segment, pack};
use crate::wire::{Header, Kind};
use crate::{Class, Frame};

/// Frames of three streams in turn, with others between: of the lengths that the writer sends, and of others.
fn frames(rng: &mut StdRng) -> Vec<(Header, Vec<u8>)> {
    let frame = |rng: &mut StdRng| {
        let kind = if rng.random_ratio(1, 8) { Kind::Message } else { Kind::Data };
        let lengths = [1, 16, 116, 20_000, 65_507, 65_507, 65_507, 100_000];
        let len = lengths[rng.random_range(0..lengths.len())];
        let mut payload = vec![0; len];
        rng.fill_bytes(&mut payload);
        let stream = 1 + 2 * rng.random_range(0..3_u32);
        let len = u32::try_from(len).unwrap();
        (Header { kind, flags: 0, priority: 0, stream, len }, payload)
    };
    (0..rng.random_range(1..20)).map(|_| frame(rng)).collect()
}

fn sealed(frames: &[(Header, Vec<u8>)]) -> Vec<u8> {
    let segments: Vec<_> = frames
        .iter()
        .map(|(header, payload)| Segment::new(*header, Bytes::from(payload.clone())))
        .collect();
    let mut packed = Packed::default();
    pack(&mut Sealer::new(&[1; 32], 7), &segments, &mut packed).unwrap();
    packed.to_vec()
}

/// What comes of bytes that arrive, with the memory that is lent; true if all were right.
fn arrive(sealed: &[u8], lent: &Lents, rng: &mut StdRng) -> (Vec<Inbound>, bool) {
    let (mut intake, mut items) = (Intake::new(Opener::new(&[1; 32], 7)), Vec::new());
    let mut rest = sealed;
    while !rest.is_empty() {
        let space = intake.space();
        let most = rest.len().min(space.capacity() - space.len());
        let (now, later) = rest.split_at(rng.random_range(1..=most));
        space.extend_from_slice(now);
        rest = later;
        if intake.take(lent, &mut items).is_err() {
            return (items, false);
        }
    }
    (items, true)
}

type Row = (Vec<u8>, Vec<(Kind, usize)>);

/// Of each stream its raw bytes, those in lent memory first, and its frames with their lengths.
fn rows(items: &[Inbound], memory: &BTreeMap<u32, Vec<u8>>) -> BTreeMap<u32, Row> {
    let mut rows: BTreeMap<u32, Row> = BTreeMap::new();
    let mut placed: BTreeMap<u32, usize> = BTreeMap::new();
    for item in items {
        let (header, len, first) = match item {
            Inbound::Whole(header, bytes) => (header, bytes.len(), true),
            Inbound::Piece { header, bytes, first, .. } => (header, bytes.len(), *first),
            Inbound::Placed { header, len, first, .. } => (header, *len, *first),
        };
        let row = rows.entry(header.stream).or_default();
        match item {
            Inbound::Piece { bytes, .. } => row.0.extend_from_slice(bytes),
            Inbound::Placed { len, .. } => {
                let at = placed.entry(header.stream).or_default();
                row.0.extend_from_slice(&memory[&header.stream][*at..*at + len]);
                *at += len;
            }
            Inbound::Whole(..) => {}
        }
        match row.1.last_mut() {
            Some((_, so_far)) if !first => *so_far += len,
            _ => row.1.push((header.kind, len)),
        }
    }
    rows
}

#[test]
fn bytes_in_lent_memory_are_those_that_come_out_without_it() {
    for seed in 0..300 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut sealed = sealed(&frames(&mut rng));
        let flip = rng.random_ratio(1, 4).then(|| rng.random_range(0..sealed.len()));
        if let Some(at) = flip {
            sealed[at] ^= 1 << rng.random_range(0..8);
        }
        let (plain, right) = arrive(&sealed, &[], &mut rng);
        let mut lents = Vec::new();
        let mut mine = Vec::new();
        // In turns: of each stream, one memory is filled after the other.
        for stream in [1, 3, 1, 3, 3] {
            let len = rng.random_range(1..200_000);
            let (lent, memory) = Lent::new(vec![0; len], 0);
            mine.push((stream, lent));
            lents.push((stream, memory));
        }
        let (placed, also_right) = arrive(&sealed, &lents, &mut rng);
        assert_eq!(right, also_right, "seed {seed}");
        let mut memory: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        for (stream, lent) in mine {
            memory.entry(stream).or_default().extend(lent.take());
        }
        let plain = rows(&plain, &BTreeMap::new());
        assert_eq!(rows(&placed, &memory), plain, "seed {seed}");
        let in_order = [1, 3].iter().all(|stream| {
            let raw = plain.get(stream).map_or(0, |row| row.0.len());
            let count = |item: &Inbound| match item {
                Inbound::Placed { header, len, .. } if header.stream == *stream => *len,
                _ => 0,
            };
            let placed: usize = placed.iter().map(count).sum();
            placed == raw.min(memory[stream].len())
        });
        assert!(in_order, "seed {seed}: bytes came beside memory that had room");
    }
}

#[test]
fn memory_that_was_taken_back_is_not_written_to() {
    let (lent, memory) = Lent::new(vec![7; 100], 10);
    assert_eq!(memory.put(&[1; 5]), 5);
    let bytes = lent.take();
    assert_eq!((memory.put(&[1; 5]), memory.has_room()), (0, false));
    assert_eq!(bytes, [&[7; 10][..], &[1; 5], &[7; 85]].concat());
    let (lent, memory) = Lent::new(vec![0; 3], 0);
    drop(lent);
    assert_eq!(memory.put(&[1]), 0);
    let memory: Arc<dyn Memory> = memory;
    assert!(!memory.has_room());
}

/// Takes raw bytes into buffers of a chunk, one after the other, until a message comes; then the rest.
async fn chunks(recv: &mut crate::RecvStream, total: usize, chunk: usize) -> Vec<u8> {
    let (mut got, mut rest) = (Vec::new(), Bytes::new());
    while got.len() < total {
        if rest.is_empty() {
            let Some(Frame::Data(piece)) = within(recv.next()).await.unwrap() else { break };
            rest = piece;
        }
        let mut buffer = vec![0; chunk.min(total - got.len())];
        let mut filled = rest.len().min(buffer.len());
        buffer[..filled].copy_from_slice(&rest.split_to(filled));
        let lent = recv.lend(buffer, filled);
        while filled < chunk.min(total - got.len()) {
            let count = within(recv.filled()).await.unwrap();
            assert!(count > 0, "something came between");
            filled += count;
        }
        got.extend_from_slice(&lent.take());
    }
    got
}

#[tokio::test]
async fn a_stream_fills_one_buffer_after_the_other() {
    const TOTAL: usize = 5_000_000;
    const CHUNK: usize = (1 << 20) + 48;
    for (name, network) in networks() {
        let mut nodes = Node::two(&network, &test_limits());
        let [one, two] = &mut nodes;
        let peer = one.dial(two).await;
        let there = two.up().await;
        let mut source = vec![0; TOTAL];
        StdRng::seed_from_u64(1).fill_bytes(&mut source);
        let source = Bytes::from(source);
        let sent = source.clone();
        let sender = tokio::spawn(async move {
            let (mut send, recv) = within(peer.open(Class::Bulk)).await.unwrap().split();
            for chunk in sent.chunks(CHUNK) {
                within(send.data(Bytes::copy_from_slice(chunk))).await.unwrap();
            }
            within(send.message("done")).await.unwrap();
            within(send.data("and more")).await.unwrap();
            send.finish();
            (peer, recv)
        });
        let (send, mut recv) = within(there.accept()).await.unwrap().split();
        assert!(chunks(&mut recv, TOTAL, CHUNK).await == source, "{name}");
        // What is no raw bytes comes as ever, and what found no room.
        let lent = recv.lend(vec![0; 4], 0);
        assert_eq!(within(recv.filled()).await, Ok(0), "{name}");
        assert_eq!(within(recv.next()).await, Ok(Some(Frame::Message("done".into()))), "{name}");
        assert_eq!(within(recv.filled()).await, Ok(4), "{name}");
        assert_eq!((lent.take(), within(recv.filled()).await), (b"and ".to_vec(), Ok(0)), "{name}");
        let mut rest = String::new();
        within(recv.read_to_string(&mut rest)).await.unwrap();
        assert_eq!(rest, "more", "{name}");
        drop((send, recv, sender.await.unwrap()));
    }
}

#[tokio::test]
async fn what_comes_before_anybody_looks_fills_one_memory_after_the_other() {
    const LEN: usize = 70_000;
    for (name, network) in networks() {
        let mut nodes = Node::two(&network, &test_limits());
        let [one, two] = &mut nodes;
        let peer = one.dial(two).await;
        let there = two.up().await;
        let source: Vec<u8> = (0..251).cycle().take(3 * LEN).collect();
        let (mut send, _recv) = within(peer.open(Class::Bulk)).await.unwrap().split();
        within(send.message("first")).await.unwrap();
        let (_send, mut recv) = within(there.accept()).await.unwrap().split();
        assert_eq!(within(recv.next()).await, Ok(Some(Frame::Message("first".into()))), "{name}");
        let lent = [0, 1, 2].map(|_| recv.lend(vec![0; LEN], 0));
        within(send.data(source.clone())).await.unwrap();
        within(send.message("last")).await.unwrap();
        // A count is of one memory, so the first one is whole before another one is counted.
        let (mut counts, mut sum) = (Vec::new(), 0);
        loop {
            match within(recv.filled()).await.unwrap() {
                0 => break,
                count => sum += count,
            }
            counts.push(sum);
        }
        assert!(
            [LEN, 2 * LEN, 3 * LEN].iter().all(|sum| counts.contains(sum)),
            "{name}: {counts:?}"
        );
        assert_eq!(within(recv.next()).await, Ok(Some(Frame::Message("last".into()))), "{name}");
        assert!(lent.map(Lent::take).concat() == source, "{name}");
    }
}

#[tokio::test]
async fn a_part_that_was_read_goes_before_what_is_put_into_lent_memory() {
    let (_, network) = networks().into_iter().next().unwrap();
    let mut nodes = Node::two(&network, &test_limits());
    let [one, two] = &mut nodes;
    let peer = one.dial(two).await;
    let there = two.up().await;
    let (mut send, _recv) = within(peer.open(Class::Bulk)).await.unwrap().split();
    within(send.data("0123456789")).await.unwrap();
    let (_send, mut recv) = within(there.accept()).await.unwrap().split();
    let mut two = [0; 2];
    within(recv.read_exact(&mut two)).await.unwrap();
    let lent = recv.lend(vec![0; 5], 1);
    assert_eq!(within(recv.filled()).await, Ok(4));
    assert_eq!(within(recv.filled()).await, Ok(0));
    assert_eq!(lent.take(), b"\x002345");
    assert_eq!(within(recv.next()).await, Ok(Some(Frame::Data("6789".into()))));
}
