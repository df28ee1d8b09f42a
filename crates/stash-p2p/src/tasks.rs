//! The two tasks of a connection: one reads, one writes. Neither decides anything; they carry
//! bytes between the transport and the machine.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::cipher::Sealer;
use crate::error::CloseReason;
use crate::frame::Class;
use crate::intake::{Inbound, Intake};
use crate::link::Link;
use crate::mux::MuxEvent;
use crate::pace::Pace;
use crate::packer::{Packed, Segment, pack};

/// Time for the last word of a failing connection to leave.
pub(crate) const LAST_WORD: Duration = Duration::from_secs(1);

/// A connection on which nothing arrived for this long gives its large blocks back.
const QUIET: Duration = Duration::from_secs(1);

pub(crate) type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;
pub(crate) type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

/// Reads until the connection ends; `upward` hears what concerns the layer above.
pub(crate) async fn read_loop(
    link: &Arc<Link>,
    read: &mut ReadHalf,
    intake: &mut Intake,
    (pace, class): (&mut Pace, Class),
    mut upward: impl FnMut(MuxEvent),
) -> CloseReason {
    let mut items = Vec::new();
    loop {
        // Events first: the handshake may have left some.
        for event in link.take_upward() {
            if let MuxEvent::Finished(reason) = event {
                return reason;
            }
            upward(event);
        }
        let large = intake.is_large();
        let count = tokio::select! {
            biased;
            () = link.cancel.cancelled() => {
                return link.closed().unwrap_or(CloseReason::Lost);
            }
            count = read_some(read, intake, pace, class) => Some(count),
            () = sleep(QUIET), if large => None,
        };
        let Some(count) = count else {
            intake.shrink();
            continue;
        };
        match count {
            Ok(0) => return link.draining().unwrap_or(CloseReason::Lost),
            Ok(count) => {
                pace.pay(count);
                link.bytes_in.fetch_add(count as u64, Ordering::Relaxed)
            }
            Err(error) => return CloseReason::Io(error.kind()),
        };
        let taken = intake.take(&link.lent(), &mut items);
        if let Err(reason) = deliver(link, &mut items).and(taken) {
            return reason;
        }
    }
}

/// Reads what is there, when it is this connection's turn. May be dropped at any time.
async fn read_some(
    read: &mut ReadHalf,
    intake: &mut Intake,
    pace: &Pace,
    class: Class,
) -> std::io::Result<usize> {
    pace.ready(class).await;
    read.read_buf(&mut intake.space().limit(pace.turn())).await
}

/// Hands frames to the machine, all under one lock.
pub(crate) fn deliver(link: &Link, items: &mut Vec<Inbound>) -> Result<(), CloseReason> {
    link.run(|mux, now| {
        mux.handle_bytes(now);
        items.drain(..).try_for_each(|item| mux.handle(now, item))
    })
}

/// Writes until the connection ends. Says the last word itself if the machine has one.
pub(crate) async fn write_loop(
    link: &Arc<Link>,
    write: &mut WriteHalf,
    sealer: &mut Sealer,
    pace: &mut Pace,
    stall: Duration,
) -> CloseReason {
    let (mut segments, mut out) = (Vec::new(), Packed::default());
    loop {
        let now = link.age();
        let room = pace.room();
        let (timeout, held) = link.run(|mux, now| {
            let timed = mux.handle_timeout(now);
            if let Err(reason) = timed {
                mux.close(reason);
            }
            let held = mux.poll_transmit(now, &mut segments, room);
            (mux.poll_timeout(), held)
        });
        if segments.is_empty() {
            if let Some(reason) = finished(link) {
                // The other side reads our last word before it sees the end.
                let _best_effort = tokio::time::timeout(LAST_WORD, write.shutdown()).await;
                return reason;
            }
            let due = link.at(timeout);
            let due = held.map_or(due, |class| pace.free_at(class).min(due));
            let wait = timeout_at(due, link.writer.notified());
            tokio::select! {
                biased;
                () = link.cancel.cancelled() => {
                    return link.closed().unwrap_or(CloseReason::Lost);
                }
                waited = wait => if waited.is_err() && held.is_none() {
                    // Quiet for long: a full write buffer is not needed.
                    out = Packed::default();
                },
            }
            debug_assert!(now <= link.age());
            continue;
        }
        if let Err(reason) = send(link, write, sealer, &segments, &mut out, stall).await {
            return reason;
        }
        segments.clear();
        pace.pay(out.len());
    }
}

fn finished(link: &Link) -> Option<CloseReason> {
    // Only looks: the reader takes the events that concern the layer above.
    link.run(|mux, _| mux.finished())
}

async fn send(
    link: &Link,
    write: &mut WriteHalf,
    sealer: &mut Sealer,
    segments: &[Segment],
    out: &mut Packed,
    stall: Duration,
) -> Result<(), CloseReason> {
    out.clear();
    pack(sealer, segments, out).map_err(|_| CloseReason::Decrypt)?;
    let stall = if link.closed().is_some() { LAST_WORD.min(stall) } else { stall };
    tokio::select! {
        biased;
        sent = write_all(link, write, out, stall) => sent,
        () = link.cancel.cancelled() => Err(link.closed().unwrap_or(CloseReason::Lost)),
    }
}

/// Writes everything; each step must make progress within `stall`.
async fn write_all(
    link: &Link,
    write: &mut WriteHalf,
    mut bytes: &[u8],
    stall: Duration,
) -> Result<(), CloseReason> {
    while !bytes.is_empty() {
        let written = timeout(stall, write.write(bytes)).await;
        match written.map_err(|_| CloseReason::WriteStall)? {
            Ok(0) => return Err(CloseReason::Lost),
            Ok(count) => {
                link.bytes_out.fetch_add(count as u64, Ordering::Relaxed);
                bytes = &bytes[count..];
            }
            Err(error) => return Err(CloseReason::Io(error.kind())),
        }
    }
    Ok(())
}

/// The moment `duration` from now, far but finite for absurd durations.
pub(crate) fn deadline(duration: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(duration).unwrap_or_else(|| now + Duration::from_secs(1 << 30))
}
