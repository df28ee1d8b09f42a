//! Relative links in Markdown lead somewhere.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::tidy::findings::Findings;

pub(super) fn check(root: &Path, tracked: &[PathBuf], findings: &mut Findings) -> Result<()> {
    for path in tracked.iter().filter(|path| path.extension().is_some_and(|e| e == "md")) {
        let absolute = root.join(path);
        let text = fs::read_to_string(&absolute).with_context(|| path.display().to_string())?;
        let directory = absolute.parent().unwrap_or(root);
        for (line, target) in relative_links(&text) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let leads_to = if file.is_empty() { absolute.clone() } else { directory.join(file) };
            if !leads_to.exists() {
                findings.problem(format!(
                    "{}:{line} links to {target}, which is not there",
                    path.display()
                ));
            } else if !anchor.is_empty()
                && leads_to.extension().is_some_and(|e| e == "md")
                && !anchors(&fs::read_to_string(&leads_to)?).iter().any(|known| known == anchor)
            {
                findings.problem(format!(
                    "{}:{line} links to {target}: no such heading",
                    path.display()
                ));
            }
        }
    }
    Ok(())
}

/// Lines outside fenced code, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return None;
        }
        (!fenced).then_some((index + 1, line))
    })
}

fn relative_links(text: &str) -> Vec<(usize, &str)> {
    let mut links = vec![];
    for (number, line) in prose(text) {
        for (at, _) in line.match_indices("](") {
            let in_code = line[..at].matches('`').count() % 2 == 1;
            let target = line[at + 2..].split([')', ' ']).next().unwrap_or_default();
            let elsewhere = target.contains("://") || target.starts_with("mailto:");
            if !in_code && !target.is_empty() && !elsewhere {
                links.push((number, target));
            }
        }
    }
    links
}

/// The anchors that headings get on the usual forges.
fn anchors(text: &str) -> Vec<String> {
    prose(text)
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| line.trim_start_matches('#').trim())
        .map(|heading| {
            heading
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_in_prose_are_found_and_in_code_are_not() {
        let text = "see [a](docs/a.md#top) and [w](https://x.org)\n```\n[no](no.md)\n```\n`[no](no.md)` [b](b)\n";
        assert_eq!(relative_links(text), [(1, "docs/a.md#top"), (5, "b")]);
    }

    #[test]
    fn headings_become_anchors_as_forges_make_them() {
        assert_eq!(
            anchors("# Crates, and who may know whom\n## 2. `On disk`\n"),
            ["crates-and-who-may-know-whom", "2-on-disk"]
        );
    }

    #[test]
    fn a_broken_link_and_a_broken_anchor_are_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.md"), "# One\n[x](b.md) [y](#two) [z](#one) [d](.)\n")
            .unwrap();
        let mut findings = Findings::default();
        check(dir.path(), &["a.md".into()], &mut findings).unwrap();
        assert_eq!(findings.problems.len(), 2, "{:?}", findings.problems);
        assert!(findings.problems[0].contains("b.md") && findings.problems[1].contains("#two"));
    }
}
