//! Every bound of the crate, with unit and reason.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::time::Duration;

/// Longest payload of one message frame, in bytes: what a receiver must hold whole before it can
/// decode it.
pub const MAX_MESSAGE: usize = 256 * 1024;
/// Longest payload of one data frame, in bytes. Writers here send
/// 65,507 at most, so that a control message waits for little.
pub const MAX_DATA: usize = 256 * 1024;
/// Longest application part of a hello, in bytes.
pub const MAX_HELLO_APP: usize = 64 * 1024;

/// Payload of a data frame from this crate's writer, in bytes: with its header it fills one Noise
/// message exactly (65,535 - 16 - 12), 5 ms at 100 Mbit/s.
pub(crate) const DATA_FRAME: usize = 65_535 - 16 - 12;
/// Credit that a message or data frame costs beyond its payload, in bytes: about the memory that a
/// received frame takes, so that many empty frames cannot take memory for free.
pub(crate) const FRAME_COST: u32 = 64;
/// Smallest stream window a peer may announce, in bytes: one data frame of this crate's writer.
pub(crate) const MIN_STREAM_WINDOW: u32 = 64 * 1024;
/// Smallest connection window a peer may announce, in bytes: one whole message, and one stream.
pub(crate) const MIN_CONNECTION_WINDOW: u32 = 320 * 1024;
/// Credit of a stream that suffices for a message of any length, in bytes: half of the smallest window,
/// of which a quarter may not be given back yet.
pub(crate) const MESSAGE_CREDIT: u64 = 32 * 1024;
/// Part of the budget, one in so many, that bulk connections leave to control connections: places
/// for 51 members.
pub(crate) const KEPT_FOR_CONTROL: usize = 4;
/// Part of the budget, one in so many, that windows do not grow into: places for 25 connections
/// that come at once.
pub(crate) const KEPT_FOR_NEWCOMERS: usize = 8;
/// Largest credit a stream or a connection may hold, in bytes; more is a peer's mistake.
pub(crate) const MAX_CREDIT: u64 = 1 << 31;
/// Payload of a Noise message at most, in bytes (65,535 with its tag).
pub(crate) const NOISE_PLAIN: usize = 65_535 - 16;
/// Bytes that the writer gathers into one write: beyond it loopback gains nothing.
pub(crate) const WRITE_BATCH: usize = 256 * 1024;
/// Size of one read block, in bytes.
pub(crate) const READ_BLOCK: usize = 512 * 1024;
/// Pieces of data shorter than this are copied out of the read block instead of sharing it, so
/// that a few bytes do not pin a block. Bytes.
pub(crate) const SHARE_FROM: usize = 16 * 1024;
/// Entries of the replay window of one member.
pub const REPLAY_WINDOW: usize = 1024;
/// Members whose replay windows are held in memory; beyond it the least recent is dropped and
/// its durable floor takes over.
pub(crate) const REPLAY_MEMBERS: usize = 1024;
/// Bulk connections one peer may have, by protocol.
pub const MAX_BULK: usize = 4;
/// Connections of one peer: a control connection and all bulk ones, and as many more as may still be
/// about to end when it dials again.
pub(crate) const MAX_PLACES: usize = 1 + MAX_BULK + 3;
/// Connections of one guests' realm: one guest, and the remains of a few tries before. So the
/// holder of one invitation leaves places to the holders of others.
pub(crate) const GUESTS_OF_A_REALM: usize = 4;
/// Streams that a guest may have open: it asks for one thing, and reads what follows.
pub(crate) const GUEST_STREAMS: u32 = 8;
/// Capabilities and their length in bytes that a hello may list.
pub(crate) const MAX_CAPABILITIES: usize = 64;
/// Addresses tried for one peer.
pub(crate) const MAX_ADDRESSES: usize = 16;
/// Events that wait for the application; beyond it new connections are turned away.
pub(crate) const MAX_EVENTS: usize = 4096;
/// Lifetime of a bulk token.
pub(crate) const TOKEN_LIFE: Duration = Duration::from_secs(30);

/// Lowest rate, in bytes a second: one megabit. Below it a few peers that share the rate would wait
/// longer for what is under way than the 30 s after which a silent peer counts as gone.
pub const MIN_RATE: u64 = 128 * 1024;
/// Turns in a second: a connection sends or reads for one of them before the next connection does.
const TURNS: u64 = 50;
/// The least worth a turn, in bytes: below it headers and system calls outweigh the rest.
const MIN_TURN: usize = 2048;

/// A rate in bytes a second, at least [`MIN_RATE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(NonZeroU64);

/// The rate is below [`MIN_RATE`]. The caller's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes a second is below the least of {MIN_RATE}")]
pub struct RateTooLow(pub u64);

impl Rate {
    /// A rate of so many bytes a second.
    ///
    /// # Errors
    /// [`RateTooLow`].
    pub fn new(bytes_per_second: u64) -> Result<Self, RateTooLow> {
        let enough = NonZeroU64::new(bytes_per_second).filter(|rate| rate.get() >= MIN_RATE);
        enough.map(Self).ok_or(RateTooLow(bytes_per_second))
    }

    /// Bytes a second.
    #[must_use]
    pub fn bytes_per_second(self) -> u64 {
        self.0.get()
    }

    /// The time that so many bytes take.
    #[must_use]
    pub fn time(self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.0.get());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The bytes that go in this time.
    #[must_use]
    pub fn bytes(self, time: Duration) -> u64 {
        let bytes = time.as_nanos() * u128::from(self.0.get()) / 1_000_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// The bytes that one connection sends or reads at a time.
    pub(crate) fn turn(self) -> usize {
        let turn = usize::try_from(self.0.get() / TURNS).unwrap_or(usize::MAX);
        turn.clamp(MIN_TURN, WRITE_BATCH)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B/s", self.0)
    }
}

/// The rates at which an endpoint may send and receive, all peers together; `None`: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// Rate of sending.
    pub up: Option<Rate>,
    /// Rate of receiving.
    pub down: Option<Rate>,
}

/// Addresses that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    address: IpAddr,
    bits: u32,
}

impl Subnet {
    /// Addresses of which the first so many bits are those of `address`; at most all of them.
    #[must_use]
    pub fn new(address: IpAddr, bits: u32) -> Self {
        Self { address: address.to_canonical(), bits }
    }

    /// True if an address is one of these. One of IPv4 that came over IPv6 counts as itself.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(one)) => {
                let differs = net.to_bits() ^ one.to_bits();
                differs.leading_zeros() >= self.bits.min(32)
            }
            (IpAddr::V6(net), IpAddr::V6(one)) => {
                let differs = net.to_bits() ^ one.to_bits();
                differs.leading_zeros() >= self.bits.min(128)
            }
            _ => false,
        }
    }
}

/// The bounds that an application may set. `Limits::default()` is what a node runs with.
#[derive(Debug, Clone)]
pub struct Limits {
    /// From accept (or connect) to a confirmed connection. A slow stranger is gone after it.
    pub handshake: Duration,
    /// Connections that have not proven themselves yet, in total: what a flood may hold.
    pub unauthenticated: usize,
    /// The same from one IP address. Loopback is one address: tests with many nodes raise it.
    pub unauthenticated_per_ip: usize,
    /// Bytes a peer may have under way on a new stream.
    pub first_stream_window: u32,
    /// Bytes a peer may have under way on a new connection; an idle one goes back to it.
    pub first_window: u32,
    /// Bytes a peer may have under way on one stream that is used.
    pub stream_window: u32,
    /// Bytes a peer may have under way on one connection that is used.
    pub connection_window: u32,
    /// Bytes that all peers together may have under way: the sum of all connection windows. So it also
    /// bounds the connections: each has [`first_window`](Self::first_window) at least.
    pub process_budget: usize,
    /// Connections of guests ([`Gate::is_for_guests`](crate::Gate::is_for_guests)), four of each
    /// guests' realm. They have windows of the least size, and none of the budget above.
    pub guests: usize,
    /// Bytes an application may queue on one stream before `message` and `data` wait.
    pub send_queue: usize,
    /// Bytes that may be queued on one connection before they wait. Urgent and large streams have
    /// this much each, and of both those opened here and those opened by the remote. While answers
    /// hold half of it, streams that the remote opened are not handed out.
    pub connection_queue: usize,
    /// Bytes that may be queued on all connections together, apart from one frame of each: an
    /// account of a connection (see above) holds at most half of what the others left.
    pub send_budget: usize,
    /// Streams that the remote may have open on one connection.
    pub streams: u32,
    /// A ping leaves when nothing arrived for this long.
    pub ping_interval: Duration,
    /// A connection on which nothing arrived for this long is dead.
    pub dead_after: Duration,
    /// A write that makes no progress for this long ends the connection.
    pub write_stall: Duration,
    /// Noise messages under one key in one direction. A constant of the protocol: both sides must
    /// agree, so only tests change it.
    pub rekey_after: u64,
    /// A connection older than this is drained and dialled again.
    pub max_age: Duration,
    /// Time for streams to end once a connection is draining.
    pub drain: Duration,
    /// Bulk connections to one peer, 0 to [`MAX_BULK`]; more help only across long fat links.
    pub bulk_connections: usize,
    /// First pause after a failed dial; doubles up to `backoff_max`, each time jittered by half.
    pub backoff_min: Duration,
    /// Longest pause between dials.
    pub backoff_max: Duration,
    /// Dials under way at once, so that a node with many peers does not storm at its start.
    pub dials: usize,
    /// Rates at which this node may send and receive at its start; [`Endpoint::set_bandwidth`]
    /// changes them.
    ///
    /// [`Endpoint::set_bandwidth`]: crate::Endpoint::set_bandwidth
    pub bandwidth: Bandwidth,
}

/// A window grows no further than to the bytes that come in this time at the rate in force, so that
/// a question asked on the connection is heard in time.
const UNDER_WAY: Duration = Duration::from_secs(2);

impl Limits {
    /// Largest window of a new connection, in bytes, while this node receives at a rate.
    pub(crate) fn window(&self, down: Option<Rate>) -> u32 {
        let wanted = down.map_or(u64::MAX, |rate| rate.bytes(UNDER_WAY));
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        self.connection_window.min(wanted.max(self.first_window))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            unauthenticated: 64,
            unauthenticated_per_ip: 8,
            first_stream_window: MIN_STREAM_WINDOW,
            first_window: MIN_CONNECTION_WINDOW,
            stream_window: 2 * 1024 * 1024,
            connection_window: 4 * 1024 * 1024,
            process_budget: 64 * 1024 * 1024,
            guests: 16,
            send_queue: 512 * 1024,
            connection_queue: 2 * 1024 * 1024,
            send_budget: 16 * 1024 * 1024,
            streams: 1024,
            ping_interval: Duration::from_secs(10),
            dead_after: Duration::from_secs(30),
            write_stall: Duration::from_secs(30),
            rekey_after: 1 << 20,
            max_age: Duration::from_secs(24 * 60 * 60),
            drain: Duration::from_secs(30),
            bulk_connections: 1,
            backoff_min: Duration::from_millis(250),
            backoff_max: Duration::from_secs(30),
            dials: 16,
            bandwidth: Bandwidth::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_has_the_addresses_that_begin_as_it_does() {
        let net = |text: &str| {
            let (address, bits) = text.split_once('/').unwrap();
            Subnet::new(address.parse().unwrap(), bits.parse().unwrap())
        };
        let has = |subnet: &str, address: &str| net(subnet).contains(address.parse().unwrap());
        assert!(has("192.168.1.7/24", "192.168.1.20") && !has("192.168.1.7/24", "192.168.2.20"));
        assert!(has("10.0.0.0/9", "10.127.0.1") && !has("10.0.0.0/9", "10.128.0.1"));
        assert!(has("192.168.1.0/24", "::ffff:192.168.1.20"), "of a socket that takes both");
        assert!(!has("192.168.1.0/24", "fe80::1") && !has("::/0", "192.168.1.1"));
        assert!(has("0.0.0.0/0", "8.8.8.8") && has("10.0.0.1/99", "10.0.0.1"));
        assert!(has("fd00:1::/64", "fd00:1::9") && !has("fd00:1::/64", "fd00:1:0:1::9"));
        assert!(!has("10.0.0.1/32", "10.0.0.0") && has("fe80::/10", "febf::1"));
    }

    #[test]
    fn a_window_is_what_the_rate_brings_in_two_seconds() {
        let window = |rate| Limits::default().window(Rate::new(rate).ok());
        assert_eq!(window(0), 4 << 20);
        assert_eq!(window(8 << 20), 4 << 20);
        assert_eq!(window(1 << 20), 2 << 20);
        assert_eq!(window(128 << 10), MIN_CONNECTION_WINDOW);
    }
}
