//! `cargo xtask bench objects`: many clients of one node store small objects over its local API, each waiting for every
//! answer, and read them back.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::Rng;
use serde_json::{Value, json};

use crate::bench::{median, rounded};
use crate::cluster::{self, Cluster, Plan, Role};
use crate::report::Report;
use crate::{build, interrupt, tree};

/// Bytes of an object: it stands in its record.
const SIZE: usize = 1024;

/// Syncs of the disk that are timed, beside which a durable put is seen.
const SYNCS: usize = 100;

/// An answer takes no longer, or the node hangs.
const PATIENCE: Duration = Duration::from_secs(60);

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
    put.tell("put, durable", &report);
    let get = all(&socket, Verb::Get, clients, objects)?;
    get.tell("get", &report);
    cluster::wait_listed(&cluster.nodes[0], "bench/000", 1000.min(objects as usize))?;
    let document = json!({
        "objects": objects, "object_bytes": SIZE, "clients": clients, "nodes": 1,
        "sync_ms": rounded(sync), "put": put.document(), "get": get.document(),
        "peak_rss_mib": cluster.peak_mib(),
    });
    report.document(&document)?;
    cluster.finish(&report)
}

/// How long each request took, and all of them together.
struct Times {
    sorted: Vec<Duration>,
    all: Duration,
}

impl Times {
    fn per_second(&self) -> f64 {
        self.sorted.len() as f64 / self.all.as_secs_f64()
    }

    /// Milliseconds within which so many percent of the requests were answered.
    fn percentile(&self, percent: usize) -> f64 {
        let at = (self.sorted.len() * percent).div_ceil(100).max(1) - 1;
        self.sorted.get(at).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
    }

    fn tell(&self, what: &str, report: &Report) {
        let (rate, p50, p99) = (self.per_second(), self.percentile(50), self.percentile(99));
        let text = format!("{rate:.0} objects/s, p50 {p50:.2} ms, p99 {p99:.2} ms");
        report.step(what, &text, self.all);
    }

    fn document(&self) -> Value {
        json!({
            "objects_s": rounded(self.per_second()),
            "p50_ms": rounded(self.percentile(50)), "p99_ms": rounded(self.percentile(99)),
        })
    }
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
    let mut sorted = Vec::with_capacity(objects as usize);
    for worker in workers {
        sorted.extend(worker.join().map_err(|_| anyhow::anyhow!("a client panicked"))??);
    }
    let all = begun.elapsed();
    sorted.sort_unstable();
    Ok(Times { sorted, all })
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
    format!("/v1/objects/bench/{:03}/{number:06}", number / 1000)
}

fn object(number: u32) -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    tree::rng(u64::from(number)).fill_bytes(&mut bytes);
    bytes
}

/// One connection, kept for all requests.
struct Client {
    to: UnixStream,
    from: BufReader<UnixStream>,
}

impl Client {
    fn connect(socket: &Path) -> Result<Self> {
        let to = UnixStream::connect(socket).with_context(|| socket.display().to_string())?;
        to.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { from: BufReader::new(to.try_clone()?), to })
    }

    /// One request with its answer; an answer that is no success is an error.
    fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Vec<u8>> {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
        );
        self.to.write_all(&[head.as_bytes(), body].concat())?;
        let (status, length) = self.head()?;
        let mut answer = vec![0; length];
        self.from.read_exact(&mut answer)?;
        if status != 200 {
            bail!("{method} {path} is answered {status}: {}", String::from_utf8_lossy(&answer));
        }
        Ok(answer)
    }

    /// Status and length of an answer.
    fn head(&mut self) -> Result<(u16, usize)> {
        let (mut status, mut length) = (None, None);
        loop {
            let mut line = String::new();
            ensure!(self.from.read_line(&mut line)? > 0, "the node ends the connection");
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest.split(' ').next().and_then(|word| word.parse().ok());
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok();
            }
        }
        status.zip(length).context("an answer without a status or a length")
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times = |count: u64| Times {
            sorted: (1..=count).map(Duration::from_millis).collect(),
            all: Duration::from_secs(1),
        };
        let hundred = times(100);
        assert!((hundred.percentile(50) - 50.0).abs() < 1e-9);
        assert!((hundred.percentile(99) - 99.0).abs() < 1e-9);
        assert!((times(1).percentile(99) - 1.0).abs() < 1e-9);
        assert!((hundred.per_second() - 100.0).abs() < 1e-9);
    }
}
