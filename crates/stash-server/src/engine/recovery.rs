//! The engine's side of a recovery.

use crate::engine::Engine;
use crate::membership::recovery::asking::round;

impl Engine {
    /// Asks silent members once in the root's name, where the root secret is, as the node does by
    /// itself now and then. If this node was removed, or follows a log that parts from theirs, it
    /// learns it so.
    pub async fn ask_silent_members(&self) {
        let layers = &self.layers;
        if let Some(root) =
            layers.membership.admission.as_ref().and_then(|admission| admission.root_noise())
        {
            round(&layers.membership, &root).await;
        }
    }
}
