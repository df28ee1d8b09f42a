//! Commands that need no node: version, completions, settings.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first thing that goes wrong, and says what it skips"
)]

use crate::common::{code, private_dir, stash};

#[test]
fn version_and_completions_need_neither_home_nor_daemon() {
    let home = private_dir();
    let run = |arguments: &[&str]| {
        let output = stash(home.path(), &home.path().join("data"))
            .args(arguments)
            .env_remove("HOME")
            .output()
            .unwrap();
        assert_eq!(code(&output), 0);
        String::from_utf8(output.stdout).unwrap()
    };
    let version = env!("CARGO_PKG_VERSION");
    // Behind it stands the commit of what was built for use.
    assert!(run(&["version"]).starts_with(&format!("stash {version}")));
    let said: serde_json::Value = serde_json::from_str(&run(&["version", "--json"])).unwrap();
    assert_eq!(said["version"], version);
    assert_eq!(said.as_object().unwrap().len(), 3, "commit and date are null if unknown: {said}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell]).contains("STASH_COMPLETE"), "{shell}");
    }
}

#[test]
fn settings_are_shown_with_their_origin() {
    let home = private_dir();
    let file = home.path().join("c.toml");
    std::fs::write(&file, "log = \"debug\"\n").unwrap();
    let output = stash(home.path(), &home.path().join("data"))
        .args(["config", "show", "--json", "--config", "c.toml"])
        .env("STASH_NAME", "from the environment")
        .output()
        .unwrap();
    assert_eq!(code(&output), 0);
    let settings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(settings["data_dir"]["origin"], "flag");
    assert_eq!(settings["name"]["origin"], "environment STASH_NAME");
    assert_eq!(
        (&settings["log"]["value"], &settings["log"]["origin"]),
        (&"debug".into(), &"c.toml".into())
    );
    assert_eq!(settings["listen"]["origin"], "default");
}

#[test]
fn a_wrong_word_is_a_usage_error() {
    let home = private_dir();
    for arguments in [&["putt"][..], &["put"], &["ls", "--wat"], &["invite", "--role", "boss"]] {
        let output = stash(home.path(), home.path()).args(arguments).output().unwrap();
        assert_eq!(code(&output), 2, "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
}
