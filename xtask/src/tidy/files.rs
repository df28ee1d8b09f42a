//! Files that must exist, and sources that grew too long.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::Metadata;

use crate::tidy::findings::Findings;

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

/// Lines of a source at most, its unit tests not counted: what is longer does more than one thing.
const SOURCE: usize = 500;

/// Lines of a file with tests, or of an example: a longer one is worth a note.
const TEST: usize = 600;

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
        measure(path, &text, findings);
    }
    Ok(())
}

fn measure(path: &Path, text: &str, findings: &mut Findings) {
    let lines = without_tests(text).lines().count();
    let is_source = is_source(path);
    let most = if is_source { SOURCE } else { TEST };
    if lines <= most {
        return;
    }
    let said = format!(
        "{} has {lines} lines without its tests, more than {most}: split it by what it is about",
        path.display()
    );
    match is_source {
        true => findings.problem(said),
        false => findings.note(said),
    }
}

/// True for a file under the `src` of a crate, unless all of it is tests.
fn is_source(path: &Path) -> bool {
    if path.ends_with("tests.rs") {
        return false;
    }
    let parts: Vec<_> = path.components().map(|part| part.as_os_str()).collect();
    match &parts[..] {
        [krate, src, ..] if *krate == "xtask" => *src == "src",
        [crates, _, src, ..] => *crates == "crates" && *src == "src",
        _ => false,
    }
}

/// The source without modules of unit tests that stand in the file itself.
pub(super) fn without_tests(source: &str) -> String {
    let lines: Vec<&str> = source.lines().collect();
    let begins_module = |line: &&str| line.starts_with("mod ") && line.ends_with('{');
    let (mut left, mut at) = (String::new(), 0);
    while at < lines.len() {
        if lines[at] == "#[cfg(test)]" && lines.get(at + 1).is_some_and(begins_module) {
            let closing = lines[at..].iter().position(|line| *line == "}");
            at += closing.map_or(lines.len() - at, |closing| closing + 1);
        } else {
            left += lines[at];
            left.push('\n');
            at += 1;
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(source: &str) -> usize {
        without_tests(source).lines().count()
    }

    #[test]
    fn unit_tests_do_not_count_as_length() {
        assert_eq!(lines_of("a\nb\n#[cfg(test)]\nmod tests {\n}\n"), 2);
        assert_eq!(lines_of("a\n#[cfg(test)]\nmod tests {\n    b\n}\nc\n"), 2);
        assert_eq!(lines_of("a\n#[cfg(test)]\nfn only_in_tests() {}\nb\n"), 4);
        let elsewhere = "a\n#[cfg(test)]\nmod tests;\nfn b() {\n}\n";
        assert_eq!(lines_of(elsewhere), 5, "a module in another file hides nothing of this one");
    }

    #[test]
    fn a_source_that_is_too_long_is_a_problem_and_a_test_that_is_too_long_a_note() {
        let mut findings = Findings::default();
        for (path, most) in [
            ("crates/a/src/b.rs", SOURCE),
            ("crates/a/src/b/c.rs", SOURCE),
            ("xtask/src/b.rs", SOURCE),
            ("crates/a/src/b/tests.rs", TEST),
            ("crates/a/tests/src/b.rs", TEST),
        ] {
            let long = "x\n".repeat(most + 1);
            measure(Path::new(path), &long, &mut findings);
            measure(Path::new(path), &long[2..], &mut findings);
        }
        assert_eq!((findings.problems.len(), findings.notes.len()), (3, 2));
        assert!(findings.problems[0].contains("crates/a/src/b.rs has 501 lines"));
        assert!(findings.notes[1].contains("crates/a/tests/src/b.rs"));
    }
}
