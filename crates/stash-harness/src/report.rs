//! Output: lines for people, one JSON document for programs, complaints on stderr.

use std::fmt::Display;
use std::io::{Write, stderr, stdout};
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

/// Where lines for people go: stdout, or stderr when stdout carries JSON.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    json: bool,
}

impl Report {
    /// Lines on stdout.
    pub fn text() -> Self {
        Self { json: false }
    }

    /// Lines on stdout, or on stderr if stdout is to carry JSON.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints a line for people.
    pub fn line(&self, text: impl Display) {
        if self.json {
            complain(&text.to_string());
        } else {
            emit(&mut stdout().lock(), &text.to_string());
        }
    }

    /// Reports a step that held: its name, what was checked, how long it took.
    pub fn step(&self, name: &str, checked: &str, took: Duration) {
        self.line(format_args!("{:<28} {checked} ({})", name, seconds(took)));
    }

    /// The JSON document, if one was asked for.
    pub fn document(&self, value: &Value) -> Result<()> {
        if self.json {
            emit(&mut stdout().lock(), &serde_json::to_string_pretty(value)?);
        }
        Ok(())
    }
}

/// Prints a line on stderr.
pub fn complain(text: &str) {
    emit(&mut stderr().lock(), text);
}

/// Two decimals, for reports.
pub fn seconds(took: Duration) -> String {
    format!("{:.2} s", took.as_secs_f64())
}

/// A reader that went away (a closed pipe) must not stop a run half-way, so write errors end here.
fn emit(to: &mut impl Write, text: &str) {
    if writeln!(to, "{text}").is_ok() {
        to.flush().ok();
    }
}
