//! From a finished handshake to a confirmed connection: the hellos are exchanged here, and until
//! the remote's hello has opened nobody else knows of the connection.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::PublicKey;
use crate::backlog::Backlog;
use crate::budget::Place;
use crate::error::CloseReason;
use crate::established::Established;
use crate::gate::Purpose;
use crate::handshake::Session;
use crate::hello::Hello;
use crate::inner::Inner;
use crate::intake::Intake;
use crate::limits::{GUEST_STREAMS, MAX_HELLO_APP};
use crate::link::{Link, LinkInfo};
use crate::mux::{Mux, MuxConfig, Window, last_word};
use crate::net::Wire;
use crate::packer::{Packed, pack};
use crate::rate::Room;
use crate::tasks::{LAST_WORD, deliver};
use crate::tiebreak::Contender;

/// Exchanges hellos; `first` (message 2, on the responder's side) leaves in the same write. The
/// caller sets the deadline.
pub(crate) async fn establish(
    inner: &Inner,
    wire: Wire,
    session: Session,
    (purpose, place): (Purpose, Place),
    first: &[u8],
) -> Result<Established, CloseReason> {
    let Wire { mut read, mut write, remote: addr } = wire;
    let Session { mut sealer, opener, remote, hash, initiator } = session;
    let start = Instant::now();
    let hello = our_hello(inner, &remote, addr, &place);
    let mut mux = Mux::new(config(inner, initiator, purpose, hello, place));
    let mut segments = Vec::new();
    mux.poll_transmit(start.elapsed(), &mut segments, Room::of(1));
    let mut out = Packed::from(first.to_vec());
    pack(&mut sealer, &segments, &mut out).map_err(|_| CloseReason::Decrypt)?;
    write.write_all(&out).await.map_err(|error| CloseReason::Io(error.kind()))?;

    let mut intake = Intake::new(opener);
    let mut items = Vec::new();
    while items.is_empty() {
        match read.read_buf(intake.space()).await {
            Ok(0) => return Err(CloseReason::Lost),
            Ok(_) => intake.take(&[], &mut items)?,
            Err(error) => return Err(CloseReason::Io(error.kind())),
        }
    }
    mux.handle(start.elapsed(), items.remove(0))?;
    let hello = mux.remote_hello().cloned().ok_or(CloseReason::Lost)?;
    let dialler = if initiator { inner.public } else { remote };
    let contender = Contender { dialler, remote_run: hello.run };
    let link = Link::new(mux, LinkInfo { addr, hash, contender }, start);
    deliver(&link, &mut items)?;
    Ok(Established { link, remote, hello, purpose, read, write, sealer, intake })
}

/// Answers a remote that may speak and finds no room here, so that it knows why and tries again
/// later.
pub(crate) async fn turn_away(wire: Wire, session: Session, msg2: &[u8]) {
    let (Wire { mut read, mut write, .. }, mut sealer) = (wire, session.sealer);
    let mut out = Packed::from(msg2.to_vec());
    if pack(&mut sealer, &[last_word(&CloseReason::NoRoom)], &mut out).is_err() {
        return;
    }
    let say = async {
        write.write_all(&out).await?;
        write.shutdown().await?;
        // It reads our word before it sees the end: a close with its hello unread may cut that off.
        tokio::io::copy(&mut read, &mut tokio::io::sink()).await
    };
    let _best_effort = tokio::time::timeout(LAST_WORD, say).await;
}

fn our_hello(inner: &Inner, remote: &PublicKey, seen: SocketAddr, place: &Place) -> Hello {
    let guest = place.is_guest();
    let app = if guest { bytes::Bytes::new() } else { inner.gate.hello(remote, seen) };
    let streams = inner.limits.streams;
    Hello {
        run: inner.run,
        streams: if guest { streams.min(GUEST_STREAMS) } else { streams },
        stream_window: inner.limits.first_stream_window,
        connection_window: place.window(),
        capabilities: Vec::new(),
        app: if app.len() <= MAX_HELLO_APP { app } else { bytes::Bytes::new() },
    }
}

fn config(
    inner: &Inner,
    initiator: bool,
    purpose: Purpose,
    hello: Hello,
    place: Place,
) -> MuxConfig {
    let limits = &inner.limits;
    // The side that can dial again is the one that ends an old connection.
    let grace = if initiator { std::time::Duration::ZERO } else { limits.drain * 2 };
    MuxConfig {
        initiator,
        control: purpose == Purpose::Control,
        hello,
        send_queue: limits.send_queue,
        backlog: Backlog::new(&inner.send_budget, limits.connection_queue),
        window: Window::new(place),
        stream_window: limits.stream_window,
        ping_interval: limits.ping_interval,
        dead_after: limits.dead_after,
        max_age: limits.max_age + grace,
        drain: limits.drain,
    }
}
