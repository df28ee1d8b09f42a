//! Changes among members: the founder removes one, or gives it another role.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use rand::SeedableRng;
use rand::rngs::StdRng;
use stash_crypto::keys::{NoiseSecret, wrap};
use stash_crypto::member::{Confirmation, change_members};
use stash_crypto::{
    JoinRequest, KeyGrant, MemberChange, MemberEntry, MemberLog, NameId, Record, RecordHash, Role,
    RootSecret,
};
use stash_server::Admission;
use stash_server::members::{ChangeMemberError, MembersChanged, SignFailure};

use crate::check::taken;
use crate::machine::{Common, Machine};
use crate::model::{Known, held};
use crate::network::lock;
use crate::support::admit_entry;
use crate::world::World;

/// Members that a stash keeps, so that there is something left to agree on.
const FEWEST: usize = 2;

/// The root secret of a schedule.
struct Root {
    secret: RootSecret,
    random: Mutex<StdRng>,
}

impl Admission for Root {
    fn admit(
        &self,
        log: &MemberLog,
        request: &JoinRequest,
        role: Role,
    ) -> Result<(MemberEntry, Vec<u8>), SignFailure> {
        let mut network = vec![self.secret.network_key()];
        network.extend(log.network_keys(None, &self.secret.wrap_secret()));
        // Nobody here reads under the keys of a later epoch.
        let grant = KeyGrant { network, read: vec![] }.encode();
        let stash = self.secret.stash_id();
        let wrapped = wrap(&request.identity.wrap, &stash, &grant?, &mut *lock(&self.random))?;
        Ok((admit_entry(&self.secret, log, request, role), wrapped))
    }

    fn confirm(&self, log: &MemberLog, counter: u64, time: u64) -> Option<Confirmation> {
        let whole = (log.len(), log.head());
        Some(Confirmation::sign(&self.secret.root_signer(), whole, counter, time))
    }

    fn root_noise(&self) -> Option<NoiseSecret> {
        Some(self.secret.noise_static())
    }

    fn change(
        &self,
        log: &MemberLog,
        change: MemberChange,
    ) -> Result<Vec<MemberEntry>, SignFailure> {
        Ok(change_members(log, &self.secret, change, &mut *lock(&self.random))?)
    }
}

impl Common {
    /// The founder's means to sign member entries.
    pub(crate) fn admission(&self, seed: u64) -> Arc<dyn Admission> {
        let random = Mutex::new(StdRng::seed_from_u64(seed ^ 2));
        Arc::new(Root { secret: self.stash.root(), random })
    }
}

/// Change to a member.
#[derive(Clone, Copy, Debug)]
enum Change {
    Remove,
    Role(Role),
}

impl World {
    /// The role of a machine by the founder's log; `None` when it was removed.
    pub(crate) fn role(&self, at: usize) -> Option<Role> {
        self.log.member(&self.common.nodes[at]).map(|member| member.role)
    }

    /// True if a machine is there, and a member.
    pub(crate) fn is_member(&self, at: usize) -> bool {
        self.machines[at].is_present && self.role(at).is_some()
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Machine> {
        self.machines.iter().filter(|machine| self.is_member(machine.index))
    }

    /// The members that are to have what others have.
    pub(crate) fn honest(&self) -> impl Iterator<Item = &Machine> {
        self.members().filter(|machine| self.hollow != Some(machine.index))
    }

    /// True if a machine runs and knows the whole member log.
    pub(crate) fn is_current(&self, at: usize) -> bool {
        let log = self.machines[at].up().map(|running| running.engine.member_log());
        log.is_some_and(|log| log.head() == self.log.head())
    }

    /// True if a founder that follows the rules signs at the end of the log, if it signs: it knows
    /// the whole, or the members that it has to meet before include one that has known it since
    /// before the founder's disk was replaced. It may have met enough before, or all that it waits
    /// for without the one that leaves.
    pub(crate) fn signs_at_the_end(&self, leaving: Option<usize>) -> bool {
        if self.is_current(self.founder) {
            return true;
        }
        let (Some((when, sees_it)), Some(running)) =
            (self.put_back, self.machines[self.founder].up())
        else {
            return false;
        };
        let log = running.engine.member_log();
        let others = log.members().filter(|member| !member.lapsed);
        let others = others.filter_map(|member| {
            self.common.nodes.iter().position(|node| *node == member.identity.node)
        });
        let others: Vec<usize> = others.filter(|at| *at != self.founder).collect();
        let knows = |at: &usize| {
            let since = self.current_since.get(at);
            since.is_some_and(|(length, since)| *length == self.log.len() && *since <= when)
        };
        let is_met = |others: &mut dyn Iterator<Item = usize>| {
            let others: Vec<usize> = others.collect();
            let needed = if sees_it { others.len() / 2 + 1 } else { 1 };
            others.iter().filter(|at| knows(at)).count() + needed > others.len()
        };
        let mut staying = others.iter().copied().filter(|at| Some(*at) != leaving);
        is_met(&mut others.iter().copied()) && is_met(&mut staying)
    }

    /// True if everybody comes to know the whole log though a machine loses what it knows of it:
    /// each, and that machine, which begins with what it knew first, knows a member that has it. A
    /// node that is in nobody's log is answered by nobody.
    pub(crate) fn is_told_without(&self, at: usize) -> bool {
        let others = self.others(at).into_iter();
        let (current, behind): (Vec<_>, Vec<_>) = others.partition(|other| self.is_current(*other));
        let knows = |log: &MemberLog| {
            current.iter().any(|other| log.member(&self.machines[*other].keys.node_id()).is_some())
        };
        let first = self.machines[at].welcome.as_ref().map_or(&self.common.log, |told| &told.log);
        let mut running = behind.into_iter().map(|other| self.machines[other].up());
        knows(first) && running.all(|up| up.is_some_and(|up| knows(&up.engine.member_log())))
    }

    /// The founder removes a member or gives it another role.
    pub(crate) async fn change_member(&mut self) {
        self.watch();
        let present = self.present();
        let (at, remove) = (present[self.below(present.len())], self.below(3) == 0);
        let members = (0..self.machines.len()).filter(|at| self.is_member(*at)).count();
        let change = match self.role(at) {
            _ if at == self.founder => return,
            Some(_) if remove && members > FEWEST => Change::Remove,
            Some(Role::Owner) => Change::Role(Role::Keeper),
            Some(Role::Keeper) if !self.profile.lies(at) => Change::Role(Role::Owner),
            _ => return,
        };
        let Some(running) = self.machines[self.founder].up() else { return };
        let engine = running.engine.clone();
        let leaving = matches!(change, Change::Remove).then_some(at);
        if !self.signs_at_the_end(leaving) {
            return;
        }
        let before = self.written_by(at);
        self.trace.line(&format!("node {at}: {change:?} begins"));
        let node = self.common.nodes[at];
        let changed = match change {
            Change::Remove => {
                self.note_losses(at);
                engine.remove_member(node).await
            }
            Change::Role(role) => engine.set_role(node, role).await,
        };
        self.told(at, &format!("{change:?}"), changed, &before);
    }

    /// The founder removes a member that is gone for good. Whether it has.
    pub(crate) async fn remove(&mut self, at: usize) -> bool {
        self.watch();
        let Some(running) = self.machines[self.founder].up() else { return false };
        let engine = running.engine.clone();
        if !self.signs_at_the_end(Some(at)) {
            return false;
        }
        let before = self.written_by(at);
        let changed = engine.remove_member(self.common.nodes[at]).await;
        self.told(at, "Remove", changed, &before);
        self.role(at).is_none()
    }

    fn told(
        &mut self,
        at: usize,
        change: &str,
        changed: Result<MembersChanged, ChangeMemberError>,
        before: &BTreeMap<usize, BTreeSet<RecordHash>>,
    ) {
        self.follow_log();
        let changed = match changed {
            Ok(changed) => changed,
            Err(error) => return self.trace.line(&format!("node {at}: {change}: {error}")),
        };
        let asked = |other: &usize| {
            *other == self.founder || changed.asked.contains(&self.common.nodes[*other])
        };
        let asked: Vec<usize> = before.keys().copied().filter(asked).collect();
        self.trace.line(&format!("node {at}: {change} is done, asked {asked:?}"));
        let Some(running) = self.machines[self.founder].up() else { return };
        let mut model = lock(&self.model);
        for other in asked {
            for hash in &before[&other] {
                let known = &model.records[hash];
                let here = held(&running.store, &known.record.clear().name).unwrap_or_default();
                let taken = taken(&model, &here, (hash, known), Known::is_past);
                if known.is_past() && !taken && model.doubtful(hash).is_none() {
                    let text = format!("{} was on node {other}, which was asked", known.title);
                    model.violation(format!("{text}, and lies past the cut"));
                }
            }
        }
    }

    /// Records that each machine that runs holds of another one's writing.
    fn written_by(&self, author: usize) -> BTreeMap<usize, BTreeSet<RecordHash>> {
        let model = lock(&self.model);
        let by = |record: &Record| {
            model.records.get(&record.hash()).is_some_and(|known| known.by == author)
        };
        let running = self.machines.iter().filter_map(|one| Some((one.index, one.up()?)));
        let of = |name: &NameId, store| held(store, name).unwrap_or_default();
        running
            .map(|(at, running)| {
                let names = self.names();
                let all = names.iter().flat_map(|name| of(name, &running.store));
                (at, all.filter(by).map(|record| record.hash()).collect())
            })
            .collect()
    }

    /// Takes over what the founder has signed since.
    pub(crate) fn follow_log(&mut self) {
        let Some(running) = self.machines[self.founder].up() else { return };
        let log = running.engine.member_log();
        let known = usize::try_from(self.log.len()).expect("a short log");
        let parts = self.log.entries().iter().zip(log.entries()).any(|(one, other)| one != other);
        if parts && self.loss.forked_at.is_none() {
            let text = "the founder signed another entry in place of one that a member knew";
            lock(&self.model).violation(text.to_owned());
        }
        if parts || log.entries().len() <= known {
            return;
        }
        let names = self.names();
        let all = names.iter().flat_map(|name| held(&running.store, name).unwrap_or_default());
        let founder: BTreeSet<RecordHash> = all.map(|record| record.hash()).collect();
        for entry in &log.entries()[known..] {
            self.apply(entry.change(), &founder);
        }
        lock(&self.model).log_len = log.len();
        self.log = log;
    }

    fn apply(&mut self, change: &MemberChange, founder: &BTreeSet<RecordHash>) {
        if let MemberChange::Admit { identity, role, .. } = change {
            let at = self.common.nodes.iter().position(|one| *one == identity.node);
            if role.writes() {
                self.writers.push(at.expect("a guest"));
            }
            return;
        }
        let (node, cuts, role) = match change {
            MemberChange::Remove { node, cuts } => (node, cuts, None),
            MemberChange::SetRole { node, cuts, role } => (node, cuts, Some(*role)),
            _ => return,
        };
        let at = self.common.nodes.iter().position(|one| one == node).expect("a member");
        let mut model = lock(&self.model);
        if role.is_some_and(Role::writes) {
            model.begins(at);
            if !self.writers.contains(&at) {
                self.writers.push(at);
            }
        } else {
            let last: Vec<RecordHash> = cuts.iter().map(|cut| cut.hash).collect();
            model.ends(at, &last, founder.clone());
        }
        if role.is_none() {
            model.removed.insert(at);
        }
    }
}
