//! Who is told when something is wrong.

use std::time::Duration;

use serde::Serialize;

use super::lookup::{Lookup, Setting, or};
use crate::error::Problem;
use crate::units::Span;

/// `[notify]`: a program that passes notices on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct NotifySettings {
    /// The program and its arguments; empty: nobody is told.
    pub(crate) command: Setting<Vec<String>>,
    /// For how long copies may be too few before that is told, in time that the node runs.
    pub(crate) grace: Setting<Span>,
    /// For how long a member may be away before that is told, in time that the node runs and has a network.
    pub(crate) absent: Setting<Span>,
}

/// A put in the evening to a machine that sleeps until the morning is nothing to be told.
const GRACE: Duration = Duration::from_secs(24 * 60 * 60);

const ABSENT: Duration = Duration::from_secs(3 * 24 * 60 * 60);

impl Lookup<'_> {
    pub(super) fn notify(&self) -> Result<NotifySettings, Problem> {
        let words = |text: &str| Ok(text.split(',').map(|word| word.trim().to_owned()).collect());
        let command =
            self.find("STASH_NOTIFY_COMMAND", None, words, |file| file.notify.command.clone())?;
        let grace = self.read("STASH_NOTIFY_GRACE", None, |file| file.notify.grace)?;
        let absent = self.read("STASH_NOTIFY_ABSENT", None, |file| file.notify.absent)?;
        NotifySettings {
            command: or(command, Vec::new()),
            grace: or(grace, Span(GRACE)),
            absent: or(absent, Span(ABSENT)),
        }
        .checked()
    }
}

impl NotifySettings {
    fn checked(self) -> Result<NotifySettings, Problem> {
        if let Some(program) = self.command.value.first()
            && !program.starts_with('/')
        {
            return Err(Problem::usage(format!(
                "notify.command ({}) begins with {program:?}, which is no absolute path of a program",
                self.command.origin
            ))
            .hint("write it as [\"/usr/local/bin/tell-me\", \"an argument\"]; no shell reads it"));
        }
        for (name, span) in [("grace", &self.grace), ("absent", &self.absent)] {
            if span.value.0.is_zero() {
                return Err(Problem::usage(format!(
                    "notify.{name} ({}) must be a second at least",
                    span.origin
                )));
            }
        }
        Ok(self)
    }
}
