//! The process that fills the store and is killed: `--step fill`.
//!
//! It prints a line of JSON when the store is filled. From then on, it writes the number of every
//! object that was acknowledged as eight bytes, little-endian: what is in the pipe survives it.

use std::fs::File;
use std::io::{Write, stdout};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use stash_store::{Options, Store};

use crate::measure::histogram::{Histogram, Latency};
use crate::measure::object::Object;
use crate::measure::report::hand_back;
use crate::measure::{Outcome, process};
use crate::{Arguments, open_store};

/// The size of store that a larger one is compared with.
pub(crate) const MILLION: u64 = 1_000_000;

/// Figures of the fill.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Filled {
    pub(crate) objects: u64,
    pub(crate) seconds: f64,
    /// After each tenth, and after a million.
    pub(crate) marks: Vec<Mark>,
    pub(crate) latency: Latency,
    pub(crate) syncs: u64,
    pub(crate) written: u64,
    pub(crate) peak_rss: u64,
}

/// The number of objects, so many seconds after the start.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) objects: u64,
    pub(crate) seconds: f64,
}

impl Filled {
    /// Seconds until there were so many objects.
    pub(crate) fn seconds_at(&self, objects: u64) -> Option<f64> {
        if objects == self.objects {
            return Some(self.seconds);
        }
        self.marks.iter().find(|mark| mark.objects == objects).map(|mark| mark.seconds)
    }

    /// Objects a second between two marks.
    pub(crate) fn rate(&self, from: u64, to: u64) -> Option<f64> {
        let begun = if from == 0 { 0.0 } else { self.seconds_at(from)? };
        Some((to - from) as f64 / (self.seconds_at(to)? - begun))
    }

    pub(crate) fn tenth(&self) -> u64 {
        self.objects / 10
    }
}

pub(crate) fn run(arguments: &Arguments) -> Outcome<()> {
    let dir = arguments.store();
    let store =
        if dir.exists() { open_store(&dir)? } else { Store::create(&dir, &Options::default())? };
    hand_back(&fill(&store, arguments)?)?;
    write_on(&store, arguments)
}

struct Marks {
    start: Instant,
    done: AtomicU64,
    tenth: u64,
    list: Mutex<Vec<Mark>>,
}

impl Marks {
    fn one_more(&self) {
        let objects = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if objects.is_multiple_of(self.tenth) || objects == MILLION {
            let mark = Mark { objects, seconds: self.start.elapsed().as_secs_f64() };
            self.list.lock().unwrap_or_else(PoisonError::into_inner).push(mark);
        }
    }
}

fn fill(store: &Store, arguments: &Arguments) -> Outcome<Filled> {
    let end = arguments.first + arguments.objects;
    let marks = Marks {
        start: Instant::now(),
        done: AtomicU64::new(0),
        tenth: (arguments.objects / 10).max(1),
        list: Mutex::default(),
    };
    let groups = store.stats().groups;
    let waits = on_threads(arguments.threads, |thread| {
        let mut waits = Histogram::default();
        for number in (arguments.first + thread..end).step_by(usize::try_from(arguments.threads)?) {
            let object = Object::new(arguments.seed, number, arguments.size);
            let begun = Instant::now();
            arguments.kind.put(store, object)?;
            waits.add(begun.elapsed());
            marks.one_more();
        }
        Ok(waits)
    })?;
    let seconds = marks.start.elapsed().as_secs_f64();
    let mut all = Histogram::default();
    waits.iter().for_each(|waits| all.merge(waits));
    let mut marks = marks.list.into_inner().unwrap_or_else(PoisonError::into_inner);
    marks.sort_by_key(|mark| mark.objects);
    Ok(Filled {
        objects: arguments.objects,
        seconds,
        marks,
        latency: all.latency(),
        syncs: store.stats().groups - groups,
        written: process::written()?,
        peak_rss: process::peak_rss()?,
    })
}

/// Until somebody kills the process, or nobody reads any more.
fn write_on(store: &Store, arguments: &Arguments) -> Outcome<()> {
    let pipe = File::from(stdout().as_fd().try_clone_to_owned()?);
    on_threads(arguments.threads, |thread| {
        let first = arguments.first + arguments.objects + thread;
        for number in (first..).step_by(usize::try_from(arguments.threads)?) {
            arguments.kind.put(store, Object::new(arguments.seed, number, arguments.size))?;
            // So few bytes go into a pipe whole, whoever else writes.
            (&pipe).write_all(&number.to_le_bytes())?;
        }
        Ok(())
    })?;
    Ok(())
}

fn on_threads<T: Send>(threads: u64, work: impl Fn(u64) -> Outcome<T> + Sync) -> Outcome<Vec<T>> {
    let work = &work;
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        workers.into_iter().map(|w| w.join().map_err(|_| "a writer panicked")?).collect()
    })
}
