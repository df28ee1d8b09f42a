//! `cargo xtask packages`: what `cargo package` makes of the crates compiles, tests included, and each library
//! runs the example of its README in a new project.
//!
//! `cargo package` itself builds each package with all that it depends on once more. Here the packages make a
//! workspace of their own that shares the build directory, so that only they are compiled again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cargo_metadata::{Dependency, MetadataCommand, Package, Target};
use stash_harness::build::cargo;
use stash_harness::process::{build_in_view, run_in_view};
use stash_harness::report::Report;
use stash_harness::scratch;

use crate::tidy::names_crate;

/// The longest that an example may run, or an archive may take to be unpacked.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

pub(crate) fn run(report: &Report) -> Result<()> {
    let root = scratch::workspace();
    let metadata = MetadataCommand::new().current_dir(&root).no_deps().exec()?;
    let (packages, others): (Vec<&Package>, Vec<&Package>) =
        metadata.packages.iter().partition(|package| is_published(package));
    let started = Instant::now();
    let mut pack = cargo();
    pack.args(["package", "--workspace", "--allow-dirty", "--no-verify", "--quiet"]);
    pack.args(others.iter().flat_map(|other| ["--exclude", other.name.as_str()]));
    build_in_view(&mut pack)?;
    report.step("packed", &format!("{} crates", packages.len()), started.elapsed());

    let target = metadata.target_directory.as_std_path();
    let ground = ground(&root, target, &packages)?;
    let in_ground = |words: &[&str]| {
        let mut command = cargo();
        command.current_dir(&ground).args(words).arg("--target-dir").arg(target);
        command
    };
    let started = Instant::now();
    build_in_view(&mut in_ground(&["check", "--workspace", "--all-targets", "--quiet"]))?;
    report.step("compile", "all targets of the packages, tests included", started.elapsed());

    for library in packages.iter().filter(|package| is_library(package)) {
        let (started, project) = (Instant::now(), alone(library));
        build_in_view(&mut in_ground(&["build", "--package", &project, "--quiet"]))?;
        let mut example = in_ground(&["run", "--package", &project, "--quiet"]);
        run_in_view(example.stdout(Stdio::null()).stderr(Stdio::null()), PATIENCE)?;
        report.step(&library.name, "runs its example in a new project", started.elapsed());
    }
    report.line(format_args!("packages: {} crates are in order", packages.len()));
    Ok(())
}

fn is_published(package: &Package) -> bool {
    package.publish.as_ref().is_none_or(|registries| !registries.is_empty())
}

fn is_library(package: &Package) -> bool {
    package.targets.iter().any(Target::is_lib)
}

/// The name of the project that a library is used in.
fn alone(library: &Package) -> String {
    format!("{}-alone", library.name)
}

/// A workspace of the unpacked packages and of one project for each library, where nothing is left of an
/// earlier run.
fn ground(root: &Path, target: &Path, packages: &[&Package]) -> Result<PathBuf> {
    let directory = target.join("packages");
    if directory.exists() {
        fs::remove_dir_all(&directory).with_context(|| directory.display().to_string())?;
    }
    let unpacked = directory.join("unpacked");
    fs::create_dir_all(&unpacked).with_context(|| unpacked.display().to_string())?;
    let mut patches = String::new();
    for package in packages {
        let name = format!("{}-{}", package.name, package.version);
        let archive = target.join("package").join(format!("{name}.crate"));
        let mut unpack = Command::new("tar");
        run_in_view(unpack.arg("-xzf").arg(archive).arg("-C").arg(&unpacked), PATIENCE)?;
        writeln!(patches, "{} = {{ path = \"unpacked/{name}\" }}", package.name)?;
        if is_library(package) {
            project(&directory.join("alone").join(package.name.as_str()), package)
                .with_context(|| format!("a project for {}", package.name))?;
        }
    }
    let manifest = fs::read_to_string(root.join("Cargo.toml")).context("Cargo.toml")?;
    // The same profiles, so that nothing of the registry is built again.
    let profiles = manifest.find("\n[profile.").context("Cargo.toml has no profiles")?;
    let members = "[workspace]\nresolver = \"3\"\nmembers = [\"unpacked/*\", \"alone/*\"]";
    let manifest = format!("{members}\n\n[patch.crates-io]\n{patches}{}", &manifest[profiles..]);
    fs::write(directory.join("Cargo.toml"), manifest)?;
    fs::copy(root.join("Cargo.lock"), directory.join("Cargo.lock"))?;
    Ok(directory)
}

/// Writes a new project: the example that the README of the library names first is its program.
fn project(directory: &Path, library: &Package) -> Result<()> {
    let home = library.manifest_path.parent().context("a manifest without a directory")?;
    let readme = fs::read_to_string(home.join("README.md")).context("README.md")?;
    let name = example(&readme).context("README.md names no example")?;
    let example = library.targets.iter().find(|target| target.is_example() && target.name == name);
    let example = example.with_context(|| format!("there is no example {name}"))?;
    let source = fs::read_to_string(&example.src_path)?;
    fs::create_dir_all(directory.join("src"))?;
    fs::write(directory.join("src/main.rs"), &source)?;
    fs::write(directory.join("README.md"), readme)?;
    let manifest = format!(
        "[package]\nname = \"{}\"\nversion = \"0.0.0\"\nedition = \"{}\"\n\n[dependencies]\n{} = \"{}\"\n{}",
        alone(library),
        library.edition,
        library.name,
        library.version,
        dependencies(&source, &library.dependencies)
    );
    fs::write(directory.join("Cargo.toml"), manifest)?;
    Ok(())
}

/// The first example that a README says how to run, benches aside.
fn example(readme: &str) -> Option<&str> {
    let named = readme
        .split("--example ")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next());
    named.into_iter().find(|name| !name.starts_with("bench_"))
}

/// What a source names of the dependencies of its crate, each once with the features of all its entries.
fn dependencies(source: &str, all: &[Dependency]) -> String {
    let mut entries: BTreeMap<&str, (String, bool, BTreeSet<&str>)> = BTreeMap::new();
    for dependency in all.iter().filter(|d| names_crate(source, &d.name.replace('-', "_"))) {
        let entry = entries.entry(&dependency.name).or_default();
        entry.0 = dependency.req.to_string();
        entry.1 |= dependency.uses_default_features;
        entry.2.extend(dependency.features.iter().map(String::as_str));
    }
    let mut lines = String::new();
    for (name, (version, default, features)) in entries {
        let features: Vec<&str> = features.into_iter().collect();
        lines += &format!(
            "{name} = {{ version = \"{version}\", default-features = {default}, features = {features:?} }}\n"
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_the_first_that_is_no_bench() {
        let readme = "run\n`cargo run --release -p a --example bench_x` and\n`cargo run -p a --example seal`\n";
        assert_eq!(example(readme), Some("seal"));
        assert_eq!(example("cargo run -p a"), None);
    }
}
