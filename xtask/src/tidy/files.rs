//! Files that must exist, and files that grew too long.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::Metadata;

use crate::tidy::Findings;

/// Documents that the project promises.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "docs/architecture.md",
    "docs/changelog.md",
    "docs/decisions",
    "docs/format.md",
    "docs/operating.md",
    "docs/protocol.md",
    "docs/testing.md",
    "docs/threat-model.md",
];

/// Lines of a source file without its tests; the house figure, reported and not enforced.
const LINES: usize = 600;

pub(super) fn check(
    root: &Path,
    tracked: &[PathBuf],
    metadata: &Metadata,
    findings: &mut Findings,
) -> Result<()> {
    for document in DOCUMENTS {
        if !root.join(document).exists() {
            findings.problem(format!("{document} does not exist"));
        }
    }
    for package in &metadata.packages {
        let is_library = package.targets.iter().any(cargo_metadata::Target::is_lib);
        let directory = package.manifest_path.parent().context("a manifest without a directory")?;
        if is_library {
            if !directory.join("README.md").exists() {
                findings.problem(format!("{} has no README.md", package.name));
            }
            if !package.targets.iter().any(cargo_metadata::Target::is_example) {
                findings.problem(format!("{} has no example", package.name));
            }
        }
    }
    for path in tracked.iter().filter(|path| path.extension().is_some_and(|e| e == "rs")) {
        let text =
            fs::read_to_string(root.join(path)).with_context(|| path.display().to_string())?;
        let lines = without_tests(&text);
        if lines > LINES {
            findings.note(format!("{} has {lines} lines without its tests", path.display()));
        }
    }
    Ok(())
}

/// Lines before the module of unit tests, which closes a file.
fn without_tests(source: &str) -> usize {
    let lines: Vec<&str> = source.lines().collect();
    let tests =
        lines.windows(2).position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod "));
    tests.unwrap_or(lines.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_tests_do_not_count_as_length() {
        assert_eq!(without_tests("a\nb\n#[cfg(test)]\nmod tests {\n}\n"), 2);
        assert_eq!(without_tests("a\n#[cfg(test)]\nfn only_in_tests() {}\nb\n"), 4);
    }
}
