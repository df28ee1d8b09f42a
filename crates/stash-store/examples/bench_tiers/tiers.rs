//! Blobs through the log, and through files of their own.

use std::path::Path;
use std::time::Instant;

use stash_store::{Address, Batch, Blob, MAX_SMALL, Nest, Options, Store, nest};

use crate::measure::footprint::{Footprint, forget};
use crate::measure::object::{Object, Random};
use crate::measure::{Outcome, process};
use crate::{Arguments, Trial};

/// Where the blobs lie.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tier {
    Log,
    File,
}

impl Tier {
    fn options(self) -> Options {
        let small = match self {
            Tier::Log => MAX_SMALL,
            Tier::File => 0,
        };
        Options { small, ..Options::default() }
    }
}

/// Splits numbers among threads, and does something with each share at once.
pub(crate) fn on_threads<T: Send>(
    shares: Vec<T>,
    work: impl Fn(T) -> Outcome<()> + Sync,
) -> Outcome<()> {
    let work = &work;
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            shares.into_iter().map(|share| scope.spawn(move || work(share))).collect();
        workers.into_iter().try_for_each(|w| w.join().map_err(|_| "a thread panicked")?)
    })
}

/// Deals things out to as many as there are threads.
pub(crate) fn deal<T>(things: impl IntoIterator<Item = T>, threads: usize) -> Vec<Vec<T>> {
    let mut shares: Vec<Vec<T>> = (0..threads).map(|_| Vec::new()).collect();
    for (turn, thing) in things.into_iter().enumerate() {
        shares[turn % threads].push(thing);
    }
    shares
}

fn blob(arguments: &Arguments, number: u64) -> Blob {
    Object::new(arguments.seed, number, arguments.bytes).blob()
}

/// The blobs are made and hashed before the clock starts, so the peak of memory has all of them.
/// The store stays for the read.
pub(crate) fn put(tier: Tier, dir: &Path, arguments: &Arguments) -> Outcome<Trial> {
    let store = Store::create(dir, &tier.options())?;
    if arguments.warm_dirs && matches!(tier, Tier::File) {
        make_dirs(&dir.join("chunks"))?;
    }
    let (before, written) = (Footprint::of(dir)?, process::written()?);
    let objects = arguments.blobs();
    let blobs = deal((0..objects).map(|number| blob(arguments, number)), arguments.threads);
    let start = Instant::now();
    on_threads(blobs, |blobs| put_share(&store, blobs, arguments.batch))?;
    let seconds = start.elapsed().as_secs_f64();
    drop(store);
    Ok(Trial {
        seconds,
        objects,
        bytes: objects * arguments.bytes as u64,
        grown: Footprint::of(dir)?.since(before),
        written: process::written()? - written,
        peak_rss: process::peak_rss()?,
    })
}

fn put_share(store: &Store, blobs: Vec<Blob>, batch: usize) -> Outcome<()> {
    let mut blobs = blobs.into_iter().peekable();
    while blobs.peek().is_some() {
        let mut commit = Batch::new();
        for blob in blobs.by_ref().take(batch) {
            commit = commit.require(blob.address());
            store.stage(blob)?;
        }
        store.commit(commit)?;
    }
    Ok(())
}

/// All directories that blobs can lie in.
fn make_dirs(chunks: &Path) -> Outcome<()> {
    for prefix in 0..=u16::MAX {
        let mut sha1 = [0; 20];
        sha1[..2].copy_from_slice(&prefix.to_be_bytes());
        let path = chunks.join(nest(&sha1, Nest::default()));
        std::fs::create_dir_all(path.parent().ok_or("no directory")?)?;
    }
    rustix::fs::sync();
    Ok(())
}

/// Reads everything that `put` stored, in random order.
pub(crate) fn read(tier: Tier, dir: &Path, arguments: &Arguments) -> Outcome<Trial> {
    let objects = arguments.blobs();
    let mut addresses: Vec<Address> =
        (0..objects).map(|number| blob(arguments, number).address()).collect();
    Random::of(arguments.seed, u64::MAX).shuffle(&mut addresses);
    let shares = deal(addresses, arguments.threads);
    forget(dir)?;
    let store = Store::open(dir, &tier.options())?;
    let start = Instant::now();
    on_threads(shares, |addresses| {
        let mut bytes = Vec::new();
        for address in addresses {
            if !store.read_into(&address, &mut bytes)? {
                return Err(format!("{address} is not there").into());
            }
        }
        Ok(())
    })?;
    let seconds = start.elapsed().as_secs_f64();
    drop(store);
    Ok(Trial {
        seconds,
        objects,
        bytes: objects * arguments.bytes as u64,
        grown: Footprint::default(),
        written: process::written()?,
        peak_rss: process::peak_rss()?,
    })
}
