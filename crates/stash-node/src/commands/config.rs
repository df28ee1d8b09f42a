//! `stash config`.

use std::fmt::Debug;
use std::path::PathBuf;

use serde::Serialize;

use super::context::{Context, Finish};
use crate::cli::ConfigCommand;
use crate::config::{Network, Origin, RetentionSettings, Setting, Settings, Upkeep};
use crate::error::Problem;
use crate::output::{Side, table};
use crate::units::{Size, Speed};

/// `stash config path --json`.
#[derive(Serialize)]
struct ConfigPath {
    path: PathBuf,
    exists: bool,
}

pub(super) fn run(context: &Context, what: Option<ConfigCommand>) -> anyhow::Result<Finish> {
    match what.unwrap_or(ConfigCommand::Show) {
        ConfigCommand::Show => context.output.result(&context.settings, show)?,
        ConfigCommand::Path => {
            let file = context.settings.user_file.as_ref().ok_or_else(|| {
                Problem::usage("no configuration file: neither XDG_CONFIG_HOME nor HOME is set")
                    .hint("name one with --config FILE")
            })?;
            let path = ConfigPath { path: file.value.clone(), exists: file.value.exists() };
            context.output.result(&path, |p| format!("{}\n", p.path.display()))?;
        }
    }
    Ok(Finish::Done)
}

fn show(settings: &Settings) -> String {
    let row = |name: &str, value: String, origin: &dyn ToString| {
        vec![name.to_owned(), value, origin.to_string()]
    };
    let path = |name, setting: &Setting<PathBuf>| {
        row(name, setting.value.display().to_string(), &setting.origin)
    };
    let some = |name, value: Option<String>, origin| {
        row(name, value.unwrap_or_else(|| "-".to_owned()), origin)
    };
    let passphrase = &settings.passphrase_file;
    let rows = [
        path("data_dir", &settings.data_dir),
        path("socket", &settings.socket),
        row("listen", list(&settings.listen.value), &settings.listen.origin),
        row("advertise", list(&settings.advertise.value), &settings.advertise.origin),
        row("name", settings.name.value.clone(), &settings.name.origin),
        some("log", settings.log.value.clone(), &settings.log.origin),
        some(
            "passphrase_file",
            passphrase.value.as_ref().map(|path| path.display().to_string()),
            &passphrase.origin,
        ),
        row("create", settings.create.value.to_string(), &settings.create.origin),
    ];
    let rows: Vec<_> = rows
        .into_iter()
        .chain(network(&settings.network))
        .chain(upkeep(&settings.upkeep))
        .collect();
    table(&[Side::Left, Side::Left, Side::Left], &rows)
}

fn network(network: &Network) -> Vec<Vec<String>> {
    let row = |name: &str, setting: &Setting<Speed>| {
        vec![name.to_owned(), setting.value.to_string(), setting.origin.to_string()]
    };
    vec![
        row("network.bwlimit_up", &network.bwlimit_up),
        row("network.bwlimit_down", &network.bwlimit_down),
        row("network.background_down", &network.background_down),
    ]
}

fn upkeep(upkeep: &Upkeep) -> Vec<Vec<String>> {
    let Upkeep { quota, gc, scrub, repair, retention } = upkeep;
    let RetentionSettings { age, versions, forget_at_once: meant } = retention;
    let row = |name: &str, value: String, origin: &Origin| {
        vec![name.to_owned(), value, origin.to_string()]
    };
    let size = |name, setting: &Setting<Option<Size>>, absent: &str| {
        let value = setting.value.map_or(absent.to_owned(), |size| size.to_string());
        row(name, value, &setting.origin)
    };
    vec![
        size("quota.soft", &quota.soft, "-"),
        size("quota.hard", &quota.hard, "-"),
        size("quota.reserve", &quota.reserve, "256 MiB, or 2 % of a small disk"),
        row("gc.interval", gc.interval.value.to_string(), &gc.interval.origin),
        row("gc.grace", gc.grace.value.to_string(), &gc.grace.origin),
        row("scrub.share", scrub.share.value.to_string(), &scrub.share.origin),
        row("scrub.interval", scrub.interval.value.to_string(), &scrub.interval.origin),
        row("repair.interval", repair.interval.value.to_string(), &repair.interval.origin),
        row("repair.grace", repair.grace.value.to_string(), &repair.grace.origin),
        row("repair.lapse", repair.lapse.value.to_string(), &repair.lapse.origin),
        row("repair.copies", repair.copies.value.to_string(), &repair.copies.origin),
        row("repair.challenge", repair.challenge.value.to_string(), &repair.challenge.origin),
        row("retention.age", age.value.to_string(), &age.origin),
        row("retention.versions", versions.value.to_string(), &versions.origin),
        row("retention.forget_at_once", meant.value.to_string(), &meant.origin),
    ]
}

fn list<T: ToString + Debug>(values: &[T]) -> String {
    if values.is_empty() {
        return "-".to_owned();
    }
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
