//! Every crate inherits what the workspace says once.

use std::fs;

use anyhow::{Context, Result};
use cargo_metadata::Metadata;

use crate::tidy::findings::Findings;

/// Keys of `[package]` that a crate must inherit.
const INHERITED: &[&str] = &["version", "edition", "rust-version", "license", "publish"];

/// Stands in the manifest of a crate that nobody outside of the workspace uses, in place of what it would inherit.
const UNPUBLISHED: (&str, &str) = ("publish", "false");

pub(super) fn check(metadata: &Metadata, findings: &mut Findings) -> Result<()> {
    for package in &metadata.packages {
        let path = package.manifest_path.as_std_path();
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        for problem in problems(&text) {
            findings.problem(format!("{}/Cargo.toml {problem}", package.name));
        }
        let name = path.parent().and_then(|dir| dir.file_name()).unwrap_or_default();
        if name != package.name.as_str() {
            findings.problem(format!(
                "{} lies in a directory called {}",
                package.name,
                name.display()
            ));
        }
        if package.description.is_none() {
            findings.problem(format!("{}/Cargo.toml has no description", package.name));
        }
    }
    Ok(())
}

/// Works on lines: the manifests of this workspace are plain enough, and a form it does not know is a problem as well.
fn problems(manifest: &str) -> Vec<String> {
    let mut section = "";
    let (mut inherited, mut lints) = (vec![], false);
    let mut problems = vec![];
    for line in manifest.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, value)) = line.split_once('=') {
            let (key, value) = (key.trim(), value.trim());
            match section {
                "package" if value == "true" => inherited.extend(key.strip_suffix(".workspace")),
                "package" if (key, value) == UNPUBLISHED => inherited.push(key),
                "lints" if key == "workspace" => lints = value == "true",
                "dependencies" | "dev-dependencies" | "build-dependencies" => {
                    let from_workspace =
                        key.ends_with(".workspace") || value.contains("workspace = true");
                    if !from_workspace {
                        problems.push(format!("takes {key} past [workspace.dependencies]"));
                    }
                }
                _ => {}
            }
        }
    }
    problems.extend(
        INHERITED
            .iter()
            .filter(|key| !inherited.contains(key))
            .map(|key| format!("does not inherit {key}")),
    );
    if !lints {
        problems.push("does not inherit the workspace's lints".into());
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[package]\nname = \"x\"\nversion.workspace = true\nedition.workspace = true\n\
        rust-version.workspace = true\nlicense.workspace = true\npublish.workspace = true\n\
        [lints]\nworkspace = true\n[dependencies]\naes.workspace = true\n\
        rustix = { workspace = true, features = [\"event\"] }\n";

    #[test]
    fn a_manifest_that_inherits_everything_is_in_order() {
        assert_eq!(problems(GOOD), Vec::<String>::new());
    }

    #[test]
    fn a_crate_of_the_workspace_alone_says_so() {
        let own = GOOD.replace("publish.workspace = true", "publish = false");
        assert_eq!(problems(&own), Vec::<String>::new());
        let open = GOOD.replace("publish.workspace = true", "publish = true");
        assert_eq!(problems(&open), ["does not inherit publish"]);
    }

    #[test]
    fn each_thing_not_inherited_is_named() {
        let bad = GOOD
            .replace("edition.workspace = true", "edition = \"2021\"")
            .replace("[lints]\nworkspace = true\n", "")
            .replace("aes.workspace = true", "aes = \"0.9\"");
        let found = problems(&bad).join("; ");
        assert!(
            found.contains("edition") && found.contains("lints") && found.contains("aes"),
            "{found}"
        );
    }
}
