//! The verdict: all nodes agree in the end, and on what the model says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use stash_api::node::Status;
use stash_api::upkeep::CheckDone;
use stash_api::versions::{History, Version};

use super::content::Contents;
use super::hands::{KEPT, PURGED};
use super::model::{Model, Shown};
use crate::cluster::{Cluster, Node};
use crate::interrupt;

/// The longest until all nodes agree. Dials back off up to a minute, and a connection that died in silence is noticed
/// after some tens of seconds.
const AGREED: Duration = Duration::from_secs(120);

const LOOK: Duration = Duration::from_millis(200);

/// All that a node lists.
const LISTINGS: [&[&str]; 4] =
    [&["ls", "-R"], &["ls", "--conflicts"], &["ls", "--deleted"], &["ls", "--versions"]];

/// The state that all nodes hold in the end.
#[derive(Debug, Default)]
pub(super) struct Agreed {
    pub(super) versions: usize,
    pub(super) conflicts: usize,
}

/// Waits until all nodes hold and list the same; returns how many records they hold, and how long it took.
pub(super) fn agreement(cluster: &mut Cluster) -> Result<(u64, Duration)> {
    let begun = Instant::now();
    loop {
        for node in &mut cluster.nodes {
            node.check_alive()?;
        }
        let outcome = agree(cluster)?;
        match outcome {
            Ok(records) => return Ok((records, begun.elapsed())),
            Err(why) if begun.elapsed() > AGREED => {
                bail!("{} s after all was mended, {why}", AGREED.as_secs())
            }
            Err(_) => {}
        }
        interrupt::check()?;
        std::thread::sleep(LOOK);
    }
}

/// The number of records that every node holds, or the difference between nodes.
fn agree(cluster: &Cluster) -> Result<Result<u64, String>> {
    let count = cluster.nodes.len() as u64;
    let mut records = BTreeSet::new();
    for node in &cluster.nodes {
        let status: Status = node.json(&["status"])?;
        let name = node.name();
        let Status { connected, synchronised, incomplete, missing_copies, .. } = status;
        if connected != count || !synchronised || incomplete + missing_copies > 0 {
            return Ok(Err(format!(
                "{name} sees {connected} nodes, synchronised: {synchronised}, {incomplete} incomplete, \
                 {missing_copies} missing copies"
            )));
        }
        records.insert(status.records);
    }
    if records.len() != 1 {
        return Ok(Err(format!("the nodes hold {records:?} records")));
    }
    for listing in LISTINGS {
        let mut first: Option<(String, Value)> = None;
        for node in readers(cluster) {
            let shown = shown(node, listing)?;
            let (name, expected) = first.get_or_insert_with(|| (node.name(), shown.clone()));
            if *expected != shown {
                let words = listing.join(" ");
                return Ok(Err(format!("`{words}` differs on {name} and {}", node.name())));
            }
        }
    }
    Ok(Ok(records.into_iter().next().unwrap_or_default()))
}

/// Compares what all nodes show with what the model knows, reads every version on every node that reads, and has every
/// node check its store.
pub(super) fn verdict(cluster: &Cluster, model: &Model, contents: Contents) -> Result<Agreed> {
    let mut agreed = Agreed::default();
    for key in KEPT.iter().chain(&PURGED) {
        let mut versions: BTreeMap<String, Vec<Shown>> = BTreeMap::new();
        for node in readers(cluster) {
            let read = read(node, key, contents).with_context(|| format!("at {}", node.name()))?;
            model.judge(key, &read).with_context(|| format!("at {}", node.name()))?;
            versions.insert(node.name(), read);
        }
        let mut each = versions.values();
        let first = each.next().context("no node reads")?;
        ensure!(each.all(|other| other == first), "the nodes show different histories of {key}");
        agreed.versions += first.len();
        agreed.conflicts += first.iter().filter(|version| version.place == "sibling").count();
    }
    for node in &cluster.nodes {
        sound(node).with_context(|| node.name())?;
    }
    Ok(agreed)
}

/// Every version of a name with the put that its bytes come from.
fn read(node: &Node, key: &str, contents: Contents) -> Result<Vec<Shown>> {
    interrupt::check()?;
    let reply = node.run(&["history", key, "--json"])?.expect(&[0, 4])?;
    if reply.code != 0 {
        return Ok(vec![]);
    }
    let read = |version: Version| {
        let id = version.version;
        let content = match version.kind.as_str() {
            "put" => {
                let reply = node.ok(&["cat", key, "--version", &id])?;
                Some(contents.number(&reply.stdout).with_context(|| format!("{key}, {id}"))?)
            }
            _ => None,
        };
        Ok(Shown { id, place: version.place, content })
    };
    reply.json::<History>()?.versions.into_iter().map(read).collect()
}

/// Nothing is amiss at a node: no alarm, nothing set aside or damaged, and its store is what it should be.
fn sound(node: &Node) -> Result<()> {
    let status: Status = node.json(&["status"])?;
    ensure!(status.alarms.is_empty(), "it raises alarms: {:?}", status.alarms);
    ensure!(status.quarantined == 0, "{} chunks are quarantined", status.quarantined);
    ensure!(status.read_only.is_none(), "it is read-only: {:?}", status.read_only);
    let checked: CheckDone = node.json(&["check"])?;
    ensure!(checked.found == 0, "its check finds damage: {checked:?}");
    Ok(())
}

fn readers(cluster: &Cluster) -> impl Iterator<Item = &Node> {
    cluster.nodes.iter().filter(|node| node.role.reads())
}

/// A document less what differs from node to node: where the bytes are.
fn shown(node: &Node, words: &[&str]) -> Result<Value> {
    let words = [words, &["--json"]].concat();
    // 4: nothing is listed.
    let reply = node.run(&words)?.expect(&[0, 4])?;
    let mut document: Value = if reply.code == 0 { reply.json()? } else { Value::Null };
    forget_where(&mut document);
    Ok(document)
}

fn forget_where(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("here");
            fields.values_mut().for_each(forget_where);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_where),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_where_the_bytes_are_is_left_out_of_a_listing() {
        let mut document = json!({"entries": [{"key": "a", "here": "local", "versions":
            [{"version": "1", "here": "evicted"}]}], "next": null});
        forget_where(&mut document);
        let left = json!({"entries": [{"key": "a", "versions": [{"version": "1"}]}], "next": null});
        assert_eq!(document, left);
    }
}
