//! Raw bytes by tokio's traits, and halves of a stream in tasks of their own.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::node::{Node, networks, test_limits, within};
use crate::{Class, Frame, Peer, RecvStream, SendStream};

/// Two nodes that are connected, on both networks.
async fn two() -> Vec<(&'static str, [Node; 2], [Peer; 2])> {
    let mut all = Vec::new();
    for (name, network) in networks() {
        let [one, mut two] = Node::two(&network, &test_limits());
        let there = one.dial(&two).await;
        let here = two.up().await;
        all.push((name, [one, two], [there, here]));
    }
    all
}

async fn stream([one, two]: &[Peer; 2], first: &[u8]) -> [(SendStream, RecvStream); 2] {
    let (mut send, recv) = within(one.open(Class::Bulk)).await.unwrap().split();
    within(send.write_all(first)).await.unwrap();
    let other = within(two.accept()).await.unwrap();
    [(send, recv), other.split()]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_copied_through_a_stream_comes_back_whole_and_then_ends() {
    for (name, _nodes, peers) in two().await {
        let bytes: Vec<u8> = (0_u32..1 << 20).flat_map(u32::to_le_bytes).collect();
        let [near, far] = stream(&peers, &bytes[..1]).await;
        let echo = tokio::spawn(async move {
            let (mut send, mut recv) = far;
            let copied = tokio::io::copy(&mut recv, &mut send).await.unwrap();
            send.shutdown().await.unwrap();
            // A stream that was shut down is over, and says so.
            let late = send.write(b"late").await.unwrap_err();
            (copied, late.kind())
        });
        let (mut send, mut recv) = near;
        let sent = bytes.clone();
        let writer = tokio::spawn(async move {
            for piece in sent[1..].chunks(99_991) {
                send.write_all(piece).await.unwrap();
            }
            send.flush().await.unwrap();
            send.shutdown().await.unwrap();
            send.shutdown().await.unwrap();
        });
        let mut back = Vec::new();
        within(recv.read_to_end(&mut back)).await.unwrap();
        assert!(back == bytes, "{name}: {} bytes of {}", back.len(), bytes.len());
        assert_eq!(within(recv.read(&mut [0; 9])).await.unwrap(), 0, "{name}: it has ended");
        within(writer).await.unwrap();
        assert_eq!(within(echo).await.unwrap(), (bytes.len() as u64, ErrorKind::BrokenPipe));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_read_however_they_were_cut() {
    for (name, _nodes, peers) in two().await {
        let [near, far] = stream(&peers, b"fi").await;
        let (mut send, _answers) = near;
        for piece in ["rst\nsec", "ond\n", "th", "ird"] {
            send.data(piece).await.unwrap();
        }
        send.finish();
        let (_, recv) = far;
        let mut lines = BufReader::new(recv).lines();
        for line in ["first", "second", "third"] {
            assert_eq!(within(lines.next_line()).await.unwrap().as_deref(), Some(line), "{name}");
        }
        assert_eq!(within(lines.next_line()).await.unwrap(), None, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_no_raw_bytes_and_a_piece_that_was_read_in_part_goes_on() {
    for (name, _nodes, peers) in two().await {
        let [near, far] = stream(&peers, b"raw bytes").await;
        let (mut send, _answers) = near;
        send.message("a message").await.unwrap();
        send.message("another").await.unwrap();
        let (_, mut recv) = far;
        let mut some = [0; 4];
        within(recv.read_exact(&mut some)).await.unwrap();
        let rest = within(recv.next()).await.unwrap();
        assert_eq!((&some, rest), (b"raw ", Some(Frame::Data(Bytes::from("bytes")))), "{name}");
        let error = within(recv.read(&mut some)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{name}: {error}");
        let next = within(recv.next()).await.unwrap();
        assert_eq!(next, Some(Frame::Message(Bytes::from("another"))), "{name}");
        send.reset(7);
        let error = within(recv.read(&mut some)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{name}: {error}");
    }
}

/// A writer that waits for room is woken although the other half of its stream is gone.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_to_send_goes_on_after_the_receiving_half_is_dropped() {
    for (name, _nodes, peers) in two().await {
        let [near, far] = stream(&peers, b"0").await;
        let (send, mut recv) = far;
        // Its own direction has ended: dropping the half asks for nothing.
        send.finish();
        let (mut send, mut answers) = near;
        assert_eq!(within(answers.next()).await, Ok(None));
        let bytes = Bytes::from(vec![1; 8 << 20]);
        let writer = tokio::spawn(async move {
            send.data(bytes).await.unwrap();
            send.finish();
        });
        // Time to fill what there is room for; with less, the test shows less.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!writer.is_finished(), "{name}: nobody has read");
        drop(answers);
        let mut all = Vec::new();
        within(recv.read_to_end(&mut all)).await.unwrap();
        assert_eq!(all.len(), 1 + (8 << 20), "{name}");
        within(writer).await.unwrap();
    }
}
