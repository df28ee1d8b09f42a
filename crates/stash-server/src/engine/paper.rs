//! The members that the recovery text on paper names, compared with where they are now: paper does
//! not follow a move.

use serde::{Deserialize, Serialize};
use stash_crypto::NoisePublic;
use stash_crypto::member::Place;
use stash_store::{Batch, Store};

use crate::engine::Engine;
use crate::ledger::{LedgerError, rows};

/// A member that the text names.
#[derive(Serialize, Deserialize)]
struct Named {
    #[serde(with = "serde_bytes")]
    noise: [u8; 32],
    addresses: Vec<String>,
}

/// Worth of the recovery text that was printed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paper {
    /// Members that it names, without the node that printed it.
    pub named: usize,
    /// Number of them that are still members, and say that they can be reached at a named address.
    pub found: usize,
}

impl Engine {
    /// Notes the members that a recovery text names, which was just printed.
    ///
    /// # Errors
    ///
    /// [`LedgerError`]; the one printed before is still what is known.
    pub async fn recovery_text_printed(
        &self,
        members: &[(NoisePublic, Vec<Place>)],
    ) -> Result<(), LedgerError> {
        let own = self.layers.core.keys.noise_public();
        let others = members.iter().filter(|(noise, _)| *noise != own);
        let named = |(noise, addresses): &(NoisePublic, Vec<Place>)| Named {
            noise: *noise.as_bytes(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
        };
        let named: Vec<Named> = others.map(named).collect();
        let row = rmp_serde::to_vec_named(&named).expect("a list of plain values");
        let write = move |store: &Store| {
            store.commit(Batch::new().row(rows::RECOVERY_TEXT, Some(&row)).even_if_full())
        };
        self.layers.core.disk.run(write).await?;
        Ok(())
    }

    /// Worth of the recovery text that was printed last on this node; `None` if none is known.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when the store cannot be read.
    pub async fn recovery_text_finds(&self) -> Result<Option<Paper>, LedgerError> {
        let row = self.layers.core.disk.run(|store| store.row(rows::RECOVERY_TEXT)).await?;
        let named = row.and_then(|row| rmp_serde::from_slice::<Vec<Named>>(&row).ok());
        let members = self.layers.core.roster.members();
        let is_there = |named: &&Named| {
            let member = members.iter().find(|member| *member.noise.as_bytes() == named.noise);
            member.is_some_and(|member| {
                member.addresses.iter().any(|one| named.addresses.contains(&one.place.to_string()))
            })
        };
        Ok(named.map(|named| Paper {
            named: named.len(),
            found: named.iter().filter(is_there).count(),
        }))
    }
}
