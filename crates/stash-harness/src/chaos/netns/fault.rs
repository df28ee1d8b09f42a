//! The plan of a run: what is broken when, from a seed. It knows no network and no node.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

/// From the beginning of a fault to that of the next, in seconds.
const GAPS: (f64, f64) = (0.5, 6.0);

/// Lengths of a fault, in seconds: half of them shorter than what a connection survives, half longer.
const SHORT: (f64, f64) = (0.3, 3.0);
const LONG: (f64, f64) = (5.0, 30.0);

/// The time that a killed node stays dead, in seconds.
const DEAD: (f64, f64) = (0.1, 12.0);

/// Something that is broken for a while. Nodes are counted from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// The cable of a node is pulled.
    Cable(usize),
    /// Bytes from one node to another go nowhere; the way back is whole.
    Way { from: usize, to: usize },
    /// Nothing passes between these nodes and the others.
    Split(BTreeSet<usize>),
    /// Bytes to a node trickle, and some of them are lost.
    Slow(usize),
    /// The process of a node is killed.
    Dead(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    from: Duration,
    until: Duration,
    pub(super) what: What,
}

/// Faults at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) cables: BTreeSet<usize>,
    /// From one node to another.
    pub(super) ways: BTreeSet<(usize, usize)>,
    pub(super) slow: BTreeSet<usize>,
    pub(super) dead: BTreeSet<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    nodes: usize,
    pub(super) faults: Vec<Fault>,
}

impl Plan {
    /// A plan for so many nodes and so long, at the end of which nothing is broken.
    pub(super) fn draw(nodes: usize, length: Duration, rng: &mut StdRng) -> Self {
        let mut faults = vec![];
        let mut from = span(GAPS, rng);
        while from < length {
            let what = What::draw(nodes, rng);
            let stays = match what {
                What::Dead(_) => DEAD,
                _ if rng.random_bool(0.5) => SHORT,
                _ => LONG,
            };
            faults.push(Fault { from, until: length.min(from + span(stays, rng)), what });
            from += span(GAPS, rng);
        }
        Self { nodes, faults }
    }

    pub(super) fn at(&self, moment: Duration) -> Broken {
        let mut broken = Broken::default();
        for fault in &self.faults {
            if (fault.from..fault.until).contains(&moment) {
                fault.what.add(self.nodes, &mut broken);
            }
        }
        broken
    }

    /// The number of faults of links, and of processes.
    pub(super) fn counts(&self) -> (usize, usize) {
        let kills = self.faults.iter().filter(|fault| matches!(fault.what, What::Dead(_))).count();
        (self.faults.len() - kills, kills)
    }
}

impl What {
    fn draw(nodes: usize, rng: &mut StdRng) -> Self {
        let node = rng.random_range(0..nodes);
        match rng.random_range(0..12) {
            0..=2 => Self::Cable(node),
            3..=5 => {
                let to = (node + rng.random_range(1..nodes)) % nodes;
                Self::Way { from: node, to }
            }
            6..=8 => {
                let side = (0..nodes).filter(|_| rng.random_bool(0.5)).collect::<BTreeSet<_>>();
                // One side of nobody is no split.
                let split = (1..nodes).contains(&side.len());
                Self::Split(if split { side } else { BTreeSet::from([node]) })
            }
            9 => Self::Slow(node),
            _ => Self::Dead(node),
        }
    }

    fn add(&self, nodes: usize, broken: &mut Broken) {
        match self {
            Self::Cable(node) => _ = broken.cables.insert(*node),
            Self::Way { from, to } => _ = broken.ways.insert((*from, *to)),
            Self::Split(side) => {
                let across =
                    |one: &usize, other: &usize| side.contains(one) != side.contains(other);
                let pairs = (0..nodes).flat_map(|one| (0..nodes).map(move |other| (one, other)));
                broken.ways.extend(pairs.filter(|(one, other)| across(one, other)));
            }
            Self::Slow(node) => _ = broken.slow.insert(*node),
            Self::Dead(node) => _ = broken.dead.insert(*node),
        }
    }
}

fn span((least, most): (f64, f64), rng: &mut StdRng) -> Duration {
    Duration::from_secs_f64(rng.random_range(least..most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree;

    const FIVE_MINUTES: Duration = Duration::from_secs(300);

    fn plan(seed: u64) -> Plan {
        Plan::draw(5, FIVE_MINUTES, &mut tree::rng(seed))
    }

    #[test]
    fn one_seed_is_one_plan() {
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn five_minutes_break_every_link_and_kill_every_node_and_mend_all() {
        for seed in 0..20 {
            let plan = plan(seed);
            let moments = (0..3000).map(|tenth| plan.at(Duration::from_millis(tenth * 100)));
            let mut ever = Broken::default();
            for now in moments {
                ever.cables.extend(now.cables);
                ever.ways.extend(now.ways);
                ever.dead.extend(now.dead);
            }
            assert_eq!(ever.ways.len(), 5 * 4, "seed {seed}");
            assert!(ever.dead.len() >= 4 && !ever.cables.is_empty(), "seed {seed}: {ever:?}");
            assert_eq!(plan.at(FIVE_MINUTES), Broken::default(), "seed {seed}");
        }
    }

    #[test]
    fn a_split_cuts_both_ways_across_and_none_within() {
        let mut broken = Broken::default();
        What::Split(BTreeSet::from([0, 2])).add(4, &mut broken);
        let across = [(0, 1), (0, 3), (1, 0), (1, 2), (2, 1), (2, 3), (3, 0), (3, 2)];
        assert_eq!(broken.ways, BTreeSet::from(across));
    }

    #[test]
    fn a_link_broken_twice_is_mended_with_the_last_fault() {
        let seconds = Duration::from_secs;
        let fault = |from, until| Fault {
            from: seconds(from),
            until: seconds(until),
            what: What::Cable(1),
        };
        let plan = Plan { nodes: 3, faults: vec![fault(1, 4), fault(3, 6)] };
        let pulled: Vec<bool> =
            (0..7).map(|second| plan.at(seconds(second)).cables.contains(&1)).collect();
        assert_eq!(pulled, [false, true, true, true, true, true, false]);
    }
}
