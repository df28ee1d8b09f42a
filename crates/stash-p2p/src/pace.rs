//! The rates of an endpoint: the accounts of both directions, and the waiting of each connection.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::frame::Class;
use crate::limits::{Bandwidth, Rate, Subnet, WRITE_BATCH};
use crate::rate::{Bucket, Room, urgent};

/// Both directions of an endpoint.
#[derive(Debug)]
pub(crate) struct Throttle {
    pub(crate) up: Arc<Direction>,
    pub(crate) down: Arc<Direction>,
    pub(crate) spared: Arc<Spared>,
}

/// Addresses to which no rate applies.
#[derive(Debug, Default)]
pub(crate) struct Spared(Mutex<Vec<Subnet>>);

impl Spared {
    pub(crate) fn set(&self, subnets: Vec<Subnet>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = subnets;
    }

    fn has(&self, address: IpAddr) -> bool {
        let subnets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        subnets.iter().any(|subnet| subnet.contains(address))
    }
}

/// A direction of an endpoint, shared by all its connections.
#[derive(Debug)]
pub(crate) struct Direction {
    /// The rate in bytes a second, 0 for none: an endpoint without a limit takes no lock.
    rate: AtomicU64,
    /// Bytes since the start.
    total: AtomicU64,
    bucket: Mutex<Bucket>,
    start: Instant,
}

/// The pace of one connection in one direction, which keeps it to the rate.
#[derive(Debug)]
pub(crate) struct Pace {
    direction: Arc<Direction>,
    remote: IpAddr,
    spared: Arc<Spared>,
    /// The time at which all that this connection let go is paid for, as the direction counts time.
    free: Duration,
}

impl Throttle {
    pub(crate) fn new(bandwidth: Bandwidth) -> Self {
        let [up, down] = [bandwidth.up, bandwidth.down].map(Direction::new);
        Self { up, down, spared: Arc::default() }
    }

    /// The paces of a connection with this address: of sending and of receiving.
    pub(crate) fn paces(&self, remote: IpAddr) -> [Pace; 2] {
        [&self.up, &self.down].map(|direction| Pace {
            direction: Arc::clone(direction),
            remote,
            spared: Arc::clone(&self.spared),
            free: Duration::ZERO,
        })
    }

    pub(crate) fn set(&self, bandwidth: Bandwidth) {
        self.up.set(bandwidth.up);
        self.down.set(bandwidth.down);
    }

    pub(crate) fn bandwidth(&self) -> Bandwidth {
        Bandwidth { up: self.up.rate(), down: self.down.rate() }
    }
}

impl Direction {
    fn new(rate: Option<Rate>) -> Arc<Self> {
        Arc::new(Self {
            rate: AtomicU64::new(rate.map_or(0, Rate::bytes_per_second)),
            total: AtomicU64::new(0),
            bucket: Mutex::new(Bucket::new(rate)),
            start: Instant::now(),
        })
    }

    fn with<R>(&self, f: impl FnOnce(&mut Bucket, Duration) -> R) -> R {
        // The account is whole after every call, a panic in between included.
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        f(&mut bucket, self.start.elapsed())
    }

    fn set(&self, rate: Option<Rate>) {
        self.with(|bucket, now| {
            bucket.set(now, rate);
            self.rate.store(rate.map_or(0, Rate::bytes_per_second), Ordering::Relaxed);
        });
    }

    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    pub(crate) fn rate(&self) -> Option<Rate> {
        Rate::new(self.rate.load(Ordering::Relaxed)).ok()
    }
}

impl Pace {
    /// The rate that this connection keeps to now.
    fn rate(&self) -> Option<Rate> {
        self.direction.rate().filter(|_| !self.spared.has(self.remote))
    }

    /// The bytes that may be sent now.
    pub(crate) fn room(&self) -> Room {
        match self.rate() {
            Some(rate) => Room::at(rate, self.direction.start.elapsed(), self.free),
            None => Room::of(WRITE_BATCH),
        }
    }

    /// The bytes that may be read at once.
    pub(crate) fn turn(&self) -> usize {
        self.rate().map_or(usize::MAX, Rate::turn)
    }

    /// Pays for bytes that went.
    pub(crate) fn pay(&mut self, bytes: usize) {
        self.direction.total.fetch_add(bytes as u64, Ordering::Relaxed);
        if self.rate().is_some() {
            self.free = self.direction.with(|bucket, now| bucket.pay(now, bytes as u64));
        }
    }

    /// The time from which bytes of a class may go.
    pub(crate) fn free_at(&self, class: Class) -> Instant {
        if self.rate().is_none() {
            return self.direction.start;
        }
        self.direction.start
            + match class {
                Class::Control => urgent(self.free),
                Class::Bulk => self.free,
            }
    }

    /// Waits until bytes of a class may go. May be dropped at any time.
    pub(crate) async fn ready(&self, class: Class) {
        let at = self.free_at(class);
        if at > Instant::now() {
            tokio::time::sleep_until(at).await;
        }
    }
}
