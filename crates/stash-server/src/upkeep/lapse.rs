//! Members that have been away for so long that nobody should wait for them: they do not count as
//! copies until they are back.
//!
//! The member log says who has lapsed, so that all members count alike. Nothing else follows from
//! it: a lapsed member is let in, its records are taken, and it is brought up to date as any other.

use std::sync::Arc;

use stash_crypto::NodeId;

use crate::founder::change::{self, Fate};
use crate::membership::may_sign;
use crate::upkeep::Upkeep;

/// Signs, where the root secret is, that members lapse which have been away for too long, and that
/// those which are back count again.
pub(crate) async fn look(upkeep: &Arc<Upkeep>) {
    if upkeep.membership.admission.is_none() {
        return;
    }
    let uptime = upkeep.core.disk.store().stats().uptime;
    let least = upkeep.house.options.repair_lapse.as_secs();
    let mut others = upkeep.core.roster.members();
    others.retain(|member| member.node != upkeep.core.me);
    let is_away = |node: &NodeId| {
        // A store that was made anew has met nobody, and counts from its beginning.
        let met = upkeep.membership.last_met.of(node).unwrap_or(0);
        let away = uptime.saturating_sub(met.max(may_sign::knows_since(&upkeep.membership)));
        upkeep.core.peer(node).is_none() && away >= least
    };
    if !may_sign::may_lapse(&upkeep.membership, is_away) {
        return;
    }
    for member in others {
        let fate = match (member.lapsed, upkeep.core.peer(&member.node).is_some()) {
            (true, true) => Fate::Returns,
            (false, false) if is_away(&member.node) => Fate::Lapses,
            _ => continue,
        };
        if !may_sign::may_lapse(&upkeep.membership, is_away) {
            return;
        }
        match change::change(&upkeep.founder, member.node, fate).await {
            Ok(_) => {
                tracing::info!(peer = %member.node.short(), ?fate, "a member counts otherwise")
            }
            Err(error) => {
                tracing::warn!(peer = %member.node.short(), %error, "whether a member counts is not signed");
            }
        }
    }
}
