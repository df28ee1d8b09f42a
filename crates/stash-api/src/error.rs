//! Errors as a node answers with them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The class of an error, as a word that a script can rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum Code {
    /// An internal failure, or one without a class of its own.
    Failed,
    /// The request is wrong: a bad key, a directory where a file is meant, a mistyped ticket.
    Usage,
    /// Some of the inputs cannot be read.
    Unreadable,
    /// There is nothing of this name.
    NotFound,
    /// It may work later: a member does not answer, the node is stopping.
    Temporary,
    /// Something is not what it was signed or sealed as.
    Integrity,
    /// Stored, in fewer copies than asked for.
    Short,
    /// No room on the disk.
    Full,
    /// Refused for safety, and nothing was changed.
    Refused,
    /// There is no stash in the data directory.
    NoStore,
    /// Another process has the data directory.
    Locked,
    /// The passphrase is missing or wrong.
    Passphrase,
    /// The client has cancelled it.
    Cancelled,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 13] = [
        Self::Failed,
        Self::Usage,
        Self::Unreadable,
        Self::NotFound,
        Self::Temporary,
        Self::Integrity,
        Self::Short,
        Self::Full,
        Self::Refused,
        Self::NoStore,
        Self::Locked,
        Self::Passphrase,
        Self::Cancelled,
    ];

    /// The word in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Unreadable => "unreadable",
            Self::NotFound => "not_found",
            Self::Temporary => "temporary",
            Self::Integrity => "integrity",
            Self::Short => "short",
            Self::Full => "full",
            Self::Refused => "refused",
            Self::NoStore => "no_store",
            Self::Locked => "locked",
            Self::Passphrase => "passphrase",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl TryFrom<String> for Code {
    type Error = &'static str;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        let known = Self::ALL.into_iter().find(|code| code.word() == word);
        known.ok_or("unknown error code")
    }
}

/// An error as a person meets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Its class.
    pub code: Code,
    /// A sentence without a full stop: what happened.
    pub message: String,
    /// Advice: what to do next; null where there is none.
    pub hint: Option<String>,
}

/// The body of every answer whose HTTP status tells of an error, and what `--json` prints on failure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: Problem,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_its_word_in_json_and_nothing_else() {
        for code in Code::ALL {
            let json = serde_json::to_string(&code).unwrap();
            assert_eq!(json, format!("{:?}", code.word()));
            assert_eq!(serde_json::from_str::<Code>(&json).unwrap(), code);
        }
        for other in ["\"lost\"", "\"Failed\"", "{\"failed\":null}", "1"] {
            assert!(serde_json::from_str::<Code>(other).is_err(), "{other}");
        }
    }
}
