//! Tests that documents name are there, in the crate that they name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::tidy::findings::Findings;

/// Documents that say by which test something is shown.
const CITING: &[&str] = &["docs/testing.md", "docs/decisions"];

/// Fewest underscores in the name of a test that a document cites: names of facts have so many, and
/// what else stands between backquotes has fewer.
const UNDERSCORES: usize = 3;

/// Names of tests, with the directories of the crates that have them.
type Tests = BTreeMap<String, BTreeSet<PathBuf>>;

pub(super) fn check(root: &Path, tracked: &[PathBuf], findings: &mut Findings) -> Result<()> {
    let read = |path: &Path| {
        fs::read_to_string(root.join(path)).with_context(|| path.display().to_string())
    };
    let mut known = Tests::new();
    for path in tracked.iter().filter(|path| path.extension().is_some_and(|e| e == "rs")) {
        for name in tests(&read(path)?) {
            known.entry(name.to_owned()).or_default().insert(crate_of(path));
        }
    }
    let is_citing = |path: &&PathBuf| CITING.iter().any(|citing| path.starts_with(citing));
    for path in tracked.iter().filter(is_citing) {
        for Citation { line, label, name } in citations(&read(path)?) {
            let Some(crates) = known.get(name) else {
                findings.problem(format!(
                    "{}:{line} names `{name}`: no test has that name",
                    path.display()
                ));
                continue;
            };
            let said = label.map(|label| Path::new("crates").join(format!("stash-{label}")));
            if said.is_some_and(|said| root.join(&said).is_dir() && !crates.contains(&said)) {
                findings.problem(format!(
                    "{}:{line} names `{name}` as a test of {}, where it is not",
                    path.display(),
                    label.unwrap_or_default()
                ));
            }
        }
    }
    Ok(())
}

/// The directory of the crate that a source file belongs to.
fn crate_of(path: &Path) -> PathBuf {
    let depth = if path.starts_with("crates") { 2 } else { 1 };
    path.components().take(depth).collect()
}

/// The names of functions that are marked as tests.
fn tests(source: &str) -> Vec<&str> {
    let (mut found, mut is_test) = (vec![], false);
    for line in source.lines().map(str::trim_start) {
        if line.starts_with("#[") {
            is_test |= line.contains("test]") || line.contains("test(");
        } else if !line.starts_with("//") {
            let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            if let Some(function) = function.filter(|_| is_test) {
                found.extend(function.split('(').next());
            }
            is_test = false;
        }
    }
    found
}

/// A test that a document names.
#[derive(Debug, PartialEq, Eq)]
struct Citation<'a> {
    line: usize,
    /// What stands before it in its cell of a table, as in ``server: `name` ``.
    label: Option<&'a str>,
    name: &'a str,
}

fn citations(text: &str) -> Vec<Citation<'_>> {
    let mut found = vec![];
    for (line, row) in (1..).zip(text.lines()) {
        for cell in row.split('|') {
            let mut label = None;
            for (index, part) in cell.split('`').enumerate() {
                if index % 2 == 0 {
                    label = labelled(part).or(label);
                } else if is_name(part) {
                    found.push(Citation { line, label, name: part });
                }
            }
        }
    }
    found
}

/// The last word before a colon at the end, as in `; vault: `.
fn labelled(prose: &str) -> Option<&str> {
    prose.trim_end().strip_suffix(':')?.split([' ', ';', ',']).next_back()
}

fn is_name(code: &str) -> bool {
    let of_a_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    code.matches('_').count() >= UNDERSCORES && code.chars().all(of_a_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "#[test]\n// Fault case 3.\nfn one_is_a_fact() {}\n\
        #[tokio::test(flavor = \"multi_thread\")]\nasync fn two_is_a_fact() {}\nfn not_a_test_at_all() {}\n";

    #[test]
    fn functions_that_are_marked_are_tests_and_others_are_not() {
        assert_eq!(tests(SOURCE), ["one_is_a_fact", "two_is_a_fact"]);
    }

    #[test]
    fn citations_carry_the_crate_before_them_in_their_cell() {
        let text = "see `a_name_of_fact`\n| 3 | x | p2p: `b_is_so_too`, `c_is_so_too`; tour \"y\"; \
            vault: `d_is_so_too` | `e_is_so_too` `short_one` |\n";
        let found: Vec<_> = citations(text)
            .into_iter()
            .map(|citation| (citation.line, citation.label, citation.name))
            .collect();
        let expected = [
            (1, None, "a_name_of_fact"),
            (2, Some("p2p"), "b_is_so_too"),
            (2, Some("p2p"), "c_is_so_too"),
            (2, Some("vault"), "d_is_so_too"),
            (2, None, "e_is_so_too"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_test_that_is_not_there_or_elsewhere_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            ("crates/stash-p2p/src/a.rs", SOURCE),
            ("crates/stash-vault/src/b.rs", ""),
            (
                "docs/testing.md",
                "| p2p: `one_is_a_fact` |\n| p2p: `three_is_a_fact` |\n| vault: `two_is_a_fact` |\n",
            ),
            ("docs/api.md", "`four_is_a_fact`\n"),
        ];
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let tracked = files.map(|(path, _)| PathBuf::from(path));
        let mut findings = Findings::default();
        check(dir.path(), &tracked, &mut findings).unwrap();
        let [missing, elsewhere] = &findings.problems[..] else {
            panic!("{:?}", findings.problems)
        };
        assert!(missing.contains("testing.md:2") && missing.contains("three_is_a_fact"));
        assert!(elsewhere.contains("testing.md:3") && elsewhere.contains("vault"));
    }
}
