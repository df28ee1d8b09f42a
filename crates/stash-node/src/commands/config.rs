//! `stash config` and `stash reload`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use stash_api::ClientError;
use stash_api::settings::{self, Reload, Reloaded, Setting};

use super::context::{Context, Finish};
use crate::cli::ConfigCommand;
use crate::config::{Arguments, Settings, edit, is_taken_anew, matters_later};
use crate::error::Problem;
use crate::output::{Side, table};

/// The longest wait for what a running node uses: without it, the files are shown alone.
const RUNNING: Duration = Duration::from_secs(5);

/// `stash config show --json`.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    settings: &'a Settings,
    /// The settings of the node that runs; null if none answers.
    running: Option<Vec<Setting>>,
}

/// `stash config path --json`.
#[derive(Serialize)]
struct ConfigPath {
    path: PathBuf,
    exists: bool,
}

/// `stash config set --json`, and `unset`.
#[derive(Serialize)]
struct Changed<'a> {
    path: &'a Path,
    key: &'a str,
    /// The value that stood there before, as the file had it; null if it had none.
    was: Option<String>,
    /// The value that stands there now, likewise.
    now: Option<String>,
}

pub(super) async fn show(context: &Context) -> anyhow::Result<Finish> {
    let running = running(context).await;
    let shown = Shown { settings: &context.settings, running };
    context
        .output
        .result(&shown, |shown| rows(&shown.settings.rows(), shown.running.as_deref()))?;
    Ok(Finish::Done)
}

/// The settings of the node that runs, if one answers.
async fn running(context: &Context) -> Option<Vec<Setting>> {
    let client = context.client().ok()?;
    match tokio::time::timeout(RUNNING, client.get(&settings::Settings::route())).await {
        Ok(Ok(running)) => return Some(running.settings),
        Ok(Err(ClientError::NotRunning { .. })) => {
            context.output.note("no node runs: these settings are those of its next start");
        }
        Ok(Err(error)) => context.output.note(&format!("what the node uses is not known: {error}")),
        Err(_) => context.output.note("what the node uses is not known: it does not answer"),
    }
    None
}

/// A line a setting, with the other value that the running node uses, if it does.
fn rows(settings: &[Setting], running: Option<&[Setting]>) -> String {
    let other = |setting: &Setting| {
        let running = running?.iter().find(|running| running.name == setting.name)?;
        let differs = running.value != setting.value && matters_later(&setting.name);
        differs.then(|| format!("the node that runs: {} ({})", running.value, running.origin))
    };
    let rows: Vec<Vec<String>> = settings
        .iter()
        .map(|one| {
            let Setting { name, value, origin } = one.clone();
            vec![name, value, origin, other(one).unwrap_or_default()]
        })
        .collect();
    table(&[Side::Left; 4], &rows)
}

/// The commands that need no settings: they work with a file that nobody can read.
pub(super) fn on_file(
    arguments: &Arguments,
    output: &crate::output::Output,
    what: &ConfigCommand,
) -> anyhow::Result<Finish> {
    let path = arguments.user_file().ok_or_else(|| {
        Problem::usage("no configuration file: neither XDG_CONFIG_HOME nor HOME is set")
            .hint("name one with --config FILE")
    })?;
    let (key, value) = match what {
        ConfigCommand::Show => unreachable!("it needs the settings"),
        ConfigCommand::Path => {
            let path = ConfigPath { exists: path.exists(), path };
            output.result(&path, |p| format!("{}\n", p.path.display()))?;
            return Ok(Finish::Done);
        }
        ConfigCommand::Set { key, value } => (key, Some(value.as_str())),
        ConfigCommand::Unset { key } => (key, None),
    };
    let mut tried = arguments.clone();
    let accepted = |draft: &Path| {
        tried.global.config = Some(draft.to_owned());
        // What it says of the draft, it says of the file.
        let shown =
            |text: String| text.replace(&draft.display().to_string(), &path.display().to_string());
        let refused = |problem: Problem| Problem { message: shown(problem.message), ..problem };
        tried.settings().map(|_| ()).map_err(refused)
    };
    let edit = edit(&path, key, value, accepted)?;
    let unchanged = edit.was == edit.now;
    let changed = Changed { path: &path, key, was: edit.was, now: edit.now };
    output.done(&changed, line)?;
    if !unchanged {
        output.note(match is_taken_anew(key) {
            true => "a node that runs uses it after: stash reload",
            false => "a node that runs uses it after its next start",
        });
    }
    Ok(Finish::Done)
}

fn line(changed: &Changed<'_>) -> String {
    let Changed { path, key, was, now } = changed;
    let path = path.display();
    match (was, now) {
        (Some(was), Some(now)) if was == now => format!("{key} = {now} already in {path}\n"),
        (Some(was), Some(now)) => format!("{key} = {now} in {path}, it was {was}\n"),
        (None, Some(now)) => format!("{key} = {now} in {path}\n"),
        (Some(was), None) => format!("{key} is not set in {path} any more, it was {was}\n"),
        (None, None) => format!("{key} was not set in {path}\n"),
    }
}

pub(super) async fn reload(context: &Context) -> anyhow::Result<Finish> {
    let done = context.client()?.call(&Reload {}).await?;
    context.output.done(&done, reloaded)?;
    Ok(Finish::Done)
}

fn reloaded(done: &Reloaded) -> String {
    let list = |keys: &[String]| keys.join(", ");
    let taken = match done.taken.len() {
        0 => "nothing changed".to_owned(),
        _ => format!("in use now: {}", list(&done.taken)),
    };
    match done.at_next_start.len() {
        0 => format!("{taken}\n"),
        _ => format!(
            "{taken}; used after the next start of the node: {}\n",
            list(&done.at_next_start)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KEYS;

    #[test]
    fn a_setting_that_the_running_node_has_otherwise_is_pointed_out() {
        let one = |value: &str, origin: &str| Setting {
            name: "gc.grace".into(),
            value: value.into(),
            origin: origin.into(),
        };
        let file = [one("2d", "/c.toml")];
        assert_eq!(rows(&file, None), "gc.grace  2d  /c.toml\n");
        assert_eq!(rows(&file, Some(&file)), "gc.grace  2d  /c.toml\n");
        assert_eq!(
            rows(&file, Some(&[one("1d", "default")])),
            "gc.grace  2d  /c.toml  the node that runs: 1d (default)\n"
        );
    }

    #[test]
    fn every_setting_has_a_row() {
        let settings = Arguments::default().settings().unwrap();
        let rows = settings.rows();
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, KEYS.map(|(key, _)| key));
    }
}
