//! Chunk files that go away from under nodes and come back: some of them, all of them, or their
//! directory, on one machine or on all at once. Nothing is lost by it, so the model hears nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stash_server::store::{Disk, MemDisk};
use tokio::time::sleep;

use crate::world::World;

/// Seeds that have it: all that leave the second number when divided by the first. The others are
/// the schedules that they were before. Two of them also have guests or members that change.
const SEEDS: (u64, u64) = (5, 2);

/// After everything is back, nodes take back by themselves what they took for lost: whatever was
/// found damaged is looked at every ten minutes.
const TAKEN_BACK: Duration = Duration::from_secs(1_300);

/// A thief that takes files away in one schedule. It draws from its own numbers.
pub(crate) struct Thief(StdRng);

impl Thief {
    pub(crate) fn of(seed: u64, year: bool) -> Option<Thief> {
        let (every, rest) = SEEDS;
        let comes = seed % every == rest && !year;
        comes.then(|| Thief(StdRng::seed_from_u64(seed ^ 0x0074_6869_6566)))
    }
}

fn chunks() -> PathBuf {
    Path::new("/store/chunks").to_owned()
}

impl World {
    /// May take something away, or bring something back.
    pub(crate) fn visit(&mut self) {
        let Some(mut thief) = self.thief.take() else { return };
        let random = &mut thief.0;
        if random.random_bool(0.2) {
            let present = self.present();
            let one = present[random.random_range(0..present.len())];
            let all = random.random_bool(0.5);
            for at in present.into_iter().filter(|at| all || *at == one) {
                let disk = self.machines[at].disk.clone();
                let what = if disk.hidden().is_empty() {
                    *self.taken.entry(at).or_default() += 1;
                    take(&disk, random)
                } else {
                    bring_back(&disk);
                    "brought back"
                };
                self.trace.line(&format!("chunk files of {at}: {what}"));
            }
        }
        self.thief = Some(thief);
    }

    /// Everything is where it was, and time enough has passed for nodes to see it.
    pub(crate) async fn all_is_back(&mut self) {
        if self.thief.take().is_none() {
            return;
        }
        self.machines.iter().for_each(|machine| bring_back(&machine.disk));
        self.trace.line("all chunk files are back");
        self.run_all().await;
        sleep(TAKEN_BACK).await;
    }
}

fn take(disk: &MemDisk, random: &mut StdRng) -> &'static str {
    if random.random_bool(0.4) {
        if disk.hide(&chunks()).is_err() {
            return "there is no directory";
        }
        if random.random_bool(0.5) && disk.create_dir(&chunks()).is_ok() {
            return "an empty directory in their place";
        }
        return "no directory";
    }
    let is_chunk = |path: &PathBuf| path.starts_with(chunks()) && !path.ends_with("store-id");
    let files = disk.files().into_iter().map(|(path, _)| path).filter(is_chunk);
    for path in files.collect::<Vec<_>>() {
        if random.random_bool(0.8) {
            disk.hide(&path).expect("a file that was listed");
        }
    }
    "some are gone"
}

fn bring_back(disk: &MemDisk) {
    for path in disk.hidden() {
        // What was not synced, a power cut may have taken with its directory.
        let _ = disk.show(&path);
    }
}
