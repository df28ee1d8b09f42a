//! `cargo xtask powercut`: real power cuts, on file systems of their own, and what a store makes of them.
//!
//! A store lies on a file system in an image file. Its user (`examples/powercut` of `stash-store`) is stopped at a
//! system call, the image is kept as it is at that instant, mounted again, and asked for everything that was
//! acknowledged. All of that happens in a mount and process namespace of its own: when its first process ends, however
//! it ends, the kernel ends the others, unmounts, and frees the loop devices.

mod arguments;
mod cut;
mod inside;
mod needs;
mod series;
mod traced;
mod volume;

use std::ffi::OsString;
use std::fmt::Display;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{Owned, wait_until};
use crate::report::{Report, complain};
use crate::scratch::RunDirectory;
use crate::{build, guard, interrupt, tools, tree};

pub use arguments::{FileSystem, Journal, PowercutArguments};
pub(crate) use inside::run as run_inside;

/// The longest that one cut may take, with all that belongs to it; a second is usual.
const CUT: Duration = Duration::from_secs(30);

/// Arguments that make the namespace: see the module.
const NAMESPACE: &[&str] = &["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// Cuts the power as often as asked, and tells what stores kept.
///
/// # Errors
///
/// If a store lost something, or power cannot be cut here and nobody allowed that.
pub fn run(arguments: &PowercutArguments) -> Result<()> {
    let report = Report::text();
    let seed = tree::seed(arguments.seed);
    report.line(format_args!("powercut, seed {seed}"));
    let Some(file_systems) = available(arguments)? else {
        return Ok(());
    };
    let program = build::powercut(&report)?;
    let mut directory = RunDirectory::create()?;
    // From here on the kernel ends what is inside with this process, even with a SIGKILL.
    let mut command = guard::command(tools::command("unshare").get_program().as_ref());
    command.args(NAMESPACE).arg(std::env::current_exe()?).arg("powercut-inside");
    command.arg(&directory.path).arg(&program).args(asked(arguments, &file_systems, seed));
    let series = file_systems.len() * arguments.journal.len();
    let cuts = u32::try_from(series)? * (arguments.cuts + arguments.at.unwrap_or_default());
    let mut inside = Owned::spawn(command.stdin(Stdio::null()))?;
    match wait_until(&mut inside, Instant::now() + CUT * (cuts + 1)) {
        Ok(status) if status.success() => directory.keep(false),
        Ok(status) => {
            bail!("powercut does not hold ({status}); kept: {}", directory.path.display())
        }
        Err(error) => {
            inside.kill()?;
            directory.keep(!interrupt::requested());
            return Err(error).context("powercut");
        }
    }
    report.line("powercut held");
    for fs in arguments.fs.iter().filter(|fs| !file_systems.contains(fs)) {
        complain(&format!("powercut: NOT SHOWN on {fs}, which was allowed to be missing"));
    }
    Ok(())
}

/// The file systems that can be cut, after everything that is missing was told. `None` if nothing can be cut at all,
/// and that is allowed.
fn available(arguments: &PowercutArguments) -> Result<Option<Vec<FileSystem>>> {
    let missing = needs::missing(&arguments.fs);
    for need in &missing {
        complain(&format!("powercut: MISSING {need}"));
    }
    let allowed =
        |need: &&needs::Need| arguments.allow_missing.iter().any(|name| name == need.name);
    let names: Vec<&str> =
        missing.iter().filter(|need| !allowed(need)).map(|need| need.name).collect();
    if !names.is_empty() {
        let names = names.join(",");
        bail!("power cuts are NOT SHOWN here; to go on without: --allow-missing {names}");
    }
    let absent = |fs: &FileSystem| missing.iter().any(|need| need.name == fs.name());
    let general =
        missing.iter().any(|need| FileSystem::ALL.iter().all(|fs| fs.name() != need.name));
    let left: Vec<FileSystem> = arguments.fs.iter().copied().filter(|fs| !absent(fs)).collect();
    if general || left.is_empty() {
        complain("powercut: NOTHING WAS CUT: what is missing was allowed to be missing");
        return Ok(None);
    }
    Ok(Some(left))
}

fn asked(arguments: &PowercutArguments, file_systems: &[FileSystem], seed: u64) -> Vec<OsString> {
    let mut words = vec![format!("--cuts={}", arguments.cuts), format!("--seed={seed}")];
    words.extend(arguments.at.map(|at| format!("--at={at}")));
    words.push(format!("--fs={}", list(file_systems)));
    words.push(format!("--journal={}", list(&arguments.journal)));
    words.into_iter().map(OsString::from).collect()
}

fn list(items: &[impl Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
