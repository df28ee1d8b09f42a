//! The share of the line that a node takes, and how it finds others.

use serde::Serialize;
use stash_vault::Traffic;
use stash_vault::server::transfers::Bandwidth;

use super::file::File;
use super::hours::{Direction, Hours};
use super::lookup::{Lookup, Setting, boolean, or};
use crate::cli::Up;
use crate::error::Problem;
use crate::units::{Speed, Speeds};

/// `[network]`: how much of the line the node takes, and how it finds others.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Network {
    /// The rate of sending.
    pub(crate) bwlimit_up: Setting<Speed>,
    /// The rate of receiving.
    pub(crate) bwlimit_down: Setting<Speed>,
    /// The rate of receiving what nobody waits for.
    pub(crate) background_down: Setting<Speed>,
    /// Limits in place of the first two at some hours of the day.
    pub(crate) hours: Setting<Vec<Hours>>,
    /// True if they hold in directly attached private networks, too.
    pub(crate) limit_lan: Setting<bool>,
    /// True if members are looked for on the local network.
    pub(crate) discovery: Setting<bool>,
}

impl Lookup<'_> {
    pub(super) fn network(&self, up: &Up) -> Result<Network, Problem> {
        let limit = |direction: fn(Speeds) -> Speed, file: fn(&File) -> Option<Speed>| {
            let parse = |text: &str| text.parse().map(direction);
            let flag = up.bwlimit.map(direction);
            let found = self.find("STASH_BWLIMIT", flag, parse, file)?;
            Ok::<_, Problem>(or(found, Speed(None)))
        };
        let background =
            self.read("STASH_BACKGROUND_DOWN", None, |file| file.network.background_down)?;
        let hours = |text: &str| text.split(',').map(|one| one.parse()).collect();
        let hours =
            self.find("STASH_NETWORK_HOURS", None, hours, |file| file.network.hours.clone())?;
        let limit_lan =
            self.find("STASH_NETWORK_LIMIT_LAN", None, boolean, |file| file.network.limit_lan)?;
        let discovery =
            self.find("STASH_NETWORK_DISCOVERY", None, boolean, |file| file.network.discovery)?;
        Ok(Network {
            bwlimit_up: limit(|speeds| speeds.up, |file| file.network.bwlimit_up)?,
            bwlimit_down: limit(|speeds| speeds.down, |file| file.network.bwlimit_down)?,
            background_down: or(background, Speed(None)),
            hours: or(hours, Vec::new()),
            limit_lan: or(limit_lan, false),
            discovery: or(discovery, true),
        })
    }
}

impl Network {
    /// The limits at this minute of the day, as the node takes them: of several with hours, the first holds.
    pub(crate) fn traffic(&self, minute: u16) -> Traffic {
        let at = |direction, otherwise: &Setting<Speed>| {
            let mut hours = self.hours.value.iter();
            let now = hours.find(|hours| hours.direction == direction && hours.hold_at(minute));
            now.map_or(otherwise.value, |hours| hours.speed).0
        };
        let (up, down) =
            (at(Direction::Up, &self.bwlimit_up), at(Direction::Down, &self.bwlimit_down));
        let background_down = self.background_down.value.0;
        Traffic { bandwidth: Bandwidth { up, down }, background_down }
    }
}
