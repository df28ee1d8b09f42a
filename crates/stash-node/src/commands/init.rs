//! `stash init`.

use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use serde::Serialize;
use stash_vault::crypto::RecoveryText;
use stash_vault::{Home, RecoverOptions};
use zeroize::Zeroizing;

use super::context::{Context, Finish, client_runtime, with_signals};
use crate::cli::Init;
use crate::daemon::home::{self, Recovery};
use crate::error::{Class, Problem};
use crate::output::{say, short};
use crate::passphrase::Source;

/// Bytes of a recovery text, far more than any has.
const RECOVERY_MAX: u64 = 64 * 1024;

/// `stash init --json`.
#[derive(Serialize)]
struct Made<'a> {
    stash_id: String,
    node_id: String,
    role: String,
    data_dir: &'a Path,
}

pub(super) fn run(context: &Context, init: &Init) -> anyhow::Result<Finish> {
    let Context { settings, output, .. } = context;
    let text = init.recover.as_deref().map(recovery_text).transpose()?;
    let file = settings.passphrase_file.value.as_deref();
    let protect = init.passphrase || file.is_some();
    let passphrase = protect.then(|| Source::new(file).chosen()).transpose()?;
    match text {
        None => report(context, &home::create(settings, passphrase, output)?),
        Some(text) => {
            let options = RecoverOptions {
                display_name: settings.name.value.clone(),
                passphrase,
                at: addresses(&init.at)?,
                alone: init.alone,
            };
            let recovery = Recovery { text, options, read: init.read };
            with_signals(client_runtime(true)?, async {
                report(context, &home::recover(settings, recovery, output).await?)
            })
        }
    }
}

fn report(context: &Context, home: &Home) -> anyhow::Result<Finish> {
    let made = Made {
        stash_id: home.stash_id().to_string(),
        node_id: home.node_id().to_string(),
        role: home.role().to_string(),
        data_dir: &context.settings.data_dir.value,
    };
    context.output.done(&made, |made| {
        let (node, stash) = (short(&made.node_id), short(&made.stash_id));
        format!("node {node} is {} of stash {stash}\n", made.role)
    })?;
    context.output.note(&format!("serve it with: {}", context.settings.typed("up")));
    Ok(Finish::Done)
}

/// Where a member listens: every address that a name has.
fn addresses(places: &[String]) -> Result<Vec<SocketAddr>, Problem> {
    let mut found = Vec::new();
    for place in places {
        let resolved = place.to_socket_addrs().map_err(|e| {
            let usage = e.kind() == std::io::ErrorKind::InvalidInput;
            let class = if usage { Class::Usage } else { Class::Temporary };
            Problem::new(class, format!("--at {place}: {e}"))
                .hint("name a member's host and port, as in nas.example.org:7979")
        })?;
        found.extend(resolved);
    }
    Ok(found)
}

fn recovery_text(path: &Path) -> Result<RecoveryText, Problem> {
    let cannot = |e: std::io::Error| {
        let message = format!("cannot read the recovery text from {}: {e}", path.display());
        Problem::new(Class::Unreadable, message)
    };
    let mut text = Zeroizing::new(String::new());
    if path == Path::new("-") {
        std::io::stdin().take(RECOVERY_MAX).read_to_string(&mut text).map_err(cannot)?;
    } else {
        let file = File::open(path).map_err(cannot)?;
        if stash_vault::home::is_exposed(path, &file.metadata().map_err(cannot)?) {
            say(&format!(
                "others can read {}: it is the whole stash to whoever has it",
                path.display()
            ));
        }
        file.take(RECOVERY_MAX).read_to_string(&mut text).map_err(cannot)?;
    }
    RecoveryText::parse(&text).map_err(|e| {
        Problem::usage(format!("this is not a whole recovery text: {e}"))
            .hint("compare it with the paper; spaces, line breaks and case do not matter")
    })
}
