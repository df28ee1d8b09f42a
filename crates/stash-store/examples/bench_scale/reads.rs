//! The process that reads at random: `--step read`. One thread, so that latency is what one caller
//! sees.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use stash_store::{Address, Store};

use crate::measure::histogram::{Histogram, Latency};
use crate::measure::object::{Object, Random, WRITER};
use crate::measure::report::hand_back;
use crate::measure::{Outcome, process};
use crate::{Arguments, Kind, open_store};

/// Random look-ups and reads.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reads {
    /// Objects that are there, asked of the index alone.
    pub(crate) present: Figure,
    /// Objects that are not there.
    pub(crate) absent: Figure,
    /// Objects, read and checked.
    pub(crate) read: Figure,
    pub(crate) rss: u64,
    pub(crate) peak_rss: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// Lookups a second, one after the other; making the keys is left out.
    pub(crate) per_second: f64,
    pub(crate) latency: Latency,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome<()> {
    let store = open_store(&arguments.store())?;
    let (kind, seed) = (arguments.kind, arguments.seed);
    let object = |number| Object::new(seed, number, arguments.size);
    let reads = Reads {
        present: timed(arguments, 1, |number| kind.present(&store, object(number)))?,
        absent: timed(arguments, 2, |number| kind.absent(&store, Object::key_of(!seed, number)))?,
        read: timed(arguments, 3, |number| kind.read(&store, object(number)))?,
        rss: process::rss()?,
        peak_rss: process::peak_rss()?,
    };
    hand_back(&reads)
}

/// Does one thing with random objects; it gives back its time, and whether the answer was right.
fn timed(
    arguments: &Arguments,
    stream: u64,
    mut once: impl FnMut(u64) -> Outcome<(Duration, bool)>,
) -> Outcome<Figure> {
    let mut random = Random::of(arguments.seed, u64::MAX - stream);
    let mut waits = Histogram::default();
    let mut all = Duration::ZERO;
    for _ in 0..arguments.reads {
        let number = random.below(arguments.objects);
        let (took, right) = once(number)?;
        if !right {
            return Err(format!("a wrong answer about object {number}").into());
        }
        waits.add(took);
        all += took;
    }
    let per_second = arguments.reads as f64 / all.as_secs_f64();
    Ok(Figure { per_second, latency: waits.latency() })
}

impl Kind {
    fn present(self, store: &Store, object: Object) -> Outcome<(Duration, bool)> {
        match self {
            Kind::Record => {
                let start = Instant::now();
                let found = store.dot(&WRITER, object.number)?;
                Ok((start.elapsed(), found == Some(object.key)))
            }
            Kind::Blob => has(store, object.blob().address()),
        }
    }

    fn absent(self, store: &Store, key: [u8; 32]) -> Outcome<(Duration, bool)> {
        match self {
            Kind::Record => {
                let start = Instant::now();
                let found = store.record(&key)?;
                Ok((start.elapsed(), found.is_none()))
            }
            Kind::Blob => has(store, Address::from_bytes(key)).map(|(took, has)| (took, !has)),
        }
    }

    fn read(self, store: &Store, object: Object) -> Outcome<(Duration, bool)> {
        match self {
            Kind::Record => {
                let start = Instant::now();
                let found = store.record(&object.key)?;
                let took = start.elapsed();
                Ok((took, found.is_some_and(|found| found.bytes[..] == object.bytes)))
            }
            Kind::Blob => {
                let (blob, mut bytes) = (object.blob(), Vec::new());
                let start = Instant::now();
                let found = store.read_into(&blob.address(), &mut bytes)?;
                Ok((start.elapsed(), found && bytes == blob.bytes()))
            }
        }
    }
}

fn has(store: &Store, address: Address) -> Outcome<(Duration, bool)> {
    let start = Instant::now();
    let has = store.has(&[address])?;
    Ok((start.elapsed(), has == [true]))
}
