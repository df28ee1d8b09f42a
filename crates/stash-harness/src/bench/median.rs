//! Figures of several rounds as one.

/// The middle value, or the mean of the two middle ones.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

/// Two decimals, for reports.
pub(crate) fn rounded(value: f64) -> f64 {
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
