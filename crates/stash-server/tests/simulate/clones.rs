//! Two machines that run with the keys of one node: a copy of everything that it has is started on
//! a second one, and both run on, until the user stops one of them for good.

use std::time::Duration;

use rand::RngExt;
use tokio::time::sleep;

use crate::machine::Stop;
use crate::model::held;
use crate::network::lock;
use crate::world::World;

/// So long do both run after everything is healed, until somebody looks at the alarms.
const BOTH: Duration = Duration::from_secs(600);

/// Two machines with the same keys.
#[derive(Clone, Copy)]
pub(crate) struct Twins {
    /// The first machine, and the one that got the copy.
    machines: [usize; 2],
    /// Number of disks that each had had then.
    disks: [u32; 2],
    /// Starts of each until then with a store that may not have been the one that it left. After a
    /// further one, what comes of another life may be what it has written itself: a start on a full
    /// disk that was not counted, and was followed by another start, is such a one.
    fresh_starts: [u32; 2],
    /// True if the node had been through a full exchange then. What comes before that may be what
    /// it has written itself, and raises no alarm.
    synchronised: bool,
}

impl World {
    /// A copy of everything that an owner has is started on another machine.
    pub(crate) async fn clone_node(&mut self) {
        let Some(of) = self.profile.clone_of().filter(|_| self.twins.is_none()) else { return };
        let Some(engine) = self.machines[of].up().map(|running| running.engine.clone()) else {
            return;
        };
        let synchronised = engine.status().await.is_ok_and(|status| status.synchronised);
        let (seed, machines) = (self.random.random(), [of, self.profile.nodes]);
        let (disk, opens) = (self.machines[of].disk.fork(seed), self.machines[of].opens);
        let twin = &mut self.machines[machines[1]];
        (twin.disk, twin.opens, twin.is_present) = (disk, opens, true);
        self.machines[machines[1]].fresh_starts = self.machines[of].fresh_starts;
        let disks = machines.map(|at| self.disks[at]);
        let fresh_starts = machines.map(|at| self.machines[at].fresh_starts);
        self.twins = Some(Twins { machines, disks, fresh_starts, synchronised });
        self.writers.push(machines[1]);
        {
            let held = self.records_on(of, &self.machines[machines[1]].disk);
            let mut model = lock(&self.model);
            let common = model.written_by(of, &held);
            model.is_cloned(machines, common);
        }
        self.trace.line(&format!("node {of} runs on machine {} as well", machines[1]));
        // If it does not start, it is tried again.
        let _ = self.start(machines[1]).await;
    }

    /// At the end, when everything is healed: both run and meet the others, and then one of them is
    /// stopped for good, as the alarm says.
    pub(crate) async fn stop_a_twin(&mut self) {
        let Some(Twins { machines, .. }) = self.twins else { return };
        self.run_all().await;
        sleep(BOTH).await;
        self.check_alarms().await;
        // The model follows the founder's first machine.
        let at = if machines[0] == self.founder { machines[1] } else { machines[self.below(2)] };
        if !self.harm(at).await {
            lock(&self.model).violation("a node does not run though all is healed".to_owned());
        }
        self.stop(at, Stop::Kill);
        self.machines[at].is_present = false;
        self.trace.line(&format!("node {at} is stopped for good"));
    }

    /// Whoever has heard of what another machine has written with its keys says so.
    pub(crate) async fn check_alarms(&mut self) {
        let Some(twins) = self.twins.filter(|twins| twins.synchronised) else { return };
        for (of, other) in [(0, 1), (1, 0)] {
            let (at, other) = (twins.machines[of], twins.machines[other]);
            let is_same = self.disks[at] == twins.disks[of]
                && self.machines[at].fresh_starts == twins.fresh_starts[of];
            let Some(running) = self.machines[at].up().filter(|_| is_same) else {
                continue;
            };
            let all = self.names().into_iter();
            let heard = all.flat_map(|name| held(&running.store, &name).unwrap_or_default());
            let heard: Vec<_> = heard.map(|record| record.hash()).collect();
            let Ok(status) = running.engine.status().await else { continue };
            let alarmed = status.alarms.iter().any(|alarm| alarm.contains("another life of"));
            let mut model = lock(&self.model);
            let by_other = heard.iter().find(|hash| model.is_of_twin(other, hash)).copied();
            if let Some(hash) = by_other.filter(|_| !alarmed) {
                let text = format!("{} was written on machine {other}", model.title(&hash));
                model.violation(format!("node {at} has no alarm, and {text} with its keys"));
            }
        }
    }
}
