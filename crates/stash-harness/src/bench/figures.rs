//! The figures of a transfer bench: rates by kind, their medians and ratios, as a table and as JSON.

use serde_json::{Value, json};

use crate::bench::median::{median, rounded};
use crate::report::Report;

/// Rates in MiB of file per second, one a round.
#[derive(Debug, Default)]
pub(super) struct Rates {
    pub(super) put: Vec<f64>,
    pub(super) floor_put: Vec<f64>,
    pub(super) get: Vec<f64>,
    pub(super) floor_get: Vec<f64>,
    pub(super) get_no_keep: Vec<f64>,
    pub(super) floor_get_no_keep: Vec<f64>,
    pub(super) get_local: Vec<f64>,
    pub(super) reput_unchanged: Vec<f64>,
    pub(super) reput_changed: Vec<f64>,
}

#[expect(clippy::cast_precision_loss, reason = "a size in MiB for a report")]
pub(super) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn ratio(stash: &[f64], floor: &[f64]) -> f64 {
    rounded(median(stash) / median(floor))
}

pub(super) fn summary(report: &Report, size: u64, rates: &Rates, peak: u64) {
    let line = |name: &str, stash: &[f64], floor: &[f64]| {
        let (a, b) = (median(stash), median(floor));
        report.line(format_args!("{name:<24} {a:>8.0} {b:>8.0} {:>7.2}", a / b));
    };
    report.line(format_args!(
        "\n{} MiB, medians in MiB/s\n{:<24} {:>8} {:>8} {:>7}",
        size >> 20,
        "",
        "stash",
        "floor",
        "ratio"
    ));
    line("put, three copies", &rates.put, &rates.floor_put);
    line("get, kept", &rates.get, &rates.floor_get);
    line("get, --no-keep", &rates.get_no_keep, &rates.floor_get_no_keep);
    report.line(format_args!(
        "{:<24} {:>8.0}",
        "put again, unchanged",
        median(&rates.reput_unchanged)
    ));
    report.line(format_args!(
        "{:<24} {:>8.0}",
        "put again, one byte",
        median(&rates.reput_changed)
    ));
    report.line(format_args!("{:<24} {peak:>8} MiB", "largest node at its peak"));
}

pub(super) fn document(size: u64, rounds: u32, rates: &Rates, peak: u64) -> Value {
    let middle = |values: &[f64]| rounded(median(values));
    let (unchanged, changed) = (middle(&rates.reput_unchanged), middle(&rates.reput_changed));
    json!({
        "size": size, "rounds": rounds, "nodes": 3,
        "put_ratio": ratio(&rates.put, &rates.floor_put),
        "get_ratio": ratio(&rates.get, &rates.floor_get),
        "get_no_keep_ratio": ratio(&rates.get_no_keep, &rates.floor_get_no_keep),
        "put_mib_s": middle(&rates.put),
        "get_mib_s": middle(&rates.get),
        "get_local_mib_s": middle(&rates.get_local),
        "get_no_keep_mib_s": middle(&rates.get_no_keep),
        // The slower of the two: after one byte changed, and unchanged.
        "reput_mib_s": unchanged.min(changed),
        "reput_unchanged_mib_s": unchanged,
        "reput_changed_mib_s": changed,
        "peak_rss_mib": peak,
        "floor_put_mib_s": middle(&rates.floor_put),
        "floor_get_mib_s": middle(&rates.floor_get),
        "floor_get_no_keep_mib_s": middle(&rates.floor_get_no_keep),
    })
}
