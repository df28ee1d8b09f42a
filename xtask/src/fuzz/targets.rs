//! Which fuzz targets there are: one file each in `crates/*/fuzz/fuzz_targets`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A function that a fuzzer calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) name: String,
    /// The directory of the fuzz package that has it.
    pub(super) package: PathBuf,
}

/// All targets, package by package. A name is used once: they share a build directory.
pub(super) fn all(root: &Path) -> Result<Vec<Target>> {
    let mut targets = vec![];
    for directory in entries(&root.join("crates"))? {
        let package = directory.join("fuzz");
        if !package.join("Cargo.toml").exists() {
            continue;
        }
        for file in entries(&package.join("fuzz_targets"))? {
            let name = file.file_stem().and_then(|stem| stem.to_str());
            let name = name.with_context(|| file.display().to_string())?.to_owned();
            if !package.join("corpus").join(&name).is_dir() {
                bail!("the target {name} has no inputs in {}/corpus", package.display());
            }
            targets.push(Target { name, package: package.clone() });
        }
    }
    let mut names = BTreeSet::new();
    match targets.iter().find(|target| !names.insert(&target.name)) {
        Some(twice) => bail!("two targets are called {}", twice.name),
        None => Ok(targets),
    }
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// Those that were asked for, by their names or the names of their crates; all if none was.
pub(super) fn choose(all: Vec<Target>, wanted: &[String]) -> Result<Vec<Target>> {
    let means = |target: &Target, word: &String| {
        target.name == *word
            || target.package.parent().is_some_and(|directory| directory.ends_with(word))
    };
    if let Some(word) = wanted.iter().find(|word| !all.iter().any(|target| means(target, word))) {
        let names: Vec<_> = all.iter().map(|target| &target.name[..]).collect();
        bail!("there is no target {word}; there are: {}", names.join(", "));
    }
    let chosen = |target: &Target| wanted.is_empty() || wanted.iter().any(|w| means(target, w));
    Ok(all.into_iter().filter(chosen).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use stash_harness::scratch;

    #[test]
    fn targets_are_chosen_by_their_names_and_by_their_crates() {
        let all = all(&scratch::workspace()).unwrap();
        let choose = |word: &str| choose(all.clone(), &[word.to_owned()]);
        assert_eq!(choose("record").unwrap().len(), 1);
        assert!(choose("stash-crypto").unwrap().len() > 10);
        let error = choose("recrod").unwrap_err().to_string();
        assert!(error.contains("no target recrod") && error.contains("record"), "{error}");
    }
}
