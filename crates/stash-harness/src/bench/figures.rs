//! The figures of a transfer bench: by kind, their medians and ratios, as a table and as JSON.

use serde_json::{Value, json};

use crate::bench::median::{median, rounded};
use crate::report::Report;

/// One kind of transfer. One figure a round, or two.
#[derive(Debug, Default)]
pub(super) struct Phase {
    /// MiB of file per second.
    pub(super) rates: Vec<f64>,
    /// Processor seconds for each GiB and node, the client's left out.
    pub(super) cpu: Vec<f64>,
    /// Those of them that were spent in the kernel.
    pub(super) system: Vec<f64>,
    /// The rates of straight-line code, where it does the same.
    pub(super) floor: Vec<f64>,
}

#[derive(Debug, Default)]
pub(super) struct Rates {
    /// Beside the floor that writes through the page cache.
    pub(super) put: Phase,
    pub(super) floor_put_direct: Vec<f64>,
    pub(super) get_cold: Phase,
    pub(super) get_warm: Phase,
    pub(super) get_no_keep_cold: Phase,
    pub(super) get_no_keep_warm: Phase,
    pub(super) get_local: Phase,
    pub(super) evict: Phase,
    pub(super) reput_unchanged: Phase,
    pub(super) reput_changed: Phase,
}

impl Rates {
    fn gets(&self) -> [(&'static str, &'static str, &Phase); 4] {
        [
            ("get, kept, cold", "get_cold", &self.get_cold),
            ("get, kept, warm", "get_warm", &self.get_warm),
            ("get, --no-keep, cold", "get_no_keep_cold", &self.get_no_keep_cold),
            ("get, --no-keep, warm", "get_no_keep_warm", &self.get_no_keep_warm),
        ]
    }

    fn alone(&self) -> [(&'static str, &'static str, &Phase); 4] {
        [
            ("get, local", "get_local", &self.get_local),
            ("evict", "evict", &self.evict),
            ("put again, unchanged", "reput_unchanged", &self.reput_unchanged),
            ("put again, one byte", "reput_changed", &self.reput_changed),
        ]
    }
}

#[expect(clippy::cast_precision_loss, reason = "a size in MiB for a report")]
pub(super) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn ratio(stash: &[f64], floor: &[f64]) -> f64 {
    median(stash) / median(floor)
}

pub(super) fn summary(report: &Report, size: u64, rates: &Rates, peak: u64) {
    let line = |name: &str, phase: &Phase, floor: &[f64]| {
        let (rate, cpu) = (median(&phase.rates), median(&phase.cpu));
        let system = median(&phase.system);
        let beside = match floor {
            [] => format!("{:>8} {:>7}", "", ""),
            floor => format!("{:>8.0} {:>7.2}", median(floor), ratio(&phase.rates, floor)),
        };
        report.line(format_args!("{name:<28} {rate:>8.0} {beside} {cpu:>7.2} {system:>7.2}"));
    };
    report.line(format_args!(
        "\n{} MiB, medians in MiB/s; CPU in seconds of a node for each GiB, and of it the kernel\n{:<28} {:>8} {:>8} {:>7} {:>7} {:>7}",
        size >> 20,
        "",
        "stash",
        "floor",
        "ratio",
        "CPU",
        "kernel"
    ));
    line("put, three copies", &rates.put, &rates.put.floor);
    line("  beside the direct floor", &rates.put, &rates.floor_put_direct);
    rates.gets().iter().for_each(|(name, _, phase)| line(name, phase, &phase.floor));
    rates.alone().iter().for_each(|(name, _, phase)| line(name, phase, &[]));
    report.line(format_args!("{:<28} {peak:>8} MiB", "largest node at its peak"));
}

pub(super) fn document(size: u64, rounds: u32, rates: &Rates, peak: u64) -> Value {
    let middle = |values: &[f64]| rounded(median(values));
    let (unchanged, changed) =
        (middle(&rates.reput_unchanged.rates), middle(&rates.reput_changed.rates));
    let mut document = json!({
        "size": size, "rounds": rounds, "nodes": 3,
        "put_ratio": rounded(ratio(&rates.put.rates, &rates.put.floor)),
        "put_direct_ratio": rounded(ratio(&rates.put.rates, &rates.floor_put_direct)),
        "floor_put_mib_s": middle(&rates.put.floor),
        "floor_put_direct_mib_s": middle(&rates.floor_put_direct),
        // The slower of the two: after one byte changed, and unchanged.
        "reput_mib_s": unchanged.min(changed),
        "peak_rss_mib": peak,
    });
    for (_, name, phase) in rates.gets() {
        document[format!("{name}_ratio")] = rounded(ratio(&phase.rates, &phase.floor)).into();
        document[format!("floor_{name}_mib_s")] = middle(&phase.floor).into();
    }
    let put = ("", "put", &rates.put);
    for (_, name, phase) in [put].into_iter().chain(rates.gets()).chain(rates.alone()) {
        document[format!("{name}_mib_s")] = middle(&phase.rates).into();
        document[format!("{name}_cpu_s_gib")] = middle(&phase.cpu).into();
        document[format!("{name}_kernel_s_gib")] = middle(&phase.system).into();
    }
    document
}
