//! The put: one thread reads, seals and writes the own copy, one encrypts for each link and sends.

use std::fs::{self, File};
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::block::{Block, CopyFile, Form};
use crate::link::Link;
use crate::seal::{self, CHUNK, OVERHEAD};
use crate::{Job, LINKS, Workers};

/// A sealed chunk and its length.
type Sealed = (Block, usize);

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

pub(crate) fn put(source: &Path, dir: &Path, form: Form, workers: Workers) -> Result<Duration> {
    // Before the others, which would be waited for: here it is told that no direct writes are taken.
    let mut own = CopyFile::create(&copy(dir, 0), form)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let others = (0..LINKS)
        .map(|link| workers.start(port, Job::Receive { link, file: copy(dir, link + 1), form }))
        .collect::<Result<Vec<_>>>()?;
    let links = Link::accept(&listener, LINKS)?;
    let source = File::open(source).with_context(|| source.display().to_string())?;

    let begun = Instant::now();
    let (full, to_send) = sync_channel(BUFFERS);
    let (empty, to_fill) = sync_channel(BUFFERS);
    for _ in 0..BUFFERS {
        empty.send((Block::new(0), 0))?;
    }
    let sender = thread::spawn(move || send(links, &to_send, &empty));
    let addresses = fill(source, &mut own, &to_fill, full)?;
    own.sync()?;
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
    own: &mut CopyFile,
    to_fill: &Receiver<Sealed>,
    full: SyncSender<Sealed>,
) -> Result<Vec<[u8; 32]>> {
    let mut addresses = vec![];
    loop {
        let (mut block, _) = to_fill.recv().context("the sender stopped")?;
        let room = block.all();
        let length = read_full(&mut source, &mut room[OVERHEAD..OVERHEAD + CHUNK])?;
        if length == 0 {
            return Ok(addresses);
        }
        let length = OVERHEAD + length;
        addresses.push(seal::seal(&mut room[..length]));
        own.append(room, length)?;
        full.send((block, length)).context("the sender stopped")?;
    }
}

fn send(mut links: Vec<Link>, full: &Receiver<Sealed>, empty: &SyncSender<Sealed>) -> Result<()> {
    for (mut block, length) in full {
        for link in &mut links {
            link.send(&block.all()[..length])?;
        }
        // The filler has gone after the last chunk; its buffers are no longer wanted.
        empty.try_send((block, length)).ok();
    }
    for link in &mut links {
        link.send(&[])?;
    }
    links.iter_mut().try_for_each(Link::wait_answer)
}

/// The other end: decrypt, hash, write, sync, answer.
pub(crate) fn receive(port: u16, number: usize, file: &Path, form: Form) -> Result<()> {
    let mut copy = CopyFile::create(file, form)?;
    let mut link = Link::connect(port, number)?;
    let mut last = None;
    loop {
        let (room, length) = link.receive_in_room()?;
        if length == 0 {
            break;
        }
        let address = blake3::hash(&room[..length]);
        ensure!(last != Some(address), "the same chunk twice in a row");
        last = Some(address);
        copy.append(room, length)?;
    }
    copy.sync()?;
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
