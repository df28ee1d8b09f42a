//! `cargo xtask bench`: figures of running nodes, each beside what bounds it.

mod bwlimit;
mod catchup;
mod client;
mod figures;
mod objects;
mod small;
mod times;
mod transfer;

use anyhow::Result;

use crate::cli::Bench;

pub(crate) fn run(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Transfer { size, rounds, json } => transfer::run(*size, *rounds, *json),
        Bench::Bwlimit { limit, size, json } => bwlimit::run(*limit, *size, *json),
        Bench::Objects { clients, objects, json } => objects::run(*clients, *objects, *json),
        Bench::Catchup { records, json } => catchup::run(*records, *json),
        Bench::Small { files, rounds, json } => small::run(*files, *rounds, *json),
    }
}

/// The middle value, or the mean of the two middle ones.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

/// Two decimals, for reports.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_order_and_outliers() {
        assert!((median(&[3.0, 1.0, 1000.0]) - 3.0).abs() < 1e-9);
        assert!((median(&[4.0, 2.0]) - 3.0).abs() < 1e-9);
        assert!(median(&[]).is_nan());
    }
}
