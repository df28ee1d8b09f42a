//! The kind of schedule that a seed makes: its machines, its weather, the events that are frequent.

use std::ops::RangeInclusive;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stash_crypto::Role;

use crate::network::Weather;

/// Something that may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Put,
    Remove,
    Purge,
    Retain,
    Get,
    Evict,
    /// Several nodes evict one name at once.
    EvictRace,
    Collect,
    Kill,
    Power,
    /// The power goes in the middle of a write.
    PowerLater,
    Start,
    CutWay,
    CutNode,
    Heal,
    Break,
    Fault,
    Jump,
    Wipe,
    BackUp,
    Restore,
    Lie,
    /// The founder removes a member, makes an owner a keeper, or a keeper an owner.
    Member,
    /// The founder is put back to before a change, among members that have not heard of it.
    Behind,
    /// A copy of everything that a node has is put back, also of the same run.
    Rewind,
    /// A copy of everything that a node has is started on another machine, and both run.
    Clone,
    /// Somebody comes with a ticket of the founder's.
    Join,
    /// The founder's machine is lost, or somebody comes back by the root secret.
    Recover,
}

/// Weight of each event in a schedule that draws it, against the others.
const EVENTS: [(Event, u32); 22] = [
    (Event::Put, 30),
    (Event::Remove, 8),
    (Event::Purge, 4),
    (Event::Retain, 10),
    (Event::Get, 4),
    (Event::Evict, 6),
    (Event::EvictRace, 5),
    (Event::Collect, 4),
    (Event::Kill, 4),
    (Event::Power, 4),
    (Event::PowerLater, 3),
    (Event::Start, 12),
    (Event::CutWay, 6),
    (Event::CutNode, 4),
    (Event::Heal, 6),
    (Event::Break, 3),
    (Event::Fault, 2),
    (Event::Jump, 2),
    (Event::Wipe, 2),
    (Event::BackUp, 3),
    (Event::Restore, 3),
    (Event::Lie, 2),
];

/// Every third seed has some of these as well: the others are the schedules that they were before.
const RARE: [(Event, u32); 2] = [(Event::Member, 8), (Event::Rewind, 4)];

/// Machines beside those of the founding members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guest {
    /// A machine that will run with the keys of this owner.
    Clone(usize),
    /// A machine that may join, in a role that is drawn with the invitation.
    Joiner,
    /// A machine on which the stash is brought back by the root secret.
    Heir,
    /// A machine of somebody who has found a ticket that others were given.
    Stranger,
}

/// Members that join one schedule, at most.
const MOST_JOINERS: usize = 3;

/// The character of one schedule.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) nodes: usize,
    pub(crate) owners: usize,
    /// The last machine is a keeper that drops what it has.
    liar: bool,
    names: usize,
    pub(crate) events: Vec<(Event, u32)>,
    /// Number of events.
    pub(crate) length: usize,
    /// Longest pause between two, in milliseconds.
    pub(crate) pause: u64,
    /// Time that the nodes have to meet before anything happens, in milliseconds.
    pub(crate) calm: u64,
    pub(crate) weather: Weather,
    /// True if a member is away for more than a year.
    pub(crate) year: bool,
    /// Machines beside those of the founding members, which come later.
    pub(crate) guests: Vec<Guest>,
}

/// Names in a schedule, at most.
const MOST_NAMES: usize = 3;

/// The names of all schedules.
pub(crate) fn keys() -> impl Iterator<Item = String> {
    (0..MOST_NAMES).map(|n| format!("file {n}"))
}

impl Profile {
    /// The profile of a seed. Every schedule leaves some events out, so that others have room.
    pub(crate) fn of(seed: u64, nodes: RangeInclusive<usize>) -> Profile {
        let mut random = StdRng::seed_from_u64(seed ^ 0x70_726f_6669_6c65);
        let nodes = random.random_range(nodes);
        let always = [Event::Put, Event::Start, Event::Heal];
        let mut events = EVENTS.to_vec();
        events.retain(|(event, _)| always.contains(event) || random.random_bool(0.6));
        if seed.is_multiple_of(3) {
            let mut random = StdRng::seed_from_u64(seed ^ 0x7261_7265);
            events.extend(RARE.into_iter().filter(|_| random.random_bool(0.7)));
            if events.iter().any(|(event, _)| *event == Event::Rewind) {
                events.push((Event::BackUp, 3));
            }
            if events.iter().any(|(event, _)| *event == Event::Member) {
                // Whoever has an empty disk and an older epoch has to dial, and is not heard before its
                // clock is later than what it told when it dialled last.
                events.retain(|(event, _)| *event != Event::Jump);
            }
        }
        let delays = [3, 30, 300];
        let owners = random.random_range(1..nodes.min(5));
        let guests = guests(seed, owners, &mut events);
        let year = is_year(seed, &mut events);
        let changes = events.iter().any(|(event, _)| *event == Event::Member);
        if changes && guests.iter().all(|guest| *guest != Guest::Heir) && !year {
            events.push((Event::Behind, 3));
        }
        Profile {
            nodes,
            owners,
            year,
            guests,
            liar: nodes > 2 && (random.random_bool(0.3) || year),
            names: random.random_range(1..=MOST_NAMES),
            events,
            length: random.random_range(20..=120),
            pause: [200, 2_000, 8_000][random.random_range(0..3)],
            calm: [0, 3_000, 100_000][random.random_range(0..3)],
            weather: Weather {
                delay: delays[random.random_range(0..delays.len())],
                lost: [0, 10, 50][random.random_range(0..3)],
            },
        }
    }

    /// True if copies are put back of which a node cannot know.
    pub(crate) fn rewinds(&self) -> bool {
        self.events.iter().any(|(event, _)| *event == Event::Rewind)
    }

    /// True if numbers are used by two lives of a node.
    pub(crate) fn parts(&self) -> bool {
        self.rewinds() || self.clone_of().is_some()
    }

    /// The owner that runs twice.
    pub(crate) fn clone_of(&self) -> Option<usize> {
        self.guests.iter().find_map(|guest| match guest {
            Guest::Clone(of) => Some(*of),
            _ => None,
        })
    }

    pub(crate) fn role(&self, at: usize) -> Role {
        match at {
            at if self.lies(at) => Role::Keeper,
            at if at < self.owners => Role::Owner,
            at if at % 3 == 0 => Role::Reader,
            _ => Role::Keeper,
        }
    }

    pub(crate) fn lies(&self, at: usize) -> bool {
        self.liar && at + 1 == self.nodes
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = String> + use<> {
        keys().take(self.names)
    }
}

/// The guests of three of six seeds, and the events with them.
fn guests(seed: u64, owners: usize, events: &mut Vec<(Event, u32)>) -> Vec<Guest> {
    let mut random = StdRng::seed_from_u64(seed ^ 0x67_7565_7374);
    let guests = match seed % 6 {
        1 => {
            events.push((Event::Clone, 8));
            vec![Guest::Clone(random.random_range(0..owners))]
        }
        4 => {
            events.push((Event::Join, 8));
            if random.random_bool(0.5) {
                events.push((Event::Member, 8));
            }
            let mut guests = vec![Guest::Joiner; random.random_range(1..=MOST_JOINERS)];
            guests.push(Guest::Stranger);
            guests
        }
        5 => {
            events.extend([(Event::Recover, 12), (Event::BackUp, 4)]);
            if random.random_bool(0.8) {
                events.push((Event::Member, 12));
            }
            vec![Guest::Heir]
        }
        _ => return Vec::new(),
    };
    // The clock of the machine that runs with somebody's keys may be behind what that one told when it
    // dialled last; of changes of members, see above.
    events.retain(|(event, _)| *event != Event::Jump);
    guests
}

/// True if somebody is away for more than a year in this schedule, beside a keeper that drops all
/// the time what it says that it has. A node that gives up bytes because that one shows them loses
/// them, so nobody does.
fn is_year(seed: u64, events: &mut Vec<(Event, u32)>) -> bool {
    const NEVER: [Event; 9] = [
        Event::Evict,
        Event::EvictRace,
        Event::PowerLater,
        Event::Fault,
        Event::Jump,
        Event::Wipe,
        Event::BackUp,
        Event::Restore,
        Event::Lie,
    ];
    let year = seed % 12 == 2;
    if year {
        events.retain(|(event, _)| !NEVER.contains(event));
        events.extend([(Event::Remove, 8), (Event::Purge, 4), (Event::Retain, 10)]);
    }
    year
}
