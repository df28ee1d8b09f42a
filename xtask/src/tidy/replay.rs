//! What keeps the simulator from replaying a schedule from its seed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::tidy::findings::Findings;

/// Code that runs inside the simulator.
const SIMULATED: &[&str] = &["crates/stash-p2p/src", "crates/stash-server/src"];

pub(super) fn check(root: &Path, tracked: &[PathBuf], findings: &mut Findings) -> Result<()> {
    let is_simulated = |path: &&PathBuf| {
        SIMULATED.iter().any(|part| path.starts_with(part))
            && path.extension().is_some_and(|extension| extension == "rs")
            && !path.components().any(|part| part.as_os_str() == "tests")
    };
    for path in tracked.iter().filter(is_simulated) {
        let text =
            fs::read_to_string(root.join(path)).with_context(|| path.display().to_string())?;
        for line in unbiased(&text) {
            findings.problem(format!(
                "{}:{line}: a select! without `biased;` draws the order of its branches by itself, and no seed \
                 of the simulator replays that",
                path.display()
            ));
        }
    }
    Ok(())
}

/// Lines, from 1, with a `select!` whose branches have no fixed order.
fn unbiased(source: &str) -> Vec<usize> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let follows = |at: usize| lines[at + 1..].iter().find(|line| !line.is_empty()).copied();
    let is_select = |line: &str| line.ends_with("select! {") && !line.starts_with("//");
    (0..lines.len())
        .filter(|at| is_select(lines[*at]) && follows(*at) != Some("biased;"))
        .map(|at| at + 1)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_select_needs_a_fixed_order() {
        assert_eq!(unbiased("tokio::select! {\n    biased;\n    a => {}\n}"), [0_usize; 0]);
        assert_eq!(unbiased("x\nlet y = tokio::select! {\n    a => {}\n}"), [2]);
        assert_eq!(unbiased("// select! {\n"), [0_usize; 0]);
    }
}
