//! `cargo xtask bench objects`: many clients of one node store small objects over its local API, each waiting for every
//! answer, and read them back.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand::Rng;
use serde_json::json;
use stash_api::files::object_path;

use crate::bench::client::Client;
use crate::bench::median::{median, rounded};
use crate::bench::times::Times;
use crate::cluster::{self, Cluster, Plan, Role};
use crate::report::Report;
use crate::{build, interrupt, tree};

/// Bytes of an object: it stands in its record.
const SIZE: usize = 1024;

/// Syncs of the disk that are timed, beside which a durable put is seen.
const SYNCS: usize = 100;

#[derive(Debug, Clone, Copy)]
enum Verb {
    Put,
    Get,
}

pub(super) fn run(clients: u32, objects: u32, json: bool) -> Result<()> {
    let report = Report::new(json);
    let binary = build::stash(&report)?;
    let plan = Plan { log: "warn", ..Plan::new(vec![Role::Owner], &binary) };
    let mut cluster = Cluster::found(&plan, &report)?;
    let sync = median_sync(&cluster.run.path)?;
    report.line(format_args!("{:<28} {:.2} ms, median of {SYNCS}", "a sync of this disk", sync));
    let [_, (_, socket)] = cluster.nodes[0].variables();
    let put = all(&socket, Verb::Put, clients, objects)?;
    put.tell("put, durable", "objects", &report);
    let get = all(&socket, Verb::Get, clients, objects)?;
    get.tell("get", "objects", &report);
    cluster::wait_listed(&cluster.nodes[0], "bench/000", 1000.min(objects as usize))?;
    let document = json!({
        "objects": objects, "object_bytes": SIZE, "clients": clients, "nodes": 1,
        "sync_ms": rounded(sync), "put": put.document("objects_s"), "get": get.document("objects_s"),
        "peak_rss_mib": cluster.peak_mib(),
    });
    report.document(&document)?;
    cluster.finish(&report)
}

/// Every object once, shared out to clients with a connection each.
fn all(socket: &Path, verb: Verb, clients: u32, objects: u32) -> Result<Times> {
    let begun = Instant::now();
    let workers: Vec<_> = (0..clients)
        .map(|client| {
            let socket = socket.to_path_buf();
            let mine = (client..objects).step_by(clients as usize);
            thread::spawn(move || mine_all(&socket, verb, mine))
        })
        .collect();
    let mut took = Vec::with_capacity(objects as usize);
    for worker in workers {
        took.extend(worker.join().map_err(|_| anyhow::anyhow!("a client panicked"))??);
    }
    let all = begun.elapsed();
    Ok(Times::new(took, all))
}

fn mine_all(socket: &Path, verb: Verb, mine: impl Iterator<Item = u32>) -> Result<Vec<Duration>> {
    let mut client = Client::connect(socket)?;
    mine.map(|number| {
        interrupt::check()?;
        let bytes = object(number);
        let begun = Instant::now();
        match verb {
            Verb::Put => {
                drop(client.ask("PUT", &format!("{}?wait=local", path(number)), &bytes)?)
            }
            Verb::Get => {
                let got = client.ask("GET", &path(number), b"")?;
                ensure!(got == bytes, "{} came back with other bytes", path(number));
            }
        }
        Ok(begun.elapsed())
    })
    .collect()
}

/// A thousand in each directory.
fn path(number: u32) -> String {
    object_path(&format!("bench/{:03}/{number:06}", number / 1000))
}

fn object(number: u32) -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    tree::rng(u64::from(number)).fill_bytes(&mut bytes);
    bytes
}

/// Milliseconds that it takes to append an object and sync.
fn median_sync(directory: &Path) -> Result<f64> {
    let path: PathBuf = directory.join("synced");
    let mut file = File::create(&path)?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let begun = Instant::now();
        file.write_all(&[7; SIZE])?;
        file.sync_data()?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    std::fs::remove_file(path)?;
    Ok(median(&times))
}
