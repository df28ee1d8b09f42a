//! The share of the line that a node takes.

use serde::Serialize;
use stash_vault::Traffic;
use stash_vault::server::transfers::Bandwidth;

use super::file::File;
use super::lookup::{Lookup, Setting, or};
use crate::cli::Up;
use crate::error::Problem;
use crate::units::{Speed, Speeds};

/// `[network]`: how much of the line the node takes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Network {
    /// The rate of sending.
    pub(crate) bwlimit_up: Setting<Speed>,
    /// The rate of receiving.
    pub(crate) bwlimit_down: Setting<Speed>,
    /// The rate of receiving what nobody waits for.
    pub(crate) background_down: Setting<Speed>,
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
        Ok(Network {
            bwlimit_up: limit(|speeds| speeds.up, |file| file.network.bwlimit_up)?,
            bwlimit_down: limit(|speeds| speeds.down, |file| file.network.bwlimit_down)?,
            background_down: or(background, Speed(None)),
        })
    }
}

impl Network {
    /// The limits, as the node takes them.
    pub(crate) fn traffic(&self) -> Traffic {
        let (up, down) = (self.bwlimit_up.value.0, self.bwlimit_down.value.0);
        let background_down = self.background_down.value.0;
        Traffic { bandwidth: Bandwidth { up, down }, background_down }
    }
}
