//! `stash rm`.

use std::io::{IsTerminal, Write};

use stash_api::Client;
use stash_api::files::RmRequest;

use super::context::{Context, Finish};
use super::list::page;
use super::put::note_missing;
use crate::cli::Rm;
use crate::error::{Class, Problem};
use crate::output;

pub(super) async fn run(context: &Context, rm: Rm) -> anyhow::Result<Finish> {
    let client = context.client()?;
    if rm.key.is_empty() {
        // Before the question: the node refuses it as well.
        let problem = Problem::usage("'' is no key: a key is not empty");
        return Err(problem.hint("nothing was removed; is a variable of a script not set?").into());
    }
    if (rm.recursive || rm.purge) && !rm.yes {
        let flag = if rm.purge { "rm --purge" } else { "rm -r" };
        if !std::io::stdin().is_terminal() {
            return Err(Problem::usage(format!("{flag} asks, and there is no terminal to ask on"))
                .hint("add -y to remove without a question")
                .into());
        }
        let question = question(&client, &rm).await?;
        if !confirmed(question).await? {
            return Err(Problem::new(Class::Cancelled, "nothing was removed").into());
        }
    }
    let wait = Some(rm.wait.to_string());
    let Rm { key, recursive, purge, .. } = rm;
    let request = RmRequest { key, recursive, purge, wait };
    let done = client.operate(&request, |_| {}).await?;
    context.output.done(&done, |done| {
        let removed = output::count(done.removed, "file");
        let word = if purge { "purged" } else { "removed" };
        format!("{word} {removed}, known to {} of {} nodes\n", done.copies, done.wanted)
    })?;
    note_missing(&context.output, &done.missing);
    Ok(if done.short { Finish::With(Class::Short) } else { Finish::Done })
}

async fn question(client: &Client, rm: &Rm) -> anyhow::Result<String> {
    let name = output::visible(&rm.key);
    let for_good = match rm.purge {
        true => "Purge {}, with all versions and for good",
        false => "Remove {}",
    };
    let what = for_good.replace("{}", &name);
    if !rm.recursive {
        return Ok(format!("{what}, on every member? [y/N] "));
    }
    let first = page(client, &rm.key, None).await?;
    let more = if first.next.is_some() { "more than " } else { "" };
    let count = output::count(first.entries.len() as u64, "file");
    Ok(format!("{what}: {more}{count}, on every member? [y/N] "))
}

/// Asks on the terminal, on a thread of its own, so that Ctrl-C still ends the program.
pub(super) async fn confirmed(question: String) -> anyhow::Result<bool> {
    let answer = tokio::task::spawn_blocking(move || {
        // Not locked while it waits: whoever cancels has something to say on stderr too.
        std::io::stderr().write_all(question.as_bytes())?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        std::io::Result::Ok(answer)
    });
    Ok(matches!(answer.await??.trim(), "y" | "Y" | "yes"))
}
