//! Endpoints that keep to a rate, on a clock that jumps: a minute of transfer takes a moment, and
//! what is measured is what the limits say and not what the machine can.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, sleep_until};

use super::node::{Node, ask, echo, test_limits};
use crate::{
    Bandwidth, Class, Frame, Limits, MIN_RATE, MemoryNetwork, Network, Peer, Rate, Subnet,
};

const RATE: u64 = 2 << 20;
/// Over what the rate is measured.
const WINDOW: Duration = Duration::from_secs(5);

fn rate(rate: u64) -> Option<Rate> {
    Some(Rate::new(rate).unwrap())
}

/// A node that is limited, and nodes that are not: each as seen from the limited one and back.
struct Star {
    centre: Node,
    _others: Vec<Node>,
    out: Vec<Peer>,
    back: Vec<Peer>,
}

async fn star(bandwidth: Bandwidth, others: u8, bulk_connections: usize) -> Star {
    star_with(bandwidth, others, Limits { bulk_connections, ..test_limits() }).await
}

async fn star_with(bandwidth: Bandwidth, others: u8, limits: Limits) -> Star {
    let network: Arc<dyn Network> = Arc::new(MemoryNetwork::new());
    let mut centre = Node::new(&network, 21, Limits { bandwidth, ..limits.clone() });
    let (mut nodes, mut out, mut back) = (Vec::new(), Vec::new(), Vec::new());
    for seed in 0..others {
        let node = Node::new(&network, 30 + seed, limits.clone());
        centre.gate.add(node.key);
        back.push(node.dial(&centre).await);
        out.push(centre.up_slowly().await);
        nodes.push(node);
    }
    out.iter().chain(&back).cloned().for_each(echo);
    Star { centre, _others: nodes, out, back }
}

/// Sends so many MiB, and waits until they have arrived.
async fn send(peer: &Peer, mib: u64) {
    let (mut send, mut recv) = peer.open(Class::Bulk).await.unwrap().split();
    for _ in 0..mib {
        send.data(Bytes::from(vec![0; 1 << 20])).await.unwrap();
    }
    send.finish();
    let total = (mib << 20).to_le_bytes().to_vec();
    assert_eq!(recv.next().await, Ok(Some(Frame::Message(total.into()))));
}

async fn send_to_all(peers: &[Peer], mib: u64) {
    futures::future::join_all(peers.iter().map(|peer| send(peer, mib))).await;
}

fn sum(peers: &[Peer]) -> u64 {
    let stats = peers.iter().map(Peer::stats);
    stats.map(|stats| stats.bytes_in + stats.bytes_out).sum()
}

/// Bytes a second that the peers sent and received in each window while some work was done.
async fn measure(peers: &[Peer], work: impl Future<Output = ()>) -> Vec<u64> {
    let mut rates = Vec::new();
    let windows = async {
        let mut at = Instant::now() + Duration::from_secs(1);
        sleep_until(at).await;
        let mut last = sum(peers);
        loop {
            at += WINDOW;
            sleep_until(at).await;
            rates.push((sum(peers) - last) / WINDOW.as_secs());
            last = sum(peers);
        }
    };
    tokio::select! {
        () = work => {}
        () = windows => {}
    }
    assert!(rates.len() >= 2, "too short to measure: {rates:?}");
    rates
}

fn assert_rate(rates: &[u64], allowed: u64) {
    for measured in rates {
        assert!(measured.abs_diff(allowed) * 10 <= allowed, "{rates:?}, {allowed} is allowed");
    }
}

/// Asks until the work is done; the longest that an answer took.
async fn ask_beside<T>(peer: &Peer, work: impl Future<Output = T>) -> (T, Duration) {
    let (mut longest, mut asked) = (Duration::ZERO, 0);
    let asking = async {
        loop {
            let at = Instant::now();
            ask(peer, Class::Control, b"still there?").await;
            longest = longest.max(at.elapsed());
            asked += 1;
            sleep(Duration::from_millis(7)).await;
        }
    };
    let done = tokio::select! {
        done = work => done,
        () = asking => unreachable!("asking has no end"),
    };
    assert!(asked > 100, "{asked} questions");
    (done, longest)
}

// Fault case 100.
#[tokio::test(start_paused = true)]
async fn what_is_sent_keeps_to_the_rate_and_questions_do_not_wait() {
    let Star { out, back, .. } = &star(Bandwidth { up: rate(RATE), down: None }, 4, 1).await;
    let work = measure(out, send_to_all(out, 8));
    let ((rates, asked), answered) = ask_beside(&back[0], ask_beside(&out[0], work)).await;
    assert_rate(&rates, RATE);
    let longest = asked.max(answered);
    assert!(longest <= Duration::from_millis(50), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_received_keeps_to_the_rate_and_questions_do_not_wait() {
    let Star { out, back, .. } = &star(Bandwidth { up: None, down: rate(RATE) }, 4, 1).await;
    let work = measure(out, send_to_all(back, 8));
    let ((rates, asked), answered) = ask_beside(&back[0], ask_beside(&out[0], work)).await;
    assert_rate(&rates, RATE);
    let longest = asked.max(answered);
    assert!(longest <= Duration::from_millis(50), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn addresses_that_are_spared_keep_to_no_rate_and_take_nothing_of_it() {
    let bandwidth = Bandwidth { up: rate(RATE), down: rate(RATE) };
    let Star { centre, out, back, .. } = &star(bandwidth, 1, 1).await;
    let took = async || {
        let begun = Instant::now();
        send(&out[0], 8).await;
        send(&back[0], 8).await;
        begun.elapsed()
    };
    assert!(took().await > Duration::from_secs(7));
    let here = Subnet::new([127, 0, 0, 0].into(), 8);
    centre.endpoint.spare(vec![here]);
    assert!(took().await < Duration::from_secs(1), "also on connections that are open");
    centre.endpoint.spare(vec![Subnet::new([10, 0, 0, 0].into(), 8)]);
    assert!(took().await > Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn peers_share_the_rate_evenly() {
    for bandwidth in [(rate(RATE), None), (None, rate(RATE))] {
        let bandwidth = Bandwidth { up: bandwidth.0, down: bandwidth.1 };
        let Star { out, back, .. } = &star(bandwidth, 5, 1).await;
        let from = if bandwidth.up.is_some() { out } else { back };
        // All start at once and send as much, so all end at once.
        let ends = from.iter().map(async |peer| {
            send(peer, 8).await;
            Instant::now()
        });
        let mut ends = Vec::from_iter(futures::future::join_all(ends).await);
        let rates = measure(out, send_to_all(from, 8)).await;
        assert_rate(&rates, RATE);
        ends.sort_unstable();
        let spread = ends[4] - ends[0];
        assert!(spread < Duration::from_secs(2), "{spread:?} in 20 s");
    }
}

// Fault case 100: slow is not dead, on either side, in either direction.
#[tokio::test(start_paused = true)]
async fn at_the_lowest_rate_nobody_is_taken_for_dead() {
    let bandwidth = Bandwidth { up: rate(MIN_RATE), down: rate(MIN_RATE) };
    let Star { out, back, .. } = &star(bandwidth, 4, 1).await;
    let connections = |peers: &[Peer]| peers.iter().map(Peer::connections).sum::<usize>();
    // One after the other, so that each peer has one bulk connection.
    send_to_all(out, 1).await;
    send_to_all(back, 1).await;
    let both = async { tokio::join!(send_to_all(out, 8), send_to_all(back, 8)) };
    let (_, longest) = ask_beside(&back[0], both).await;
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    assert_eq!((connections(out), connections(back)), (8, 8));
    // A question for bytes has its answer before whoever asked gives up.
    let began = Instant::now();
    let busy = async { tokio::join!(send_to_all(out, 2), send_to_all(back, 2)) };
    let asking = async {
        sleep(Duration::from_secs(20)).await;
        let at = Instant::now();
        ask(&back[0], Class::Bulk, b"behind the others").await;
        at.elapsed()
    };
    let (_, late) = tokio::join!(busy, asking);
    assert!(began.elapsed() > Duration::from_secs(60), "the line was busy all the time");
    assert!(late < Duration::from_secs(30), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_takes_long_to_arrive_is_a_sign_of_life() {
    // A message of 64 KiB, a quarter of the lowest rate: two seconds.
    let (ping_interval, dead_after) = (Duration::from_millis(300), Duration::from_secs(1));
    let limits = Limits { ping_interval, dead_after, ..test_limits() };
    let bandwidth = Bandwidth { up: None, down: rate(MIN_RATE) };
    let Star { out, back, .. } = &star_with(bandwidth, 4, limits).await;
    let work = measure(out, send_to_all(back, 1));
    assert_rate(&work.await, MIN_RATE);
}

#[tokio::test(start_paused = true)]
async fn one_connection_for_everything_keeps_to_the_rate_and_lets_questions_ahead() {
    let Star { out, back, .. } = &star(Bandwidth { up: rate(RATE), down: None }, 1, 0).await;
    let work = measure(out, send_to_all(out, 30));
    let ((rates, asked), answered) = ask_beside(&back[0], ask_beside(&out[0], work)).await;
    assert_eq!(out[0].connections(), 1);
    assert_rate(&rates, RATE);
    let longest = asked.max(answered);
    assert!(longest <= Duration::from_millis(50), "{longest:?}");
    // What arrives on the one connection is not told apart before it is read.
    let Star { out, back, .. } = &star(Bandwidth { up: None, down: rate(RATE) }, 1, 0).await;
    assert_rate(&measure(out, send_to_all(back, 30)).await, RATE);
}

#[tokio::test(start_paused = true)]
async fn questions_that_ask_for_too_much_keep_to_the_rate_as_well() {
    let Star { out, .. } = &star(Bandwidth { up: rate(RATE), down: None }, 1, 1).await;
    let page = vec![7; crate::MAX_MESSAGE];
    let asking = async {
        for _ in 0..120 {
            ask(&out[0], Class::Control, &page).await;
        }
    };
    let began = Instant::now();
    asking.await;
    let least = Rate::new(RATE).unwrap().time(120 * page.len() as u64) - Duration::from_secs(1);
    assert!(began.elapsed() >= least, "{:?}, at least {least:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_changed_and_lifted_while_bytes_flow() {
    let Star { centre, out, .. } = &star(Bandwidth { up: rate(RATE), down: None }, 2, 1).await;
    assert_eq!(centre.endpoint.bandwidth().up, rate(RATE));
    assert_rate(&measure(out, send_to_all(out, 15)).await, RATE);
    centre.endpoint.set_bandwidth(Bandwidth { up: rate(4 * RATE), down: None });
    assert_rate(&measure(out, send_to_all(out, 60)).await, 4 * RATE);
    let sending = async {
        sleep(Duration::from_secs(10)).await;
        centre.endpoint.set_bandwidth(Bandwidth::default());
    };
    let began = Instant::now();
    tokio::join!(sending, send_to_all(out, 200));
    // On this clock bytes without a limit take no time.
    assert!(began.elapsed() < Duration::from_millis(10_500), "{:?}", began.elapsed());
    assert_eq!(centre.endpoint.bandwidth(), Bandwidth::default());
    let stats = centre.endpoint.stats();
    assert!(stats.bytes_out > 550 << 20, "all that was sent counts: {stats:?}");
}

#[tokio::test(start_paused = true)]
async fn the_first_large_stream_waits_for_its_own_connection() {
    let Star { out, back, .. } = &star(Bandwidth::default(), 1, 1).await;
    for peer in [&out[0], &back[0]] {
        let stream = peer.open(Class::Bulk).await.unwrap();
        assert_eq!(peer.connections(), 2);
        drop(stream);
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_stream_goes_without_its_own_connection_when_none_comes() {
    let Star { centre, out, back, .. } = &star(Bandwidth::default(), 1, 1).await;
    centre.gate.remove(&back[0].remote());
    centre.gate.remove(&out[0].remote());
    for peer in [&out[0], &back[0]] {
        let began = Instant::now();
        send(peer, 1).await;
        assert!(began.elapsed() <= Duration::from_secs(2), "{:?}", began.elapsed());
        assert_eq!(peer.connections(), 1);
    }
}
