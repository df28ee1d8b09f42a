//! A network inside one thread: bytes take their time, ways are cut in one direction or in both,
//! connections break, and a machine that lost its power answers nothing.
//!
//! It stands for TCP: nothing is lost or reordered within a connection. Loss is a packet that comes
//! late, a cut is a silence that ends when the way is open again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stash_p2p::{Listen, Network, Wire};
use stash_server::store::MemDisk;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::trace::Trace;

/// Bytes under way in one direction of a connection, like a socket's buffers.
const PIPE: usize = 256 << 10;

/// Connections that wait to be accepted.
const BACKLOG: usize = 64;

/// A packet that was lost comes again after at most so many milliseconds.
const AGAIN: u64 = 3_000;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A run of a machine, from its start to its end. What belongs to one that has ended sends nothing
/// and hears nothing.
#[derive(Clone)]
pub(crate) struct Life(Arc<Run>);

struct Run {
    machine: usize,
    ended: AtomicBool,
    disk: MemDisk,
}

impl Life {
    pub(crate) fn new(machine: usize, disk: MemDisk) -> Life {
        Life(Arc::new(Run { machine, ended: AtomicBool::new(false), disk }))
    }

    pub(crate) fn end(&self) {
        self.0.ended.store(true, Ordering::Relaxed);
    }

    /// A power cut in the middle of a write ends it, too.
    pub(crate) fn is_on(&self) -> bool {
        !self.0.ended.load(Ordering::Relaxed) && self.0.disk.is_powered()
    }

    fn is(&self, other: &Life) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Behaviour of the network of one schedule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// Longest way of a packet, in milliseconds.
    pub(crate) delay: u64,
    /// Packets of a thousand that are lost at first.
    pub(crate) lost: u32,
}

/// The network that all machines share.
#[derive(Clone)]
pub(crate) struct Switch {
    state: Arc<Mutex<State>>,
    trace: Trace,
}

struct State {
    random: StdRng,
    weather: Weather,
    /// Ways that are cut, from a machine to a machine.
    cut: BTreeSet<(usize, usize)>,
    listening: BTreeMap<SocketAddr, (Life, mpsc::Sender<Wire>)>,
    pipes: Vec<Weak<Pipe>>,
    /// Bytes that were ever sent, from a machine to a machine.
    sent: BTreeMap<(usize, usize), u64>,
}

impl Switch {
    pub(crate) fn new(seed: u64, weather: Weather, trace: Trace) -> Switch {
        let state = State {
            random: StdRng::seed_from_u64(seed),
            weather,
            cut: BTreeSet::new(),
            listening: BTreeMap::new(),
            pipes: Vec::new(),
            sent: BTreeMap::new(),
        };
        Switch { state: Arc::new(Mutex::new(state)), trace }
    }

    /// The network as one run of a machine sees it.
    pub(crate) fn port(&self, life: Life) -> Port {
        Port { switch: self.clone(), life }
    }

    pub(crate) fn cut(&self, from: usize, to: usize) {
        lock(&self.state).cut.insert((from, to));
    }

    /// True if two machines reach each other.
    pub(crate) fn is_open(&self, one: usize, other: usize) -> bool {
        let cut = &lock(&self.state).cut;
        !cut.contains(&(one, other)) && !cut.contains(&(other, one))
    }

    /// Opens the way between two machines.
    pub(crate) fn open(&self, one: usize, other: usize) {
        let ways = [(one, other), (other, one)];
        lock(&self.state).cut.retain(|way| !ways.contains(way));
        self.pipes().iter().for_each(|pipe| pipe.wake());
    }

    /// Opens all ways.
    pub(crate) fn heal(&self) {
        lock(&self.state).cut.clear();
        self.pipes().iter().for_each(|pipe| pipe.wake());
    }

    /// Takes the weather away.
    pub(crate) fn calm(&self) {
        lock(&self.state).weather = Weather { delay: 5, lost: 0 };
    }

    /// Breaks every connection between two machines.
    pub(crate) fn break_between(&self, one: usize, other: usize) {
        self.break_pipes(|pipe| {
            [(one, other), (other, one)].contains(&(pipe.from.0.machine, pipe.to.0.machine))
        });
    }

    /// Breaks every connection of a run: the system of the machine says that nobody is there.
    pub(crate) fn break_life(&self, life: &Life) {
        self.break_pipes(|pipe| pipe.from.is(life) || pipe.to.is(life));
    }

    fn break_pipes(&self, of: impl Fn(&Pipe) -> bool) {
        for pipe in self.pipes().iter().filter(|pipe| of(pipe)) {
            lock(&pipe.flow).broken = true;
            pipe.wake();
        }
    }

    fn pipes(&self) -> Vec<Arc<Pipe>> {
        let mut state = lock(&self.state);
        state.pipes.retain(|pipe| pipe.strong_count() > 0);
        state.pipes.iter().filter_map(Weak::upgrade).collect()
    }

    fn is_cut(&self, from: &Life, to: &Life) -> bool {
        lock(&self.state).cut.contains(&(from.0.machine, to.0.machine))
    }

    /// Bytes that were ever sent from a machine to a machine.
    pub(crate) fn sent(&self, from: usize, to: usize) -> u64 {
        lock(&self.state).sent.get(&(from, to)).copied().unwrap_or_default()
    }

    /// Time that a packet takes.
    fn way(&self) -> Duration {
        let mut state = lock(&self.state);
        let Weather { delay, lost } = state.weather;
        let mut way = state.random.random_range(1..=delay.max(1));
        if lost > 0 && state.random.random_ratio(lost, 1_000) {
            way += state.random.random_range(200..=AGAIN);
        }
        Duration::from_millis(way)
    }

    fn wire(&self, near: &Life, far: &Life, remote: SocketAddr) -> (Wire, Wire) {
        let pipe = |from: &Life, to: &Life| {
            let (from, to) = (from.clone(), to.clone());
            Arc::new(Pipe { from, to, switch: self.clone(), flow: Mutex::default() })
        };
        let (out, back) = (pipe(near, far), pipe(far, near));
        lock(&self.state).pipes.extend([Arc::downgrade(&out), Arc::downgrade(&back)]);
        let end = |read: &Arc<Pipe>, write: &Arc<Pipe>, remote| Wire {
            read: Box::new(ReadEnd { pipe: Arc::clone(read), sleep: None }),
            write: Box::new(WriteEnd(Arc::clone(write))),
            remote,
        };
        (end(&back, &out, remote), end(&out, &back, address(near.0.machine)))
    }
}

/// Address at which a machine listens.
pub(crate) fn address(machine: usize) -> SocketAddr {
    let last = u8::try_from(machine + 1).expect("a schedule has 30 machines at most");
    SocketAddr::from(([10, 0, 0, last], 7_979))
}

/// The network as one run of a machine sees it.
pub(crate) struct Port {
    switch: Switch,
    life: Life,
}

impl Network for Port {
    fn listen(&self, addr: SocketAddr) -> io::Result<Box<dyn Listen>> {
        let (sender, incoming) = mpsc::channel(BACKLOG);
        lock(&self.switch.state).listening.insert(addr, (self.life.clone(), sender));
        Ok(Box::new(Listener { addr, incoming }))
    }

    fn dial(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Wire>> {
        Box::pin(async move {
            sleep(self.switch.way()).await;
            let there = lock(&self.switch.state).listening.get(&addr).cloned();
            let (far, sender) = there.ok_or(io::ErrorKind::ConnectionRefused)?;
            let cut = self.switch.is_cut(&self.life, &far) || self.switch.is_cut(&far, &self.life);
            if cut || !self.life.is_on() {
                return std::future::pending().await;
            }
            if !far.is_on() || sender.is_closed() {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (near_wire, far_wire) = self.switch.wire(&self.life, &far, addr);
            sender.try_send(far_wire).map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(near_wire)
        })
    }
}

struct Listener {
    addr: SocketAddr,
    incoming: mpsc::Receiver<Wire>,
}

impl Listen for Listener {
    fn local(&self) -> io::Result<SocketAddr> {
        Ok(self.addr)
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<Wire>> {
        Box::pin(async move {
            match self.incoming.recv().await {
                Some(wire) => Ok(wire),
                None => std::future::pending().await,
            }
        })
    }
}

/// A direction of a connection.
struct Pipe {
    from: Life,
    to: Life,
    switch: Switch,
    flow: Mutex<Flow>,
}

#[derive(Default)]
struct Flow {
    /// Bytes under way, and when they are there.
    packets: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    /// The writer will send no more.
    ended: bool,
    /// The connection is gone, for both sides.
    broken: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn wake(&self) {
        let (reader, writer) = {
            let mut flow = lock(&self.flow);
            (flow.reader.take(), flow.writer.take())
        };
        reader.into_iter().chain(writer).for_each(Waker::wake);
    }
}

struct ReadEnd {
    pipe: Arc<Pipe>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for ReadEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let pipe = &this.pipe;
        if !pipe.to.is_on() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let cut = pipe.switch.is_cut(&pipe.from, &pipe.to);
        loop {
            let mut guard = lock(&pipe.flow);
            let flow = &mut *guard;
            flow.reader = Some(context.waker().clone());
            if flow.broken {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if cut {
                return Poll::Pending;
            }
            let due = match flow.packets.front_mut() {
                Some((due, bytes)) if *due <= Instant::now() => {
                    let count = bytes.len().min(buffer.remaining());
                    buffer.put_slice(&bytes[..count]);
                    bytes.drain(..count);
                    if bytes.is_empty() {
                        flow.packets.pop_front();
                    }
                    flow.bytes -= count;
                    let writer = flow.writer.take();
                    drop(guard);
                    writer.into_iter().for_each(Waker::wake);
                    return Poll::Ready(Ok(()));
                }
                Some((due, _)) => *due,
                None if flow.ended => return Poll::Ready(Ok(())),
                None => return Poll::Pending,
            };
            drop(guard);
            let mut sleep = Box::pin(sleep_until(due));
            let slept = sleep.as_mut().poll(context);
            this.sleep = Some(sleep);
            if slept.is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for ReadEnd {
    fn drop(&mut self) {
        // Of a machine without power nobody hears anything.
        if self.pipe.to.is_on() {
            lock(&self.pipe.flow).broken = true;
            self.pipe.wake();
        }
    }
}

struct WriteEnd(Arc<Pipe>);

impl AsyncWrite for WriteEnd {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let pipe = &self.0;
        if !pipe.from.is_on() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let way = pipe.switch.way();
        let mut flow = lock(&pipe.flow);
        if flow.broken || flow.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(PIPE - flow.bytes);
        if count == 0 {
            flow.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let last = flow.packets.back().map(|(due, _)| *due);
        let due = (Instant::now() + way).max(last.unwrap_or_else(Instant::now));
        flow.packets.push_back((due, bytes[..count].to_vec()));
        flow.bytes += count;
        let reader = flow.reader.take();
        drop(flow);
        let way = (pipe.from.0.machine, pipe.to.0.machine);
        *lock(&pipe.switch.state).sent.entry(way).or_default() += count as u64;
        pipe.switch.trace.sent(way.0, way.1, &bytes[..count]);
        reader.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.0.from.is_on() {
            lock(&self.0.flow).ended = true;
            self.0.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for WriteEnd {
    fn drop(&mut self) {
        if self.0.from.is_on() {
            lock(&self.0.flow).ended = true;
            self.0.wake();
        }
    }
}
