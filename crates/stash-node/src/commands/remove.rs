//! `stash rm`.

use std::io::{IsTerminal, Write};

use super::list::page;
use super::put::note_missing;
use super::{Context, Finish};
use crate::body::{RmDone, RmRequest};
use crate::cli::Rm;
use crate::error::{Class, Problem};
use crate::output;

pub(super) async fn run(context: &Context, rm: Rm) -> anyhow::Result<Finish> {
    let client = context.client()?;
    if rm.recursive && !rm.yes {
        if !std::io::stdin().is_terminal() {
            return Err(Problem::usage("rm -r asks, and there is no terminal to ask on")
                .hint("add -y to remove without a question")
                .into());
        }
        let first = page(&client, &rm.key, None).await?;
        let more = if first.next.is_some() { "more than " } else { "" };
        let count = output::count(first.entries.len() as u64, "file");
        let name = output::visible(&rm.key);
        let question = format!("Remove {name}: {more}{count}, on every member? [y/N] ");
        if !confirmed(question).await? {
            return Err(Problem::new(Class::Cancelled, "nothing was removed").into());
        }
    }
    let wait = Some(rm.wait.word().to_owned());
    let request = RmRequest { key: rm.key, recursive: rm.recursive, wait };
    let done: RmDone = client.operate("/v1/rm", &request, |_| {}).await?;
    context.output.result(&done, |done| {
        let removed = output::count(done.removed, "file");
        format!("removed {removed}, known to {} of {} nodes\n", done.copies, done.wanted)
    })?;
    note_missing(&context.output, &done.missing);
    Ok(if done.short { Finish::With(Class::Short) } else { Finish::Done })
}

/// Asks on the terminal, on a thread of its own, so that Ctrl-C still ends the program.
async fn confirmed(question: String) -> anyhow::Result<bool> {
    let answer = tokio::task::spawn_blocking(move || {
        // Not locked while it waits: whoever cancels has something to say on stderr too.
        std::io::stderr().write_all(question.as_bytes())?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        std::io::Result::Ok(answer)
    });
    Ok(matches!(answer.await??.trim(), "y" | "Y" | "yes"))
}
