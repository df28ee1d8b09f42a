//! Who may know whom.

use cargo_metadata::{DependencyKind, Metadata};

use crate::tidy::findings::Findings;

/// A dependency between crates of the workspace, or of one of them on `anyhow`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edge {
    from: String,
    to: String,
    for_tests: bool,
}

/// One crate, the crates it may depend on, and those that its tests may use besides.
struct Rule {
    name: &'static str,
    may: &'static [&'static str],
    tests_may: &'static [&'static str],
}

/// The crate that tests run the inputs of fuzz targets with.
const FUZZ: &str = "stash-fuzz";

/// The design's picture, as a table. A crate that is not in it must be added here, on purpose.
const RULES: &[Rule] = &[
    Rule { name: "stash-fuzz", may: &[], tests_may: &[] },
    Rule { name: "stash-crypto", may: &[], tests_may: &[FUZZ] },
    Rule { name: "stash-disk", may: &[], tests_may: &[FUZZ] },
    Rule { name: "stash-runs", may: &["stash-disk"], tests_may: &[FUZZ] },
    Rule { name: "stash-store", may: &["stash-disk", "stash-runs"], tests_may: &[FUZZ] },
    Rule { name: "stash-p2p", may: &[], tests_may: &[FUZZ] },
    Rule {
        name: "stash-server",
        may: &["stash-crypto", "stash-store", "stash-p2p"],
        tests_may: &[FUZZ],
    },
    Rule {
        name: "stash-vault",
        may: &["stash-crypto", "stash-runs", "stash-server"],
        tests_may: &["stash-store", "stash-p2p", FUZZ],
    },
    Rule { name: "stash-api", may: &[], tests_may: &[FUZZ] },
    Rule {
        name: "stash-node",
        may: &["stash-vault", "stash-api"],
        tests_may: &["stash-crypto", "stash-store", "stash-p2p", "stash-server", FUZZ],
    },
    Rule { name: "stash-harness", may: &["stash-api"], tests_may: &[] },
    Rule { name: "xtask", may: &["stash-harness"], tests_may: &[] },
];

/// Crates in which errors may lose their type: those that talk to people.
const ANYHOW: &[&str] = &["stash-node", "stash-harness", "xtask"];

pub(super) fn of(metadata: &Metadata) -> Vec<Edge> {
    let names: Vec<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let mut edges = vec![];
    for package in &metadata.packages {
        // A crate without edges still needs a rule: an edge to itself asks for one and is allowed by all.
        edges.push(Edge::new(&package.name, &package.name, false));
        for dependency in &package.dependencies {
            let for_tests = dependency.kind == DependencyKind::Development;
            if names.contains(&dependency.name.as_str()) || dependency.name == "anyhow" {
                edges.push(Edge::new(&package.name, &dependency.name, for_tests));
            }
        }
    }
    edges
}

impl Edge {
    fn new(from: &str, to: &str, for_tests: bool) -> Self {
        Self { from: from.into(), to: to.into(), for_tests }
    }
}

pub(super) fn check(edges: &[Edge], findings: &mut Findings) {
    for edge in edges {
        let Edge { from, to, for_tests } = edge;
        let kind = if *for_tests { "dev-dependency" } else { "dependency" };
        if to == "anyhow" {
            if !ANYHOW.contains(&from.as_str()) {
                findings
                    .problem(format!("{from} has anyhow as a {kind}: libraries have error types"));
            }
            continue;
        }
        let Some(rule) = RULES.iter().find(|rule| rule.name == from) else {
            findings.problem(format!("{from} is not in the table of edges"));
            continue;
        };
        let allowed = from == to
            || rule.may.contains(&to.as_str())
            || (*for_tests && rule.tests_may.contains(&to.as_str()));
        if !allowed {
            findings.problem(format!("{from} must not know {to} ({kind})"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(edges: &[Edge]) -> Vec<String> {
        let mut findings = Findings::default();
        check(edges, &mut findings);
        findings.problems
    }

    #[test]
    fn the_picture_of_the_design_is_allowed() {
        let picture = [
            Edge::new("stash-node", "stash-vault", false),
            Edge::new("stash-node", "stash-api", false),
            Edge::new("xtask", "stash-harness", false),
            Edge::new("stash-harness", "stash-api", false),
            Edge::new("xtask", "anyhow", false),
            Edge::new("stash-vault", "stash-crypto", false),
            Edge::new("stash-vault", "stash-server", false),
            Edge::new("stash-server", "stash-store", false),
            Edge::new("stash-server", "stash-p2p", false),
            Edge::new("stash-server", "stash-crypto", false),
            Edge::new("stash-node", "anyhow", false),
            Edge::new("stash-node", "stash-store", true),
            Edge::new("stash-crypto", "stash-fuzz", true),
        ];
        assert_eq!(problems(&picture), Vec::<String>::new());
    }

    #[test]
    fn a_bad_edge_is_named_with_both_ends() {
        let bad = [
            Edge::new("stash-store", "stash-crypto", false),
            Edge::new("stash-server", "stash-vault", true),
            Edge::new("stash-node", "stash-store", false),
            Edge::new("xtask", "stash-api", false),
            Edge::new("stash-harness", "stash-node", true),
            Edge::new("stash-node", "stash-harness", true),
            Edge::new("stash-api", "stash-vault", false),
            Edge::new("stash-p2p", "anyhow", true),
            Edge::new("stash-p2p", "stash-fuzz", false),
            Edge::new("stash-door", "stash-door", false),
        ];
        let found = problems(&bad);
        assert_eq!(found.len(), bad.len(), "{found:?}");
        assert!(found[0].contains("stash-store must not know stash-crypto"));
        assert!(found[9].contains("stash-door is not in the table"));
    }
}
