//! The figures beside what is asked of them.

use serde_json::{Value, json};

use crate::fill::{Filled, MILLION};
use crate::measure::report::Report;
use crate::measure::{median, mib, rounded};
use crate::open::Opened;
use crate::reads::Figure;
use crate::{Arguments, Figures, Kind};

/// Objects in the store that was measured, those of the killed writers included.
fn objects(figures: &Figures) -> u64 {
    figures.rebuilt.objects
}

fn bytes_each(figures: &Figures) -> f64 {
    figures.footprint.disk_bytes as f64 / objects(figures) as f64
}

fn open_seconds(opens: &[Opened]) -> (f64, f64) {
    let seconds: Vec<f64> = opens.iter().map(|opened| opened.seconds).collect();
    (median(seconds.clone()), seconds.into_iter().fold(0.0, f64::max))
}

/// The first million, or all if there are no more.
fn first_million(filled: &Filled) -> f64 {
    let to = MILLION.min(filled.objects);
    filled.rate(0, to).unwrap_or(f64::NAN)
}

fn last_tenth(filled: &Filled) -> f64 {
    let from = filled.tenth() * 9;
    // What is left over when the objects are no multiple of ten belongs to the last tenth.
    filled.rate(from, filled.objects).unwrap_or(f64::NAN)
}

fn whole(filled: &Filled) -> f64 {
    filled.objects as f64 / filled.seconds
}

pub(crate) fn print(report: Report, arguments: &Arguments, figures: &Figures) {
    let Figures { filled, opens, footprint, rebuilt, reads } = figures;
    report.line(format_args!(
        "\n{} {}s of {} bytes, {} threads, seed {}{}",
        arguments.objects,
        kind(arguments.kind),
        arguments.size,
        arguments.threads,
        arguments.seed,
        if arguments.cold { ", opened cold" } else { "" }
    ));
    for tenth in 0..10 {
        let (from, to) = (filled.tenth() * tenth, filled.tenth() * (tenth + 1));
        let rate = filled.rate(from, to).unwrap_or(f64::NAN);
        report.line(format_args!("up to {to:>10}                {rate:>10.0} objects/s"));
    }
    let (whole, last, million) = (whole(filled), last_tenth(filled), first_million(filled));
    let (middle, slowest) = open_seconds(opens);
    let latency = filled.latency;
    let line = |name: &str, figure: f64, digits: usize, unit: &str, asked: &str| {
        report.line(format_args!("{name:<28} {figure:>11.digits$} {unit:<10} {asked}"));
    };
    line("the whole fill", whole, 0, "objects/s", "");
    line("  of the first million", whole / million, 2, "", "10 million: at least 0.70");
    line("last tenth, of that", last / million, 2, "", "10 million: at least 0.70");
    line("a put, median", latency.p50_us, 0, "us", "");
    line("a put, 99 of 100", latency.p99_us, 0, "us", "");
    line("a put, slowest", latency.max_us, 0, "us", "");
    line("objects a sync", filled.objects as f64 / filled.syncs as f64, 1, "", "");
    line("written", mib(filled.written), 0, "MiB", "");
    line("on disk, an object", bytes_each(figures), 0, "bytes", "1 million: at most 2100");
    line("  file lengths", footprint.bytes as f64 / objects(figures) as f64, 0, "bytes", "");
    line("inodes", footprint.inodes as f64, 0, "", "1 million: at most 1000");
    line("open after SIGKILL, median", middle, 3, "s", "1 million: at most 1 s");
    line("open after SIGKILL, slowest", slowest, 3, "s", "");
    line("open that builds the index", rebuilt.seconds, 2, "s", "1 million: at most 60 s");
    line("peak memory of the fill", mib(filled.peak_rss), 0, "MiB", "10 million: at most 256");
    let opened = opens.iter().map(|opened| opened.peak_rss).max().unwrap_or_default();
    line("  after an open", mib(opened), 0, "MiB", "10 million: at most 256");
    line("  building the index", mib(rebuilt.peak_rss), 0, "MiB", "10 million: at most 256");
    line("  reading", mib(reads.peak_rss), 0, "MiB", "10 million: at most 256");
    let random = |name: &str, figure: &Figure| {
        let Figure { per_second, latency } = figure;
        report.line(format_args!(
            "{name:<28} {per_second:>11.0} /s         p50 {:.1} us, p99 {:.1} us",
            latency.p50_us, latency.p99_us
        ));
    };
    random("random look-up, present", &reads.present);
    random("random look-up, absent", &reads.absent);
    random("random read", &reads.read);
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Record => "record",
        Kind::Blob => "blob",
    }
}

pub(crate) fn document(arguments: &Arguments, figures: &Figures) -> Value {
    let Figures { filled, opens, footprint, rebuilt, reads } = figures;
    let (middle, slowest) = open_seconds(opens);
    let million = first_million(filled);
    json!({
        "objects": arguments.objects, "kind": kind(arguments.kind), "size": arguments.size,
        "threads": arguments.threads, "seed": arguments.seed, "cold": arguments.cold,
        "objects_s": rounded(whole(filled)),
        "first_million_objects_s": rounded(million),
        "last_tenth_objects_s": rounded(last_tenth(filled)),
        "whole_of_first_million": rounded(whole(filled) / million),
        "last_tenth_of_first_million": rounded(last_tenth(filled) / million),
        "disk_bytes_per_object": rounded(bytes_each(figures)),
        "footprint": footprint,
        "open_seconds_median": middle,
        "open_seconds_max": slowest,
        "rebuild_seconds": rebuilt.seconds,
        "fill": filled, "opens": opens, "rebuild": rebuilt, "reads": reads,
    })
}
