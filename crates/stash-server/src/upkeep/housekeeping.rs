//! What a node does by itself to keep its store in order: it counts its uptime, collects garbage,
//! scrubs, and heals from other members what it found damaged.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stash_store::{
    Batch, CollectOptions, Collectable, Collected, Collector, Finding, ReadError, Scrubber, Store,
};
use tokio::sync::{Notify, OwnedMutexGuard};
use tokio::time::{Instant, sleep_until};

use crate::core::Core;
use crate::ledger::rows;
use crate::lock::lock;
use crate::transfer::damage::{Damage, DamageList, Damaged};
use crate::upkeep::heal;
use crate::upkeep::schedule::{Duty, Housekeeping, Schedule};

/// Bytes that one step of scrubbing reads: a reader of the same disk waits no longer for it than
/// for a large chunk.
pub(crate) const STEP: u64 = 4 << 20;

/// Damage that a status or a report lists; the rest is counted.
pub const DAMAGE_LISTED: usize = 100;

/// From how much of a segment's bytes on, in percent, a collection that somebody asked for writes it again.
const ASKED_DEAD_PERCENT: u8 = 20;

/// How old a forecast of a collection may be, and how much longer than it took to make it.
const FORECAST: (Duration, u32) = (Duration::from_secs(10), 100);

/// How often it is looked whether the directory of the chunk files is there, beside all who ask for
/// what is in it: so long does it stay unnoticed, at most, that it is gone or back.
const LOOK: Duration = Duration::from_secs(10);

/// What the housekeeping and those who ask for it share.
#[derive(Debug)]
pub(crate) struct House {
    pub options: Housekeeping,
    pub damage: DamageList,
    pub(crate) collecting: Arc<tokio::sync::Mutex<()>>,
    pub(crate) scrubbing: Arc<tokio::sync::Mutex<()>>,
    /// People who wait to collect: the collection under way gives way.
    pub(crate) waiting: AtomicU32,
    /// There is damage to heal, or somebody waits.
    pub(crate) wake: Notify,
    /// The log was found damaged.
    log_damaged: AtomicBool,
    notes: Mutex<Notes>,
}

/// What is known of the past.
#[derive(Clone, Debug, Default)]
struct Notes {
    /// When the last collection ended, in seconds since 1970, and what it gave back in bytes.
    gc: Option<(u64, u64)>,
    /// When the last pass began and ended, in seconds since 1970.
    scrub: Option<(u64, u64)>,
    /// A forecast of a collection, when it was made, and how long that took.
    forecast: Option<(Collectable, Instant, Duration)>,
}

/// The state of the housekeeping. Times are seconds since 1970, counts are since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HouseStatus {
    /// When the last collection ended.
    pub collected_at: Option<u64>,
    /// What it gave back, in bytes.
    pub freed: u64,
    /// What a collection would give back now; a few seconds old.
    pub collectable: Collectable,
    /// Whether a collection is under way.
    pub collecting: bool,
    /// When the last pass of scrubbing ended.
    pub scrubbed_at: Option<u64>,
    /// Chunks and records found damaged.
    pub found: u64,
    /// Of those, and of those of earlier runs, what is whole again.
    pub healed: u64,
    /// What is not.
    pub unhealed: u64,
}

impl House {
    pub(crate) fn open(store: &Store, options: Housekeeping) -> Result<House, ReadError> {
        let pair = |key: &[u8]| -> Result<Option<(u64, u64)>, ReadError> {
            let row = store.row(key)?.and_then(|row| <[u8; 16]>::try_from(row).ok());
            Ok(row.map(|row| {
                let (words, _) = row.as_chunks::<8>();
                (u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1]))
            }))
        };
        let notes =
            Notes { gc: pair(rows::COLLECTION)?, scrub: pair(rows::SCRUB)?, forecast: None };
        let house = House {
            options,
            damage: DamageList::load(store)?,
            collecting: Arc::default(),
            scrubbing: Arc::default(),
            waiting: AtomicU32::new(0),
            wake: Notify::new(),
            log_damaged: AtomicBool::new(store.stats().scrub.suspects > 0),
            notes: Mutex::new(notes),
        };
        // Found, and not dealt with before the process ended.
        for finding in store.scrub_findings() {
            if let Some((damage, what)) = Damage::of_finding(&finding)
                && damage.is_real(store)
            {
                house.damage.note(damage, what.to_owned());
            }
        }
        Ok(house)
    }

    /// Notes damage that somebody met, and has it healed. False if it is known already.
    pub(crate) fn damaged(&self, damage: Damage, why: String) -> bool {
        let new = self.damage.note(damage, why);
        if new {
            self.wake.notify_one();
        }
        new
    }

    /// A member has come that may have what is damaged here, or a record that covers it.
    pub(crate) fn met(&self) {
        if self.damage.counts().2 > 0 {
            self.wake.notify_one();
        }
    }

    pub(crate) fn found(&self, findings: &[Finding]) {
        for finding in findings {
            if let Finding::Log { .. } = finding {
                self.log_damaged.store(true, Ordering::Relaxed);
            }
            if let Some((damage, what)) = Damage::of_finding(finding) {
                self.damaged(damage, what.to_owned());
            }
        }
    }

    /// What a node collects by itself.
    fn collect_options(&self, strays: bool) -> CollectOptions {
        CollectOptions { grace: self.options.gc_grace, strays, ..CollectOptions::default() }
    }

    /// What it collects when somebody asks for the room; with `now`, without waiting for any grace.
    pub(crate) fn asked_options(&self, now: bool) -> CollectOptions {
        let grace = if now { Duration::ZERO } else { self.options.gc_grace };
        CollectOptions { grace, dead_percent: ASKED_DEAD_PERCENT, strays: true }
    }
}

/// Writes down a pair of numbers. A store that does not take them forgets them at the next start.
async fn note(core: &Core, key: &'static [u8], first: u64, second: u64) {
    let value = [first.to_le_bytes(), second.to_le_bytes()].concat();
    let batch = Batch::new().row(key, Some(&value));
    if let Err(error) = core.disk.run(move |store| store.commit(batch)).await {
        tracing::debug!(%error, "the time of the housekeeping is not written down");
    }
}

pub(crate) async fn note_collected(core: &Core, done: &Collected) {
    let at = core.environment.seconds();
    {
        let mut notes = lock(&core.house.notes);
        notes.gc = Some((at, done.bytes()));
        notes.forecast = None;
    }
    note(core, rows::COLLECTION, at, done.bytes()).await;
}

pub(crate) async fn note_pass(core: &Core, began: u64, ended: u64) {
    lock(&core.house.notes).scrub = Some((began, ended));
    note(core, rows::SCRUB, began, ended).await;
}

/// Does the housekeeping of one engine, in steps. An engine in [`crate::Mode::Threads`] runs it by
/// itself; a simulator calls [`Housekeeper::step`], and so decides what time it is.
#[derive(Debug)]
pub struct Housekeeper {
    core: Arc<Core>,
    schedule: Schedule,
    /// Up to when the uptime was told.
    told: Duration,
    collection: Option<(Collector, OwnedMutexGuard<()>)>,
    scrubber: Option<Scrubber>,
    /// The next collection also looks for files that a power cut left.
    strays: bool,
    /// The directory of the chunk files was away at the last step.
    away: bool,
}

impl Housekeeper {
    pub(crate) fn new(core: &Arc<Core>) -> Housekeeper {
        let notes = lock(&core.house.notes).clone();
        let ago = |at| Duration::from_secs(core.environment.seconds().saturating_sub(at));
        let collected = notes.gc.map(|(at, _)| ago(at));
        let scrubbed = notes.scrub.filter(|(_, ended)| *ended > 0);
        let scrubbed = scrubbed.map(|(began, _)| ago(began));
        Housekeeper {
            schedule: Schedule::new(core.house.options.clone(), collected, scrubbed),
            core: Arc::clone(core),
            told: Duration::ZERO,
            collection: None,
            scrubber: Some(core.disk.store().scrubber()),
            strays: true,
            away: false,
        }
    }

    /// Does what is due now, if anything is: `now` is the time since the first call. Says when
    /// to call again.
    pub async fn step(&mut self, now: Duration) -> Duration {
        self.look(now).await;
        self.work(now).await.min(now.saturating_add(LOOK))
    }

    /// Looks whether the directory of the chunk files is there.
    async fn look(&mut self, now: Duration) {
        let away = self.core.disk.run(Store::look).await.is_err();
        if std::mem::replace(&mut self.away, away) && !away {
            // What waited for it goes on.
            self.woken(now);
            self.core.wanted.notify_one();
        }
    }

    async fn work(&mut self, now: Duration) -> Duration {
        if self.core.house.log_damaged.swap(false, Ordering::Relaxed) {
            self.schedule.log_damaged(now);
        }
        if self.core.house.waiting.load(Ordering::Relaxed) > 0 && self.collection.take().is_some() {
            self.schedule.put_off(Duty::Collect, now);
        }
        let (at, duty) = self.schedule.next();
        if at > now {
            return at;
        }
        if self.core.disk.store().stats().read_only.is_some() {
            self.collection = None;
            self.schedule.put_off(duty, now);
            return self.schedule.next().0;
        }
        if self.away && duty != Duty::Uptime {
            self.collection = None;
            self.schedule.put_off(duty, now);
            return self.schedule.next().0;
        }
        match duty {
            Duty::Uptime => self.uptime(now).await,
            Duty::Heal => {
                heal::heal(&self.core).await;
                self.schedule.put_off(duty, now);
            }
            Duty::Collect => self.collect(now).await,
            Duty::Scrub => self.scrub(now).await,
        }
        self.schedule.next().0
    }

    /// Damage was noted, or a member has come that may have it whole.
    pub fn woken(&mut self, now: Duration) {
        if self.core.house.damage.counts().2 > 0 {
            self.schedule.damaged(now);
        }
    }

    /// Tells the store how long it has been open since it was last told.
    async fn uptime(&mut self, now: Duration) {
        let more = now.saturating_sub(self.told);
        let told = self.core.disk.run(move |store| store.add_uptime(more)).await;
        match told {
            Ok(()) => self.told = now,
            Err(error) => tracing::warn!(%error, "the uptime is not counted"),
        }
        self.schedule.put_off(Duty::Uptime, now);
    }

    async fn collect(&mut self, now: Duration) {
        let house = &self.core.house;
        let (mut collector, guard) = match self.collection.take() {
            Some(collection) => collection,
            None => match Arc::clone(&house.collecting).try_lock_owned() {
                Ok(guard) => {
                    let options = house.collect_options(self.strays);
                    (self.core.disk.store().collector(options), guard)
                }
                Err(_) => return self.schedule.put_off(Duty::Collect, now),
            },
        };
        let begun = Instant::now();
        let work = move |_: &Store| {
            let step = collector.step();
            (collector, step)
        };
        let (collector, step) = self.core.disk.run(work).await;
        match step {
            Ok(Some(_)) => {
                self.collection = Some((collector, guard));
                return self.schedule.collect_step(now, begun.elapsed());
            }
            Ok(None) => {
                let done = collector.done();
                tracing::info!(chunks = done.chunks, bytes = done.bytes(), "collected garbage");
                self.strays = false;
                note_collected(&self.core, &done).await;
            }
            Err(error) => tracing::warn!(%error, "garbage was not collected"),
        }
        self.schedule.collected(now);
    }

    async fn scrub(&mut self, now: Duration) {
        let Ok(_only_one) = Arc::clone(&self.core.house.scrubbing).try_lock_owned() else {
            return self.schedule.put_off(Duty::Scrub, now);
        };
        let scrubber = self.scrubber.take();
        let mut scrubber = scrubber.unwrap_or_else(|| self.core.disk.store().scrubber());
        let begun = Instant::now();
        let work = move |_: &Store| {
            let step = scrubber.step(STEP);
            (scrubber, step)
        };
        let (scrubber, step) = self.core.disk.run(work).await;
        self.scrubber = Some(scrubber);
        match step {
            Ok(Some(scrubbed)) => {
                self.core.house.found(&scrubbed.findings);
                if self.schedule.scrub_step(now, begun.elapsed()) {
                    note_pass(&self.core, self.core.environment.seconds(), 0).await;
                }
            }
            Ok(None) => {
                let began = lock(&self.core.house.notes).scrub.map_or(0, |(began, _)| began);
                note_pass(&self.core, began, self.core.environment.seconds()).await;
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
pub(crate) async fn run(core: Arc<Core>) {
    let begun = Instant::now();
    let mut keeper = Housekeeper::new(&core);
    let mut next = keeper.step(Duration::ZERO).await;
    loop {
        let at = begun.checked_add(next).unwrap_or_else(|| begun + Duration::from_secs(1 << 30));
        tokio::select! {
            biased;
            () = core.stop.cancelled() => break,
            () = sleep_until(at) => {}
            () = core.house.wake.notified() => keeper.woken(begun.elapsed()),
        }
        next = keeper.step(begun.elapsed()).await;
    }
    keeper.uptime(begun.elapsed()).await;
}

/// What is damaged and not healed.
pub(crate) async fn damaged(core: &Arc<Core>, limit: usize) -> Vec<Damaged> {
    let shared = Arc::clone(core);
    core.disk.run(move |store| heal::view(&shared, store, limit)).await
}

/// How things stand.
pub(crate) async fn status(core: &Arc<Core>) -> Result<HouseStatus, ReadError> {
    let house = &core.house;
    let notes = lock(&house.notes).clone();
    let fresh = notes.forecast.filter(|(_, at, took)| {
        let (least, times) = FORECAST;
        at.elapsed() < least.max(*took * times)
    });
    let collectable = match fresh {
        Some((collectable, ..)) => collectable,
        None => {
            let begun = Instant::now();
            let options = house.collect_options(false);
            let collectable = core.disk.run(move |store| store.collectable(&options)).await?;
            let made = (collectable, Instant::now(), begun.elapsed());
            lock(&house.notes).forecast = Some(made);
            collectable
        }
    };
    let (found, healed, unhealed) = house.damage.counts();
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
