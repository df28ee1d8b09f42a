//! The figures of all sides beside each other.

use serde_json::{Value, json};

use crate::measure::report::Report;
use crate::measure::{median, mib, rounded};
use crate::{Arguments, Side, Trial};

/// The median over the rounds of one figure of a trial.
fn middle(trials: &[Trial], figure: impl Fn(&Trial) -> f64) -> f64 {
    median(trials.iter().map(figure).collect())
}

fn rate(arguments: &Arguments, trials: &[Trial]) -> f64 {
    arguments.objects as f64 / middle(trials, |trial| trial.seconds)
}

pub(crate) fn print(report: Report, arguments: &Arguments, sides: &[(Side, Vec<Trial>)]) {
    report.line(format_args!(
        "\n{} objects of {} bytes, {} threads, seed {}; medians of {} rounds",
        arguments.objects, arguments.size, arguments.threads, arguments.seed, arguments.rounds
    ));
    report.line(format_args!(
        "{:<16} {:>9} {:>8} {:>8} {:>9} {:>9} {:>8} {:>11} {:>8} {:>8}",
        "",
        "objects/s",
        "p50 us",
        "p99 us",
        "max us",
        "obj./sync",
        "close s",
        "B/obj. disk",
        "MiB I/O",
        "peak MiB"
    ));
    for (side, trials) in sides {
        let middle = |figure: fn(&Trial) -> f64| middle(trials, figure);
        let objects = arguments.objects as f64;
        report.line(format_args!(
            "{:<16} {:>9.0} {:>8.0} {:>8.0} {:>9.0} {:>9.1} {:>8.2} {:>11.0} {:>8.0} {:>8.0}",
            side.name(),
            rate(arguments, trials),
            middle(|t| t.latency.p50_us),
            middle(|t| t.latency.p99_us),
            middle(|t| t.latency.max_us),
            objects / middle(|t| t.syncs as f64),
            middle(|t| t.close_seconds),
            middle(|t| t.footprint.disk_bytes as f64) / objects,
            middle(|t| mib(t.written)),
            middle(|t| mib(t.peak_rss)),
        ));
    }
}

pub(crate) fn document(arguments: &Arguments, sides: &[(Side, Vec<Trial>)]) -> Value {
    let mut figures = serde_json::Map::new();
    for (side, trials) in sides {
        let middle = |figure: fn(&Trial) -> f64| middle(trials, figure);
        let objects = arguments.objects as f64;
        let value = json!({
            "objects_s": rounded(rate(arguments, trials)),
            "p50_us": middle(|t| t.latency.p50_us),
            "p99_us": middle(|t| t.latency.p99_us),
            "max_us": middle(|t| t.latency.max_us),
            "objects_per_sync": rounded(objects / middle(|t| t.syncs as f64)),
            "disk_bytes_per_object": rounded(middle(|t| t.footprint.disk_bytes as f64) / objects),
            "peak_rss_mib": rounded(middle(|t| mib(t.peak_rss))),
            "rounds": trials,
        });
        figures.insert(side.name(), value);
    }
    json!({
        "objects": arguments.objects, "size": arguments.size, "threads": arguments.threads,
        "rounds": arguments.rounds, "seed": arguments.seed, "sides": figures,
    })
}
