//! Measures a bulk transfer between two processes over loopback, beside plain TCP in the same run:
//!
//! ```text
//! cargo run --release -p stash-p2p --example bench_transport [MiB] [rounds]
//! ```
//!
//! Prints one line a round and the medians: MiB/s of plain TCP, of this crate, and their ratio.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

use std::error::Error;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use stash_p2p::{
    Class, Endpoint, Event, Frame, Limits, MemoryGate, PublicKey, Realm, StaticSecret, Stream,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

type AnyResult<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Both processes of the bench know these; they protect nothing.
const SERVER: [u8; 32] = [1; 32];
const CLIENT: [u8; 32] = [2; 32];
const MIB: usize = 1024 * 1024;

fn realm() -> Realm {
    Realm { label: [0; 32], prologue: b"bench".to_vec(), tag_key: [3; 32], psk: [4; 32] }
}

fn gate(other: PublicKey) -> Arc<MemoryGate> {
    let gate = MemoryGate::new(vec![realm()]);
    gate.add(other);
    Arc::new(gate)
}

#[tokio::main]
async fn main() -> AnyResult<()> {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("serve") => serve().await,
        size => {
            let mib = size.map_or(Ok(1024), str::parse)?;
            let rounds = args.next().map_or(Ok(5), |rounds| rounds.parse())?;
            measure(mib, rounds).await
        }
    }
}

async fn serve() -> AnyResult<()> {
    let client = StaticSecret::from_bytes(CLIENT).public();
    let any: SocketAddr = "127.0.0.1:0".parse()?;
    let secret = StaticSecret::from_bytes(SERVER);
    let (endpoint, mut events) = Endpoint::bind(&[any], secret, gate(client), Limits::default())?;
    let plain = TcpListener::bind(any).await?;
    println!("{} {}", endpoint.local_addresses()[0], plain.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = plain.accept().await {
            tokio::spawn(drink(stream));
        }
    });
    // Ends when its parent is gone.
    tokio::spawn(async {
        let _end = tokio::io::stdin().read(&mut [0]).await;
        std::process::exit(0);
    });
    while let Some(event) = events.next().await {
        let Event::Up(peer) = event else { continue };
        tokio::spawn(async move {
            while let Some(stream) = peer.accept().await {
                tokio::spawn(count(stream));
            }
        });
    }
    Ok(())
}

/// The plain side: reads to the end and answers with one byte.
async fn drink(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    while stream.read(&mut buffer).await? > 0 {}
    stream.write_all(&[1]).await
}

/// This crate's side: reads to the end and answers with the count.
async fn count(stream: Stream) -> AnyResult<()> {
    let (mut send, mut recv) = stream.split();
    let mut total = 0_u64;
    while let Some(frame) = recv.next().await? {
        if let Frame::Data(bytes) = frame {
            total += bytes.len() as u64;
        }
    }
    send.message(total.to_le_bytes().to_vec()).await?;
    send.finish();
    Ok(())
}

async fn measure(mib: usize, rounds: usize) -> AnyResult<()> {
    let mut child = tokio::process::Command::new(std::env::current_exe()?)
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = child.stdout.take().ok_or("no stdout")?;
    let line = BufReader::new(stdout).lines().next_line().await?.ok_or("no address")?;
    let (peer, plain) = line.split_once(' ').ok_or("two addresses")?;
    let (peer, plain): (SocketAddr, SocketAddr) = (peer.parse()?, plain.parse()?);

    let server = StaticSecret::from_bytes(SERVER).public();
    let secret = StaticSecret::from_bytes(CLIENT);
    let (endpoint, _events) = Endpoint::bind(&[], secret, gate(server), Limits::default())?;
    let peer = endpoint.dial_once(vec![peer], server, realm(), Duration::from_secs(5)).await?;
    let payload = Bytes::from(vec![7; MIB]);
    // The first bulk stream asks for the bulk connection; wait until it is there.
    while peer.connections() < 2 {
        send(&peer, &payload, 1).await?;
    }
    let (mut plains, mut crates) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        plains.push(rate(mib, send_plain(plain, &payload, mib)).await?);
        crates.push(rate(mib, send(&peer, &payload, mib)).await?);
        let (tcp, own) = (plains[round - 1], crates[round - 1]);
        println!("round {round}: tcp {tcp:.0} MiB/s, stash-p2p {own:.0} MiB/s");
    }
    let (tcp, own) = (median(&mut plains), median(&mut crates));
    println!("median: tcp {tcp:.0} MiB/s, stash-p2p {own:.0} MiB/s, ratio {:.2}", own / tcp);
    endpoint.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

async fn rate(mib: usize, work: impl Future<Output = AnyResult<()>>) -> AnyResult<f64> {
    let start = Instant::now();
    work.await?;
    Ok(f64::from(u32::try_from(mib)?) / start.elapsed().as_secs_f64())
}

async fn send_plain(addr: SocketAddr, payload: &Bytes, mib: usize) -> AnyResult<()> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    for _ in 0..mib {
        for piece in payload.chunks(256 * 1024) {
            stream.write_all(piece).await?;
        }
    }
    stream.shutdown().await?;
    stream.read_exact(&mut [0]).await?;
    Ok(())
}

async fn send(peer: &stash_p2p::Peer, payload: &Bytes, mib: usize) -> AnyResult<()> {
    let (mut send, mut recv) = peer.open(Class::Bulk).await?.split();
    for _ in 0..mib {
        send.data(payload.clone()).await?;
    }
    send.finish();
    let Some(Frame::Message(total)) = recv.next().await? else {
        return Err("no answer".into());
    };
    let total = u64::from_le_bytes(total.as_ref().try_into()?);
    if total != (mib * MIB) as u64 {
        return Err(format!("{total} bytes arrived").into());
    }
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
