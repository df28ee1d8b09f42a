//! `cargo xtask tidy`: the shape of the workspace, checked from its files and `cargo metadata`.

mod circles;
mod cited;
mod edges;
mod files;
mod findings;
mod floors;
mod links;
mod manifests;
mod pages;
mod replay;
mod unused;
mod words;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use cargo_metadata::MetadataCommand;
use stash_harness::report::Report;
use stash_harness::scratch;

use findings::Findings;
pub(crate) use unused::names as names_crate;

pub(crate) fn run(report: &Report) -> Result<()> {
    let root = scratch::workspace();
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("cargo metadata failed")?;
    let tracked = tracked(&root)?;
    let mut findings = Findings::default();
    edges::check(&edges::of(&metadata), &mut findings);
    manifests::check(&metadata, &mut findings)?;
    files::check(&root, &tracked, &metadata, &mut findings)?;
    words::check(&root, &tracked, &mut findings)?;
    links::check(&root, &tracked, &mut findings)?;
    replay::check(&root, &tracked, &mut findings)?;
    cited::check(&root, &tracked, &mut findings)?;
    unused::check(&root, &tracked, &metadata, &mut findings)?;
    circles::check(&root, &tracked, &metadata, &mut findings)?;
    floors::check(&root, &tracked, &metadata, &mut findings)?;
    pages::check(&root, &tracked, &metadata, &mut findings)?;
    for note in &findings.notes {
        report.line(format_args!("note: {note}"));
    }
    for problem in &findings.problems {
        report.line(format_args!("problem: {problem}"));
    }
    if !findings.problems.is_empty() {
        bail!("tidy found {} problems", findings.problems.len());
    }
    let packages = metadata.packages.len();
    report.line(format_args!("tidy: {packages} crates and {} files are in order", tracked.len()));
    Ok(())
}

/// Files of the repository, relative to its root: tracked ones and new ones that nothing ignores.
fn tracked(root: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("git ls-files failed")?;
    if !output.status.success() {
        bail!("git ls-files failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let names = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    let mut paths: Vec<PathBuf> =
        names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect();
    paths.retain(|path| root.join(path).is_file());
    paths.sort();
    paths.dedup();
    Ok(paths)
}
