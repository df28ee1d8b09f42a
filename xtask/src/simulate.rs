//! `cargo xtask simulate`: whole nodes in simulated time, one schedule for each seed; with a mutation,
//! on a copy of the sources in which one rule is taken out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use stash_harness::build::cargo;
use stash_harness::{process, scratch};

use crate::cli::SimulateArguments;

/// Ten thousand schedules on two slow cores.
const DEADLINE: Duration = Duration::from_secs(3 * 60 * 60);

/// Schedules in `ci`, of few nodes and of many: some seconds.
const SHORT: [(u64, Option<u8>); 2] = [(60, None), (1, Some(12))];

/// Where the copy of the sources lies, and what is built from it, under the workspace.
const COPY: &str = "target/simulate/sources";
const BUILT: &str = "target/simulate/target";

/// The test that runs schedules.
const TEST: &str = "schedules_lose_nothing_and_bring_nothing_back";

pub(crate) fn run(arguments: &SimulateArguments) -> Result<()> {
    let Some(name) = &arguments.mutation else {
        process::build_in_view(&mut simulation_build())?;
        return process::run_in_view(&mut simulation(arguments), DEADLINE);
    };
    let names = if name == "all" { mutations()? } else { vec![name.clone()] };
    let mut missed = Vec::new();
    for name in names {
        let sources = mutated(&name)?;
        let mut simulation = simulation(arguments);
        simulation.current_dir(&sources);
        simulation.env("CARGO_TARGET_DIR", scratch::workspace().join(BUILT));
        let mut build = simulation_build();
        build.current_dir(&sources).env("CARGO_TARGET_DIR", scratch::workspace().join(BUILT));
        process::build_in_view(&mut build)?;
        if process::run_in_view(&mut simulation, DEADLINE).is_ok() {
            missed.push(name);
        }
    }
    ensure!(missed.is_empty(), "nothing shows that these are missing: {}", missed.join(", "));
    Ok(())
}

/// The run that is a part of `ci`.
pub(crate) fn run_short() -> Result<()> {
    SHORT.into_iter().try_for_each(|(seeds, nodes)| {
        run(&SimulateArguments {
            seeds,
            seed: None,
            nodes,
            jobs: 1,
            mutation: None,
            trace: false,
            hashes: false,
        })
    })
}

fn simulation_build() -> Command {
    let mut build = cargo();
    build.args(["test", "--release", "--package", "stash-server", "--test", "simulate"]);
    build.arg("--no-run");
    build
}

fn simulation(arguments: &SimulateArguments) -> Command {
    let mut simulation = cargo();
    simulation
        .args(["test", "--release", "--package", "stash-server", "--test", "simulate", "--"])
        .args(["--nocapture", "--exact", TEST])
        .env("STASH_JOBS", arguments.jobs.to_string())
        .env("STASH_SEEDS", arguments.seeds.to_string());
    if let Some(seed) = arguments.seed {
        simulation.env("STASH_SEED", seed.to_string());
    }
    if let Some(nodes) = arguments.nodes {
        simulation.env("STASH_NODES", nodes.to_string());
    }
    if arguments.trace {
        simulation.env("STASH_TRACE", "1");
    }
    if arguments.hashes {
        simulation.env("STASH_HASHES", "1");
    }
    if arguments.mutation.is_some() {
        simulation.env("STASH_FIRST", "1");
    }
    simulation
}

fn patches() -> PathBuf {
    scratch::workspace().join("xtask/mutations")
}

/// The names of all mutations.
fn mutations() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(patches())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "patch") {
            let name = path.file_stem().context("a patch has a name")?;
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// A copy of the sources with a mutation applied.
fn mutated(name: &str) -> Result<PathBuf> {
    let patch = patches().join(format!("{name}.patch"));
    if !patch.is_file() {
        bail!("there is no mutation {name}; there are: {}", mutations()?.join(" "));
    }
    let (workspace, copy) = (scratch::workspace(), scratch::workspace().join(COPY));
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(&workspace).output()?;
    ensure!(listed.status.success(), "git lists no files");
    for file in String::from_utf8(listed.stdout)?.split_terminator('\0') {
        copy_file(&workspace.join(file), &copy.join(file)).with_context(|| file.to_owned())?;
    }
    process::run_in_view(&mut apply(&patch, &copy), Duration::from_secs(60))?;
    Ok(copy)
}

/// What is equal is left alone, so that it need not be built again.
fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let Ok(bytes) = fs::read(from) else {
        // Removed, and not committed yet.
        return Ok(());
    };
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    fs::create_dir_all(to.parent().context("a file is in a directory")?)?;
    Ok(fs::write(to, bytes)?)
}

/// Applies a patch to a directory as if that were no part of a repository.
fn apply(patch: &Path, to: &Path) -> Command {
    let mut apply = Command::new("git");
    apply.arg("apply").arg(patch).current_dir(to);
    apply.env("GIT_CEILING_DIRECTORIES", to.parent().unwrap_or(to));
    apply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutation_fits_the_sources() {
        let names = mutations().unwrap();
        assert!(names.len() >= 6, "{names:?}");
        for name in names {
            let mut check = Command::new("git");
            check.args(["apply", "--check"]).arg(patches().join(format!("{name}.patch")));
            let output = check.current_dir(scratch::workspace()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name}: {said}");
        }
    }
}
