//! Limits on the line that hold at some hours of the day.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::units::Speed;

/// A limit at some hours of every day, written as `up 2 MiB/s 08:00-22:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Hours {
    /// The direction that it limits.
    pub(crate) direction: Direction,
    /// The rate; `off` lifts the limit of the rest of the day.
    pub(crate) speed: Speed,
    from: u16,
    to: u16,
}

/// A direction of bytes between this node and others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// What is sent.
    Up,
    /// What is received.
    Down,
}

impl Hours {
    /// True at this minute of the day. Hours that end before they begin go on past midnight.
    pub(crate) fn hold_at(&self, minute: u16) -> bool {
        match self.from < self.to {
            true => (self.from..self.to).contains(&minute),
            false => minute >= self.from || minute < self.to,
        }
    }
}

impl FromStr for Hours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no limit with hours: write it as up 2 MiB/s 08:00-22:00");
        let (direction, rest) = text.trim().split_once(' ').ok_or_else(wrong)?;
        let direction = match direction {
            "up" => Direction::Up,
            "down" => Direction::Down,
            _ => return Err(wrong()),
        };
        let (speed, hours) = rest.rsplit_once(' ').ok_or_else(wrong)?;
        let (from, to) = hours.split_once('-').ok_or_else(wrong)?;
        let (from, to) = minute(from).zip(minute(to)).filter(|(a, b)| a != b).ok_or_else(wrong)?;
        Ok(Self { direction, speed: speed.trim().parse()?, from, to })
    }
}

/// The minute of the day of `08:00`; `24:00` is its end.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| {
        let two = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        two.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hour, minute) = number(hour).zip(number(minute))?;
    (hour < 24 && minute < 60 || (hour, minute) == (24, 0)).then_some(hour * 60 + minute)
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Up => "up",
            Direction::Down => "down",
        };
        let [from, to] = [self.from, self.to].map(|at| format!("{:02}:{:02}", at / 60, at % 60));
        write!(f, "{direction} {} {from}-{to}", self.speed)
    }
}

impl TryFrom<String> for Hours {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Hours> for String {
    fn from(hours: Hours) -> Self {
        hours.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_read_and_written_and_may_go_past_midnight() {
        let day: Hours = "up 2MiB/s 08:00-22:00".parse().unwrap();
        assert_eq!(day.to_string(), "up 2 MiB/s 08:00-22:00");
        let at = |hours: &Hours, hour: u16| hours.hold_at(hour * 60);
        assert_eq!([7, 8, 21, 22].map(|hour| at(&day, hour)), [false, true, true, false]);
        let night: Hours = "down off 22:00-06:30".parse().unwrap();
        assert_eq!(
            [21, 22, 0, 6, 7].map(|hour| at(&night, hour)),
            [false, true, true, true, false]
        );
        assert!("up 2 MiB 00:00-24:00".parse::<Hours>().unwrap().hold_at(1439));
        for bad in [
            "",
            "up",
            "up 2MiB",
            "2MiB 08:00-22:00",
            "both 2MiB 08:00-22:00",
            "up 2 08:00-22:00",
            "up 2MiB 8-22",
            "up 2MiB 08:00-08:00",
            "up 2MiB 08:00-25:00",
            "up 2MiB 08:60-09:00",
        ] {
            assert!(bad.parse::<Hours>().is_err(), "{bad:?}");
        }
    }
}
