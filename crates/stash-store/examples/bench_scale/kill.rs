//! Starts a process that writes, and kills it in the middle.

use std::io::{BufRead, BufReader, Read};
use std::process::{ChildStdout, Stdio};

use crate::Arguments;
use crate::fill::Filled;
use crate::measure::object::Random;
use crate::measure::{Outcome, process};

/// A writer is killed after it was acknowledged from this many objects,
const FEWEST: u64 = 1000;
/// to this many: at 1 KiB, past one checkpoint of the index.
const MOST: u64 = 20_000;

/// State that a killed writer had reported.
pub(crate) struct Killed {
    pub(crate) filled: Filled,
    /// Numbers of the objects that were acknowledged after the fill.
    pub(crate) acknowledged: Vec<u64>,
}

/// The first writer fills the store; the others go on where no writer has been.
pub(crate) fn run(arguments: &Arguments, round: u64) -> Outcome<Killed> {
    let objects = if round == 0 { arguments.objects } else { 0 };
    let first = if round == 0 { 0 } else { arguments.objects + (round << 32) };
    let more = ["--step", "fill", "--objects", &objects.to_string(), "--first", &first.to_string()];
    let mut command = process::again(&more.map(Into::into))?;
    let mut writer = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut pipe = BufReader::new(writer.stdout.take().ok_or("no pipe")?);
    let wanted = FEWEST + Random::of(arguments.seed, round).below(MOST - FEWEST);
    let heard = listen(&mut pipe, wanted);
    writer.kill()?;
    let status = writer.wait()?;
    let (filled, mut acknowledged) =
        heard.map_err(|error| format!("the writer ended with {status}: {error}"))?;
    let mut rest = Vec::new();
    pipe.read_to_end(&mut rest)?;
    let (numbers, cut) = rest.as_chunks::<8>();
    if !cut.is_empty() {
        return Err("a number was cut in the pipe".into());
    }
    acknowledged.extend(numbers.iter().map(|bytes| u64::from_le_bytes(*bytes)));
    Ok(Killed { filled, acknowledged })
}

fn listen(pipe: &mut BufReader<ChildStdout>, wanted: u64) -> Outcome<(Filled, Vec<u64>)> {
    let mut line = String::new();
    pipe.read_line(&mut line)?;
    let filled = serde_json::from_str(&line)?;
    let mut acknowledged = Vec::new();
    for _ in 0..wanted {
        let mut bytes = [0; 8];
        pipe.read_exact(&mut bytes)?;
        acknowledged.push(u64::from_le_bytes(bytes));
    }
    Ok((filled, acknowledged))
}
