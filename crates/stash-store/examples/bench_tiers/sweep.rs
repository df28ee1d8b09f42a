//! The order in which everything is run.

use std::path::Path;

use clap::ValueEnum;

use crate::measure::ballast::ballast;
use crate::measure::place::Place;
use crate::measure::report::Report;
use crate::measure::{MIB, Outcome, median, process};
use crate::{Arguments, INLINE_KIB, Step, TIERS_KIB, Trial, bytes_of};

/// Ballast in sizes of what is stored: the bytes themselves, index, directories.
const BALLAST_COPIES: u64 = 2;

/// Ballast for a record beside its inline bytes.
const RECORD_BALLAST: u64 = 1024;

/// Content that fits into a record beside everything else that is in it.
const MOST_INLINE_KIB: u64 = 32;

/// All trials with blobs of one size.
pub(crate) struct Row {
    pub(crate) kib: u64,
    trials: Vec<(Step, Trial)>,
}

impl Row {
    /// The median over the rounds of one figure of a step.
    pub(crate) fn middle(&self, step: Step, figure: impl Fn(&Trial) -> f64) -> f64 {
        median(self.of(step).map(figure).collect())
    }

    pub(crate) fn of(&self, step: Step) -> impl Iterator<Item = &Trial> {
        self.trials.iter().filter(move |(of, _)| *of == step).map(|(_, trial)| trial)
    }

    pub(crate) fn trials(&self) -> impl Iterator<Item = &Trial> {
        self.trials.iter().map(|(_, trial)| trial)
    }
}

pub(crate) fn tiers(arguments: &Arguments, report: Report) -> Outcome<Vec<Row>> {
    let sides: &[&[Step]] = &[&[Step::PutLog, Step::ReadLog], &[Step::PutFile, Step::ReadFile]];
    let bytes = |_| BALLAST_COPIES * arguments.mib * MIB;
    sweep(arguments, report, arguments.sizes(&TIERS_KIB), sides, bytes)
}

pub(crate) fn sync(arguments: &Arguments, report: Report) -> Outcome<Vec<Row>> {
    let sides: &[&[Step]] = &[&[Step::SyncEach], &[Step::Syncfs], &[Step::SyncfsTwice]];
    let bytes = |_| BALLAST_COPIES * arguments.mib * MIB;
    sweep(arguments, report, arguments.sizes(&TIERS_KIB), sides, bytes)
}

pub(crate) fn inline(arguments: &Arguments, report: Report) -> Outcome<Vec<Row>> {
    let sides: &[&[Step]] = &[&[Step::RecordInline], &[Step::RecordBlob]];
    let bytes = |kib| BALLAST_COPIES * arguments.records * (bytes_of(kib) + RECORD_BALLAST);
    let mut sizes = arguments.sizes(&INLINE_KIB);
    sizes.retain(|kib| *kib <= MOST_INLINE_KIB);
    sweep(arguments, report, sizes, sides, bytes)
}

/// For each size, the sides take turns in each round, and another one begins. The steps of a side
/// follow each other.
fn sweep(
    arguments: &Arguments,
    report: Report,
    sizes: Vec<u64>,
    sides: &[&[Step]],
    ballast_bytes: impl Fn(u64) -> u64,
) -> Outcome<Vec<Row>> {
    let place = Place::new(&arguments.dir)?;
    let mut rows = Vec::new();
    for kib in sizes {
        let mut row = Row { kib, trials: Vec::new() };
        for round in 0..arguments.rounds {
            for turn in 0..sides.len() {
                ballast(&arguments.dir, ballast_bytes(kib))?;
                let n = (round + turn) % sides.len();
                let dir = place.side(&format!("{kib}-{n}"), round);
                for step in sides[n] {
                    row.trials.push((*step, one(*step, kib, &dir)?));
                }
            }
        }
        report.line(format_args!("{kib} KiB: {} rounds", arguments.rounds));
        rows.push(row);
    }
    Ok(rows)
}

/// Runs one step in a process of its own.
fn one(step: Step, kib: u64, dir: &Path) -> Outcome<Trial> {
    let name = step.to_possible_value().ok_or("no name")?.get_name().to_owned();
    let bytes = bytes_of(kib).to_string();
    let place = dir.as_os_str().to_owned();
    process::ask(&[
        "--step".into(),
        name.into(),
        "--bytes".into(),
        bytes.into(),
        "--place".into(),
        place,
    ])
}
