//! Sizes, spans of time and shares as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bytes, written as `500 GiB`, `64MiB` or `1.5 TiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Size(pub(crate) u64);

/// A span of time, written as `90s`, `15m`, `24h` or `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Span(pub(crate) Duration);

/// A share in percent, 0 to 100, written as `2 %` or `2%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Percent(pub(crate) u8);

const BYTES: [(&str, u32); 5] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];
const SECONDS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no size: write it as 500 GiB, 64 MiB or 4096 B");
        let (number, shift) = BYTES
            .iter()
            .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?.trim_end(), *shift)))
            .ok_or_else(wrong)?;
        let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
        let (whole, tenth) =
            digits(whole).zip(digits(tenth).filter(|_| tenth.len() == 1)).ok_or_else(wrong)?;
        let tenths = whole.checked_mul(10).and_then(|tenths| tenths.checked_add(tenth));
        let bytes = tenths.map(|tenths| (u128::from(tenths) << shift) / 10);
        let bytes = bytes.and_then(|bytes| u64::try_from(bytes).ok());
        bytes.map(Self).ok_or_else(|| format!("{text:?} is more than can be stored"))
    }
}

impl fmt::Display for Size {
    /// In the largest unit that says it exactly.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = BYTES.iter().find(|(_, shift)| self.0 > 0 && self.0.trailing_zeros() >= *shift);
        let (unit, shift) = exact.unwrap_or(&("B", 0));
        write!(f, "{} {unit}", self.0 >> shift)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no span of time: write it as 90s, 15m, 24h or 7d");
        let (number, unit) = SECONDS
            .iter()
            .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?.trim_end(), *seconds)))
            .ok_or_else(wrong)?;
        let seconds = digits(number).and_then(|n| n.checked_mul(unit)).ok_or_else(wrong)?;
        Ok(Self(Duration::from_secs(seconds)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let whole = SECONDS.iter().find(|(_, unit)| seconds > 0 && seconds.is_multiple_of(*unit));
        let (name, unit) = whole.unwrap_or(&("s", 1));
        write!(f, "{}{name}", seconds / unit)
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').map(str::trim_end).and_then(digits);
        let percent = number.filter(|n| *n <= 100).and_then(|n| u8::try_from(n).ok());
        percent.map(Self).ok_or_else(|| format!("{text:?} is no share: write 0 % to 100 %"))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

/// Digits and nothing else: a number type's own parser takes a sign.
fn digits(text: &str) -> Option<u64> {
    let only = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if only { text.parse().ok() } else { None }
}

macro_rules! as_text {
    ($($unit:ty),*) => {$(
        impl TryFrom<String> for $unit {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$unit> for String {
            fn from(unit: $unit) -> Self {
                unit.to_string()
            }
        }
    )*};
}

as_text!(Size, Span, Percent);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_in_binary_units() {
        let table = [
            ("500 GiB", 500 << 30, "500 GiB"),
            ("64MiB", 64 << 20, "64 MiB"),
            ("1.5 TiB", 3 << 39, "1536 GiB"),
            ("0.5 KiB", 512, "512 B"),
            ("4096 B", 4096, "4 KiB"),
            ("0 B", 0, "0 B"),
        ];
        for (text, bytes, written) in table {
            let size: Size = text.parse().unwrap();
            assert_eq!((size.0, size.to_string()), (bytes, written.to_owned()), "{text}");
        }
        for bad in
            ["", "GiB", "5", "5 GB", "-1 GiB", "+1 GiB", "1.25 GiB", "1. GiB", "99999999 TiB"]
        {
            assert!(bad.parse::<Size>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn spans_are_whole_numbers_with_a_unit() {
        for (text, seconds, written) in
            [("90s", 90, "90s"), ("15 m", 900, "15m"), ("24h", 86_400, "1d"), ("0s", 0, "0s")]
        {
            let span: Span = text.parse().unwrap();
            assert_eq!((span.0.as_secs(), span.to_string()), (seconds, written.to_owned()));
        }
        for bad in ["", "h", "24", "-1h", "1.5h", "1w", "99999999999999999999d"] {
            assert!(bad.parse::<Span>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn shares_are_0_to_100_percent() {
        assert_eq!("2 %".parse(), Ok(Percent(2)));
        assert_eq!("100%".parse(), Ok(Percent(100)));
        for bad in ["", "2", "101 %", "-1 %", "0.5 %"] {
            assert!(bad.parse::<Percent>().is_err(), "{bad:?}");
        }
    }
}
