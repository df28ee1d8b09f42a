//! `cargo xtask ci`: everything that must hold, in order, stopping at the first thing that does not.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::build::cargo;
use crate::cli::ClusterArguments;
use crate::report::{Report, seconds};
use crate::{cluster, interrupt, process, races, simulate, tidy};

/// The longest that one step may take; all of them together take less than half an hour on two cores.
const STEP: Duration = Duration::from_secs(25 * 60);

/// The longest that an example of a library may run.
const EXAMPLE: Duration = Duration::from_secs(5 * 60);

/// The libraries, each of which must build and show itself alone.
const LIBRARIES: &[&str] =
    &["stash-crypto", "stash-store", "stash-p2p", "stash-server", "stash-vault"];

type Step = (String, Box<dyn Fn(&Report) -> Result<()>>);

pub(crate) fn run(report: &Report) -> Result<()> {
    let begun = Instant::now();
    let mut table = vec![];
    let steps = steps();
    for (name, step) in &steps {
        report.line(format_args!("\n== {name}"));
        let started = Instant::now();
        let outcome = step(report);
        table.push((name.as_str(), outcome.is_ok(), started.elapsed()));
        if let Err(error) = outcome {
            summary(report, &table, begun.elapsed());
            return Err(error).with_context(|| format!("step \"{name}\" failed"));
        }
        interrupt::check()?;
    }
    summary(report, &table, begun.elapsed());
    Ok(())
}

fn steps() -> Vec<Step> {
    let mut steps: Vec<Step> = vec![
        simple("fmt", &["fmt", "--all", "--check"]),
        simple("clippy", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        tests(),
        simple("doc tests", &["test", "--workspace", "--doc"]),
        ("races".into(), Box::new(|_| races::run_short())),
        ("simulate".into(), Box::new(|_| simulate::run_short())),
        ("docs".into(), Box::new(|_| docs())),
        ("tidy".into(), Box::new(tidy::run)),
    ];
    for name in LIBRARIES {
        steps.push((format!("{name} alone"), Box::new(move |_| alone(name))));
    }
    steps.push(("tour".into(), Box::new(|_| tour())));
    steps
}

fn simple(name: &str, arguments: &'static [&'static str]) -> Step {
    (name.into(), Box::new(move |_| process::run_in_view(cargo().args(arguments), STEP)))
}

/// nextest where it is installed, the plain runner elsewhere: the same tests.
fn tests() -> Step {
    let nextest = cargo()
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if nextest {
        simple("tests (nextest)", &["nextest", "run", "--workspace", "--no-fail-fast"])
    } else {
        simple(
            "tests",
            &["test", "--workspace", "--lib", "--bins", "--tests", "--examples", "--no-fail-fast"],
        )
    }
}

fn docs() -> Result<()> {
    let mut doc = cargo();
    doc.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-Dwarnings");
    process::run_in_view(&mut doc, STEP)
}

/// Checks a library with the features that it alone asks for, and runs each of its examples but the
/// benches, whose figures mean nothing beside other work.
fn alone(name: &str) -> Result<()> {
    process::run_in_view(cargo().args(["check", "--package", name]), STEP)?;
    for example in examples(name)? {
        let mut run = cargo();
        run.args(["run", "--package", name, "--example", &example]);
        process::run_in_view(&mut run, EXAMPLE).with_context(|| format!("example {example}"))?;
    }
    Ok(())
}

fn examples(name: &str) -> Result<Vec<String>> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .current_dir(crate::scratch::workspace())
        .no_deps()
        .exec()?;
    let package = metadata.packages.iter().find(|package| package.name.as_str() == name);
    let package = package.with_context(|| format!("the workspace has no {name}"))?;
    let examples = package.targets.iter().filter(|target| target.is_example());
    let examples = examples.filter(|target| !target.name.starts_with("bench_"));
    Ok(examples.map(|target| target.name.clone()).collect())
}

fn tour() -> Result<()> {
    let arguments = ClusterArguments {
        nodes: 3,
        tour: true,
        keep: false,
        json: false,
        files: None,
        seed: None,
    };
    cluster::run(&arguments)
}

fn summary(report: &Report, table: &[(&str, bool, Duration)], total: Duration) {
    report.line(format_args!("\n{:<24} {:<8} {:>10}", "step", "result", "time"));
    for (name, held, took) in table {
        let result = if *held { "ok" } else { "FAILED" };
        report.line(format_args!("{name:<24} {result:<8} {:>10}", seconds(*took)));
    }
    report.line(format_args!("{:<24} {:<8} {:>10}", "total", "", seconds(total)));
}
