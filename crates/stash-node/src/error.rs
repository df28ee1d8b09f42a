//! What went wrong, as a code that a script can rely on: one table of code, exit status and HTTP
//! status.

use std::fmt;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
pub(crate) use stash_vault::Class;

/// Every class, for reading one back from its word.
const CLASSES: [Class; 13] = [
    Class::Failed,
    Class::Usage,
    Class::Unreadable,
    Class::NotFound,
    Class::Temporary,
    Class::Integrity,
    Class::Short,
    Class::Full,
    Class::Refused,
    Class::NoStore,
    Class::Locked,
    Class::Passphrase,
    Class::Cancelled,
];

/// The exit status of a command that ends with this class.
pub(crate) fn exit_status(class: Class) -> u8 {
    match class {
        Class::Failed => 1,
        Class::Usage => 2,
        Class::Unreadable => 3,
        Class::NotFound => 4,
        Class::Temporary => 5,
        Class::Integrity => 6,
        Class::Short => 7,
        Class::Full => 8,
        Class::Refused => 9,
        Class::NoStore => 10,
        Class::Locked => 11,
        Class::Passphrase => 12,
        Class::Cancelled => 130,
    }
}

/// The HTTP status with which the local API answers.
pub(crate) fn http_status(class: Class) -> StatusCode {
    match class {
        Class::Failed | Class::Short => StatusCode::INTERNAL_SERVER_ERROR,
        Class::Usage => StatusCode::BAD_REQUEST,
        Class::Unreadable => StatusCode::UNPROCESSABLE_ENTITY,
        Class::NotFound | Class::NoStore => StatusCode::NOT_FOUND,
        Class::Temporary | Class::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
        Class::Integrity => StatusCode::BAD_GATEWAY,
        Class::Full => StatusCode::INSUFFICIENT_STORAGE,
        Class::Refused => StatusCode::CONFLICT,
        Class::Locked => StatusCode::LOCKED,
        Class::Passphrase => StatusCode::UNAUTHORIZED,
    }
}

/// A class travels as its word.
mod word {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{CLASSES, Class};

    pub(super) fn serialize<S: Serializer>(
        class: &Class,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(class.word())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Class, D::Error> {
        let word = String::deserialize(from)?;
        let known = CLASSES.into_iter().find(|class| class.word() == word);
        known.ok_or_else(|| serde::de::Error::custom("unknown error code"))
    }
}

/// A failure as the user meets it: what happened, and what to type next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problem {
    /// Its class: the word in JSON, the exit status on the command line.
    #[serde(with = "word")]
    pub(crate) code: Class,
    /// What happened, in one sentence without a full stop.
    pub(crate) message: String,
    /// What to do next.
    pub(crate) hint: Option<String>,
}

impl Problem {
    /// A problem without a hint.
    pub(crate) fn new(code: Class, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// A bad argument.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Class::Usage, message)
    }

    /// A keeper was asked for names or contents.
    pub(crate) fn keeper() -> Self {
        let message = "this node is a keeper: it holds no key for names or contents, and can \
                       neither list nor read nor write";
        Self::new(Class::Refused, message).hint("ask an owner or a reader of the stash")
    }

    /// The same problem with what to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The problem inside any error: a [`Problem`] anywhere in its chain gives code and hint, an
    /// I/O error its own code, and everything else is [`Class::Failed`].
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if let Some(problem) = error.downcast_ref::<Self>() {
            return Self { message: format!("{error:#}"), ..problem.clone() };
        }
        let code = error
            .chain()
            .find_map(|cause| cause.downcast_ref::<std::io::Error>())
            .map_or(Class::Failed, io_class);
        Self::new(code, format!("{error:#}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// The class of an I/O error that nobody gave a better one.
pub(crate) fn io_class(error: &std::io::Error) -> Class {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Class::Full,
        ErrorKind::AddrInUse | ErrorKind::TimedOut => Class::Temporary,
        _ => Class::Failed,
    }
}

/// The body of an error answer, and what `--json` prints on failure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ErrorBody {
    /// The problem.
    pub(crate) error: Problem,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_the_documented_word_and_exit_status() {
        let table = [
            ("failed", 1),
            ("usage", 2),
            ("unreadable", 3),
            ("not_found", 4),
            ("temporary", 5),
            ("integrity", 6),
            ("short", 7),
            ("full", 8),
            ("refused", 9),
            ("no_store", 10),
            ("locked", 11),
            ("passphrase", 12),
            ("cancelled", 130),
        ];
        for (class, (word, exit)) in CLASSES.into_iter().zip(table) {
            assert_eq!((class.word(), exit_status(class)), (word, exit));
            let json = serde_json::to_string(&Problem::new(class, "why")).unwrap();
            assert_eq!(json, format!(r#"{{"code":"{word}","message":"why","hint":null}}"#));
            assert_eq!(serde_json::from_str::<Problem>(&json).unwrap().code, class);
        }
    }

    #[test]
    fn every_class_answers_with_an_http_error_status() {
        for class in CLASSES {
            let status = http_status(class);
            assert!(status.is_client_error() || status.is_server_error(), "{class}: {status}");
        }
    }

    #[test]
    fn a_problem_keeps_its_code_under_added_context() {
        let error = anyhow::Error::new(Problem::new(Class::Locked, "held").hint("wait"))
            .context("cannot open the store");
        let problem = Problem::of(&error);
        assert_eq!(problem.code, Class::Locked);
        assert_eq!(problem.message, "cannot open the store: held");
        assert_eq!(problem.hint.as_deref(), Some("wait"));
    }

    #[test]
    fn a_full_disk_has_its_own_code_wherever_it_is_met() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = anyhow::Error::new(full).context("cannot write ready.json");
        assert_eq!(Problem::of(&error).code, Class::Full);
    }
}
