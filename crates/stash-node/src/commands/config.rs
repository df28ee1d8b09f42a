//! `stash config`.

use std::fmt::Debug;
use std::path::PathBuf;

use serde::Serialize;

use super::{Context, Finish};
use crate::cli::ConfigCommand;
use crate::config::{Setting, Settings};
use crate::error::Problem;
use crate::output::{Side, table};

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
    table(&[Side::Left, Side::Left, Side::Left], &rows)
}

fn list<T: ToString + Debug>(values: &[T]) -> String {
    if values.is_empty() {
        return "-".to_owned();
    }
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
