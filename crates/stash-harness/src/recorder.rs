//! A TCP relay that records what passes, both directions, to files.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::{Context, Result};

/// Connections that a relay records; beyond it, the accepted one is closed. A cluster of three needs a few dozen.
const CONNECTIONS: u32 = 10_000;

/// A relay in front of one node. Its threads end with the connections, at the latest with the process.
#[derive(Debug, Clone)]
pub struct Recorder {
    address: SocketAddr,
    target: Arc<Mutex<Option<SocketAddr>>>,
    connections: Arc<AtomicU32>,
    bytes: Arc<AtomicU64>,
}

impl Recorder {
    /// Listens on a free port and records into files `NAME-…` of `dir`.
    pub fn start(dir: &Path, name: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let recorder = Self {
            address: listener.local_addr()?,
            target: Arc::default(),
            connections: Arc::default(),
            bytes: Arc::default(),
        };
        let (accepting, prefix) = (recorder.clone(), dir.join(name));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A connection that cannot be relayed is closed, as a dead node's would be.
                accepting.relay(stream, &prefix).ok();
            }
        });
        Ok(recorder)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says where the node is; until then connections are closed.
    pub fn leads_to(&self, target: SocketAddr) {
        *self.target.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(target);
    }

    /// Connections and bytes so far.
    pub fn seen(&self) -> (u32, u64) {
        (self.connections.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    fn relay(&self, from: TcpStream, prefix: &Path) -> Result<()> {
        let target = *self.target.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let to = TcpStream::connect(target.context("the node is not known yet")?)?;
        from.set_nodelay(true)?;
        to.set_nodelay(true)?;
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        if number >= CONNECTIONS {
            return Ok(());
        }
        for (from, to, direction) in [(from.try_clone()?, to.try_clone()?, "in"), (to, from, "out")]
        {
            let mut path = prefix.as_os_str().to_owned();
            path.push(format!("-{number}-{direction}"));
            let (record, bytes) = (File::create(PathBuf::from(path))?, Arc::clone(&self.bytes));
            thread::spawn(move || pump(from, to, record, &bytes));
        }
        Ok(())
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, mut record: File, bytes: &AtomicU64) {
    let mut buffer = vec![0; 256 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        bytes.fetch_add(count as u64, Ordering::Relaxed);
        if record.write_all(&buffer[..count]).is_err() || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Write).ok();
    from.shutdown(Shutdown::Read).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_recorded_in_both_directions() {
        let dir = tempfile::tempdir().unwrap();
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let recorder = Recorder::start(dir.path(), "relay").unwrap();
        recorder.leads_to(server.local_addr().unwrap());
        let answer = thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut asked = [0; 4];
            stream.read_exact(&mut asked).unwrap();
            stream.write_all(b"pong!").unwrap();
            asked
        });
        let mut client = TcpStream::connect(recorder.address()).unwrap();
        client.write_all(b"ping").unwrap();
        let mut heard = String::new();
        client.read_to_string(&mut heard).unwrap();
        assert_eq!((heard.as_str(), &answer.join().unwrap()), ("pong!", b"ping"));
        assert_eq!(std::fs::read(dir.path().join("relay-0-in")).unwrap(), b"ping");
        assert_eq!(std::fs::read(dir.path().join("relay-0-out")).unwrap(), b"pong!");
        assert_eq!(recorder.seen(), (1, 9));
    }
}
