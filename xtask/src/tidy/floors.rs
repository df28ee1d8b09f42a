//! The floors of a crate: its top modules in an order, from which each may take names of those before it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::Metadata;

use crate::tidy::circles::{self, Module};
use crate::tidy::findings::Findings;

/// Declares the floors, in blocks of code of this kind: a crate, a colon, its modules from the bottom up.
const DOCUMENT: &str = "docs/architecture.md";
const BLOCK: &str = "```floors";

/// Modules that only tests and fuzzers build.
const ASIDE: &[&str] = &["fuzzing"];

pub(super) fn check(
    root: &Path,
    tracked: &[PathBuf],
    metadata: &Metadata,
    findings: &mut Findings,
) -> Result<()> {
    let document = fs::read_to_string(root.join(DOCUMENT)).context(DOCUMENT)?;
    for (name, floors) in declared(&document) {
        let package = metadata.packages.iter().find(|package| package.name.as_str() == name);
        let Some(package) = package else {
            findings.problem(format!("{DOCUMENT}: there is no crate {name}"));
            continue;
        };
        let sources = circles::sources(root, tracked, package)?;
        for problem in problems(&floors, &sources) {
            findings.problem(format!("{name}: {problem} ({DOCUMENT})"));
        }
    }
    Ok(())
}

/// The floors of each crate that has some.
fn declared(document: &str) -> Vec<(String, Vec<String>)> {
    let blocks = document.split(BLOCK).skip(1).filter_map(|rest| rest.split("```").next());
    let floors = blocks.filter_map(|block| {
        let (name, floors) = block.split_once(':')?;
        Some((name.trim().to_owned(), floors.split_whitespace().map(str::to_owned).collect()))
    });
    floors.collect()
}

fn problems(floors: &[String], sources: &BTreeMap<Module, String>) -> Vec<String> {
    let floor = |module: &Module| {
        let top = module.first()?;
        floors.iter().position(|floor| floor == top)
    };
    let is_aside =
        |module: &Module| module.first().is_some_and(|top| ASIDE.contains(&top.as_str()));
    let mut problems = Vec::new();
    for module in sources.keys().filter(|module| module.len() == 1 && !is_aside(module)) {
        if floor(module).is_none() {
            problems.push(format!("{} has no floor", module.join("/")));
        }
    }
    for (module, from) in circles::imports(sources) {
        for other in from.iter().filter(|other| floor(other) > floor(&module)) {
            problems.push(format!(
                "{} takes names of {}, which is above it",
                module.join("/"),
                other.join("/")
            ));
        }
    }
    let gone = |top: &&String| !sources.keys().any(|module| module.first() == Some(*top));
    problems.extend(floors.iter().filter(gone).map(|top| format!("there is no module {top}")));
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(floors: &str, sources: &[(&str, &str)]) -> Vec<String> {
        let floors: Vec<String> = floors.split_whitespace().map(str::to_owned).collect();
        let sources = sources
            .iter()
            .map(|(path, text)| (circles::module(Path::new(path)), (*text).to_owned()));
        problems(&floors, &sources.collect())
    }

    #[test]
    fn names_are_taken_of_floors_below_and_of_none_above() {
        let down = [("a.rs", "struct A;"), ("b/c.rs", "use crate::a::A;"), ("b.rs", "mod c;")];
        assert_eq!(found("a b", &down), Vec::<String>::new());
        assert_eq!(found("b a", &down), ["b/c takes names of a, which is above it"]);
    }

    #[test]
    fn every_module_has_a_floor_and_every_floor_is_one() {
        assert_eq!(found("a", &[("a.rs", ""), ("b.rs", "")]), ["b has no floor"]);
        assert_eq!(found("a b", &[("a.rs", "")]), ["there is no module b"]);
    }

    #[test]
    fn floors_are_read_from_blocks_of_their_kind() {
        let document = "text\n```floors\none: a b\n  c\n```\n```\ntwo: d\n```\n";
        let floors = ["a", "b", "c"].map(str::to_owned).to_vec();
        assert_eq!(declared(document), [("one".to_owned(), floors)]);
    }
}
