//! Padmé: padding that leaks O(log log n) bits of a length at a cost of at most 12 %.
//!
//! Nikitin, Barman, Lueks, Underwood, Hubaux, Ford: "Reducing Metadata Leakage from Encrypted
//! Files and Communication with PURBs", PoPETs 2019(4), section 4.

/// The padded length of `len` bytes. Never below `len`; 0 and 1 stay as they are; saturates at
/// `u64::MAX` for lengths that no file has.
pub fn padme(len: u64) -> u64 {
    if len < 2 {
        return len;
    }
    let exponent = len.ilog2();
    let kept = exponent.ilog2() + 1;
    let mask = (1u64 << (exponent - kept)) - 1;
    len.checked_add(mask).map_or(u64::MAX, |sum| sum & !mask)
}

/// The padded length of a file's last chunk: Padmé, and at most the chunk size.
pub fn last_chunk_padding(len: u32, chunk_size: u32) -> u32 {
    u32::try_from(padme(u64::from(len)).min(u64::from(chunk_size))).unwrap_or(chunk_size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds() {
        let file = include_str!("../../vectors/padme.txt");
        let mut rows = 0;
        for line in file.lines().filter(|line| !line.starts_with('#')) {
            let (len, padded) = line.split_once(" = ").unwrap();
            assert_eq!(padme(len.parse().unwrap()), padded.parse::<u64>().unwrap(), "{len}");
            rows += 1;
        }
        assert_eq!(rows, 34);
    }

    #[test]
    fn padding_never_shrinks_costs_at_most_an_eighth_and_is_idempotent() {
        for len in (0..100_000).chain((17..62).map(|bit| (1 << bit) + 1)) {
            let padded = padme(len);
            assert!(padded >= len && padded <= len + len.div_ceil(8), "{len} -> {padded}");
            assert_eq!(padme(padded), padded, "{len}");
        }
    }

    #[test]
    fn the_last_chunk_never_outgrows_the_chunk_size() {
        for len in 1..=4096 {
            assert!((len..=4096).contains(&last_chunk_padding(len, 4096)), "{len}");
        }
        assert_eq!(last_chunk_padding(1 << 20, 1 << 20), 1 << 20);
        assert_eq!(last_chunk_padding((1 << 20) - 1, 1 << 20), 1 << 20);
    }
}
