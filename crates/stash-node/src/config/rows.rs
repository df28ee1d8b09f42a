//! The settings as a list of names, values and sources.

use std::path::PathBuf;

use stash_api::settings::Setting as Row;

use super::{Network, NotifySettings, Setting, Settings, Upkeep};
use crate::units::Size;

impl Settings {
    /// Every setting, in the order of [`super::KEYS`].
    pub(crate) fn rows(&self) -> Vec<Row> {
        let path = |name, setting: &Setting<PathBuf>| {
            row(name, setting, |value| value.display().to_string())
        };
        let text = |value: &Option<String>| value.clone().unwrap_or_else(none);
        let file = |value: &Option<PathBuf>| {
            value.as_ref().map_or_else(none, |path| path.display().to_string())
        };
        let mut rows = vec![
            path("data_dir", &self.data_dir),
            path("socket", &self.socket),
            row("listen", &self.listen, |value| list(value)),
            row("advertise", &self.advertise, |value| list(value)),
            plain("name", &self.name),
            row("log", &self.log, text),
            row("passphrase_file", &self.passphrase_file, file),
            plain("create", &self.create),
            plain("keep", &self.upkeep.keep),
        ];
        rows.extend(network(&self.network));
        rows.extend(notify(&self.notify));
        rows.extend(upkeep(&self.upkeep));
        rows
    }
}

fn network(network: &Network) -> [Row; 6] {
    [
        plain("network.bwlimit_up", &network.bwlimit_up),
        plain("network.bwlimit_down", &network.bwlimit_down),
        plain("network.background_down", &network.background_down),
        row("network.hours", &network.hours, |value| list(value)),
        plain("network.limit_lan", &network.limit_lan),
        plain("network.discovery", &network.discovery),
    ]
}

fn notify(notify: &NotifySettings) -> [Row; 3] {
    [
        row("notify.command", &notify.command, |value| list(value)),
        plain("notify.grace", &notify.grace),
        plain("notify.absent", &notify.absent),
    ]
}

fn upkeep(upkeep: &Upkeep) -> [Row; 15] {
    let Upkeep { quota, gc, scrub, repair, retention, .. } = upkeep;
    let size = |name, setting: &Setting<Option<Size>>, absent: &str| {
        row(name, setting, |size| size.map_or_else(|| absent.to_owned(), |size| size.to_string()))
    };
    [
        size("quota.soft", &quota.soft, "-"),
        size("quota.hard", &quota.hard, "-"),
        size("quota.reserve", &quota.reserve, "256 MiB, or 2 % of a small disk"),
        plain("gc.interval", &gc.interval),
        plain("gc.grace", &gc.grace),
        plain("scrub.share", &scrub.share),
        plain("scrub.interval", &scrub.interval),
        plain("repair.interval", &repair.interval),
        plain("repair.grace", &repair.grace),
        plain("repair.lapse", &repair.lapse),
        plain("repair.copies", &repair.copies),
        plain("repair.challenge", &repair.challenge),
        plain("retention.age", &retention.age),
        plain("retention.versions", &retention.versions),
        plain("retention.forget_at_once", &retention.forget_at_once),
    ]
}

fn row<T>(name: &str, setting: &Setting<T>, text: impl FnOnce(&T) -> String) -> Row {
    let (value, origin) = (text(&setting.value), setting.origin.to_string());
    Row { name: name.to_owned(), value, origin }
}

fn plain<T: ToString>(name: &str, setting: &Setting<T>) -> Row {
    row(name, setting, T::to_string)
}

fn list<T: ToString>(values: &[T]) -> String {
    if values.is_empty() {
        return none();
    }
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn none() -> String {
    "-".to_owned()
}
