//! The get: each of two holders sends every second chunk; one thread a link decrypts, checks, opens and writes.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::link::Link;
use crate::put;
use crate::seal::{self, CHUNK, OVERHEAD};
use crate::{Job, LINKS, Workers};

/// Bytes of a chunk's number, in front of it.
const NUMBER: usize = 8;

pub(crate) fn get(dir: &Path, output: &Path, keep: bool, workers: Workers) -> Result<Duration> {
    let addresses: Vec<[u8; 32]> = fs::read(put::addresses(dir))?.as_chunks::<32>().0.to_vec();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let others = (0..LINKS)
        .map(|link| workers.start(port, Job::Hold { link, file: put::copy(dir, link + 1) }))
        .collect::<Result<Vec<_>>>()?;
    let links = Link::accept(&listener, LINKS)?;

    let begun = Instant::now();
    let plain = File::create(output)?;
    let kept = keep.then(|| File::create(dir.join("kept"))).transpose()?;
    let outcome: Result<Vec<usize>> = thread::scope(|scope| {
        let (plain, kept, addresses) = (&plain, kept.as_ref(), &addresses);
        let threads: Vec<_> = links
            .into_iter()
            .map(|link| scope.spawn(move || take(link, addresses, plain, kept)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)
            .collect()
    });
    if let Some(kept) = &kept {
        kept.sync_data()?;
    }
    let took = begun.elapsed();
    let outcome = outcome.and_then(|counts| {
        let count: usize = counts.iter().sum();
        ensure!(count == addresses.len(), "{count} of {} chunks came", addresses.len());
        Ok(())
    });
    let workers = others.into_iter().map(crate::Worker::finish).collect::<Result<Vec<_>>>();
    outcome?;
    workers?;
    Ok(took)
}

/// Takes what one holder sends; returns how many chunks that were.
fn take(
    mut link: Link,
    addresses: &[[u8; 32]],
    plain: &File,
    kept: Option<&File>,
) -> Result<usize> {
    let mut count = 0;
    loop {
        let message = link.receive()?;
        if message.is_empty() {
            return Ok(count);
        }
        let (number, sealed) =
            message.split_first_chunk_mut::<NUMBER>().context("a short message")?;
        let number = u64::from_le_bytes(*number);
        let address = addresses.get(usize::try_from(number)?).context("an unknown chunk")?;
        ensure!(
            blake3::hash(sealed) == blake3::Hash::from_bytes(*address),
            "chunk {number} is damaged"
        );
        if let Some(kept) = kept {
            kept.write_all_at(sealed, number * (OVERHEAD + CHUNK) as u64)?;
        }
        seal::open(sealed)?;
        plain.write_all_at(&sealed[OVERHEAD..], number * CHUNK as u64)?;
        count += 1;
    }
}

/// The other end: read every second chunk, encrypt, send.
pub(crate) fn hold(port: u16, link: usize, file: &Path) -> Result<()> {
    let copy = File::open(file)?;
    let length = copy.metadata()?.len();
    let step = (OVERHEAD + CHUNK) as u64;
    let mut link_to_getter = Link::connect(port, link)?;
    let mut message = vec![0; NUMBER + OVERHEAD + CHUNK];
    for number in (link as u64..length.div_ceil(step)).step_by(LINKS) {
        let size = usize::try_from(step.min(length - number * step))?;
        message[..NUMBER].copy_from_slice(&number.to_le_bytes());
        copy.read_exact_at(&mut message[NUMBER..NUMBER + size], number * step)?;
        link_to_getter.send(&message[..NUMBER + size])?;
    }
    link_to_getter.send(&[])
}
