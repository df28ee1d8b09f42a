//! Words that must not be in the repository.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::tidy::findings::Findings;

/// Put together here, so that this file does not contain them.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("todo", "!("), "unfinished work"),
    (concat!("unimplemented", "!("), "unfinished work"),
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/ro", "ot/"), "a path of one machine"),
];

pub(super) fn check(root: &Path, tracked: &[PathBuf], findings: &mut Findings) -> Result<()> {
    for path in tracked {
        let bytes = fs::read(root.join(path)).with_context(|| path.display().to_string())?;
        // Vectors and other binary files have no words.
        if let Ok(text) = std::str::from_utf8(&bytes) {
            for (line, word, why) in forbidden(text) {
                findings.problem(format!("{}:{line} says {word:?}: {why}", path.display()));
            }
        }
    }
    Ok(())
}

fn forbidden(text: &str) -> Vec<(usize, &'static str, &'static str)> {
    let mut found = vec![];
    for (index, line) in text.lines().enumerate() {
        for (word, why) in FORBIDDEN {
            let at = line.match_indices(word).any(|(at, _)| starts_a_path_or_word(line, at));
            if at {
                found.push((index + 1, *word, *why));
            }
        }
    }
    found
}

/// `artwork/` and `~/home/` inside a longer path are not what is meant.
fn starts_a_path_or_word(line: &str, at: usize) -> bool {
    let before = line[..at].chars().next_back();
    !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '~' | '}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_paths_and_unfinished_work_are_found_with_their_line() {
        let text = format!(
            "fine\nlet x = {};\ncd {}main\n",
            concat!("todo", "!()"),
            concat!("/wo", "rk/")
        );
        let lines: Vec<usize> = forbidden(&text).into_iter().map(|(line, ..)| line).collect();
        assert_eq!(lines, [2, 3]);
    }

    #[test]
    fn relative_paths_and_longer_words_are_left_alone() {
        for fine in ["a/wo.rk/b", "../work/x", "my_work/", "node1/home/x"] {
            assert_eq!(forbidden(fine).len(), 0, "{fine}");
        }
    }
}
