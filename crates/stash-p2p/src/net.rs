//! The seam to the network: TCP, and a network in memory that behaves like it.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

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
}

#[derive(Debug, Default)]
struct Ports {
    last: u16,
    listening: HashMap<SocketAddr, mpsc::Sender<Wire>>,
}

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
            let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
            let sent = listener.send(memory_wire(far, from)).await;
            sent.map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(memory_wire(near, addr))
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
