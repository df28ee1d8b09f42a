//! The machine that a node runs on, but for its disk: a network, a wall clock, randomness. A
//! simulator gives other ones, so that one seed makes one run.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::rand_core::{Infallible, TryCryptoRng, TryRng};

use crate::net::{Network, TcpNetwork};

/// The wall clock. It may jump and stand still: nothing is ordered by it.
pub trait Clock: Send + Sync + 'static {
    /// Time since 1970; zero for a clock before that.
    fn since_epoch(&self) -> Duration;
}

/// The source of random bytes. Keys, tokens and names are made of them, so nobody may guess them.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `bytes`. Without randomness there is no safe way on: it panics.
    fn fill(&self, bytes: &mut [u8]);
}

/// The clock of the system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn since_epoch(&self) -> Duration {
        // A clock before 1970 is wrong; zero makes nothing expire that should not.
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// The random generator of the system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        aws_lc_rs::rand::fill(bytes).expect("the system gives random bytes");
    }
}

/// The network, clock and randomness of a node. `Environment::default()` is the machine itself.
/// Cheap to clone.
#[derive(Clone)]
pub struct Environment {
    /// The network.
    pub network: Arc<dyn Network>,
    /// The wall clock. Pauses and deadlines are tokio's.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl Default for Environment {
    fn default() -> Self {
        Self::on(Arc::new(TcpNetwork))
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}

impl Environment {
    /// The machine itself on another network.
    pub fn on(network: Arc<dyn Network>) -> Self {
        Self { network, clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy) }
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        self.clock.since_epoch().as_secs()
    }

    /// Microseconds since 1970.
    #[must_use]
    pub fn micros(&self) -> u64 {
        u64::try_from(self.clock.since_epoch().as_micros()).unwrap_or(u64::MAX)
    }

    /// The randomness, as what makes keys wants it.
    #[must_use]
    pub fn rng(&self) -> Random<'_> {
        Random(&*self.entropy)
    }
}

/// A random generator that asks an [`Entropy`] for every number.
#[derive(Clone, Copy)]
pub struct Random<'a>(&'a dyn Entropy);

impl fmt::Debug for Random<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}

impl TryRng for Random<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Random<'_> {}
