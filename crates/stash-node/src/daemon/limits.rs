//! Keeps the limits on the line, and the discovery of members, as the settings and the time of day say.

use std::sync::Arc;
use std::time::Duration;

use super::{Daemon, lan};
use crate::zone::minute_of_day;

/// Between two looks at the clock.
const LOOK: Duration = Duration::from_secs(20);

/// Sets the limits whenever another one holds, until the daemon stops.
pub(crate) async fn follow(daemon: Arc<Daemon>) {
    loop {
        if let Ok(served) = daemon.served() {
            served.limits.begins();
            let network = daemon.network();
            let wanted = network.traffic(minute_of_day());
            let engine = &served.node.engine;
            let spares = !network.limit_lan.value;
            engine.set_discovery(network.discovery.value);
            let near =
                tokio::task::spawn_blocking(move || if spares { lan::near() } else { Vec::new() });
            // A look that failed spares nobody.
            engine.spare(near.await.unwrap_or_default());
            if engine.traffic() != wanted {
                engine.set_traffic(wanted);
                tracing::info!(?wanted, "other limits on the line hold from now on");
            }
            served.limits.ends(Some(LOOK));
        }
        tokio::select! {
            () = daemon.stop.cancelled() => return,
            () = daemon.reloaded.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}
