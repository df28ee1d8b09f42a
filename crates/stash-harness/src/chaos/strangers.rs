//! Strangers at a node's port: port scans, random bytes, HTTP, TLS. They get no byte back, cost no memory, and peers do
//! not notice. Bounded, and on loopback only.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::{Rng, RngExt};
use stash_api::members::Peers;

use crate::cluster::{Node, Role};
use crate::report::Report;
use crate::scenario::Scenario;
use crate::{interrupt, machine, tree};

/// Connections at the same time.
const AT_ONCE: usize = 16;

/// The time for which a stranger listens for an answer.
const LISTEN: Duration = Duration::from_millis(150);

/// Every so many strangers, one stays until the node hangs up.
const PATIENT: u32 = 200;

/// The node hangs up on a silent stranger after 10 s; this is later.
const PATIENCE: Duration = Duration::from_secs(20);

/// By how much the resident set may differ after the strangers have gone, in KiB.
const GROWTH: u64 = 8 * 1024;

/// The start of a TLS 1.3 ClientHello as a browser sends it.
const TLS: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\
    \x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\
    \x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\
    \x00\x00\x06\x13\x01\x13\x02\x13\x03\x01\x00";

const HTTP: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: scan\r\nAccept: */*\r\n\r\n";

/// The behaviour of a stranger after it has connected.
#[derive(Debug, Clone)]
enum Stranger {
    /// Connects and leaves.
    Scan,
    /// Connects, says nothing, stays until the node hangs up.
    Silent,
    Says(Vec<u8>),
}

pub(super) fn run(connections: u32, seed: u64, report: &Report) -> Result<()> {
    let mut scenario = Scenario::begin(&Role::of_cluster(3), seed, report)?;
    let node = &scenario.cluster.nodes[0];
    let port: SocketAddr = node.listen().parse().context("the address a node listens on")?;
    ensure!(port.ip() == Ipv4Addr::LOCALHOST, "strangers are for loopback only, not {port}");
    // A small first wave lets the allocator and the tables reach their size.
    wave(port, connections.min(200), seed ^ 1)?;
    let before = node.memory()?;
    let (begun, held) = (Instant::now(), connected(node)?);
    let answered = wave(port, connections, seed)?;
    let took = begun.elapsed();
    let after = node.memory()?;
    if answered != 0 {
        bail!("strangers got {answered} bytes back");
    }
    if after.now_kib > before.now_kib + GROWTH {
        let (from, to) = (machine::mib(before.now_kib), machine::mib(after.now_kib));
        bail!("the resident set grew from {from} to {to}");
    }
    for node in &scenario.cluster.nodes {
        ensure!(connected(node)? == held, "{} lost a peer", node.name());
    }
    let stored = scenario.store("after", 3_000_000)?;
    scenario.cluster.nodes[0].ok(&["evict", &stored.key, "--copies", "1"])?;
    scenario.gives_back(0, &stored)?;
    let memory =
        format!("{} before, {} after", machine::mib(before.now_kib), machine::mib(after.now_kib));
    report.step(
        "strangers",
        &format!("{connections} got 0 bytes; {memory}; peers connected"),
        took,
    );
    scenario.finish()
}

fn connected(node: &Node) -> Result<usize> {
    let peers: Peers = node.json(&["peers"])?;
    Ok(peers.peers.iter().filter(|peer| peer.connected && !peer.this).count())
}

/// Sends strangers, some at a time; returns how many bytes they got back.
fn wave(port: SocketAddr, connections: u32, seed: u64) -> Result<u64> {
    let mut rng = tree::rng(seed);
    let strangers: Vec<Stranger> =
        (0..connections).map(|number| stranger(number, &mut rng)).collect();
    let mut answered = 0;
    for group in strangers.chunks(AT_ONCE) {
        interrupt::check()?;
        let counts: Vec<Result<u64>> = thread::scope(|scope| {
            let visits: Vec<_> =
                group.iter().map(|stranger| scope.spawn(move || visit(port, stranger))).collect();
            visits
                .into_iter()
                .map(|visit| visit.join().unwrap_or_else(|_| bail!("a stranger panicked")))
                .collect()
        });
        for count in counts {
            answered += count?;
        }
    }
    Ok(answered)
}

fn stranger(number: u32, rng: &mut impl Rng) -> Stranger {
    if number % PATIENT == PATIENT - 1 {
        return Stranger::Silent;
    }
    match rng.random_range(0..6_u32) {
        0 => Stranger::Scan,
        1 => Stranger::Says(HTTP.to_vec()),
        2 => Stranger::Says(TLS.to_vec()),
        // About as long as a preamble and a first handshake message.
        3 => Stranger::Says(random(rng, 500..800)),
        4 => Stranger::Says(random(rng, 1..100)),
        _ => Stranger::Says(random(rng, 10_000..100_000)),
    }
}

fn random(rng: &mut impl Rng, lengths: std::ops::Range<usize>) -> Vec<u8> {
    let mut bytes = vec![0; rng.random_range(lengths)];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// Visits once; returns the bytes that came back. A reset or a refusal is a fine answer.
fn visit(port: SocketAddr, stranger: &Stranger) -> Result<u64> {
    let Ok(mut stream) = TcpStream::connect_timeout(&port, Duration::from_secs(5)) else {
        return Ok(0);
    };
    let patience = match stranger {
        Stranger::Scan => return Ok(0),
        Stranger::Silent => PATIENCE,
        Stranger::Says(bytes) => {
            // The node may hang up while this is being sent.
            stream.set_write_timeout(Some(LISTEN))?;
            stream.write_all(bytes).ok();
            LISTEN
        }
    };
    stream.set_read_timeout(Some(patience))?;
    let (mut buffer, mut answered) = ([0; 4096], 0);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(answered),
            Ok(count) => answered += count as u64,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                ensure!(
                    !matches!(stranger, Stranger::Silent),
                    "the node did not hang up on a silent stranger within {} s",
                    PATIENCE.as_secs()
                );
                return Ok(answered);
            }
            Err(_) => return Ok(answered),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn bytes_that_a_stranger_gets_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 3]).unwrap();
            stream.write_all(b"hello").unwrap();
        });
        assert_eq!(visit(port, &Stranger::Says(b"abc".to_vec())).unwrap(), 5);
        server.join().unwrap();
    }

    #[test]
    fn the_same_seed_sends_the_same_strangers() {
        let plan = |seed| {
            let mut rng = tree::rng(seed);
            (0..500).map(|number| format!("{:?}", stranger(number, &mut rng))).collect::<Vec<_>>()
        };
        assert_eq!(plan(3), plan(3));
        assert_eq!(plan(3).iter().filter(|text| *text == "Silent").count(), 2);
    }
}
