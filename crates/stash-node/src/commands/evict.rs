//! `stash evict`.

use stash_api::files::{EvictDone, EvictRequest};

use super::context::{Context, Finish};
use crate::cli::Evict;
use crate::output::short;
use crate::progress::Bar;
use crate::{error, output};

pub(super) async fn run(context: &Context, evict: Evict) -> anyhow::Result<Finish> {
    let request = EvictRequest { key: evict.key, recursive: evict.recursive, copies: evict.copies };
    let mut bar = Bar::new(context.output.bars(), "evict");
    let done = context.client()?.operate(&request, |far| bar.show(far)).await?;
    drop(bar);
    context.output.done(&done, |done| text(&context.output.shown(&done.key), done))?;
    Ok(done.stopped.map_or(Finish::Done, |stopped| Finish::With(error::class(stopped.code))))
}

fn text(key: &str, done: &EvictDone) -> String {
    let files = output::count(done.files, "file");
    let bytes = output::size(done.bytes);
    let provers: Vec<&str> = done.proven_by.iter().map(|id| short(id)).collect();
    let proven = match provers[..] {
        [] => "nothing to prove".to_owned(),
        _ => format!("proven by {}", provers.join(", ")),
    };
    let mut text = format!("{key}: {files}, {bytes} freed, {proven}\n");
    if let Some(stopped) = &done.stopped {
        let chunks = output::count(done.chunks, "chunk");
        text.push_str(&format!("stopped after {chunks}: {}\n", stopped.message));
        text.push_str("what is left is still here; evict again to go on\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Class, Problem};

    #[test]
    fn an_evict_that_stopped_says_how_far_it_came() {
        let mut done = EvictDone {
            key: "k".to_owned(),
            files: 0,
            chunks: 64,
            bytes: 64 << 20,
            proven_by: vec!["0123456789abcdef".to_owned()],
            stopped: Some(Problem::new(Class::Temporary, "no proof").into()),
        };
        let said = "k: 0 files, 64.0 MiB freed, proven by 0123456789\nstopped after 64 chunks: no \
                    proof\nwhat is left is still here; evict again to go on\n";
        assert_eq!(text("k", &done), said);
        done.stopped = None;
        assert_eq!(text("k", &done), "k: 0 files, 64.0 MiB freed, proven by 0123456789\n");
    }
}
