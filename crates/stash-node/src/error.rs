//! Errors, as a code that a script can rely on: one table of code, exit status and HTTP
//! status.

use std::fmt;

use axum::http::StatusCode;
use stash_api::ClientError;
use stash_api::error::{Code, ErrorBody};
pub(crate) use stash_vault::Class;

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

/// The class as the local API says it.
pub(crate) fn code(class: Class) -> Code {
    match class {
        Class::Failed => Code::Failed,
        Class::Usage => Code::Usage,
        Class::Unreadable => Code::Unreadable,
        Class::NotFound => Code::NotFound,
        Class::Temporary => Code::Temporary,
        Class::Integrity => Code::Integrity,
        Class::Short => Code::Short,
        Class::Full => Code::Full,
        Class::Refused => Code::Refused,
        Class::NoStore => Code::NoStore,
        Class::Locked => Code::Locked,
        Class::Passphrase => Code::Passphrase,
        Class::Cancelled => Code::Cancelled,
    }
}

/// The class of what the local API says.
pub(crate) fn class(code: Code) -> Class {
    match code {
        Code::Failed => Class::Failed,
        Code::Usage => Class::Usage,
        Code::Unreadable => Class::Unreadable,
        Code::NotFound => Class::NotFound,
        Code::Temporary => Class::Temporary,
        Code::Integrity => Class::Integrity,
        Code::Short => Class::Short,
        Code::Full => Class::Full,
        Code::Refused => Class::Refused,
        Code::NoStore => Class::NoStore,
        Code::Locked => Class::Locked,
        Code::Passphrase => Class::Passphrase,
        Code::Cancelled => Class::Cancelled,
    }
}

/// A failure as the user meets it: what happened, and what to type next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Its class: the word in JSON, the exit status on the command line.
    pub(crate) code: Class,
    /// The event, in one sentence without a full stop.
    pub(crate) message: String,
    /// The advice on what to do next.
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

    /// The problem inside any error: a [`Problem`] or [`ClientError`] anywhere in its chain gives
    /// code and hint, an I/O error its own code, and everything else is [`Class::Failed`].
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if let Some(problem) = error.downcast_ref::<Self>() {
            return Self { message: format!("{error:#}"), ..problem.clone() };
        }
        if let Some(client) = error.downcast_ref::<ClientError>() {
            // Its own causes are left out: the message has what people need of them.
            let contexts = error.chain().take_while(|cause| !cause.is::<ClientError>());
            let before: String = contexts.map(|context| format!("{context}: ")).collect();
            let problem = Self::from(client);
            return Self { message: before + &problem.message, ..problem };
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

impl From<Problem> for stash_api::error::Problem {
    fn from(problem: Problem) -> Self {
        Self { code: code(problem.code), message: problem.message, hint: problem.hint }
    }
}

impl From<stash_api::error::Problem> for Problem {
    fn from(told: stash_api::error::Problem) -> Self {
        Self { code: class(told.code), message: told.message, hint: told.hint }
    }
}

/// The body of an error answer, and what `--json` prints on failure.
impl From<Problem> for ErrorBody {
    fn from(problem: Problem) -> Self {
        Self { error: problem.into() }
    }
}

/// The program adds what to do next: the client says what happened.
impl From<&ClientError> for Problem {
    fn from(error: &ClientError) -> Self {
        let told = |code| Self::new(code, error.to_string());
        match error {
            ClientError::Answered(problem) => problem.clone().into(),
            ClientError::NotRunning { .. } => {
                told(Class::Temporary).hint("start it with: stash up")
            }
            ClientError::Unreachable { .. } => told(Class::Failed)
                .hint("the daemon serves its own user only; is this the right --socket?"),
            ClientError::Silent => {
                told(Class::Temporary).hint("it may be stopped or overloaded; see its log")
            }
            ClientError::Ended { source: Some(source) } => {
                own_input(source).unwrap_or_else(gone_away)
            }
            ClientError::Ended { source: None } => gone_away(),
            ClientError::Unexplained { .. } => told(Class::Failed),
            ClientError::Unexpected(why) => Self::new(Class::Failed, why.to_string()),
            ClientError::Request(why) => Self::new(Class::Failed, why.to_string()),
        }
    }
}

/// True if the node answered that there is no such thing.
pub(crate) fn is_not_found(error: &ClientError) -> bool {
    matches!(error, ClientError::Answered(problem) if problem.code == Code::NotFound)
}

/// The connection to the daemon ended where more was due.
pub(crate) fn gone_away() -> Problem {
    Problem::new(Class::Temporary, ClientError::Ended { source: None }.to_string())
        .hint("start it with: stash up, and repeat the command")
}

/// The problem of the command's own input, at which a request broke off: the daemon has no part in it.
fn own_input(error: &dyn std::error::Error) -> Option<Problem> {
    let mut causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.find_map(|cause| {
        let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let inner = inner.and_then(|inner| inner.downcast_ref::<Problem>());
        inner.or_else(|| cause.downcast_ref::<Problem>()).cloned()
    })
}

/// The class of an I/O error that nobody gave a better one.
pub(crate) fn io_class(error: &std::io::Error) -> Class {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Class::Full,
        ErrorKind::AddrInUse | ErrorKind::TimedOut => Class::Temporary,
        _ => Class::Failed,
    }
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
        for (told, (word, exit)) in Code::ALL.into_iter().zip(table) {
            let class = class(told);
            assert_eq!((class.word(), exit_status(class), code(class)), (word, exit, told));
            let problem = stash_api::error::Problem::from(Problem::new(class, "why"));
            let json = serde_json::to_string(&problem).unwrap();
            assert_eq!(json, format!(r#"{{"code":"{word}","message":"why","hint":null}}"#));
            let read: stash_api::error::Problem = serde_json::from_str(&json).unwrap();
            assert_eq!(Problem::from(read).code, class);
        }
    }

    #[test]
    fn every_class_answers_with_an_http_error_status() {
        for class in Code::ALL.map(class) {
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
    #[test]
    fn what_a_client_cannot_do_has_a_code_and_the_next_step() {
        let socket = || "/s".into();
        let refused = || std::io::Error::other("refused");
        let answered = || stash_api::error::Problem {
            code: Code::NotFound,
            message: "none".into(),
            hint: Some("look".into()),
        };
        let document = serde_json::from_str::<u8>("x").unwrap_err();
        let why = document.to_string();
        let gone = "the stash daemon went away before it was done; what it had not confirmed is not \
                    stored";
        let table = [
            (ClientError::Answered(answered()), Class::NotFound, "none", Some("look")),
            (
                ClientError::NotRunning { socket: socket() },
                Class::Temporary,
                "the stash daemon is not running: nobody answers at /s",
                Some("start it with: stash up"),
            ),
            (
                ClientError::Unreachable { socket: socket(), source: refused() },
                Class::Failed,
                "cannot reach the stash daemon at /s: refused",
                Some("the daemon serves its own user only; is this the right --socket?"),
            ),
            (
                ClientError::Silent,
                Class::Temporary,
                "the stash daemon does not answer",
                Some("it may be stopped or overloaded; see its log"),
            ),
            (
                ClientError::Ended { source: None },
                Class::Temporary,
                gone,
                Some("start it with: stash up, and repeat the command"),
            ),
            (
                ClientError::Unexplained { status: StatusCode::BAD_GATEWAY },
                Class::Failed,
                "the daemon answered 502 Bad Gateway without saying why",
                None,
            ),
            (ClientError::Unexpected(document), Class::Failed, &why, None),
        ];
        for (error, code, message, hint) in table {
            let problem = Problem::of(&error.into());
            assert_eq!((problem.code, &problem.message[..]), (code, message));
            assert_eq!(problem.hint.as_deref(), hint);
        }
        let late = anyhow::Error::new(ClientError::Answered(answered())).context("it ends early");
        assert_eq!(Problem::of(&late).message, "it ends early: none");
    }

    #[test]
    fn a_request_that_its_own_input_broke_off_tells_of_that_input() {
        let input = Problem::new(Class::Unreadable, "cannot read stdin");
        #[derive(Debug)]
        struct Wrapped(std::io::Error);
        impl fmt::Display for Wrapped {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("user error")
            }
        }
        impl std::error::Error for Wrapped {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0)
            }
        }
        assert_eq!(own_input(&Wrapped(std::io::Error::other(input.clone()))), Some(input));
        assert_eq!(own_input(&Wrapped(std::io::Error::other("reset"))), None);
    }
}
