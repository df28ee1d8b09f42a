//! `stash evict`.

use super::put::short;
use super::{Context, Finish};
use crate::body::{EvictDone, EvictRequest};
use crate::cli::Evict;
use crate::output;
use crate::progress::Bar;

pub(super) async fn run(context: &Context, evict: Evict) -> anyhow::Result<Finish> {
    let request = EvictRequest { key: evict.key, recursive: evict.recursive };
    let mut bar = Bar::new(context.output.bars(), "evict");
    let done: EvictDone =
        context.client()?.operate("/v1/evict", &request, |far| bar.show(far)).await?;
    drop(bar);
    context.output.result(&done, |done| {
        let files = output::count(done.files, "file");
        let bytes = output::size(done.bytes);
        let provers: Vec<&str> = done.proven_by.iter().map(|id| short(id)).collect();
        let proven = match provers[..] {
            [] => "nothing to prove".to_owned(),
            _ => format!("proven by {}", provers.join(", ")),
        };
        format!("{}: {files}, {bytes} freed, {proven}\n", context.output.shown(&done.key))
    })?;
    Ok(Finish::Done)
}
