//! Output: lines for people, one JSON document for programs.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "programs for people to read")]

use serde::Serialize;

use super::Outcome;

/// Where lines for people go: stdout, or stderr when stdout carries JSON.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    pub json: bool,
}

impl Report {
    pub fn line(self, text: impl std::fmt::Display) {
        if self.json {
            eprintln!("{text}");
        } else {
            println!("{text}");
        }
    }

    /// The JSON document, if one was asked for.
    pub fn document(self, value: &impl Serialize) -> Outcome<()> {
        if self.json {
            println!("{}", serde_json::to_string_pretty(value)?);
        }
        Ok(())
    }
}

/// What a step in a process of its own hands back.
pub fn hand_back(value: &impl Serialize) -> Outcome<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}
