//! Output: lines for people, one JSON document for programs.

use std::io::{Write, stderr, stdout};

use serde::Serialize;

use super::Outcome;

/// Where lines for people go: stdout, or stderr when stdout carries JSON.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    pub json: bool,
}

impl Report {
    /// A reader that went away must not stop a run half-way, so write errors end here.
    pub fn line(self, text: impl std::fmt::Display) {
        if self.json {
            writeln!(stderr(), "{text}").ok();
        } else {
            writeln!(stdout(), "{text}").ok();
        }
    }

    /// The JSON document, if one was asked for.
    pub fn document(self, value: &impl Serialize) -> Outcome<()> {
        if self.json {
            writeln!(stdout(), "{}", serde_json::to_string_pretty(value)?)?;
        }
        Ok(())
    }
}

/// Prints the result of a step in a process of its own.
pub fn hand_back(value: &impl Serialize) -> Outcome<()> {
    Ok(writeln!(stdout(), "{}", serde_json::to_string(value)?)?)
}
