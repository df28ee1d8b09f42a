//! The seam to the network: TCP, and a network in memory that behaves like it.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex as AsyncMutex, Semaphore, broadcast, mpsc};

use crate::multicast::{self, Datagrams, Link, MULTICAST_PORT};

/// The two halves of a byte stream, and who is at the other end.
pub struct Wire {
    /// The bytes that arrive.
    pub read: Box<dyn AsyncRead + Send + Unpin>,
    /// The bytes that leave.
    pub write: Box<dyn AsyncWrite + Send + Unpin>,
    /// The address of the other end.
    pub remote: SocketAddr,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("remote", &self.remote).finish_non_exhaustive()
    }
}

/// A network, on which a node listens and dials.
pub trait Network: Send + Sync + 'static {
    /// Starts to listen; port 0 picks a free one. Called inside a tokio runtime.
    ///
    /// # Errors
    /// The system's error.
    fn listen(&self, addr: SocketAddr) -> io::Result<Box<dyn Listen>>;

    /// Connects. May wait for long: the caller sets the deadline.
    fn dial(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Wire>>;

    /// The addresses of this machine, each with the network that it is in. A network that cannot tell has none.
    ///
    /// # Errors
    /// The system's error.
    fn interfaces(&self) -> io::Result<Vec<Attached>> {
        Ok(Vec::new())
    }

    /// The links on which this machine may speak with everybody in a network. A network that knows no such thing has none.
    ///
    /// # Errors
    /// The system's error.
    fn links(&self) -> io::Result<Vec<Link>> {
        Ok(Vec::new())
    }

    /// Listens to multicast DNS on a link. Called inside a tokio runtime.
    ///
    /// # Errors
    /// The system's error.
    fn join(&self, _link: &Link) -> io::Result<Box<dyn Datagrams>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Looks a host name up. May wait for long: the caller sets the deadline. A network without names
    /// finds none.
    ///
    /// # Errors
    /// The system's error; the name leads nowhere, or nobody could be asked.
    fn look_up<'a>(
        &'a self,
        _host: &'a str,
        _port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(std::future::ready(Err(io::ErrorKind::Unsupported.into())))
    }
}

/// An address of this machine, and the network in which others are reached without a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attached {
    /// The address.
    pub ip: IpAddr,
    /// Bits that all addresses of the network have in common.
    pub prefix: u8,
}

impl Attached {
    /// True if an address is in the network.
    #[must_use]
    pub fn contains(&self, ip: &IpAddr) -> bool {
        let same = |one: u128, other: u128, bits: u32| {
            let shift = bits.saturating_sub(u32::from(self.prefix));
            one.checked_shr(shift) == other.checked_shr(shift)
        };
        match (self.ip.to_canonical(), ip.to_canonical()) {
            (IpAddr::V4(one), IpAddr::V4(other)) => {
                same(u128::from(one.to_bits()), u128::from(other.to_bits()), 32)
            }
            (IpAddr::V6(one), IpAddr::V6(other)) => same(one.to_bits(), other.to_bits(), 128),
            _ => false,
        }
    }
}

/// A listening end.
pub trait Listen: Send + Sync {
    /// The address bound.
    ///
    /// # Errors
    /// The system's error.
    fn local(&self) -> io::Result<SocketAddr>;

    /// The next connection. An error leaves the listener usable.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Wire>>;
}

/// TCP with the settings that the protocol wants: no delay, a short queue of unsent bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpNetwork;

/// Names looked up at once, in the whole process: each holds a thread until the system's resolver has
/// given up, which may be long after nobody waits for it.
static LOOK_UPS: Semaphore = Semaphore::const_new(8);

/// Connections not yet accepted, as in `listen(2)`.
const BACKLOG: i32 = 1024;

impl Network for TcpNetwork {
    fn listen(&self, addr: SocketAddr) -> io::Result<Box<dyn Listen>> {
        let domain = socket2::Domain::for_address(addr);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // A restarted node takes its port back from connections in TIME_WAIT; it still cannot
        // take one that is listened on.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        Ok(Box::new(TcpListener::from_std(socket.into())?))
    }

    fn dial(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Wire>> {
        Box::pin(async move { tcp_wire(TcpStream::connect(addr).await?, addr) })
    }

    fn interfaces(&self) -> io::Result<Vec<Attached>> {
        let all = if_addrs::get_if_addrs()?.into_iter().filter(|one| one.is_oper_up());
        let attached = |one: if_addrs::Interface| match one.addr {
            if_addrs::IfAddr::V4(v4) => Attached { ip: v4.ip.into(), prefix: v4.prefixlen },
            if_addrs::IfAddr::V6(v6) => Attached { ip: v6.ip.into(), prefix: v6.prefixlen },
        };
        Ok(all.map(attached).collect())
    }

    fn links(&self) -> io::Result<Vec<Link>> {
        multicast::links()
    }

    fn join(&self, link: &Link) -> io::Result<Box<dyn Datagrams>> {
        multicast::join(link)
    }

    fn look_up<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            let place = LOOK_UPS.acquire().await.map_err(io::Error::other)?;
            let host = host.to_owned();
            // The system's resolver cannot be interrupted, so the place is held until it is done.
            let work = move || {
                let _place = place;
                (host.as_str(), port).to_socket_addrs().map(Iterator::collect)
            };
            tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
        })
    }
}

impl Listen for TcpListener {
    fn local(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<Wire>> {
        Box::pin(async move {
            let (stream, remote) = Self::accept(self).await?;
            tcp_wire(stream, remote)
        })
    }
}

fn tcp_wire(stream: TcpStream, remote: SocketAddr) -> io::Result<Wire> {
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    Ok(Wire { read: Box::new(read), write: Box::new(write), remote })
}

/// A network inside one process, without system calls: for tests and simulators. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryNetwork {
    ports: Arc<Mutex<Ports>>,
    /// The address of this end; none: it is everywhere, and attached nowhere.
    ip: Option<IpAddr>,
}

#[derive(Debug, Default)]
struct Ports {
    last: u16,
    listening: HashMap<SocketAddr, mpsc::Sender<Wire>>,
    group: Option<broadcast::Sender<(SocketAddr, Bytes)>>,
}

/// Datagrams that wait for an end that does not take them; older ones are lost, as in a socket.
const DATAGRAMS: usize = 256;

/// Bits that the addresses of a memory network have in common.
const PREFIX: u8 = 24;

/// Bytes that a memory connection holds each way, like a socket's buffers.
const PIPE: usize = 256 * 1024;

struct MemoryListener {
    local: SocketAddr,
    incoming: mpsc::Receiver<Wire>,
}

impl MemoryNetwork {
    /// An empty network.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same network as one machine sees it that has this address in it, and is attached to the addresses beside it.
    #[must_use]
    pub fn at(&self, ip: IpAddr) -> Self {
        Self { ip: Some(ip), ..self.clone() }
    }

    fn ports<R>(&self, f: impl FnOnce(&mut Ports) -> R) -> R {
        f(&mut self.ports.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Ports {
    fn next(&mut self) -> u16 {
        self.last = self.last.wrapping_add(1).max(1);
        self.last
    }
}

impl Network for MemoryNetwork {
    fn listen(&self, addr: SocketAddr) -> io::Result<Box<dyn Listen>> {
        self.ports(|ports| {
            let mut local = addr;
            if addr.port() == 0 {
                local.set_port(ports.next());
            }
            let taken = ports.listening.get(&local).is_some_and(|sender| !sender.is_closed());
            if taken {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            let (sender, incoming) = mpsc::channel(64);
            ports.listening.insert(local, sender);
            Ok(Box::new(MemoryListener { local, incoming }) as Box<dyn Listen>)
        })
    }

    fn dial(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Wire>> {
        Box::pin(async move {
            let (listener, port) =
                self.ports(|ports| (ports.listening.get(&addr).cloned(), ports.next()));
            let listener = listener.ok_or(io::ErrorKind::ConnectionRefused)?;
            let (near, far) = tokio::io::duplex(PIPE);
            let from = SocketAddr::new(self.ip.unwrap_or(Ipv4Addr::LOCALHOST.into()), port);
            let sent = listener.send(memory_wire(far, from)).await;
            sent.map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(memory_wire(near, addr))
        })
    }

    fn interfaces(&self) -> io::Result<Vec<Attached>> {
        Ok(self.ip.map(|ip| Attached { ip, prefix: PREFIX }).into_iter().collect())
    }

    fn links(&self) -> io::Result<Vec<Link>> {
        Ok(self.ip.map(|ip| Link { interface: 1, ip }).into_iter().collect())
    }

    fn join(&self, link: &Link) -> io::Result<Box<dyn Datagrams>> {
        let new = || broadcast::Sender::new(DATAGRAMS);
        let group = self.ports(|ports| ports.group.get_or_insert_with(new).clone());
        let heard = AsyncMutex::new(group.subscribe());
        Ok(Box::new(MemoryGroup { from: SocketAddr::new(link.ip, MULTICAST_PORT), group, heard }))
    }
}

struct MemoryGroup {
    from: SocketAddr,
    group: broadcast::Sender<(SocketAddr, Bytes)>,
    heard: AsyncMutex<broadcast::Receiver<(SocketAddr, Bytes)>>,
}

impl Datagrams for MemoryGroup {
    fn send<'a>(&'a self, datagram: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        // This end hears it, too, so there is a receiver.
        let sent = self.group.send((self.from, Bytes::copy_from_slice(datagram)));
        Box::pin(std::future::ready(sent.map(drop).map_err(io::Error::other)))
    }

    fn receive<'a>(&'a self, into: &'a mut [u8]) -> BoxFuture<'a, io::Result<(usize, SocketAddr)>> {
        Box::pin(async move {
            let mut heard = self.heard.lock().await;
            loop {
                match heard.recv().await {
                    Ok((from, datagram)) => {
                        let length = datagram.len().min(into.len());
                        into[..length].copy_from_slice(&datagram[..length]);
                        return Ok((length, from));
                    }
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(closed) => return Err(io::Error::other(closed)),
                }
            }
        })
    }
}

impl Listen for MemoryListener {
    fn local(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
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

fn memory_wire(stream: DuplexStream, remote: SocketAddr) -> Wire {
    let (read, write) = tokio::io::split(stream);
    Wire { read: Box::new(read), write: Box::new(write), remote }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_the_network_of_an_interface_or_not() {
        let attached = |ip: &str, prefix| Attached { ip: ip.parse().unwrap(), prefix };
        let holds = |one: Attached, ip: &str| one.contains(&ip.parse().unwrap());
        let home = attached("192.168.1.20", 24);
        assert!(holds(home, "192.168.1.1") && holds(home, "::ffff:192.168.1.7"));
        assert!(!holds(home, "192.168.2.20") && !holds(home, "fe80::1"));
        let v6 = attached("2001:db8:1:2::5", 64);
        assert!(holds(v6, "2001:db8:1:2:ffff::1") && !holds(v6, "2001:db8:1:3::5"));
        let point = attached("100.64.0.9", 32);
        assert!(holds(point, "100.64.0.9") && !holds(point, "100.64.0.8"));
        assert!(holds(attached("10.0.0.1", 0), "203.0.113.7"), "all have no bit in common");
        assert!(holds(attached("::1", 0), "2001:db8::1"));
    }

    #[test]
    fn this_machine_has_a_loopback_address() {
        let all = TcpNetwork.interfaces().unwrap();
        assert!(all.iter().any(|one| one.ip.is_loopback()), "{all:?}");
    }
}
