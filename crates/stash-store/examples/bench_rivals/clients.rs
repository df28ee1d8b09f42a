//! The threads that put, the same for every side, and the queue to the thread that writes.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::measure::footprint::Footprint;
use crate::measure::histogram::Histogram;
use crate::measure::object::Object;
use crate::measure::{Outcome, process};
use crate::{Arguments, Trial};

/// Figures that the clients saw.
pub(crate) struct Drive {
    took: Duration,
    waits: Histogram,
}

/// Has all objects put by as many threads as asked for.
pub(crate) fn drive(
    arguments: &Arguments,
    put: impl Fn(Object) -> Outcome<()> + Sync,
) -> Outcome<Drive> {
    let Arguments { objects, threads, size, seed, .. } = *arguments;
    let start = Instant::now();
    let client = |first: u64| {
        let mut waits = Histogram::default();
        for number in (first..objects).step_by(usize::try_from(threads)?) {
            let object = Object::new(seed, number, size);
            let begun = Instant::now();
            put(object)?;
            waits.add(begun.elapsed());
        }
        Ok(waits)
    };
    let client = &client;
    let waits: Outcome<Vec<Histogram>> = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..threads).map(|first| scope.spawn(move || client(first))).collect();
        clients.into_iter().map(|c| c.join().map_err(|_| "a client panicked")?).collect()
    });
    let took = start.elapsed();
    let mut all = Histogram::default();
    waits?.iter().for_each(|waits| all.merge(waits));
    Ok(Drive { took, waits: all })
}

impl Drive {
    /// `close` makes the side end; what it left in `dir` is its footprint.
    pub(crate) fn finish(
        self,
        dir: &std::path::Path,
        syncs: u64,
        close: impl FnOnce() -> Outcome<()>,
    ) -> Outcome<Trial> {
        let start = Instant::now();
        close()?;
        Ok(Trial {
            seconds: self.took.as_secs_f64(),
            close_seconds: start.elapsed().as_secs_f64(),
            latency: self.waits.latency(),
            syncs,
            footprint: Footprint::of(dir)?,
            written: process::written()?,
            peak_rss: process::peak_rss()?,
        })
    }
}

/// An object and who waits for it.
pub(crate) struct Request {
    pub(crate) object: Object,
    done: SyncSender<()>,
}

/// The clients' end of the queue, which has room for one object of each.
pub(crate) struct Requests(SyncSender<Request>);

impl Requests {
    pub(crate) fn new(arguments: &Arguments) -> Outcome<(Requests, Receiver<Request>)> {
        let (sender, receiver) = sync_channel(usize::try_from(arguments.threads)?);
        Ok((Requests(sender), receiver))
    }

    /// Puts one object and waits until it is durable.
    pub(crate) fn put(&self, object: Object) -> Outcome<()> {
        let (done, durable) = sync_channel(1);
        let gone = |_| "the writer has stopped";
        self.0.send(Request { object, done }).map_err(|_| gone(()))?;
        Ok(durable.recv().map_err(|_| gone(()))?)
    }
}

/// Takes all that wait together, until the clients are gone. How often `write` was called, which
/// makes what it is given durable.
pub(crate) fn serve(
    requests: &Receiver<Request>,
    mut write: impl FnMut(&[Request]) -> Outcome<()>,
) -> Outcome<u64> {
    let mut syncs = 0;
    let mut waiting = Vec::new();
    while let Ok(first) = requests.recv() {
        waiting.push(first);
        waiting.extend(requests.try_iter());
        write(&waiting)?;
        syncs += 1;
        for request in waiting.drain(..) {
            // A client that is gone has failed, and says why itself.
            let _ = request.done.send(());
        }
    }
    Ok(syncs)
}

/// Runs the clients against a writer in a thread of its own, which serves the queue and gives back
/// how often it synced.
pub(crate) fn against(
    arguments: &Arguments,
    writer: impl FnOnce(Receiver<Request>) -> Outcome<u64> + Send,
) -> Outcome<(Drive, u64)> {
    let (requests, queue) = Requests::new(arguments)?;
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || writer(queue));
        let drive = drive(arguments, |object| requests.put(object));
        drop(requests);
        let syncs = writer.join().map_err(|_| "the writer panicked")??;
        Ok((drive?, syncs))
    })
}
