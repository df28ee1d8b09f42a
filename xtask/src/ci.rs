//! `cargo xtask ci`: everything that must hold, in order, stopping at the first thing that does not.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use stash_harness::build::cargo;
use stash_harness::chaos::{self, Chaos};
use stash_harness::report::{Report, seconds};
use stash_harness::{interrupt, process, scratch};

use crate::cli::ClusterArguments;
use crate::{cluster, races, simulate, tidy};

/// The longest that all tests together may run, once they are built: a quarter of an hour on two slow
/// cores. `.config/nextest.toml` limits each of them; the plain runner cannot.
const TESTS: Duration = Duration::from_secs(2 * 60 * 60);

/// The longest that an example of a library may run.
const EXAMPLE: Duration = Duration::from_secs(15 * 60);

/// The libraries, each of which must build and show itself alone.
const LIBRARIES: &[&str] = &[
    "stash-crypto",
    "stash-disk",
    "stash-runs",
    "stash-store",
    "stash-p2p",
    "stash-server",
    "stash-vault",
    "stash-api",
    "stash-fuzz",
];

/// One thing that must hold.
struct Step {
    name: String,
    work: Work,
}

/// The work of a step.
enum Work {
    /// Cargo commands, in order.
    Cargo(Vec<Task>),
    /// A task of xtask, which builds before it runs anything as well.
    Own(fn(&Report) -> Result<()>),
}

/// A cargo command.
struct Task {
    arguments: Vec<String>,
    variables: &'static [(&'static str, &'static str)],
    /// None for what only compiles.
    limit: Option<Duration>,
}

pub(crate) fn run(report: &Report) -> Result<()> {
    let begun = Instant::now();
    let mut table = vec![];
    let steps = steps()?;
    for Step { name, work } in &steps {
        report.line(format_args!("\n== {name}"));
        let started = Instant::now();
        let outcome = work.run(report);
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

impl Work {
    fn run(&self, report: &Report) -> Result<()> {
        match self {
            Self::Cargo(tasks) => tasks.iter().try_for_each(Task::run),
            Self::Own(run) => run(report),
        }
    }
}

impl Task {
    /// A command that compiles. Of what it made, it runs the examples of the documentation at most.
    fn build(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
        Self { arguments, variables: &[], limit: None }
    }

    /// A command that runs what the one before has built.
    fn test(arguments: &[&str], limit: Duration) -> Self {
        Self { limit: Some(limit), ..Self::build(arguments) }
    }

    fn run(&self) -> Result<()> {
        let mut command = cargo();
        command.args(&self.arguments).envs(self.variables.iter().copied());
        let done = match self.limit {
            None => process::build_in_view(&mut command),
            Some(limit) => process::run_in_view(&mut command, limit),
        };
        done.with_context(|| format!("cargo {}", self.arguments.join(" ")))
    }
}

fn steps() -> Result<Vec<Step>> {
    let own = |name: &str, run| Step { name: name.into(), work: Work::Own(run) };
    let mut steps = vec![
        cargo_step("fmt", vec![Task::build(&["fmt", "--all", "--check"])]),
        cargo_step("clippy", vec![Task::build(CLIPPY)]),
        tests(has_nextest()),
        doc_tests(),
        own("races", |_| races::run_short()),
        own("simulate", |_| simulate::run_short()),
        docs(),
        own("tidy", tidy::run),
    ];
    for name in LIBRARIES {
        steps.push(alone(name, &examples(name)?));
    }
    steps.push(own("tour", |_| tour()));
    steps.push(own("members", |_| members()));
    Ok(steps)
}

const CLIPPY: &[&str] = &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];

fn cargo_step(name: &str, tasks: Vec<Task>) -> Step {
    Step { name: name.into(), work: Work::Cargo(tasks) }
}

fn has_nextest() -> bool {
    let version =
        cargo().args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// nextest where it is installed, the plain runner elsewhere: the same tests.
fn tests(nextest: bool) -> Step {
    let (name, words): (_, &[&str]) = match nextest {
        true => ("tests (nextest)", &["nextest", "run", "--workspace"]),
        false => ("tests", &["test", "--workspace", "--lib", "--bins", "--tests", "--examples"]),
    };
    let build = Task::build(&[words, &["--no-run"]].concat());
    cargo_step(name, vec![build, Task::test(&[words, &["--no-fail-fast"]].concat(), TESTS)])
}

fn doc_tests() -> Step {
    let words = ["test", "--workspace", "--doc"];
    // They are compiled as they are run: no limit that a compiler could meet.
    cargo_step("doc tests", vec![Task::build(&words)])
}

fn docs() -> Step {
    let doc = Task::build(&["doc", "--workspace", "--no-deps"]);
    cargo_step("docs", vec![Task { variables: &[("RUSTDOCFLAGS", "-Dwarnings")], ..doc }])
}

/// Checks a library and its examples with the features that it alone asks for, and runs each of them but
/// the benches, whose figures mean nothing beside other work: as the workspace has built them, since to
/// build everything below them once more takes minutes and shows nothing that the check does not.
fn alone(name: &str, examples: &[String]) -> Step {
    let mut tasks = vec![Task::build(&["check", "--package", name, "--lib", "--examples"])];
    for example in examples {
        let which = ["--example", example];
        tasks.push(Task::build(&[&["build"], &which[..]].concat()));
        tasks.push(Task::test(&[&["run"], &which[..]].concat(), EXAMPLE));
    }
    cargo_step(&format!("{name} alone"), tasks)
}

fn examples(name: &str) -> Result<Vec<String>> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .current_dir(scratch::workspace())
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

fn members() -> Result<()> {
    chaos::run(&Chaos::Members { members: 64, seconds: 5, untimed: true, seed: None })
}

fn summary(report: &Report, table: &[(&str, bool, Duration)], total: Duration) {
    report.line(format_args!("\n{:<24} {:<8} {:>10}", "step", "result", "time"));
    for (name, held, took) in table {
        let result = if *held { "ok" } else { "FAILED" };
        report.line(format_args!("{name:<24} {result:<8} {:>10}", seconds(*took)));
    }
    report.line(format_args!("{:<24} {:<8} {:>10}", "total", "", seconds(total)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run that has a limit comes right after the build, without one, of the same targets.
    #[test]
    fn whatever_has_a_limit_was_built_before_without_one() {
        let steps = [tests(true), tests(false), doc_tests(), docs(), alone("l", &["e".into()])];
        let mut limited = 0;
        for Step { name, work } in steps {
            let Work::Cargo(tasks) = work else { panic!("{name}") };
            for (at, task) in tasks.iter().enumerate().filter(|(_, task)| task.limit.is_some()) {
                let build = &tasks[at.checked_sub(1).expect("a build comes first")];
                assert_eq!(build.limit, None, "{name}");
                let targets = |task: &Task| {
                    let verbs = ["nextest", "run", "build", "test", "--no-run", "--no-fail-fast"];
                    let words =
                        task.arguments.iter().filter(|word| !verbs.contains(&word.as_str()));
                    words.cloned().collect::<Vec<_>>()
                };
                assert_eq!(targets(build), targets(task), "{name}");
                let builds = ["--no-run", "build"];
                assert!(
                    build.arguments.iter().any(|word| builds.contains(&word.as_str())),
                    "{name}"
                );
                limited += 1;
            }
        }
        assert_eq!(limited, 3);
    }
}
