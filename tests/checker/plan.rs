//! What a run is to be: everything in it that is chosen, from a seed.

use std::time::Duration;

use crate::audience::{Entitlement, Pattern};
use crate::chance::Chance;
use crate::planted::Defect;

pub(crate) const HUBS: usize = 3;
const READERS: usize = 12;
const PUBLISHERS: usize = 4;
/// The topic of what comes last; everybody asks for it.
pub(crate) const LAST: &str = "urn:checker:last";

const TOPICS: [&str; 8] = [
    "urn:news",
    "https://example.com/rooms/1",
    "https://example.com/rooms/2",
    "https://example.com/rooms/2/notes",
    "https://example.com/users/1",
    "https://example.com/users/2",
    "https://example.com/users/2/keys",
    "urn:other",
];

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// How long it goes on at least.
    pub(crate) lasts: Duration,
    /// Three lanes, which know nothing of each other, so that faults overlap. Each step comes so long after the one before was over.
    pub(crate) engine: Vec<(Duration, EngineFault)>,
    pub(crate) links: Vec<(Duration, usize, LinkFault)>,
    pub(crate) hubs: Vec<(Duration, HubFault)>,
    pub(crate) readers: Vec<ReaderPlan>,
    pub(crate) publishers: Vec<PublisherPlan>,
    /// Of who reads the last hub's log at the end.
    pub(crate) log_defect: Option<Defect>,
}

/// What happens to the engine.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EngineFault {
    /// kill -9, and started again after a while.
    Kill { down: Duration },
    /// Stopped as it stands, and let go on.
    Pause { lasts: Duration },
}

/// What happens between a hub and the engine.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LinkFault {
    Cut,
    /// Cut, and new connections refused for a while.
    Refuse {
        lasts: Duration,
    },
    /// Nothing passes for a while; then everything does, or the connections are cut.
    Silence {
        lasts: Duration,
        then_cut: bool,
    },
    /// Answers don't pass for a while, and never will.
    LoseAnswers {
        lasts: Duration,
    },
}

/// kill -9 of a hub, and started again after a while.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HubFault {
    pub(crate) hub: usize,
    pub(crate) down: Duration,
}

#[derive(Debug, Clone)]
pub(crate) struct ReaderPlan {
    pub(crate) chance: Chance,
    pub(crate) entitlement: Entitlement,
    /// Reads little at once and rests in between.
    pub(crate) slow: bool,
    /// How long it stays with a hub at most.
    pub(crate) stays_ms: u64,
    pub(crate) defect: Option<Defect>,
}

#[derive(Debug, Clone)]
pub(crate) struct PublisherPlan {
    pub(crate) chance: Chance,
    pub(crate) number: usize,
    pub(crate) rests_ms: u64,
    pub(crate) defect: Option<Defect>,
}

impl Plan {
    /// With faults of every kind.
    pub(crate) fn of(seed: u64) -> Plan {
        let mut chance = Chance::new(seed);
        let mut engine = vec![kill(&mut chance), EngineFault::Pause { lasts: Duration::from_secs(10) }];
        if chance.one_in(2) {
            engine.push(kill(&mut chance));
        }
        chance.shuffle(&mut engine);
        let engine = engine.into_iter().map(|fault| (chance.ms(1_000..3_000), fault)).collect();
        let mut links = vec![
            LinkFault::Cut,
            LinkFault::Refuse { lasts: chance.ms(1_000..4_000) },
            LinkFault::Silence { lasts: chance.ms(500..5_000), then_cut: chance.one_in(2) },
            LinkFault::LoseAnswers { lasts: chance.ms(50..2_500) },
        ];
        links.extend((0..chance.below(4)).map(|_| match chance.below(2) {
            0 => LinkFault::Cut,
            _ => LinkFault::LoseAnswers { lasts: chance.ms(20..1_000) },
        }));
        chance.shuffle(&mut links);
        let links = links.into_iter().map(|fault| (chance.ms(200..3_000), chance.below(HUBS), fault)).collect();
        let kills = 2 + chance.below(3);
        let hubs = (0..kills)
            .map(|_| (chance.ms(500..5_000), HubFault { hub: chance.below(HUBS), down: chance.ms(0..3_000) }))
            .collect();
        let (readers, publishers) = people(&mut chance);
        Plan { seed, lasts: Duration::from_secs(15), engine, links, hubs, readers, publishers, log_defect: None }
    }

    /// Short and nearly without faults: for what is planted.
    pub(crate) fn calm(seed: u64) -> Plan {
        let mut chance = Chance::new(seed);
        let (readers, publishers) = people(&mut chance);
        let links = vec![(Duration::from_secs(1), chance.below(HUBS), LinkFault::Cut)];
        let (engine, hubs) = (Vec::new(), Vec::new());
        Plan { seed, lasts: Duration::from_secs(4), engine, links, hubs, readers, publishers, log_defect: None }
    }

    pub(crate) fn faults(&self) -> usize {
        self.engine.len() + self.links.len() + self.hubs.len()
    }

    /// What happens, in a few lines.
    pub(crate) fn story(&self) -> String {
        let mut text = format!("seed {}\n", self.seed);
        let lanes: [(&str, Vec<String>); 3] = [
            ("engine", self.engine.iter().map(|(after, fault)| format!("{after:?} later {fault:?}")).collect()),
            (
                "links",
                self.links.iter().map(|(after, hub, fault)| format!("{after:?} later {hub}: {fault:?}")).collect(),
            ),
            ("hubs", self.hubs.iter().map(|(after, fault)| format!("{after:?} later {fault:?}")).collect()),
        ];
        for (name, steps) in lanes {
            text.push_str(&format!("  {name}: {}\n", steps.join("; ")));
        }
        for (number, reader) in self.readers.iter().enumerate() {
            let ReaderPlan { entitlement, slow, stays_ms, .. } = reader;
            text.push_str(&format!("  client {number}: slow {slow}, stays {stays_ms} ms, {entitlement:?}\n"));
        }
        text
    }
}

fn kill(chance: &mut Chance) -> EngineFault {
    EngineFault::Kill { down: chance.ms(0..3_000) }
}

fn people(chance: &mut Chance) -> (Vec<ReaderPlan>, Vec<PublisherPlan>) {
    let readers = (0..READERS).map(|number| reader(number, chance)).collect();
    let publishers = (0..PUBLISHERS)
        .map(|number| PublisherPlan { chance: chance.another(), number, rests_ms: chance.within(10..80), defect: None })
        .collect();
    (readers, publishers)
}

fn reader(number: usize, chance: &mut Chance) -> ReaderPlan {
    let last = Pattern::Exact(LAST.to_owned());
    let entitlement = match number {
        0 => Entitlement::everything(),
        // Asks for all and may read what is public.
        1 => Entitlement { selectors: vec![Pattern::Everything], grants: None },
        // Asks for all and may read what is private of some.
        2 => Entitlement { selectors: vec![Pattern::Everything], grants: Some(vec![some_pattern(chance)]) },
        _ => {
            let mut selectors: Vec<Pattern> = (0..=chance.below(3)).map(|_| some_pattern(chance)).collect();
            selectors.push(last);
            let grants = match chance.below(4) {
                0 => None,
                1 => Some(vec![Pattern::Everything]),
                _ => Some((0..=chance.below(2)).map(|_| some_pattern(chance)).collect()),
            };
            Entitlement { selectors, grants }
        }
    };
    ReaderPlan {
        chance: chance.another(),
        entitlement,
        slow: number % 5 == 4,
        stays_ms: *chance.one_of(&[300, 1_500, 6_000, 60_000]),
        defect: None,
    }
}

fn some_pattern(chance: &mut Chance) -> Pattern {
    let folders = ["https://example.com/rooms/", "https://example.com/users/", "https://example.com/"];
    match chance.below(4) {
        0 => Pattern::Below((*chance.one_of(&folders)).to_owned()),
        1 => Pattern::Child((*chance.one_of(&folders)).to_owned()),
        _ => Pattern::Exact((*chance.one_of(&TOPICS)).to_owned()),
    }
}

/// The topics of an update: one, or two.
pub(crate) fn some_topics(chance: &mut Chance) -> Vec<String> {
    let first = chance.below(TOPICS.len());
    let mut topics = vec![TOPICS[first].to_owned()];
    if chance.one_in(4) {
        topics.push(TOPICS[(first + 1 + chance.below(TOPICS.len() - 1)) % TOPICS.len()].to_owned());
    }
    topics
}
