//! The settings of a running node.

use serde::{Deserialize, Serialize};

use crate::route::{Call, Get};

/// `GET /v1/settings`: as the node uses them, whatever its files say by now.
#[derive(Debug, Serialize, Deserialize)]
pub struct Settings {
    /// All of them, in the order of `docs/operating.md`.
    pub settings: Vec<Setting>,
}

impl Settings {
    /// The settings that the node uses.
    #[must_use]
    pub fn route() -> Get<Self> {
        Get::new("/v1/settings")
    }
}

/// A setting, its value, and its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The key as a file has it, `gc.interval`.
    pub name: String,
    /// The value for people; `-` if there is none.
    pub value: String,
    /// `flag`, `environment` with the variable, the path of a file, or `default`.
    pub origin: String,
}

/// `POST /v1/reload`: read the files anew.
#[derive(Debug, Serialize)]
pub struct Reload {}

impl Call for Reload {
    const ROUTE: &'static str = "/v1/reload";
    type Answer = Reloaded;
}

/// The answer to a reload.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reloaded {
    /// Settings that differed, and hold as the files say from now on.
    pub taken: Vec<String>,
    /// Settings that differ, and hold as they did until the node starts again.
    pub at_next_start: Vec<String>,
}
