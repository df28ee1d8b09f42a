//! The time zone of whoever reads: `TZ`, else that of the machine.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

/// A time of the local API, RFC 3339 in UTC, as people here read it: `2026-11-23 02:02:03 +0100`. A time that is
/// none, or far beyond all calendars, is shown as it came.
pub(crate) fn local(time: &str) -> String {
    shown(time, TimeZone::system())
}

fn shown(time: &str, zone: TimeZone) -> String {
    match time.parse::<Timestamp>() {
        Ok(at) => at.to_zoned_datetime(zone).strftime("%Y-%m-%d %H:%M:%S %z").to_string(),
        Err(_) => time.to_owned(),
    }
}

/// Seconds from a time of the local API until now; none if it is no time. One in the future was just now.
pub(crate) fn seconds_since(time: &str) -> Option<u64> {
    let at = time.parse::<Timestamp>().ok()?;
    Some(u64::try_from(Timestamp::now().as_second() - at.as_second()).unwrap_or(0))
}

/// The same of a time that may be missing.
pub(crate) fn local_or(time: Option<&str>, missing: &str) -> String {
    time.map_or_else(|| missing.to_owned(), local)
}

/// The minute of the day that clocks here show now.
pub(crate) fn minute_of_day() -> u16 {
    let now = ZonedDateTime::now();
    // An hour and a minute are never negative.
    u16::from(now.hour().unsigned_abs()) * 60 + u16::from(now.minute().unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_the_zone_of_the_reader() {
        let berlin = || TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        assert_eq!(shown("2026-11-23T01:02:03Z", berlin()), "2026-11-23 02:02:03 +0100");
        assert_eq!(shown("2026-07-23T01:02:03Z", berlin()), "2026-07-23 03:02:03 +0200");
        assert_eq!(shown("1969-12-31T23:59:59Z", TimeZone::UTC), "1969-12-31 23:59:59 +0000");
        assert_eq!(shown("not yet", berlin()), "not yet");
        assert_eq!(shown("19999-12-31T23:59:59Z", berlin()), "19999-12-31T23:59:59Z");
    }
}
