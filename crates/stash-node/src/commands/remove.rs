//! `stash rm`.

use std::io::{IsTerminal, Write};

use stash_api::Client;
use stash_api::files::RmRequest;

use super::context::{Context, Finish};
use super::list::sum;
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
    let mut expect = rm.expect;
    if (rm.recursive || rm.purge) && !rm.yes {
        let flag = if rm.purge { "rm --purge" } else { "rm -r" };
        if !std::io::stdin().is_terminal() {
            return Err(Problem::usage(format!("{flag} asks, and there is no terminal to ask on"))
                .hint("add -y to remove without a question")
                .into());
        }
        expect = may_remove(&client, &rm).await?;
    }
    let wait = Some(rm.wait.to_string());
    let Rm { key, recursive, purge, .. } = rm;
    let request = RmRequest { key, recursive, purge, expect, wait };
    let done = client.operate(&request, |_| {}).await?;
    context.output.done(&done, |done| {
        let removed = output::count(done.removed, "file");
        let word = if purge { "purged" } else { "removed" };
        format!("{word} {removed}, known to {} of {} nodes\n", done.copies, done.wanted)
    })?;
    note_missing(&context.output, &done.missing);
    Ok(if done.short { Finish::With(Class::Short) } else { Finish::Done })
}

/// Files from which on a purge of a tree wants their number typed, and not only a yes.
const COUNTED: u64 = 100;

/// Asks; gives the number of files that the answer was about, if there is one.
async fn may_remove(client: &Client, rm: &Rm) -> anyhow::Result<Option<u64>> {
    let name = output::visible(&rm.key);
    let for_good = match rm.purge {
        true => "Purge {}, with all versions and for good",
        false => "Remove {}",
    };
    let what = for_good.replace("{}", &name);
    let files = match rm.recursive {
        true => Some(sum(client, &rm.key).await?.files),
        false => None,
    };
    let yes = match files {
        Some(files) if rm.purge && files > COUNTED => {
            let question = format!(
                "{what}: {}, on every member? Type their number to do it: ",
                output::count(files, "file")
            );
            typed(question).await?.trim().replace([',', '.', ' '], "") == files.to_string()
        }
        Some(files) => {
            let count = output::count(files, "file");
            confirmed(format!("{what}: {count}, on every member? [y/N] ")).await?
        }
        None => confirmed(format!("{what}, on every member? [y/N] ")).await?,
    };
    match yes {
        true => Ok(rm.expect.or(files.filter(|_| rm.purge))),
        false => Err(Problem::new(Class::Cancelled, "nothing was removed").into()),
    }
}

/// Asks on the terminal for a yes.
pub(super) async fn confirmed(question: String) -> anyhow::Result<bool> {
    Ok(matches!(typed(question).await?.trim(), "y" | "Y" | "yes"))
}

/// Asks on the terminal, on a thread of its own, so that Ctrl-C still ends the program.
async fn typed(question: String) -> anyhow::Result<String> {
    let answer = tokio::task::spawn_blocking(move || {
        // Not locked while it waits: whoever cancels has something to say on stderr too.
        std::io::stderr().write_all(question.as_bytes())?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        std::io::Result::Ok(answer)
    });
    Ok(answer.await??)
}
