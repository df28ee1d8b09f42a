//! The JSON that `stash … --json` prints, as far as xtask reads it. Unknown fields are ignored: a program may say more.

use serde::Deserialize;

/// `ready.json` in a data directory.
#[derive(Debug, Deserialize)]
pub(crate) struct Ready {
    pub(crate) pid: u32,
    pub(crate) node_id: String,
    pub(crate) listen: OneOrMany,
}

/// A field that holds one address or a list.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(crate) fn first(&self) -> Option<&str> {
        match self {
            Self::One(one) => Some(one),
            Self::Many(many) => many.first().map(String::as_str),
        }
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Status {
    pub(crate) node_id: String,
    pub(crate) stash_id: String,
    pub(crate) role: String,
    pub(crate) members: u64,
    pub(crate) connected: u64,
    pub(crate) synchronised: bool,
    pub(crate) records: u64,
    pub(crate) chunks: u64,
    pub(crate) bytes: u64,
    pub(crate) incomplete: u64,
    pub(crate) missing_copies: u64,
    pub(crate) read_only: Option<String>,
    pub(crate) away: Option<String>,
    pub(crate) alarms: Vec<serde_json::Value>,
    pub(crate) quarantined: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Peers {
    pub(crate) peers: Vec<Peer>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Peer {
    pub(crate) this: bool,
    pub(crate) connected: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Put {
    pub(crate) roots: Vec<PutRoot>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PutRoot {
    pub(crate) key: String,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) new: u64,
    pub(crate) unchanged: u64,
    pub(crate) copies: u64,
    pub(crate) wanted: u64,
    pub(crate) short: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Got {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Listing {
    pub(crate) entries: Vec<Entry>,
    pub(crate) next: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) size: u64,
    pub(crate) here: String,
    pub(crate) conflicts: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct History {
    pub(crate) versions: Vec<Version>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Version {
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) place: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Where {
    pub(crate) chunks: u64,
    pub(crate) inline: bool,
    pub(crate) nodes: Vec<Place>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Place {
    pub(crate) node_id: String,
    pub(crate) state: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Evicted {
    pub(crate) chunks: u64,
    pub(crate) bytes: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Invited {
    pub(crate) ticket: String,
    pub(crate) role: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Scrubbed {
    pub(crate) found: u64,
    pub(crate) unhealed: u64,
    pub(crate) findings: Vec<String>,
    pub(crate) damaged: Vec<Damaged>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Checked {
    pub(crate) found: u64,
    pub(crate) damaged: Vec<Damaged>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Damaged {
    #[expect(dead_code, reason = "shown when it is not healed")]
    pub(crate) kind: String,
    #[expect(dead_code, reason = "shown when it is not healed")]
    pub(crate) why: String,
    pub(crate) keys: Option<Vec<String>>,
}

/// What every failed command says under `--json`.
#[derive(Debug, Deserialize)]
pub(crate) struct Failure {
    pub(crate) error: FailureBody,
}

#[derive(Debug, Deserialize)]
pub(crate) struct FailureBody {
    pub(crate) code: String,
    pub(crate) message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_put_answer_with_more_fields_than_we_read_is_taken() {
        let put: Put = serde_json::from_str(
            r#"{"roots":[{"key":"a","files":2,"bytes":7,"new":2,"unchanged":0,
                "skipped":[{"path":"x","why":"y"}],"copies":2,"wanted":3,"short":true,
                "missing":[{"node_id":"00","why":"not connected"}],"later":1}]}"#,
        )
        .unwrap();
        assert_eq!((put.roots[0].copies, put.roots[0].wanted, put.roots[0].short), (2, 3, true));
    }

    #[test]
    fn a_missing_field_is_an_error_and_not_a_default() {
        let short = r#"{"roots":[{"key":"a","files":2,"bytes":7,"new":2,"unchanged":0}]}"#;
        assert!(serde_json::from_str::<Put>(short).is_err());
    }

    #[test]
    fn ready_takes_one_address_or_several() {
        for listen in [r#""127.0.0.1:1""#, r#"["127.0.0.1:1","[::1]:2"]"#] {
            let text = format!(r#"{{"pid":1,"node_id":"ab","listen":{listen},"socket":"s"}}"#);
            let ready: Ready = serde_json::from_str(&text).unwrap();
            assert_eq!(ready.listen.first(), Some("127.0.0.1:1"));
        }
    }
}
