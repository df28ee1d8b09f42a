//! A race among the addresses of one remote: dials begin a quarter of a second apart, as RFC 8305
//! has it, and the first handshake that succeeds wins.
//!
//! All lead to one node, as a rule. So only one of them speaks at a time, for a second: the others
//! are connected, wait, and cost neither side a counter or a place. And only one greets: a remote
//! that heard two greetings would take the second for a new connection in place of the first.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};

use crate::PublicKey;
use crate::budget::Holder;
use crate::candidate::{Candidate, Source, Way};
use crate::error::{CloseReason, DialError};
use crate::establish::establish;
use crate::established::Established;
use crate::gate::{Purpose, Realm};
use crate::handshake::Dial;
use crate::inner::Inner;
use crate::knocks::Knocks;
use crate::limits::MAX_ADDRESSES;
use crate::preamble::{MSG2_LEN, Offer, VERSION};

/// Time after which the next address is dialled, if the last one has neither succeeded nor failed
/// (RFC 8305, section 5: "Connection Attempt Delay").
const APART: Duration = Duration::from_millis(250);

/// Time for which one connection may wait for an answer before the next one speaks: most of the
/// world answers within it. Something that accepts connections and is silent holds up a race for
/// no longer.
const AHEAD: Duration = Duration::from_secs(1);

/// Time for a name to be looked up.
const LOOK_UP: Duration = Duration::from_secs(5);

/// The connection that a race, or a dial of one address, is about.
pub(crate) struct Course<'a> {
    pub(crate) inner: &'a Inner,
    pub(crate) remote: PublicKey,
    pub(crate) realm: &'a Realm,
    /// The token of a bulk connection.
    pub(crate) token: Option<[u8; 32]>,
    speak: Semaphore,
    greet: Semaphore,
}

impl<'a> Course<'a> {
    pub(crate) fn new(
        inner: &'a Inner,
        remote: PublicKey,
        realm: &'a Realm,
        token: Option<[u8; 32]>,
    ) -> Self {
        let (speak, greet) = (Semaphore::new(1), Semaphore::new(1));
        Self { inner, remote, realm, token, speak, greet }
    }

    /// Dials one address, within the handshake's deadline.
    pub(crate) async fn dial(&self, addr: SocketAddr) -> Result<Established, DialError> {
        let attempt = timeout(self.inner.limits.handshake, self.shake(addr));
        attempt.await.unwrap_or(Err(DialError::TimedOut))
    }

    async fn shake(&self, addr: SocketAddr) -> Result<Established, DialError> {
        let (inner, remote) = (self.inner, self.remote);
        let dialled = inner.environment.network.dial(addr).await;
        let mut wire = dialled.map_err(|source| DialError::Unreachable { addr, source })?;
        // Held until the end, if it comes in time.
        let _turn = timeout(AHEAD, self.speak.acquire()).await;
        let purpose = if self.token.is_some() { Purpose::Bulk } else { Purpose::Control };
        let place = inner.place(Holder::Peer(remote), purpose).ok_or(DialError::Refused)?;
        // The gate makes it rise even if the clock does not.
        let counter = inner.gate.next_counter(remote, inner.environment.micros()).await?;
        let token = self.token.unwrap_or_default();
        let offer = Offer { lowest: VERSION, highest: VERSION, purpose, counter, token };
        let silence = |_| DialError::NoSuchIdentity { addr };
        let started = Dial::start(&inner.secret, &remote, self.realm, &offer, inner.ephemeral());
        // A key of low order cannot be anybody's.
        let (preamble, dial) = started.map_err(|_| DialError::NoSuchIdentity { addr })?;
        wire.write.write_all(preamble.as_slice()).await.map_err(silence)?;
        let mut msg2 = [0; MSG2_LEN];
        wire.read.read_exact(&mut msg2).await.map_err(silence)?;
        let session = dial.finish(&msg2, inner.limits.rekey_after);
        let session = session.map_err(|_| DialError::NoSuchIdentity { addr })?;
        let _first = self.greet.acquire().await;
        establish(inner, wire, session, (purpose, place), &[]).await.map_err(DialError::Closed)
    }
}

/// The addresses of a race that were not dialled yet, in their order.
struct Lane {
    waiting: VecDeque<(SocketAddr, Source)>,
    known: BTreeSet<SocketAddr>,
}

impl Lane {
    /// Adds an address if it is new, may be dialled, and there is room. What is near goes before
    /// what is not.
    fn add(&mut self, inner: &Inner, addr: SocketAddr, source: Source) {
        let near = |addr: &SocketAddr| inner.gate.is_near(addr);
        let allowed = match source {
            Source::Given => true,
            Source::Met | Source::Told => inner.gate.may_dial(&addr),
            Source::Heard => near(&addr) && (is_of_a_link(&addr) || inner.gate.may_dial(&addr)),
        };
        if !allowed || self.known.len() >= MAX_ADDRESSES || !self.known.insert(addr) {
            return;
        }
        let at = match near(&addr) {
            true => self.waiting.iter().position(|(other, _)| !near(other)),
            false => None,
        };
        self.waiting.insert(at.unwrap_or(self.waiting.len()), (addr, source));
    }

    /// If there are not dials enough for all that never answered, those that waited longest come first.
    fn take_turns(&mut self, knocks: &mut Knocks, now: Instant) {
        let count = self.waiting.iter().filter(|(addr, source)| knocks.is_limited(addr, *source));
        let count = count.count();
        if !knocks.suffice(count, now) {
            let key = |(addr, source): &(SocketAddr, Source)| match knocks.is_limited(addr, *source)
            {
                true => 1 + knocks.turn(addr),
                false => 0,
            };
            self.waiting.make_contiguous().sort_by_cached_key(key);
        }
    }
}

/// Dials a remote at all these places. The one that is named first goes first, but for those that are near.
pub(crate) async fn race(
    course: &Course<'_>,
    candidates: &[Candidate],
    knocks: &mut Knocks,
) -> Result<Established, DialError> {
    let inner = course.inner;
    let mut lane = Lane { waiting: VecDeque::new(), known: BTreeSet::new() };
    let mut lookups = FuturesUnordered::new();
    for candidate in candidates.iter().take(MAX_ADDRESSES) {
        match &candidate.way {
            Way::Address(addr) => lane.add(inner, *addr, candidate.source),
            Way::Name { host, port } => {
                let found = timeout(LOOK_UP, inner.environment.network.look_up(host, *port));
                lookups.push(async move { (candidate, found.await) });
            }
        }
    }
    lane.take_turns(knocks, Instant::now());
    let mut attempts = FuturesUnordered::new();
    let (mut failure, mut next) = (DialError::NoAddress, Instant::now());
    loop {
        let now = Instant::now();
        while now >= next
            && let Some((addr, source)) = lane.waiting.pop_front()
        {
            if knocks.may_dial(addr, source, now) {
                attempts.push(course.dial(addr));
                next = now + APART;
            }
        }
        if attempts.is_empty() && lookups.is_empty() && lane.waiting.is_empty() {
            return Err(failure);
        }
        tokio::select! {
            biased;
            Some(done) = attempts.next() => match done {
                Ok(established) => return Ok(established),
                // It is the right node, and would say the same elsewhere.
                Err(error @ DialError::Closed(CloseReason::NoRoom)) => return Err(error),
                Err(error) => {
                    failure = telling(failure, error);
                    next = now;
                }
            },
            Some((candidate, found)) = lookups.next() => match found {
                Ok(Ok(found)) => {
                    for addr in found {
                        lane.add(inner, addr, candidate.source);
                    }
                }
                Ok(Err(source)) => {
                    let error = DialError::NoSuchName { name: candidate.way.to_string(), source };
                    failure = telling(failure, error);
                }
                Err(_) => failure = telling(failure, DialError::TimedOut),
            },
            () = sleep_until(next), if !lane.waiting.is_empty() => {}
        }
    }
}

/// True of an address that is good on one link, where this machine hears the remote itself. Others must not name such
/// ones: to each of them it is another machine's.
fn is_of_a_link(addr: &SocketAddr) -> bool {
    match addr {
        SocketAddr::V4(v4) => v4.ip().is_link_local(),
        SocketAddr::V6(v6) => v6.ip().is_unicast_link_local() && v6.scope_id() != 0,
    }
}

/// Of two failures, the one that says more of the remote; of equal ones the later.
fn telling(one: DialError, other: DialError) -> DialError {
    let rank = |error: &DialError| match error {
        DialError::NoAddress => 0,
        DialError::NoSuchName { .. } => 1,
        DialError::Unreachable { .. } => 2,
        DialError::TimedOut => 3,
        DialError::NoSuchIdentity { .. } => 4,
        _ => 5,
    };
    if rank(&other) >= rank(&one) { other } else { one }
}

#[cfg(test)]
mod tests {
    use super::is_of_a_link;

    #[test]
    fn a_link_local_address_that_was_heard_says_on_which_card_if_it_must() {
        let of_a_link = |addr: &str| is_of_a_link(&addr.parse().unwrap());
        assert!(of_a_link("[fe80::1%3]:7979") && of_a_link("169.254.7.7:7979"));
        for other in ["[fe80::1]:7979", "[fd00::1%3]:7979", "[::1%1]:7979", "192.168.1.1:7979"] {
            assert!(!of_a_link(other), "{other}");
        }
    }
}
