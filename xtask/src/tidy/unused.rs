//! Dependencies that no source names: each costs a build, and a line that somebody reads.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata};

use crate::tidy::findings::Findings;

pub(super) fn check(
    root: &Path,
    tracked: &[PathBuf],
    metadata: &Metadata,
    findings: &mut Findings,
) -> Result<()> {
    let mut taken = Vec::new();
    for package in &metadata.packages {
        let directory = package.manifest_path.parent().context("a manifest without a directory")?;
        let directory = directory.as_std_path().strip_prefix(root).unwrap_or(Path::new(""));
        let is_source = |path: &&PathBuf| {
            path.starts_with(directory) && path.extension().is_some_and(|e| e == "rs")
        };
        let (mut library, mut all) = (String::new(), String::new());
        for path in tracked.iter().filter(is_source) {
            let text = fs::read_to_string(root.join(path));
            let text = text.with_context(|| path.display().to_string())?;
            if path.starts_with(directory.join("src")) {
                library += &text;
            }
            all += &text;
        }
        for dependency in &package.dependencies {
            let name = dependency.rename.as_ref().unwrap_or(&dependency.name).replace('-', "_");
            let sources = match dependency.kind {
                DependencyKind::Development => &all,
                _ => &library,
            };
            if !names(sources, &name) {
                findings.problem(format!(
                    "{} depends on {}, and no source of it says so",
                    package.name, dependency.name
                ));
            }
            taken.push(dependency.name.clone());
        }
    }
    let manifest = fs::read_to_string(root.join("Cargo.toml")).context("Cargo.toml")?;
    for name in offered(&manifest).filter(|name| !taken.iter().any(|taken| taken == name)) {
        findings.problem(format!("[workspace.dependencies] has {name}, and no crate takes it"));
    }
    Ok(())
}

/// True if the word begins a path in the text, or is the whole of what is used, or of a text in quotes.
pub(crate) fn names(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + word.len()..]);
        let is_word = !before.ends_with(is_part) && !after.starts_with(is_part);
        let is_path = after.starts_with("::") && !before.ends_with("::");
        let is_used = before.ends_with("use ") && after.starts_with([';', ' ']);
        // As in `#[serde(with = "...")]`.
        let is_quoted = before.ends_with('"') && after.starts_with('"');
        is_word && (is_path || is_used || is_quoted)
    })
}

/// What the workspace offers, by the names of the crates themselves.
fn offered(manifest: &str) -> impl Iterator<Item = &str> {
    let lines = manifest.lines().skip_while(|line| *line != "[workspace.dependencies]").skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| {
        let (key, value) = line.split_once(" = ")?;
        let package = value.split_once("package = \"").and_then(|(_, name)| name.split('"').next());
        Some(package.unwrap_or(key.trim())).filter(|name| !name.starts_with('#'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_is_named_by_its_paths_and_not_by_words_that_contain_it() {
        for text in ["use rand::Rng;", "let x = rand::random();", "use rand;", "use rand as dice;"]
        {
            assert!(names(text, "rand"), "{text}");
        }
        for text in ["operand::new()", "a::rand::b", "// rand is good", "use randomize::rand;"] {
            assert!(!names(text, "rand"), "{text}");
        }
    }

    #[test]
    fn what_the_workspace_offers_goes_by_the_names_of_the_crates() {
        let manifest = "[workspace]\nx = 1\n[workspace.dependencies]\n# a word = here\naes = \"0.9\"\n\
            short = { package = \"a-long-name\", version = \"1\" }\n[profile.dev]\nopt-level = 1\n";
        assert_eq!(offered(manifest).collect::<Vec<_>>(), ["aes", "a-long-name"]);
    }
}
