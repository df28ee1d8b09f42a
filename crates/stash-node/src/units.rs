//! Sizes, spans of time and shares as people write them.
//!
//! Read and written by code of our own: `bytesize` takes `5`, `5 GB` and, as a decimal unit, `512M`, and writes
//! `500.0 GiB` where `500 GiB` was meant exactly; `humantime` takes `1.5h` and writes `24h` as `1day`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stash_vault::server::Rate;
use stash_vault::server::transfers::MIN_RATE;

/// Bytes, written as `500 GiB`, `64MiB` or `1.5 TiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Size(pub(crate) u64);

/// How much of the bytes a node keeps, written as `all`, `none` or a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Keep {
    /// Everything: the node is a copy.
    All,
    /// So many bytes: it is a cache.
    Bytes(u64),
}

/// A span of time, written as `90s`, `15m`, `24h` or `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Span(pub(crate) Duration);

/// A place of a node, written as `192.0.2.7:7979` or `nas.example.org:7979`, or without the port, which is 7979
/// then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Place(pub(crate) stash_vault::Place);

/// A share in percent, 0 to 100, written as `2 %` or `2%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Percent(pub(crate) u8);

/// The port on which nodes listen for each other.
pub(crate) const PORT: u16 = 7979;

const UNITS: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    // The one that is written.
    ("kB", 1_000),
    ("B", 1),
];
const SECONDS: [(&str, u128); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

impl Keep {
    /// Bytes, as the engine takes them.
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Keep::All => u64::MAX,
            Keep::Bytes(bytes) => bytes,
        }
    }
}

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Keep::All),
            "none" => Ok(Keep::Bytes(0)),
            size => size.parse().map(|Size(bytes)| Keep::Bytes(bytes)).map_err(|_| {
                format!("{text:?} is nothing to keep: write all, none, or a size such as 50 GiB")
            }),
        }
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Keep::All => f.write_str("all"),
            Keep::Bytes(0) => f.write_str("none"),
            Keep::Bytes(bytes) => Size(*bytes).fmt(f),
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no size: write it as 500 GiB, 64 MiB or 4096 B");
        let (number, unit) = UNITS
            .iter()
            .find_map(|(name, unit)| Some((text.strip_suffix(name)?.trim_end(), *unit)))
            .ok_or_else(wrong)?;
        let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
        let (whole, tenth) =
            digits(whole).zip(digits(tenth).filter(|_| tenth.len() == 1)).ok_or_else(wrong)?;
        let tenths = whole.checked_mul(10).and_then(|tenths| tenths.checked_add(tenth));
        let bytes = tenths.map(|tenths| u128::from(tenths) * u128::from(unit) / 10);
        let bytes = bytes.and_then(|bytes| u64::try_from(bytes).ok());
        bytes.map(Self).ok_or_else(|| format!("{text:?} is more than can be stored"))
    }
}

impl fmt::Display for Size {
    /// In the unit that says it exactly with the smallest number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS.iter().filter(|(_, unit)| self.0 > 0 && self.0.is_multiple_of(*unit));
        let (name, unit) = exact.max_by_key(|(_, unit)| *unit).unwrap_or(&("B", 1));
        write!(f, "{} {name}", self.0 / unit)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seconds = seconds(text).and_then(|seconds| u64::try_from(seconds).ok());
        let wrong = || format!("{text:?} is no span of time: write it as 90s, 15m, 24h or 7d");
        seconds.map(Duration::from_secs).map(Self).ok_or_else(wrong)
    }
}

/// The seconds of a number with a unit, however many; `None` of any other text.
pub(crate) fn seconds(text: &str) -> Option<u128> {
    let (number, unit) = SECONDS
        .iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?.trim_end(), *seconds)))?;
    is_digits(number).then(|| number.parse().unwrap_or(u128::MAX).saturating_mul(unit))
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = u128::from(self.0.as_secs());
        let whole = SECONDS.iter().find(|(_, unit)| seconds > 0 && seconds.is_multiple_of(*unit));
        let (name, unit) = whole.unwrap_or(&("s", 1));
        write!(f, "{}{name}", seconds / unit)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        stash_vault::Place::parse(text, PORT).map(Self).map_err(|why| {
            format!(
                "{text:?} is not HOST:PORT, as in 192.0.2.7:{PORT} or nas.example.org:{PORT}: {why}"
            )
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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

/// A rate in bytes a second, written as `2 MiB` or `512 KiB/s`; `off` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Speed(pub(crate) Option<Rate>);

/// A rate for each direction, written as `RATE` for both or `UP:DOWN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Speeds {
    /// The rate of sending.
    pub(crate) up: Speed,
    /// The rate of receiving.
    pub(crate) down: Speed,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let wrong = |_| format!("{text:?} is no rate: write it as 2 MiB, 512 KiB or off");
        let size: Size = text.strip_suffix("/s").unwrap_or(text).parse().map_err(wrong)?;
        let low = |_| format!("{size}/s is too slow: {}/s is the least", Size(MIN_RATE));
        Rate::new(size.0).map(|rate| Self(Some(rate))).map_err(low)
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(rate) => write!(f, "{}/s", Size(rate.bytes_per_second())),
            None => f.write_str("off"),
        }
    }
}

impl FromStr for Speeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (up, down) = text.split_once(':').unwrap_or((text, text));
        Ok(Self { up: up.parse()?, down: down.parse()? })
    }
}

fn digits(text: &str) -> Option<u64> {
    if is_digits(text) { text.parse().ok() } else { None }
}

/// True of digits and nothing else: a number type's own parser takes a sign.
fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
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

as_text!(Keep, Size, Span, Percent, Speed, Place);

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
            ("400GB", 400_000_000_000, "400 GB"),
            ("1.5 TB", 1_500_000_000_000, "1500 GB"),
            ("2 kB", 2_000, "2 kB"),
        ];
        for (text, bytes, written) in table {
            let size: Size = text.parse().unwrap();
            assert_eq!((size.0, size.to_string()), (bytes, written.to_owned()), "{text}");
        }
        for bad in [
            "",
            "GiB",
            "5",
            "5 gb",
            "5 G",
            "-1 GiB",
            "+1 GiB",
            "1.25 GiB",
            "1. GiB",
            "99999999 TiB",
        ] {
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
    fn rates_are_sizes_a_second_or_off() {
        let speed = |bytes| Speed(Rate::new(bytes).ok());
        for (text, bytes, written) in [
            ("2 MiB", 2 << 20, "2 MiB/s"),
            ("512KiB/s", 512 << 10, "512 KiB/s"),
            ("0.5 MiB", 512 << 10, "512 KiB/s"),
            ("128 KiB", MIN_RATE, "128 KiB/s"),
            ("off", 0, "off"),
        ] {
            let read: Speed = text.parse().unwrap();
            assert_eq!((read, read.to_string()), (speed(bytes), written.to_owned()), "{text}");
        }
        for bad in ["", "2", "OFF", "none", "0 B", "127 KiB", "2 MiB/h", "-2 MiB"] {
            assert!(bad.parse::<Speed>().is_err(), "{bad:?}");
        }
        let why = "64 KiB".parse::<Speed>().unwrap_err();
        assert_eq!(why, "64 KiB/s is too slow: 128 KiB/s is the least");
        let both = |up, down| Ok(Speeds { up: speed(up), down: speed(down) });
        assert_eq!("2MiB".parse(), both(2 << 20, 2 << 20));
        assert_eq!("1 MiB:off".parse(), both(1 << 20, 0));
        assert_eq!("off:1 MiB".parse(), both(0, 1 << 20));
        for bad in [":", "2MiB:", ":2MiB", "2MiB:2MiB:2MiB"] {
            assert!(bad.parse::<Speeds>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_address_may_leave_its_port_out() {
        for (text, written) in [
            ("0.0.0.0", "0.0.0.0:7979"),
            ("192.0.2.7:1", "192.0.2.7:1"),
            ("::", "[::]:7979"),
            ("[2001:db8::1]:80", "[2001:db8::1]:80"),
            ("nas", "nas:7979"),
            ("Nas.example.org:80", "nas.example.org:80"),
        ] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), written);
        }
        for bad in ["", "he re", "nas.example.org:", "1.2.3.4:", "1.2.3.4:99999", "1.2.3.400"] {
            assert!(bad.parse::<Place>().is_err(), "{bad:?}");
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
