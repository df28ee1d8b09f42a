//! The process that opens the store and looks for what was acknowledged: `--step open`.

use std::io::{Read, Write, stdin};
use std::process::Stdio;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use stash_store::Store;

use crate::measure::object::{Object, Random};
use crate::measure::report::hand_back;
use crate::measure::{Outcome, process};
use crate::{Arguments, Kind, open_store};

/// Objects of the fill that are looked for, at random; all of them are counted.
const SAMPLE: u64 = 20_000;

/// Figures of an open.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Opened {
    pub(crate) seconds: f64,
    /// Before anything was read.
    pub(crate) peak_rss: u64,
    pub(crate) index_rebuilt: Option<String>,
    pub(crate) replayed: u64,
    pub(crate) torn_bytes: u64,
    pub(crate) objects: u64,
    pub(crate) log_bytes: u64,
    pub(crate) checked: u64,
}

/// Opens the store in a process of its own, which reads these numbers and objects of the fill.
pub(crate) fn ask(arguments: &Arguments, acknowledged: &[u64]) -> Outcome<Opened> {
    let mut command = process::again(&["--step".into(), "open".into()])?;
    let mut opener = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut pipe = opener.stdin.take().ok_or("no pipe")?;
    let sample = sample(arguments);
    let numbers = acknowledged.iter().chain(&sample).flat_map(|number| number.to_le_bytes());
    let told = pipe.write_all(&numbers.collect::<Vec<u8>>());
    drop(pipe);
    let output = opener.wait_with_output()?;
    if !output.status.success() {
        return Err(format!("the open ended with {}", output.status).into());
    }
    told?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn sample(arguments: &Arguments) -> Vec<u64> {
    let mut random = Random::of(arguments.seed, u64::MAX);
    (0..SAMPLE.min(arguments.objects)).map(|_| random.below(arguments.objects)).collect()
}

pub(crate) fn run(arguments: &Arguments) -> Outcome<()> {
    let start = Instant::now();
    let store = open_store(&arguments.store())?;
    let seconds = start.elapsed().as_secs_f64();
    let report = store.open_report();
    if !report.damage.is_empty() {
        return Err(format!("damage: {:?}", report.damage).into());
    }
    let mut opened = Opened {
        seconds,
        peak_rss: process::peak_rss()?,
        index_rebuilt: report.index_rebuilt.clone(),
        replayed: report.replayed,
        torn_bytes: report.torn_bytes,
        objects: arguments.kind.count(&store),
        log_bytes: store.stats().log_bytes,
        checked: 0,
    };
    opened.checked = check(&store, arguments)?;
    hand_back(&opened)
}

/// Reads every object whose number comes in. How many there were.
fn check(store: &Store, arguments: &Arguments) -> Outcome<u64> {
    let mut input = Vec::new();
    stdin().read_to_end(&mut input)?;
    let (numbers, _) = input.as_chunks::<8>();
    for number in numbers.iter().map(|bytes| u64::from_le_bytes(*bytes)) {
        let object = Object::new(arguments.seed, number, arguments.size);
        if !arguments.kind.is_there(store, object)? {
            return Err(format!("object {number} was acknowledged and is not there").into());
        }
    }
    Ok(numbers.len() as u64)
}

impl Kind {
    /// True if the store gives back exactly this object.
    pub(crate) fn is_there(self, store: &Store, object: Object) -> Outcome<bool> {
        match self {
            Kind::Record => {
                let found = store.record(&object.key)?;
                Ok(found.is_some_and(|found| found.bytes[..] == object.bytes))
            }
            Kind::Blob => {
                let blob = object.blob();
                let mut bytes = Vec::new();
                Ok(store.read_into(&blob.address(), &mut bytes)? && bytes == blob.bytes())
            }
        }
    }
}
