//! The put: one thread reads, seals and writes the own copy, one encrypts for each link and sends.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::link::Link;
use crate::seal::{self, CHUNK, OVERHEAD};
use crate::{Job, LINKS, Workers};

/// Chunks between the two threads; each buffer is used again.
const BUFFERS: usize = 6;

/// The sealed copy number `n`: 0 is the sender's own.
pub(crate) fn copy(dir: &Path, n: usize) -> PathBuf {
    dir.join(format!("copy{n}"))
}

/// The addresses of all chunks, 32 bytes each.
pub(crate) fn addresses(dir: &Path) -> PathBuf {
    dir.join("addresses")
}

pub(crate) fn put(source: &Path, dir: &Path, workers: Workers) -> Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let others = (0..LINKS)
        .map(|link| workers.start(port, Job::Receive { link, file: copy(dir, link + 1) }))
        .collect::<Result<Vec<_>>>()?;
    let links = Link::accept(&listener, LINKS)?;
    let source = File::open(source).with_context(|| source.display().to_string())?;
    let own = File::create(copy(dir, 0))?;

    let begun = Instant::now();
    let (full, to_send) = sync_channel(BUFFERS);
    let (empty, to_fill) = sync_channel(BUFFERS);
    for _ in 0..BUFFERS {
        empty.send(Vec::with_capacity(OVERHEAD + CHUNK))?;
    }
    let sender = thread::spawn(move || send(links, &to_send, &empty));
    let addresses = fill(source, &own, &to_fill, full)?;
    own.sync_data()?;
    sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    let took = begun.elapsed();

    for other in others {
        other.finish()?;
    }
    fs::write(self::addresses(dir), addresses.concat())?;
    Ok(took)
}

/// Reads, seals and writes chunk after chunk; returns their addresses.
fn fill(
    mut source: File,
    mut own: &File,
    to_fill: &Receiver<Vec<u8>>,
    full: SyncSender<Vec<u8>>,
) -> Result<Vec<[u8; 32]>> {
    let mut addresses = vec![];
    loop {
        let mut buffer = to_fill.recv().context("the sender stopped")?;
        buffer.resize(OVERHEAD + CHUNK, 0);
        let length = read_full(&mut source, &mut buffer[OVERHEAD..])?;
        if length == 0 {
            return Ok(addresses);
        }
        buffer.truncate(OVERHEAD + length);
        addresses.push(seal::seal(&mut buffer));
        own.write_all(&buffer)?;
        full.send(buffer).context("the sender stopped")?;
    }
}

fn send(mut links: Vec<Link>, full: &Receiver<Vec<u8>>, empty: &SyncSender<Vec<u8>>) -> Result<()> {
    for buffer in full {
        for link in &mut links {
            link.send(&buffer)?;
        }
        // The filler has gone after the last chunk; its buffers are no longer wanted.
        empty.try_send(buffer).ok();
    }
    for link in &mut links {
        link.send(&[])?;
    }
    links.iter_mut().try_for_each(Link::wait_answer)
}

/// The other end: decrypt, hash, write, sync, answer.
pub(crate) fn receive(port: u16, number: usize, file: &Path) -> Result<()> {
    let mut link = Link::connect(port, number)?;
    let mut copy = File::create(file)?;
    let mut last = None;
    loop {
        let sealed = link.receive()?;
        if sealed.is_empty() {
            break;
        }
        let address = blake3::hash(sealed);
        ensure!(last != Some(address), "the same chunk twice in a row");
        last = Some(address);
        copy.write_all(sealed)?;
    }
    copy.sync_data()?;
    link.answer()
}

fn read_full(from: &mut File, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}
