//! Pages of the documentation of a library: the root of its crate and each public module, by the names
//! that they list.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use cargo_metadata::{Metadata, Target};

use crate::tidy::circles::{self, Module};
use crate::tidy::files;
use crate::tidy::findings::Findings;

/// Names of a page at most, modules not counted: on a longer one, nobody finds where to begin.
const NAMES: usize = 60;

/// What begins an item that a page lists.
const ITEMS: &[&str] =
    &["async", "const", "enum", "fn", "static", "struct", "trait", "type", "union", "unsafe"];

pub(super) fn check(
    root: &Path,
    tracked: &[PathBuf],
    metadata: &Metadata,
    findings: &mut Findings,
) -> Result<()> {
    let libraries = metadata.packages.iter().filter(|p| p.targets.iter().any(Target::is_lib));
    for package in libraries {
        let sources = circles::sources(root, tracked, package)?;
        for (page, names) in pages(&sources).into_iter().filter(|(_, names)| *names > NAMES) {
            let page = [&[package.name.to_string()], &page[..]].concat().join("::");
            findings.problem(format!(
                "the page of {page} lists {names} names, more than {NAMES}: group them in modules"
            ));
        }
    }
    Ok(())
}

/// The root of a crate and what can be reached from it, with how many names each lists.
fn pages(sources: &BTreeMap<Module, String>) -> Vec<(Module, usize)> {
    let mut pages = Vec::new();
    let mut left = vec![(Module::new(), None)];
    while let Some((page, inline)) = left.pop() {
        // What is not among the sources is built by tests and fuzzers only.
        let Some(text) = inline.or_else(|| sources.get(&page).cloned()) else { continue };
        let (names, modules) = listed(&files::without_tests(&text));
        pages.push((page.clone(), names));
        let under = |(name, inline)| ([&page[..], &[name]].concat(), inline);
        left.extend(modules.into_iter().map(under));
    }
    pages
}

/// How many names a source lists, and its public modules, with their text if it stands there as well. The
/// source is laid out as rustfmt does: only what stands at the margin is an item of it.
fn listed(text: &str) -> (usize, Vec<(String, Option<String>)>) {
    let (mut names, mut modules) = (0, Vec::new());
    let mut is_hidden = false;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("#[doc(hidden)]") {
            is_hidden = true;
        }
        if line.is_empty() || line.starts_with([' ', '#', '/', '}', ')']) {
            continue;
        }
        let was_hidden = std::mem::take(&mut is_hidden);
        let Some(item) = line.strip_prefix("pub ").filter(|_| !was_hidden) else { continue };
        let (kind, rest) = item.split_once(' ').unwrap_or((item, ""));
        if kind == "use" {
            let mut tree = rest.to_owned();
            while !tree.contains(';') {
                tree += lines.next().unwrap_or(";");
            }
            let mut leaves = Vec::new();
            circles::branch(&circles::tokens(&tree), 0, &[], &mut leaves);
            names += leaves.len();
        } else if let Some(name) = rest.strip_suffix(" {").filter(|_| kind == "mod") {
            let inside: Vec<&str> = lines.by_ref().take_while(|line| *line != "}").collect();
            let inside = inside.iter().map(|line| line.strip_prefix("    ").unwrap_or(line));
            modules.push((name.to_owned(), Some(inside.collect::<Vec<_>>().join("\n"))));
        } else if kind == "mod" {
            modules.push((rest.trim_end_matches(';').to_owned(), None));
        } else {
            names += usize::from(ITEMS.contains(&kind));
        }
    }
    (names, modules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_lists_public_items_and_what_is_handed_on() {
        let lib = "mod a;\npub mod b;\npub use a::{\n    A, deep::{B, C as D},\n};\npub use store as s;\n\
            #[doc(hidden)]\npub fn aside() {}\n\npub mod inline {\n    //! Text.\n    \
            pub use crate::a::A;\n\n    pub mod fuzzing;\n}\npub(crate) struct Own;\n";
        let b = "/// Text.\n#[derive(Debug)]\npub struct One {\n    pub field: u8,\n}\n\nimpl One {\n    \
            pub fn go() {}\n}\n\npub const TWO: u8 = 2;\npub unsafe fn three() {}\nfn four() {}\n";
        let sources = [("lib.rs", lib), ("a.rs", "pub struct A;\n"), ("b.rs", b)];
        let sources = sources.map(|(path, text)| (circles::module(Path::new(path)), text.into()));
        let mut pages = pages(&sources.into());
        pages.sort();
        let names: Vec<_> = pages.iter().map(|(page, names)| (page.join("::"), *names)).collect();
        let expected = [("", 4), ("b", 3), ("inline", 1)];
        assert_eq!(names, expected.map(|(page, names)| (page.to_owned(), names)));
    }
}
