//! Paths of requests, each with the type of its answer.

use std::fmt;
use std::marker::PhantomData;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Characters that a URL path may show as they are (RFC 3986, unreserved, and the separator of keys).
const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Path and query of a `GET` that answers with one document, a `T`. Made by `T::route`.
pub struct Get<T> {
    path: String,
    answer: PhantomData<fn() -> T>,
}

impl<T> Get<T> {
    pub(crate) fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), answer: PhantomData }
    }

    /// A page of a list: `limit` entries at most, from `after` on. `path` has no query yet if
    /// `separator` is `?`.
    pub(crate) fn page(path: &str, separator: char, after: Option<&str>, limit: u64) -> Self {
        let after = after.map(|after| format!("&after={}", query_value(after)));
        Self::new(format!("{path}{separator}limit={limit}{}", after.unwrap_or_default()))
    }

    /// The path and the query, percent-encoded, as they stand in the head of the request.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl<T> fmt::Debug for Get<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GET {}", self.path)
    }
}

/// A body for a `POST` that answers with one document.
pub trait Call: Serialize {
    /// The path, percent-encoded.
    const ROUTE: &'static str;
    /// The document.
    type Answer: DeserializeOwned;
}

/// The path of a route that ends with a key, as in `/v1/objects/Photos/2024/a%20b.jpg`.
#[must_use]
pub fn key_path(route: &str, key: &str) -> String {
    format!("{route}/{}", utf8_percent_encode(key, PATH))
}

/// A value as it may stand in a query.
#[must_use]
pub fn query_value(value: &str) -> String {
    utf8_percent_encode(value, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_travel_percent_encoded_and_keep_their_separators() {
        assert_eq!(key_path("/v1/where", "a b/ü?#%"), "/v1/where/a%20b/%C3%BC%3F%23%25");
        assert_eq!(query_value("a/b&c"), "a%2Fb%26c");
    }

    #[test]
    fn a_page_says_how_many_and_from_where_on() {
        let first = Get::<()>::page("/v1/ls?prefix=a", '&', None, 10);
        assert_eq!(first.path(), "/v1/ls?prefix=a&limit=10");
        let second = Get::<()>::page("/v1/history/a", '?', Some("x&y"), 10);
        assert_eq!(second.path(), "/v1/history/a?limit=10&after=x%26y");
    }
}
