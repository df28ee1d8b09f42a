//! The run itself: links are cut and mended, and processes killed and started, as the plan says, while the hands work.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::events::Events;
use super::fault::{Broken, Plan};
use super::hands::Hands;
use super::network::Network;
use crate::cluster::{COMMAND, Cluster};
use crate::interrupt;
use crate::report::Report;

/// Between two looks at the plan, the nodes and the answers.
const LOOK: Duration = Duration::from_millis(10);

/// Between two lines of the report.
const TELL: Duration = Duration::from_secs(60);

pub(super) struct Storm<'a> {
    pub(super) cluster: &'a mut Cluster,
    pub(super) network: &'a mut Network,
    pub(super) hands: &'a mut Hands,
    pub(super) events: &'a mut Events,
}

impl Storm<'_> {
    /// Goes through the plan. In the end every link is whole, every node runs, and every request is answered.
    pub(super) fn blow(mut self, plan: &Plan, length: Duration, report: &Report) -> Result<()> {
        let begun = Instant::now();
        let (mut now, mut tell) = (Broken::default(), TELL);
        while begun.elapsed() < length {
            let wanted = plan.at(begun.elapsed());
            if wanted != now {
                self.events.note(&format!("{wanted:?}"));
                self.become_as(&wanted)?;
                now = wanted;
            }
            for node in &mut self.cluster.nodes {
                node.check_alive()?;
            }
            self.hands.step(self.cluster, self.events)?;
            if begun.elapsed() > tell {
                let (acknowledged, seconds) = (self.hands.model.acknowledged(), tell.as_secs());
                report.line(format_args!("  {seconds} s, {acknowledged} writes acknowledged"));
                tell += TELL;
            }
            interrupt::check()?;
            std::thread::sleep(LOOK);
        }
        self.become_as(&Broken::default())?;
        self.events.note("all is mended and runs");
        self.last_answers()
    }

    fn become_as(&mut self, wanted: &Broken) -> Result<()> {
        self.network.become_as(wanted)?;
        for (index, node) in self.cluster.nodes.iter_mut().enumerate() {
            let dead = wanted.dead.contains(&index);
            if dead && node.is_running() {
                node.kill()?;
            } else if !dead && !node.is_running() {
                node.start().context("after a SIGKILL")?;
            }
        }
        Ok(())
    }

    fn last_answers(&mut self) -> Result<()> {
        let deadline = Instant::now() + COMMAND;
        while !self.hands.take_answers(self.cluster, self.events)? {
            ensure!(Instant::now() < deadline, "a request is not answered though all is mended");
            interrupt::check()?;
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}
