//! The machine that holds the root secret is lost, and somebody comes back by that secret alone,
//! while members are away or show an old state of the member log.
//!
//! It is lost only while every other member knows the whole log, so whoever follows the rules signs
//! at its end: what members lose of it later, more than half of them would have to lose at the same
//! time.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt;
use stash_crypto::member::Place;
use stash_crypto::{
    EntryHash, JoinRequest, MemberChange, MemberLog, NoisePublic, RecordHash, Role, TicketId,
};
use stash_server::members::{RecoverError, Recovered, Sought, Survey, survey};
use tokio::time::sleep;

use crate::machine::{Stop, Welcome};
use crate::model::held;
use crate::network::{Life, address, lock};
use crate::profile::Guest;
use crate::settle::{LOOK, SETTLED};
use crate::support::admit_entry;
use crate::world::World;

/// At the end, when everything is healed, the stash comes back in so many attempts.
const ATTEMPTS: usize = 30;

/// Between two of them.
const PAUSE: Duration = Duration::from_secs(10);

/// So long do two machines with the root secret run until somebody looks at the alarms.
const BOTH: Duration = Duration::from_secs(900);

/// Fate of the machine that held the root secret.
#[derive(Default)]
pub(crate) struct Loss {
    lost: Option<Lost>,
    is_back: bool,
    /// The first entry of another life of the root secret.
    pub(crate) forked_at: Option<u64>,
}

/// A machine that held the root secret and is lost.
#[derive(Clone)]
struct Lost {
    machine: usize,
    /// It is not broken: somebody finds it and starts it.
    returns: bool,
    /// Records that it held.
    held: BTreeSet<RecordHash>,
    /// The member log of which the recovery text names members.
    text: MemberLog,
}

/// Aim of the heir.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Read,
    Sign,
    /// Sign although most members are silent.
    Alone,
}

/// Members that could have been asked.
struct Reach {
    /// Members that run, and whom the heir reaches.
    running: Vec<usize>,
    /// Those of them that know the whole log.
    current: Vec<usize>,
}

impl World {
    fn heir(&self) -> Option<usize> {
        let at = self.profile.guests.iter().position(|guest| *guest == Guest::Heir);
        at.map(|at| self.profile.nodes + at)
    }

    /// The founder's machine is lost, or somebody tries to come back.
    pub(crate) async fn recover(&mut self) {
        match self.loss.lost.clone() {
            None => self.lose_founder().await,
            Some(lost) if !self.loss.is_back => {
                let manner = match self.below(10) {
                    0..3 => Manner::Read,
                    3..8 => Manner::Sign,
                    _ => Manner::Alone,
                };
                if self.below(2) == 0 {
                    self.show_less().await;
                }
                if self.below(2) == 0 {
                    self.reach_some();
                }
                let _ = self.come_back(&lost, manner).await;
            }
            Some(_) => {}
        }
    }

    async fn lose_founder(&mut self) {
        let at = self.founder;
        let others = self.others(at);
        let current = |world: &World| others.iter().all(|other| world.is_current(*other));
        // Who is asked must be more than half of all, with the lost one.
        if others.len() < 2 || !self.machines[at].is_present || !current(self) {
            return;
        }
        if !self.harm(at).await || !current(self) {
            return;
        }
        let Some(running) = self.machines[at].up() else { return };
        let (store, log) = (running.store.clone(), running.engine.member_log());
        let names = self.names();
        let all = names.iter().flat_map(|name| held(&store, name).unwrap_or_default());
        let held = all.map(|record| record.hash()).collect();
        let text = if self.random.random_bool(0.5) { self.common.log.clone() } else { log };
        let returns = self.random.random_bool(0.3);
        self.stop(at, Stop::Power);
        self.machines[at].is_present = false;
        self.trace.line(&format!("the root's machine {at} is lost; found again: {returns}"));
        self.loss.lost = Some(Lost { machine: at, returns, held, text });
    }

    /// A member shows the member log as it was once, on an older copy of its disk or an empty one,
    /// and nobody but the heir reaches it.
    async fn show_less(&mut self) {
        let Some(heir) = self.heir() else { return };
        let others = self.others(self.founder);
        if others.is_empty() {
            return;
        }
        let at = others[self.below(others.len())];
        match self.backups.contains_key(&at) {
            true => self.restore(at).await,
            false => self.wipe(at).await,
        }
        if self.machines[at].running.is_none() && self.writers.contains(&at) {
            // Its user knows as little.
            self.write_alone(at).await;
        }
        self.cut_off(at);
        self.common.switch.open(at, heir);
        if self.machines[at].running.is_none() {
            // If it does not start, it is tried again.
            let _ = self.start(at).await;
        }
    }

    /// The heir reaches no more than some members.
    fn reach_some(&mut self) {
        let Some(heir) = self.heir() else { return };
        for at in self.present() {
            if self.random.random_bool(0.5) {
                self.trace.line(&format!("way {heir} to {at} is cut"));
                self.common.switch.cut(heir, at);
            }
        }
    }

    /// Members of a log that run and that the heir reaches.
    fn reach(&self, log: &MemberLog) -> Reach {
        let heir = self.heir().expect("a schedule with an heir");
        let is_there = |at: &usize| {
            let named = log.member(&self.common.nodes[*at]).is_some();
            named && self.machines[*at].up().is_some() && self.common.switch.is_open(heir, *at)
        };
        let running: Vec<usize> = self.present().into_iter().filter(is_there).collect();
        // Whose store takes no write cannot note the counter of a handshake, and so answers nobody.
        let answers = |at: &usize| {
            let up = self.machines[*at].up();
            up.is_some_and(|one| one.store.stats().read_only.is_none())
        };
        let current = running.iter().copied().filter(|at| self.is_current(*at) && answers(at));
        Reach { current: current.collect(), running }
    }

    /// Asks members for the log, and goes on by what they show. Why it did not.
    async fn come_back(&mut self, lost: &Lost, manner: Manner) -> Result<(), RecoverError> {
        let heir = self.heir().expect("a schedule with an heir");
        self.watch();
        let before = self.reach(&lost.text);
        let machine = &self.machines[heir];
        let life = Life::new(heir, machine.disk.clone());
        let seed = self.random.random();
        let environment = machine.environment(&self.common, &life, self.begun, seed);
        let (keys, root, stash) = (
            std::sync::Arc::clone(&machine.keys),
            self.common.stash.root(),
            self.common.stash.id(),
        );
        let (secret, network) = (root.noise_static(), root.network_key());
        let members: Vec<(NoisePublic, Vec<Place>)> = lost
            .text
            .members()
            .filter_map(|member| {
                let at = self.common.nodes.iter().position(|one| *one == member.identity.node)?;
                Some((member.identity.noise, vec![address(at).into()]))
            })
            .collect();
        let asked = survey(Sought {
            environment,
            root: &secret,
            stash,
            network: &network,
            members: &members,
            at: &[],
            held: None,
        });
        let result = match asked.await {
            Ok(found) if manner == Manner::Read => found.read().await.map(|found| (found, None)),
            Ok(found) => self.sign(found, manner, &keys, before).await,
            Err(error) => Err(error),
        };
        life.end();
        match &result {
            Ok((found, signed)) => {
                let Recovered { life, log, .. } = found;
                self.trace.line(&format!(
                    "machine {heir} {manner:?}: {} of {} show {} entries",
                    life.answered,
                    life.counted,
                    log.len()
                ));
                if let Some(at) = signed {
                    self.settle_in(heir, found, *at).await;
                }
            }
            Err(error) => self.trace.line(&format!("machine {heir} {manner:?}: {error}")),
        }
        result.map(drop)
    }

    /// Signs, and checks that it was right to: with the index of the entry, if there is a new one.
    async fn sign(
        &mut self,
        found: Survey,
        manner: Manner,
        keys: &stash_crypto::NodeKeys,
        before: Reach,
    ) -> Result<(Recovered, Option<u64>), RecoverError> {
        let root = self.common.stash.root();
        let request = JoinRequest::sign(keys, &root.stash_id(), TicketId::from_bytes([0; 16]), "");
        let request = request.expect("it signs");
        let mut base = None;
        let admit = |log: &MemberLog| {
            base = Some(log.clone());
            Ok(admit_entry(&root, log, &request, Role::Owner))
        };
        let signed = found.sign(&keys.node_id(), manner == Manner::Alone, admit).await?;
        let Some(base) = base else {
            // An earlier attempt has signed it, and was not heard.
            let by_heir = |entry: &&stash_crypto::MemberEntry| {
                matches!(entry.change(), MemberChange::Admit { identity, .. }
                    if identity.node == keys.node_id())
            };
            let at =
                signed.log.entries().iter().find(by_heir).map(stash_crypto::MemberEntry::index);
            return Ok((signed, at));
        };
        self.check_signed(&base, manner, &before);
        Ok((signed, Some(base.len())))
    }

    fn check_signed(&self, base: &MemberLog, manner: Manner, before: &Reach) {
        let voters: Vec<usize> = (0..self.machines.len())
            .filter(|at| base.member(&self.common.nodes[*at]).is_some_and(|member| !member.lapsed))
            .collect();
        let asked = |at: &&usize| {
            self.machines[**at].is_present && before.running.contains(at)
                || self.reach(base).running.contains(at)
        };
        let could = voters.iter().filter(asked).count();
        let mut model = lock(&self.model);
        if manner == Manner::Sign && could * 2 <= voters.len() {
            let text = format!("{could} of {} members could be asked", voters.len());
            model.violation(format!("the root signed entry {}, and {text}", base.len()));
        }
        let after = self.reach(base);
        let knew = before.current.iter().find(|at| after.current.contains(at));
        if let Some(at) = knew.filter(|_| !is_beginning(&self.log, base)) {
            let text = format!("node {at} knew more and could be asked");
            model.violation(format!("the root signed entry {}, and {text}", base.len()));
        }
    }

    /// The heir is a member, and signs from now on what the founder signed before.
    async fn settle_in(&mut self, heir: usize, found: &Recovered, signed: u64) {
        let Recovered { log, addresses, .. } = found;
        let root = self.common.stash.root();
        let mut network = vec![root.network_key()];
        network.extend(log.network_keys(None, &root.wrap_secret()));
        let (log, addresses) = (log.clone(), addresses.clone());
        if !is_beginning(&self.log, &log) {
            self.trace.line(&format!("the root has two lives from entry {signed} on"));
            self.loss.forked_at = Some(signed);
        }
        let machine = &mut self.machines[heir];
        machine.welcome = Some(Welcome { log, addresses, network });
        (machine.is_present, machine.is_founder) = (true, true);
        self.loss.is_back = true;
        if self.loss.forked_at.is_none() {
            self.founder = heir;
            self.put_back = None;
        }
        // If it does not start, it is tried again.
        let _ = self.start(heir).await;
    }

    /// At the end, when everything is healed: the stash comes back, by most members, or by all that
    /// there are.
    pub(crate) async fn all_recover(&mut self) {
        let Some(lost) = self.loss.lost.clone() else { return };
        for _ in 0..ATTEMPTS {
            if self.loss.is_back {
                return;
            }
            self.run_all().await;
            let manner = match self.come_back(&lost, Manner::Sign).await {
                Err(RecoverError::Few(life)) if life.answered >= self.present().len() => {
                    Some(Manner::Alone)
                }
                _ => None,
            };
            if let Some(manner) = manner {
                let _ = self.come_back(&lost, manner).await;
            }
            sleep(PAUSE).await;
        }
        lock(&self.model).violation("the stash does not come back by the root secret".to_owned());
    }

    /// The machine that was lost is found and started: whoever sees both says so, and then it is
    /// stopped for good. It is removed in any case.
    pub(crate) async fn clear_up_after(&mut self) {
        let Some(Lost { machine: at, returns, held, .. }) = self.loss.lost.clone() else { return };
        if !self.loss.is_back || self.loss.forked_at.is_some() {
            return;
        }
        if returns {
            self.find_again(at, &held).await;
        }
        if self.role(at).is_none() || self.random.random_bool(0.3) {
            return;
        }
        for _ in 0..ATTEMPTS {
            self.run_all().await;
            if self.remove(at).await {
                return;
            }
            sleep(PAUSE).await;
        }
        lock(&self.model).violation(format!("the lost node {at} cannot be removed"));
    }

    async fn find_again(&mut self, at: usize, held: &BTreeSet<RecordHash>) {
        self.trace.line(&format!("the root's machine {at} is found again"));
        for hash in held {
            if let Some(known) = lock(&self.model).records.get_mut(hash) {
                known.lost = false;
            }
        }
        self.machines[at].is_present = true;
        self.run_all().await;
        sleep(BOTH).await;
        self.run_all().await;
        sleep(BOTH).await;
        let heir = self.founder;
        for machine in [at, heir] {
            let Some(running) = self.machines[machine].up() else { continue };
            let Ok(status) = running.engine.status().await else { continue };
            if !status.alarms.iter().any(|alarm| alarm.contains("both hold the root secret")) {
                let text =
                    format!("node {machine} has no alarm, and two nodes hold the root secret");
                lock(&self.model).violation(text);
            }
        }
        if !self.harm(at).await {
            lock(&self.model).violation("a node does not run though all is healed".to_owned());
        }
        self.stop(at, Stop::Kill);
        self.machines[at].is_present = false;
    }

    /// At the end of a schedule in which the root signed two continuations of the log: everybody
    /// who runs has raised the alarm, if members of both met.
    pub(crate) async fn check_fork(&mut self) {
        let Some(index) = self.loss.forked_at else { return };
        if let Some(lost) = self.loss.lost.clone().filter(|lost| lost.returns) {
            self.machines[lost.machine].is_present = true;
        }
        let mut waited = Duration::ZERO;
        loop {
            let all = self.run_all().await;
            let silent = self.silent_about_the_fork(index).await;
            if all && silent.is_empty() {
                break;
            }
            if waited >= SETTLED {
                let text = format!("the root has two lives, and {silent:?} have no alarm");
                lock(&self.model).violation(text);
                break;
            }
            sleep(LOOK).await;
            waited += LOOK;
        }
        self.trace.line(&format!("all know of two lives after {} s", waited.as_secs()));
    }

    /// Machines without an alarm, though logs that part are both there.
    async fn silent_about_the_fork(&self, index: u64) -> Vec<usize> {
        let mut lives: BTreeSet<EntryHash> = BTreeSet::new();
        let mut silent = Vec::new();
        let at = usize::try_from(index).expect("a short log");
        let ever = |at: &usize| self.is_member(*at) || self.heir() == Some(*at);
        for machine in self.present().into_iter().filter(ever) {
            let Some(running) = self.machines[machine].up() else { continue };
            lives.extend(running.engine.member_log().entries().get(at).map(|entry| entry.hash()));
            let Ok(status) = running.engine.status().await else { continue };
            if !status.alarms.iter().any(|alarm| alarm.contains("the member log forks")) {
                silent.push(machine);
            }
        }
        if lives.len() > 1 { silent } else { Vec::new() }
    }
}

/// True if everything in the first log is in the second one.
fn is_beginning(first: &MemberLog, second: &MemberLog) -> bool {
    second.entries().starts_with(first.entries())
}
