//! Byte ranges (RFC 9110, section 14): one range a request, arithmetic that cannot overflow.

use std::fmt;
use std::ops;
use std::str::FromStr;

/// A byte range as it was asked for; the length of the file decides what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    /// `a-b`, both ends included.
    Between(u64, u64),
    /// `a-`.
    From(u64),
    /// `-n`: the last `n` bytes.
    Last(u64),
}

impl FromStr for Range {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (first, last) = text.split_once('-').ok_or(())?;
        match (first, last) {
            ("", last) => Ok(Self::Last(number(last)?)),
            (first, "") => Ok(Self::From(number(first)?)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                if first <= last { Ok(Self::Between(first, last)) } else { Err(()) }
            }
        }
    }
}

/// Digits; more than a `u64` holds means "the end", since no file is longer.
fn number(digits: &str) -> Result<u64, ()> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(());
    }
    Ok(digits.parse().unwrap_or(u64::MAX))
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Between(first, last) => write!(f, "{first}-{last}"),
            Self::From(first) => write!(f, "{first}-"),
            Self::Last(count) => write!(f, "-{count}"),
        }
    }
}

impl Range {
    /// The range of a `Range` header. `None` where the header is to be ignored: other units, several
    /// ranges, bad syntax.
    pub(crate) fn from_header(value: &str) -> Option<Self> {
        value.trim().strip_prefix("bytes=")?.trim().parse().ok()
    }

    /// The bytes of a file of `size` bytes that are meant, end excluded; `None` if there are none.
    pub(crate) fn within(self, size: u64) -> Option<ops::Range<u64>> {
        let range = match self {
            Self::Between(first, last) => first..last.saturating_add(1).min(size),
            Self::From(first) => first..size,
            Self::Last(count) => size.saturating_sub(count)..size,
        };
        (range.start < range.end).then_some(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Fault case 40.
    #[test]
    fn ranges_are_cut_to_the_file_and_never_overflow() {
        let table: [(&str, u64, Option<ops::Range<u64>>); 14] = [
            ("0-0", 10, Some(0..1)),
            ("0-9", 10, Some(0..10)),
            ("5-", 10, Some(5..10)),
            ("-3", 10, Some(7..10)),
            ("-30", 10, Some(0..10)),
            ("9-100", 10, Some(9..10)),
            ("10-", 10, None),
            ("10-20", 10, None),
            ("-0", 10, None),
            ("0-", 0, None),
            ("-5", 0, None),
            ("0-18446744073709551615", 10, Some(0..10)),
            ("0-99999999999999999999999", 10, Some(0..10)),
            ("18446744073709551615-18446744073709551615", u64::MAX, None),
        ];
        for (text, size, expected) in table {
            let range: Range = text.parse().unwrap();
            assert_eq!(range.within(size), expected, "{text} of {size}");
        }
    }

    #[test]
    fn what_is_no_single_byte_range_is_ignored() {
        for value in [
            "bytes=1-0",
            "bytes=a-b",
            "bytes=-",
            "bytes=",
            "bytes=0-1,3-4",
            "lines=0-1",
            "bytes=+1-2",
        ] {
            assert_eq!(Range::from_header(value), None, "{value}");
        }
        assert_eq!(Range::from_header("bytes=0-1"), Some(Range::Between(0, 1)));
    }

    #[test]
    fn ranges_are_written_as_they_are_read() {
        for text in ["0-9", "5-", "-3"] {
            assert_eq!(text.parse::<Range>().unwrap().to_string(), text);
        }
    }
}
