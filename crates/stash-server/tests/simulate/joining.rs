//! Members that join while a schedule runs, with a ticket of the founder's.

use std::time::Duration;

use rand::RngExt;
use stash_crypto::{KeyGrant, Role, Ticket, unwrap};
use stash_server::{JoinError, Joined, join_on};
use tokio::time::sleep;

use crate::machine::{FOUNDER, Welcome};
use crate::network::{Life, lock};
use crate::profile::Guest;
use crate::world::World;

/// How long a ticket is good for.
const LIFETIME: Duration = Duration::from_secs(24 * 3_600);

/// At the end, when everything is healed, whoever has a ticket joins in so many attempts.
const ATTEMPTS: usize = 60;

/// Between two of them.
const PAUSE: Duration = Duration::from_secs(10);

/// Somebody who has a ticket and has not joined yet.
pub(crate) struct Invited {
    machine: usize,
    ticket: Ticket,
    /// How many disks the founder had had: what is on the one that it has now knows the ticket.
    disks: u32,
}

impl World {
    /// The founder invites somebody, or somebody whom it has invited comes.
    pub(crate) async fn join(&mut self) {
        match &self.invited {
            None => self.invite().await,
            Some(_) => self.come().await,
        }
    }

    async fn invite(&mut self) {
        let mut guests = self.profile.guests.iter().zip(self.profile.nodes..);
        let next = guests
            .find(|(guest, at)| **guest == Guest::Joiner && !self.machines[*at].is_present)
            .map(|(_, at)| at);
        let role = [Role::Owner, Role::Reader, Role::Keeper][self.below(3)];
        let (Some(machine), Some(founder)) = (next, self.machines[FOUNDER].up()) else { return };
        match founder.engine.clone().invite(role, LIFETIME).await {
            Ok(ticket) => {
                self.trace.line(&format!("node {machine} is invited as {role}"));
                let disks = self.disks[FOUNDER];
                self.invited = Some(Invited { machine, ticket, disks });
            }
            Err(error) => self.trace.line(&format!("nobody is invited: {error}")),
        }
    }

    /// Whoever is invited asks to be let in; if nobody answers, it may try again.
    async fn come(&mut self) {
        // As everybody should who has just lost a disk, the founder waits until it knows what others
        // know before it signs anything.
        let Some(founder) = self.machines[FOUNDER].up().map(|running| running.engine.clone())
        else {
            return;
        };
        let synchronised = founder.status().await.is_ok_and(|status| status.synchronised);
        self.follow_log();
        let Some(invited) = self.invited.take() else { return };
        if invited.disks != self.disks[FOUNDER] {
            return self.trace.line("the ticket went with the founder's disk");
        }
        if !synchronised || !self.is_current(FOUNDER) {
            self.invited = Some(invited);
            return;
        }
        let seed = self.random.random();
        let machine = &self.machines[invited.machine];
        let life = Life::new(invited.machine, machine.disk.clone());
        let environment = machine.environment(&self.common, &life, self.begun, seed);
        let joined = join_on(environment, &invited.ticket, &machine.keys, "guest").await;
        life.end();
        self.follow_log();
        match joined {
            Ok(joined) => self.welcome(invited.machine, joined).await,
            Err(error) => {
                self.trace.line(&format!("node {} does not join: {error}", invited.machine));
                if !matches!(error, JoinError::Expired) {
                    self.invited = Some(invited);
                }
            }
        }
    }

    async fn welcome(&mut self, at: usize, joined: Joined) {
        let Joined { stash, role, log, grant, addresses } = joined;
        self.trace.line(&format!("node {at} has joined as {role}"));
        let machine = &mut self.machines[at];
        let grant = unwrap(machine.keys.wrap_secret(), &stash, &grant).expect("its own grant");
        let KeyGrant { network, .. } = KeyGrant::decode(&grant).expect("a grant");
        machine.welcome = Some(Welcome { log, addresses, network });
        machine.is_present = true;
        // If it does not start, it is tried again.
        let _ = self.start(at).await;
    }

    /// At the end, when everything is healed: nobody is left with a ticket that is good.
    pub(crate) async fn all_join(&mut self) {
        for _ in 0..ATTEMPTS {
            if self.invited.is_none() {
                return;
            }
            self.run_all().await;
            self.come().await;
            sleep(PAUSE).await;
        }
        lock(&self.model).violation("whoever has a ticket does not get in".to_owned());
    }
}
