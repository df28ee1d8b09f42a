//! A node, and beside it an owner that speaks `docs/protocol.md` by an implementation of its own.

#![allow(dead_code, reason = "each test program uses its part of this")]

use stash_crypto::{NodeKeys, Role};

use crate::client::{Client, Session};
use crate::support::{Node, Stash};

/// A node and an owner of the second implementation that is connected to it.
pub(crate) struct Scene {
    pub(crate) stash: Stash,
    pub(crate) node: Node,
    pub(crate) owner: Client,
    pub(crate) session: Session,
}

pub(crate) async fn scene() -> Scene {
    scene_of(Stash::new(), NodeKeys::generate(&mut rand::rng())).await
}

/// A scene in a stash, with an owner of these keys.
pub(crate) async fn scene_of(stash: Stash, keys: NodeKeys) -> Scene {
    let node = stash.founder().await;
    let owner = Client::member_as(&stash, &node, Role::Owner, keys).await;
    let session = owner.connect(&node).await;
    Scene { stash, node, owner, session }
}
