//! Files of a crate that import each other in a circle: none of them can be read, tested or moved alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, Package};

use crate::tidy::files;
use crate::tidy::findings::Findings;

/// Folders and files of a crate's sources that only tests and fuzzers build.
const ASIDE: &[&str] = &["tests", "fuzzing"];

/// The path of a module from the root of its crate.
pub(super) type Module = Vec<String>;

pub(super) fn check(
    root: &Path,
    tracked: &[PathBuf],
    metadata: &Metadata,
    findings: &mut Findings,
) -> Result<()> {
    for package in &metadata.packages {
        let sources = sources(root, tracked, package)?;
        let circle = circle(&imports(&sources));
        if !circle.is_empty() {
            let names: Vec<String> = circle.iter().map(|module| module.join("/")).collect();
            findings.problem(format!(
                "{}: these files import each other in a circle: {}",
                package.name,
                names.join(", ")
            ));
        }
    }
    Ok(())
}

/// The sources of a crate by module, without what only tests and fuzzers build.
pub(super) fn sources(
    root: &Path,
    tracked: &[PathBuf],
    package: &Package,
) -> Result<BTreeMap<Module, String>> {
    let directory = package.manifest_path.parent().context("a manifest without a directory")?;
    let directory = directory.as_std_path().strip_prefix(root).unwrap_or(Path::new(""));
    let mut sources = BTreeMap::new();
    for path in tracked.iter().filter(|path| path.extension().is_some_and(|e| e == "rs")) {
        let Ok(inside) = path.strip_prefix(directory.join("src")) else { continue };
        let module = module(inside);
        if module.iter().any(|part| ASIDE.contains(&part.as_str()) || part.ends_with("_tests")) {
            continue;
        }
        let text = fs::read_to_string(root.join(path));
        sources.insert(module, text.with_context(|| path.display().to_string())?);
    }
    Ok(sources)
}

/// The module that a file below `src` holds; nothing for the root of the crate.
pub(super) fn module(path: &Path) -> Module {
    let parts = path.with_extension("");
    let mut parts: Module = parts.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| ["lib", "main", "mod"].contains(&last.as_str())) {
        parts.pop();
    }
    parts
}

/// For each module, those from which it takes names, the root of the crate left out: what that hands on
/// counts as taken from where it stands.
pub(super) fn imports(sources: &BTreeMap<Module, String>) -> BTreeMap<Module, BTreeSet<Module>> {
    let code: BTreeMap<&Module, Vec<String>> = sources
        .iter()
        .map(|(module, text)| (module, tokens(&files::without_tests(text))))
        .collect();
    let mut handed_on = BTreeMap::new();
    let root = Module::new();
    for path in code.get(&root).into_iter().flat_map(|tokens| paths(tokens)) {
        let Some(path) = absolute(&path, &root, sources) else { continue };
        if let (Some(name), Some(module)) = (path.last(), longest(&path, sources)) {
            handed_on.insert(name.clone(), module);
        }
    }
    let mut imports = BTreeMap::new();
    for (module, tokens) in code.into_iter().filter(|(module, _)| !module.is_empty()) {
        let mut from = BTreeSet::new();
        for path in paths(&tokens) {
            let Some(path) = absolute(&path, module, sources) else { continue };
            let root = path.first().and_then(|name| handed_on.get(name)).cloned();
            from.extend(longest(&path, sources).or(root).filter(|other| other != module));
        }
        imports.insert(module.clone(), from);
    }
    imports
}

/// A path from the root of the crate; `None` for what stands elsewhere.
fn absolute(path: &[String], at: &Module, sources: &BTreeMap<Module, String>) -> Option<Module> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => absolute(&path[1..], at, sources),
        "super" => Some([&at[..at.len().checked_sub(ups)?], &path[ups..]].concat()),
        _ => {
            let child = [&at[..], &path[..1]].concat();
            sources.contains_key(&child).then(|| [&at[..], path].concat())
        }
    }
}

/// The longest beginning of a path that is a module other than the root.
fn longest(path: &[String], sources: &BTreeMap<Module, String>) -> Option<Module> {
    (1..=path.len()).rev().map(|len| path[..len].to_vec()).find(|part| sources.contains_key(part))
}

/// Words and the marks that paths are made of, without comments; what stands in quotes is one mark.
pub(super) fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default();
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let word =
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            let len = match first {
                _ if word > 0 => word,
                ':' if rest.starts_with("::") => 2,
                '"' => rest[1..].find('"').map_or(rest.len(), |end| end + 2),
                _ => first.len_utf8(),
            };
            if !first.is_whitespace() {
                tokens.push(rest[..len].to_owned());
            }
            rest = &rest[len..];
        }
    }
    tokens
}

/// Every path of two names or more, with the branches of a tree in braces as paths of their own.
fn paths(tokens: &[String]) -> Vec<Vec<String>> {
    let is_mark = |at: usize, mark: &str| tokens.get(at).is_some_and(|token| token == mark);
    let mut paths = Vec::new();
    for at in 0..tokens.len() {
        let begins = is_mark(at + 1, "::") && (at == 0 || !is_mark(at - 1, "::"));
        if begins && tokens[at].starts_with(|c: char| c.is_alphabetic() || c == '_') {
            branch(tokens, at, &[], &mut paths);
        }
    }
    paths
}

/// Reads one branch from its first name on; where the next one begins.
pub(super) fn branch(
    tokens: &[String],
    mut at: usize,
    before: &[String],
    paths: &mut Vec<Vec<String>>,
) -> usize {
    let mut path = before.to_vec();
    while let Some(token) = tokens.get(at) {
        if token == "{" {
            at += 1;
            while tokens.get(at).is_some_and(|token| token != "}") {
                at = branch(tokens, at, &path, paths);
                at += usize::from(tokens.get(at).is_some_and(|token| token == ","));
            }
            return at + 1;
        }
        path.push(token.clone());
        at += 1;
        if tokens.get(at).is_none_or(|token| token != "::") {
            break;
        }
        at += 1;
    }
    paths.push(path);
    while tokens.get(at).is_some_and(|token| !before.is_empty() && token != "," && token != "}") {
        // `as` and another name.
        at += 1;
    }
    at
}

/// Modules that lie on a circle, or between two; empty if there is none.
fn circle(imports: &BTreeMap<Module, BTreeSet<Module>>) -> BTreeSet<Module> {
    let mut left: BTreeSet<Module> = imports.keys().cloned().collect();
    loop {
        let imports_some = |module: &Module| imports[module].iter().any(|from| left.contains(from));
        let is_imported =
            |module: &Module| left.iter().any(|other| imports[other].contains(module));
        let stay = left.iter().filter(|module| imports_some(module) && is_imported(module));
        let stay: BTreeSet<Module> = stay.cloned().collect();
        if stay.len() == left.len() {
            return left;
        }
        left = stay;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(sources: &[(&str, &str)]) -> Vec<String> {
        let sources =
            sources.iter().map(|(path, text)| (module(Path::new(path)), (*text).to_owned()));
        circle(&imports(&sources.collect())).iter().map(|module| module.join("/")).collect()
    }

    #[test]
    fn a_circle_is_found_however_its_names_are_imported() {
        for (one, other) in [
            ("use crate::b::B;", "use crate::a::A;"),
            ("use crate::{c::C, b::{B, D}};", "fn f() { crate::a::go(); }"),
            ("use super::b;", "use crate::A;"),
            ("use crate::b::{self as other, B};", "use super::{c::C, a::A};"),
        ] {
            let lib = "mod a; mod b; mod c; pub use a::{A, go as went};";
            let sources = [("lib.rs", lib), ("a.rs", one), ("b.rs", other), ("c.rs", "struct C;")];
            assert_eq!(found(&sources), ["a", "b"], "{one} {other}");
        }
    }

    #[test]
    fn what_only_looks_like_an_import_is_none() {
        let lib = "mod a; mod b; pub use a::A;";
        for other in [
            "// use crate::a::A;",
            "/// See [`A`](crate::a::A).",
            "const TEXT: &str = \"crate::a::A\";",
            "#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\n",
            "use std::a::A;",
            "use stash::a::A;",
        ] {
            let sources = [("lib.rs", lib), ("a.rs", "use crate::b::B;"), ("b.rs", other)];
            assert_eq!(found(&sources), Vec::<String>::new(), "{other}");
        }
    }

    #[test]
    fn a_folder_may_use_its_parts_and_a_part_its_folder_but_not_both() {
        let (uses, used) = ("mod part; use part::Part;", "use super::Whole;");
        assert_eq!(found(&[("a.rs", uses), ("a/part.rs", "struct Part;")]), Vec::<String>::new());
        assert_eq!(found(&[("a.rs", "mod part;"), ("a/part.rs", used)]), Vec::<String>::new());
        assert_eq!(found(&[("a.rs", uses), ("a/part.rs", used)]), ["a", "a/part"]);
        let uses = "mod part; use self::part::Part;";
        assert_eq!(found(&[("a.rs", uses), ("a/part.rs", used)]), ["a", "a/part"]);
        let lib = "mod a; mod b; pub use self::a::A;";
        let through_root =
            [("lib.rs", lib), ("a.rs", "use super::b::B;"), ("b.rs", "use crate::A;")];
        assert_eq!(found(&through_root), ["a", "b"]);
    }
}
