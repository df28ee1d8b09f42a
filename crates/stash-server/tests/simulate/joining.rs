//! Members that join while a schedule runs, with a ticket of the founder's.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use stash_crypto::keys::unwrap;
use stash_crypto::{KeyGrant, Role, Ticket};
use stash_server::JoinError;
use stash_server::members::{Joined, join_on};
use tokio::time::sleep;

use crate::machine::Welcome;
use crate::network::{Life, lock};
use crate::profile::Guest;
use crate::world::World;

/// Lifetimes of tickets: not for long, or for longer than a schedule takes.
const LIFETIMES: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(24 * 3_600)];

/// At the end, when everything is healed, whoever has a ticket joins in so many attempts.
const ATTEMPTS: usize = 60;

/// Between two of them.
const PAUSE: Duration = Duration::from_secs(10);

/// Somebody who has a ticket and has not joined yet.
pub(crate) struct Invited {
    machine: usize,
    ticket: Arc<Ticket>,
    /// The founder, and how many disks it had had: what is on the one that it has now knows the
    /// ticket.
    founder: (usize, u32),
}

impl World {
    /// The founder invites somebody, or somebody whom it has invited comes.
    pub(crate) async fn join(&mut self) {
        if !self.old_tickets.is_empty() && self.below(2) == 0 {
            return self.try_old_ticket().await;
        }
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
        let (Some(machine), Some(founder)) = (next, self.machines[self.founder].up()) else {
            return;
        };
        let engine = founder.engine.clone();
        let lifetime = LIFETIMES[self.below(LIFETIMES.len())];
        match engine.invite(role, lifetime).await {
            Ok(ticket) => {
                self.trace.line(&format!("node {machine} is invited as {role}"));
                let founder = (self.founder, self.disks[self.founder]);
                self.invited = Some(Invited { machine, ticket: Arc::new(ticket), founder });
            }
            Err(error) => self.trace.line(&format!("nobody is invited: {error}")),
        }
    }

    /// Whoever is invited asks to be let in; if nobody answers, it may try again.
    async fn come(&mut self) {
        if self.machines[self.founder].up().is_none() {
            return;
        }
        self.watch();
        self.follow_log();
        let Some(invited) = self.invited.take() else { return };
        if invited.founder != (self.founder, self.disks[self.founder]) {
            return self.trace.line("the ticket went with the founder's disk");
        }
        if !self.signs_at_the_end(None) {
            self.invited = Some(invited);
            return;
        }
        let seed = self.random.random();
        let machine = &self.machines[invited.machine];
        let life = Life::new(invited.machine, machine.disk.clone());
        let environment = machine.environment(&self.common, &life, self.begun, seed);
        let begun = environment.clock.since_epoch().as_secs();
        let joined = join_on(environment, &invited.ticket, &machine.keys, "guest").await;
        life.end();
        self.follow_log();
        if begun >= invited.ticket.expires && joined.is_ok() {
            lock(&self.model).violation("somebody joins with a ticket that has expired".to_owned());
        }
        if joined.is_ok() || begun >= invited.ticket.expires {
            self.old_tickets.push(Arc::clone(&invited.ticket));
        }
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

    /// Somebody else comes with a ticket that was used, or that has expired.
    async fn try_old_ticket(&mut self) {
        let which = self.below(self.old_tickets.len());
        let ticket = Arc::clone(&self.old_tickets[which]);
        let stranger = self.profile.guests.iter().position(|guest| *guest == Guest::Stranger);
        let Some(at) = stranger.map(|at| self.profile.nodes + at) else { return };
        let seed = self.random.random();
        let machine = &self.machines[at];
        let life = Life::new(at, machine.disk.clone());
        let environment = machine.environment(&self.common, &life, self.begun, seed);
        let joined = join_on(environment, &ticket, &machine.keys, "stranger").await;
        life.end();
        // A founder that was put back says that it has to meet somebody first.
        let founder = self.machines[self.founder].up().map(|running| running.engine.clone());
        let knows = match founder.filter(|_| self.is_current(self.founder)) {
            Some(founder) => founder.status().await.is_ok_and(|status| status.synchronised),
            None => false,
        };
        let answered = match joined {
            Err(JoinError::NoAnswer(_) | JoinError::Expired) => false,
            Err(JoinError::Refused(_)) => knows,
            _ => true,
        };
        self.trace.line(&format!("machine {at} has an old ticket, and is answered: {answered}"));
        if answered {
            lock(&self.model).violation("a stranger with an old ticket is answered".to_owned());
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
