//! Operations: requests that take a while, and tell how far they are.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::Problem;

/// A body for a `POST` that starts an operation. The answer is NDJSON: lines of [`Event`], of which
/// the last one is its end. The operation is cancelled when its client closes the connection, except
/// a join.
pub trait Operation: Serialize {
    /// The path, percent-encoded.
    const ROUTE: &'static str;
    /// The document at its end.
    type Done: DeserializeOwned;
}

/// The progress of an operation so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Files that are done.
    pub files: u64,
    /// Bytes that are done.
    pub bytes: u64,
    /// Bytes that there are to do; null while unknown.
    pub total_bytes: Option<u64>,
    /// True while more may be found: then there are at least so many.
    #[serde(default)]
    pub growing: bool,
}

/// A line of an NDJSON answer: any number of `progress`, then exactly one of the others.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event<T> {
    /// It goes on. A line comes at least every 5 s.
    Progress(Progress),
    /// It has ended as it should.
    Done(T),
    /// It has failed. One that fails within 200 ms answers with an HTTP status in place of lines.
    Error(Problem),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::GetDone;

    #[test]
    fn events_are_objects_of_one_field() {
        let progress = Progress { files: 1, bytes: 2, total_bytes: Some(3), growing: true };
        let line = serde_json::to_string(&Event::<GetDone>::Progress(progress)).unwrap();
        assert_eq!(line, r#"{"progress":{"files":1,"bytes":2,"total_bytes":3,"growing":true}}"#);
        let done = GetDone::default();
        let event = Event::Done(done);
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(
            line,
            "{\"done\":{\"files\":0,\"bytes\":0,\"unchanged\":0,\"unchanged_bytes\":0,\"dry_run\":false,\"not_kept\":false,\
             \"outputs\":[],\"conflicts\":0,\"lacking\":[],\"lacking_more\":0,\
             \"failed\":[],\"failed_more\":0,\"code\":null}}"
        );
    }
}
