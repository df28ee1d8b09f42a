//! Work by which a node keeps its store in order unasked: it counts its uptime, collects garbage,
//! scrubs, and heals from other members what it found damaged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stash_store::collect::{Collectable, Collected, Collector};
use stash_store::scrub::Scrubber;
use stash_store::{Batch, CollectOptions, Finding, ReadError, Store};
use tokio::sync::{OwnedMutexGuard, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use crate::ledger::rows;
use crate::lock::lock;
use crate::tasks::ListedTask;
use crate::transfer::damage::{Damage, Damaged};
use crate::upkeep::house::{HouseStatus, note_strays};
use crate::upkeep::schedule::{Duty, Schedule};
use crate::upkeep::{Upkeep, heal};

/// Bytes that one step of scrubbing reads: a reader of the same disk waits no longer for it than
/// for a large chunk.
pub(crate) const STEP: u64 = 4 << 20;

/// Damage that a status or a report lists; the rest is counted.
pub const DAMAGE_LISTED: usize = 100;

/// Age of a forecast after which a new one is made: this, or so many times what it took to make it,
/// if that is longer.
const FORECAST: (Duration, u32) = (Duration::from_secs(10), 100);

/// Time for which a status waits for a forecast; beyond, it shows the last one.
const SOON: Duration = Duration::from_millis(250);

/// Time between two looks for the directory of the chunk files: so long, at most, does nobody
/// notice that it is gone or back. Any use of a file in it is such a look, too.
const LOOK: Duration = Duration::from_secs(10);

/// Notes what a pass of scrubbing found, and has it healed.
pub(crate) fn found(upkeep: &Upkeep, findings: &[Finding]) {
    for finding in findings {
        if let Finding::Log { .. } = finding {
            upkeep.house.log_damaged.store(true, Ordering::Relaxed);
        }
        if let Some((damage, what)) = Damage::of_finding(finding) {
            upkeep.transfer.damage.met(damage, what.to_owned());
        }
    }
}

/// Writes down a pair of numbers. A store that does not take them forgets them at the next start.
async fn note(upkeep: &Upkeep, key: &'static [u8], first: u64, second: u64) {
    let value = [first.to_le_bytes(), second.to_le_bytes()].concat();
    let batch = Batch::new().row(key, Some(&value));
    if let Err(error) = upkeep.core.disk.run(move |store| store.commit(batch)).await {
        tracing::debug!(%error, "the time of the housekeeping is not written down");
    }
}

/// Notes that a collection with these options has ended.
pub(crate) async fn note_collected(upkeep: &Upkeep, options: &CollectOptions, done: &Collected) {
    if options.strays && upkeep.house.strays.swap(false, Ordering::Relaxed) {
        upkeep.core.disk.run(|store| note_strays(store, false)).await;
    }
    let at = upkeep.core.environment.seconds();
    {
        let mut notes = lock(&upkeep.house.notes);
        notes.gc = Some((at, done.bytes()));
        notes.forecast = None;
    }
    note(upkeep, rows::COLLECTION, at, done.bytes()).await;
}

pub(crate) async fn note_pass(upkeep: &Upkeep, began: u64, ended: u64) {
    lock(&upkeep.house.notes).scrub = Some((began, ended));
    note(upkeep, rows::SCRUB, began, ended).await;
}

/// Does the housekeeping of one engine, in steps. An engine in [`crate::Mode::Threads`] runs it by
/// itself; a simulator calls [`Housekeeper::step`], and so decides the time.
#[derive(Debug)]
pub struct Housekeeper {
    upkeep: Arc<Upkeep>,
    schedule: Schedule,
    listed: BTreeMap<Duty, ListedTask>,
    /// The time up to which the uptime was told.
    told: Duration,
    collection: Option<(Collector, OwnedMutexGuard<()>)>,
    scrubber: Option<Scrubber>,
    /// The directory of the chunk files was away at the last step.
    away: bool,
}

impl Housekeeper {
    pub(crate) fn new(upkeep: &Arc<Upkeep>) -> Housekeeper {
        let notes = lock(&upkeep.house.notes).clone();
        let ago = |at| Duration::from_secs(upkeep.core.environment.seconds().saturating_sub(at));
        let collected = notes.gc.map(|(at, _)| ago(at));
        let scrubbed = notes.scrub.filter(|(_, ended)| *ended > 0);
        let scrubbed = scrubbed.map(|(began, _)| ago(began));
        let list = |duty: Duty| (duty, upkeep.core.tasks.list(duty.name()));
        let listed: BTreeMap<_, _> = Duty::ALL.into_iter().map(list).collect();
        for (duty, ago) in [(Duty::Collect, collected), (Duty::Scrub, scrubbed)] {
            ago.into_iter().for_each(|ago| listed[&duty].worked(ago));
        }
        Housekeeper {
            listed,
            schedule: Schedule::new(upkeep.house.options.clone(), collected, scrubbed),
            upkeep: Arc::clone(upkeep),
            told: Duration::ZERO,
            collection: None,
            scrubber: Some(upkeep.core.disk.store().scrubber()),
            away: false,
        }
    }

    /// Does what is due now, if anything is: `now` is the time since the first call. Says when
    /// to call again.
    pub async fn step(&mut self, now: Duration) -> Duration {
        let begun = Instant::now();
        self.look(now).await;
        let next = self.work(now).await.min(now.saturating_add(LOOK));
        let now = now.saturating_add(begun.elapsed());
        for (at, duty) in self.schedule.all() {
            // A collection goes on in steps.
            if duty != Duty::Collect || self.collection.is_none() {
                self.listed[&duty].ends(Some(at.saturating_sub(now)));
            }
        }
        next
    }

    /// Looks whether the directory of the chunk files is there.
    async fn look(&mut self, now: Duration) {
        let away = self.upkeep.core.disk.run(Store::look).await.is_err();
        if std::mem::replace(&mut self.away, away) && !away {
            // What waited for it goes on, and what was taken for lost may be back.
            self.upkeep.house.strays.store(true, Ordering::Relaxed);
            self.woken(now);
            self.upkeep.transfer.wanted.notify_one();
        }
    }

    async fn work(&mut self, now: Duration) -> Duration {
        if self.upkeep.house.log_damaged.swap(false, Ordering::Relaxed) {
            self.schedule.log_damaged(now);
        }
        if self.upkeep.house.waiting.load(Ordering::Relaxed) > 0 && self.collection.take().is_some()
        {
            self.schedule.put_off(Duty::Collect, now);
        }
        let (at, duty) = self.schedule.next();
        if at > now {
            return at;
        }
        if self.upkeep.core.disk.store().stats().read_only.is_some() {
            self.collection = None;
            self.schedule.put_off(duty, now);
            return self.schedule.next().0;
        }
        if self.away && duty != Duty::Uptime {
            self.collection = None;
            self.schedule.put_off(duty, now);
            return self.schedule.next().0;
        }
        self.listed[&duty].begins();
        match duty {
            Duty::Uptime => self.uptime(now).await,
            Duty::Heal => {
                heal::heal(&self.upkeep).await;
                self.schedule.put_off(duty, now);
            }
            Duty::Collect => self.collect(now).await,
            Duty::Scrub => self.scrub(now).await,
        }
        self.schedule.next().0
    }

    /// Damage was noted, or a member has come that may have it whole.
    pub fn woken(&mut self, now: Duration) {
        if self.upkeep.transfer.damage.counts().2 > 0 {
            self.schedule.damaged(now);
        }
    }

    /// Tells the store how long it has been open since it was last told.
    async fn uptime(&mut self, now: Duration) {
        let more = now.saturating_sub(self.told);
        let told = self.upkeep.core.disk.run(move |store| store.add_uptime(more)).await;
        match told {
            Ok(()) => self.told = now,
            Err(error) => tracing::warn!(%error, "the uptime is not counted"),
        }
        self.schedule.put_off(Duty::Uptime, now);
    }

    async fn collect(&mut self, now: Duration) {
        let house = &self.upkeep.house;
        let (mut collector, guard) = match self.collection.take() {
            Some(collection) => collection,
            None => match Arc::clone(&house.collecting).try_lock_owned() {
                Ok(guard) => {
                    let options = house.collect_options();
                    (self.upkeep.core.disk.store().collector(options), guard)
                }
                Err(_) => return self.schedule.put_off(Duty::Collect, now),
            },
        };
        let begun = Instant::now();
        let work = move |_: &Store| {
            let step = collector.step();
            (collector, step)
        };
        let (collector, step) = self.upkeep.core.disk.run(work).await;
        match step {
            Ok(Some(_)) => {
                self.collection = Some((collector, guard));
                return self.schedule.collect_step(now, begun.elapsed());
            }
            Ok(None) => {
                let done = collector.done();
                tracing::info!(chunks = done.chunks, bytes = done.bytes(), "collected garbage");
                note_collected(&self.upkeep, collector.options(), &done).await;
            }
            Err(error) => tracing::warn!(%error, "garbage was not collected"),
        }
        self.schedule.collected(now);
    }

    async fn scrub(&mut self, now: Duration) {
        let Ok(_only_one) = Arc::clone(&self.upkeep.house.scrubbing).try_lock_owned() else {
            return self.schedule.put_off(Duty::Scrub, now);
        };
        let scrubber = self.scrubber.take();
        let mut scrubber = scrubber.unwrap_or_else(|| self.upkeep.core.disk.store().scrubber());
        let begun = Instant::now();
        let work = move |_: &Store| {
            let step = scrubber.step(STEP);
            (scrubber, step)
        };
        let (scrubber, step) = self.upkeep.core.disk.run(work).await;
        self.scrubber = Some(scrubber);
        match step {
            Ok(Some(scrubbed)) => {
                found(&self.upkeep, &scrubbed.findings);
                let far = self.upkeep.core.disk.store().stats().scrub;
                let left = far.total_bytes.saturating_sub(far.done_bytes);
                if self.schedule.scrub_step(now, begun.elapsed(), (scrubbed.bytes, left)) {
                    note_pass(&self.upkeep, self.upkeep.core.environment.seconds(), 0).await;
                }
            }
            Ok(None) => {
                let began = lock(&self.upkeep.house.notes).scrub.map_or(0, |(began, _)| began);
                note_pass(&self.upkeep, began, self.upkeep.core.environment.seconds()).await;
                self.schedule.pass_ended(now);
            }
            Err(error) => {
                tracing::warn!(%error, "scrubbing has met an error");
                self.schedule.put_off(Duty::Scrub, now);
            }
        }
        self.woken(now);
    }
}

/// Keeps house until the engine stops.
pub(crate) async fn run(upkeep: Arc<Upkeep>) {
    let begun = Instant::now();
    let mut keeper = Housekeeper::new(&upkeep);
    let mut next = keeper.step(Duration::ZERO).await;
    loop {
        let at = begun.checked_add(next).unwrap_or_else(|| begun + Duration::from_secs(1 << 30));
        tokio::select! {
            biased;
            () = upkeep.core.tasks.stopped() => break,
            () = sleep_until(at) => {}
            () = upkeep.house.wake.notified() => keeper.woken(begun.elapsed()),
            () = upkeep.transfer.damage.woken() => keeper.woken(begun.elapsed()),
        }
        next = keeper.step(begun.elapsed()).await;
    }
    keeper.uptime(begun.elapsed()).await;
}

/// Damage that is not healed.
pub(crate) async fn damaged(upkeep: &Arc<Upkeep>, limit: usize) -> Vec<Damaged> {
    let shared = Arc::clone(upkeep);
    upkeep.core.disk.run(move |store| heal::view(&shared, store, limit)).await
}

/// Makes a forecast of a collection; the last one, if somebody else is at it.
async fn forecast(upkeep: &Arc<Upkeep>) -> Result<Collectable, ReadError> {
    let house = &upkeep.house;
    let Ok(_only_one) = Arc::clone(&house.forecasting).try_lock_owned() else {
        return Ok(lock(&house.notes).forecast.map(|(last, ..)| last).unwrap_or_default());
    };
    let begun = Instant::now();
    let options = CollectOptions { strays: false, ..house.collect_options() };
    let made = upkeep.core.disk.run(move |store| store.collectable(&options)).await?;
    lock(&house.notes).forecast = Some((made, Instant::now(), begun.elapsed()));
    Ok(made)
}

/// Status of the housekeeping.
pub(crate) async fn status(upkeep: &Arc<Upkeep>) -> Result<HouseStatus, ReadError> {
    let house = &upkeep.house;
    let notes = lock(&house.notes).clone();
    let fresh = notes.forecast.filter(|(_, at, took)| {
        let (least, times) = FORECAST;
        at.elapsed() < least.max(*took * times)
    });
    let collectable = match fresh {
        Some((collectable, ..)) => collectable,
        None => {
            // After a large purge it takes its time, and nobody waits for that to see a status.
            let (sender, made) = oneshot::channel();
            let shared = Arc::clone(upkeep);
            upkeep.core.tasks.spawn(async move {
                // Whoever asked may have stopped waiting.
                let _ = sender.send(forecast(&shared).await);
            });
            let last = || lock(&house.notes).forecast.map(|(last, ..)| last).unwrap_or_default();
            match timeout(SOON, made).await {
                Ok(Ok(made)) => made?,
                Ok(Err(_)) | Err(_) => last(),
            }
        }
    };
    let (found, healed, unhealed) = upkeep.transfer.damage.counts();
    Ok(HouseStatus {
        collected_at: notes.gc.map(|(at, _)| at),
        freed: notes.gc.map_or(0, |(_, freed)| freed),
        collectable,
        collecting: house.collecting.try_lock().is_err(),
        scrubbed_at: notes.scrub.map(|(_, ended)| ended).filter(|ended| *ended > 0),
        found,
        healed,
        unhealed,
    })
}
