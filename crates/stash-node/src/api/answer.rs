//! Reading of requests, and telling of problems.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use stash_api::error::ErrorBody;
use stash_api::files::Here;
use stash_vault::error::{
    EvictError, RecoveryTextError, RemoveError, ResolveError, RetentionError, UndeleteError,
};
use stash_vault::names::Absence;
use stash_vault::server::housekeeping::HouseError;
use stash_vault::server::members::{ChangeMemberError, RevokeError};
use stash_vault::server::{InviteError, LedgerError};
use stash_vault::{Class, GetError, HomeError, Key, LookupError, PutError, Vault, VersionId, Wait};

use crate::error::{Problem, http_status};
use crate::hints::Hint as _;
use crate::output::time;
use crate::typed::{self, quoted};
use crate::zone::local;

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (http_status(self.code), Json(ErrorBody::from(self))).into_response()
    }
}

/// Each error of the vault knows its class and what to do next.
macro_rules! problem_from {
    ($($error:ty),*) => {$(
        impl From<$error> for Problem {
            fn from(error: $error) -> Self {
                Self { code: error.class(), message: error.to_string(), hint: error.hint() }
            }
        }
    )*};
}

problem_from!(
    EvictError,
    GetError,
    HomeError,
    LookupError,
    PutError,
    RecoveryTextError,
    RemoveError,
    ResolveError,
    RetentionError,
    UndeleteError
);

impl From<InviteError> for Problem {
    fn from(error: InviteError) -> Self {
        Self { code: Class::Refused, message: error.to_string(), hint: error.hint() }
    }
}

impl From<RevokeError> for Problem {
    fn from(error: RevokeError) -> Self {
        let code = match error {
            RevokeError::Unknown(_) => Class::NotFound,
            RevokeError::Used { .. } | RevokeError::NotFounder => Class::Refused,
            _ => Class::Failed,
        };
        Self { code, message: error.to_string(), hint: error.hint() }
    }
}

impl From<ChangeMemberError> for Problem {
    fn from(error: ChangeMemberError) -> Self {
        let code = stash_vault::error::change_member_class(&error);
        Self { code, message: error.to_string(), hint: error.hint() }
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        Self::new(Class::Failed, error.to_string())
    }
}

impl From<HouseError> for Problem {
    fn from(error: HouseError) -> Self {
        let problem = Self::new(stash_vault::error::house_class(&error), error.to_string());
        match error {
            HouseError::ReadOnly { .. } => problem
                .hint("look at the disk; then restart the node, which makes the store writable"),
            _ => problem,
        }
    }
}

/// Why there is no file of this name, in more words than that nothing is found.
pub(super) async fn absent(vault: &Vault, name: &str) -> Problem {
    let shown = quoted(name);
    let problem = |message: String| Problem::new(Class::NotFound, message);
    match vault.absence(name).await {
        Err(error) => error.into(),
        Ok(Absence::Nothing) => LookupError::NotFound { name: name.to_owned() }.into(),
        Ok(Absence::Tree) => Problem::usage(format!("'{name}' is a tree"))
            .hint(format!("what lies in it: stash ls {shown}")),
        Ok(Absence::Removed { written, by, restorable }) => {
            let when = written.map(|(seconds, _)| format!(" on {}", local(&time(seconds))));
            let problem =
                problem(format!("'{name}' was removed{} by {by}", when.unwrap_or_default()));
            match restorable {
                true => problem.hint(format!("bring it back with: stash undelete {shown}")),
                false => problem.hint("none of its versions is held any more"),
            }
        }
        Ok(Absence::RemovedTree) => {
            problem(format!("what lay below '{name}' was removed")).hint(format!(
                "`stash ls --deleted {shown}` lists it, `stash undelete -r {shown}` brings it back"
            ))
        }
    }
}

/// The result of a question about a file; of one that is not there, why.
pub(super) async fn found<T>(
    vault: &Vault,
    name: &str,
    result: Result<T, GetError>,
) -> Result<T, Problem> {
    match result {
        Err(GetError::Lookup(LookupError::NotFound { .. })) => Err(absent(vault, name).await),
        other => Ok(other?),
    }
}

/// A request whose body is one JSON document.
pub(super) struct Document<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Document<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let json = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if json.is_none_or(|value| !value.starts_with("application/json")) {
            return Err(Problem::usage("the body must be application/json"));
        }
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|e| Problem::usage(format!("the body cannot be read: {e}")))?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|e| Problem::usage(format!("the body is not what this route expects: {e}")))
    }
}

/// The parameters of a query.
pub(super) struct Parameters<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query
            .map(|Query(parameters)| Self(parameters))
            .map_err(|e| Problem::usage(format!("the query will not do: {}", e.body_text())))
    }
}

/// The key at the end of a path.
pub(super) struct KeyOfPath(pub(super) Key);

impl<S: Send + Sync> FromRequestParts<S> for KeyOfPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = path.map_err(|_| Problem::usage("the key in the path is not UTF-8"))?;
        typed::key(&text).map(Self)
    }
}

/// A version that the user typed.
pub(super) fn version(text: &str) -> Result<VersionId, Problem> {
    let problem = |error: stash_vault::error::VersionIdError| {
        Problem::usage(error.to_string()).hint("`stash history KEY` lists the versions")
    };
    text.parse().map_err(problem)
}

/// The number of members to wait for.
pub(super) fn wait(word: Option<&str>) -> Result<Wait, Problem> {
    let wait = word.map_or(Ok(Wait::Quorum), str::parse);
    wait.map_err(|_| Problem::usage("wait must be local, one, quorum or all"))
}

/// The word for what is on this node.
pub(super) fn here(here: stash_vault::Here) -> Here {
    match here {
        stash_vault::Here::Local => Here::Local,
        stash_vault::Here::Partial => Here::Partial,
        stash_vault::Here::Evicted => Here::Evicted,
        stash_vault::Here::Damaged => Here::Damaged,
    }
}

/// A number that counts things in memory.
pub(super) fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_wait_is_quorum() {
        assert!(matches!(wait(None), Ok(Wait::Quorum)));
        assert!(wait(Some("most")).is_err());
    }
}
