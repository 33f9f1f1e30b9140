//! What must not have been: a pure function of the record.

use std::collections::{HashMap, HashSet};

use crate::record::{Chain, Fate, Published, Record, Seen};

/// Something that must not have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Violation {
    /// Two hubs have different logs, from this place on.
    HubsDiffer { hub: usize, place: usize },
    /// A hub's log can't be read to its end.
    LogUnread { hub: usize },
    /// A hub found another log at the engine.
    LogLost { hub: usize },
    /// A valid update was refused.
    Refused { essence: String, status: u16 },
    /// Nobody published what is in the log.
    Foreign { essence: String },
    /// An update is in the log more than once.
    Repeated { essence: String },
    /// It was acknowledged and isn't in the log.
    NotKept { essence: String },
    /// It was acknowledged under another id than it has.
    Renamed { essence: String, told: String, has: String },
    /// One that was sent after it was acknowledged stands before it.
    Overtaken { essence: String },
    /// A client didn't receive what it should have.
    Lost { chain: usize, essence: String },
    /// A client received it again.
    Doubled { chain: usize, essence: String },
    /// A client received it after one that stands behind it.
    Disordered { chain: usize, essence: String },
    /// A client received it under another id than it has.
    Changed { chain: usize, essence: String, as_id: String },
    /// A client received what isn't in the log.
    Invented { chain: usize, essence: String },
    /// A client received what is private and isn't for it.
    Leaked { chain: usize, essence: String },
    /// A client received what it hadn't asked for.
    Misdirected { chain: usize, essence: String },
    /// A hub didn't know an id of the log.
    Stranger { chain: usize, id: String, answered: String },
    /// A client didn't get to the end although everything was well again.
    Unfinished { chain: usize },
}

impl Violation {
    /// Whose chain it is about.
    pub(crate) fn chain(&self) -> Option<usize> {
        match self {
            Violation::Lost { chain, .. }
            | Violation::Doubled { chain, .. }
            | Violation::Disordered { chain, .. }
            | Violation::Changed { chain, .. }
            | Violation::Invented { chain, .. }
            | Violation::Leaked { chain, .. }
            | Violation::Misdirected { chain, .. }
            | Violation::Stranger { chain, .. }
            | Violation::Unfinished { chain } => Some(*chain),
            _ => None,
        }
    }
}

/// Everything in a record that must not have been.
pub(crate) fn judge(record: &Record) -> Vec<Violation> {
    let mut violations = Vec::new();
    let log = &record.logs[0];
    for (hub, other) in record.logs.iter().enumerate().skip(1) {
        if let Some(place) = difference(log, other) {
            violations.push(Violation::HubsDiffer { hub, place });
        }
    }
    violations.extend(record.unread.iter().map(|hub| Violation::LogUnread { hub: *hub }));
    let lossy = record.losses.iter().enumerate().filter(|(_, losses)| **losses > 0);
    violations.extend(lossy.map(|(hub, _)| Violation::LogLost { hub }));
    judge_log(log, &record.published, &mut violations);
    let published: HashMap<&str, &Published> =
        record.published.iter().map(|update| (update.essence.as_str(), update)).collect();
    for (number, chain) in record.chains.iter().enumerate() {
        judge_chain(number, chain, log, &published, &mut violations);
    }
    violations
}

fn difference(one: &[Seen], other: &[Seen]) -> Option<usize> {
    let common = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    (common < one.len() || common < other.len()).then_some(common)
}

/// The log against what was published.
fn judge_log(log: &[Seen], published: &[Published], violations: &mut Vec<Violation>) {
    let known: HashSet<&str> = published.iter().map(|update| update.essence.as_str()).collect();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (place, event) in log.iter().enumerate() {
        let essence = event.essence.clone();
        if !known.contains(event.essence.as_str()) {
            violations.push(Violation::Foreign { essence });
        } else if places.contains_key(event.essence.as_str()) {
            violations.push(Violation::Repeated { essence });
        } else {
            places.insert(&event.essence, place);
        }
    }
    // The last place of what was acknowledged to a publisher.
    let mut reached: HashMap<usize, usize> = HashMap::new();
    for update in published {
        let essence = update.essence.clone();
        let place = places.get(update.essence.as_str()).copied();
        // Whatever its fate, it was sent after everything acknowledged before.
        if let Some(place) = place
            && reached.get(&update.publisher).is_some_and(|reached| place < *reached)
        {
            violations.push(Violation::Overtaken { essence: essence.clone() });
        }
        match (&update.fate, place) {
            (Fate::Acknowledged(told), Some(place)) => {
                let has = &log[place].id;
                if told != has {
                    violations.push(Violation::Renamed { essence, told: told.clone(), has: has.clone() });
                }
                let reached = reached.entry(update.publisher).or_default();
                *reached = place.max(*reached);
            }
            (Fate::Acknowledged(_), None) => violations.push(Violation::NotKept { essence }),
            (Fate::Unknown, _) => {}
            (Fate::Refused(status), _) => violations.push(Violation::Refused { essence, status: *status }),
        }
    }
}

/// What a client received against the log.
fn judge_chain(
    number: usize,
    chain: &Chain,
    log: &[Seen],
    published: &HashMap<&str, &Published>,
    violations: &mut Vec<Violation>,
) {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (place, event) in log.iter().enumerate() {
        places.entry(&event.essence).or_default().push(place);
    }
    let mut had: HashSet<usize> = HashSet::new();
    let mut furthest = None;
    for event in &chain.seen {
        let essence = event.essence.clone();
        let Some(places) = places.get(event.essence.as_str()) else {
            violations.push(Violation::Invented { chain: number, essence });
            continue;
        };
        if let Some(update) = published.get(event.essence.as_str()) {
            let essence = essence.clone();
            if !chain.entitlement.may_read(&update.topics, update.private) {
                violations.push(Violation::Leaked { chain: number, essence });
            } else if !chain.entitlement.selects(&update.topics) {
                violations.push(Violation::Misdirected { chain: number, essence });
            }
        }
        // One that is in the log twice is two events for everybody.
        let named = places.iter().find(|place| log[**place].id == event.id);
        if named.is_none() {
            let (essence, as_id) = (essence.clone(), event.id.clone());
            violations.push(Violation::Changed { chain: number, essence, as_id });
        }
        let place = *named.unwrap_or(&places[0]);
        if !had.insert(place) {
            violations.push(Violation::Doubled { chain: number, essence });
        } else if furthest.is_some_and(|furthest| place < furthest) {
            violations.push(Violation::Disordered { chain: number, essence });
        }
        furthest = furthest.max(Some(place));
    }
    for (_, event) in log.iter().enumerate().filter(|(place, _)| !had.contains(place)) {
        let update = published.get(event.essence.as_str());
        if update.is_some_and(|update| chain.entitlement.receives(&update.topics, update.private)) {
            violations.push(Violation::Lost { chain: number, essence: event.essence.clone() });
        }
    }
    let strangers = chain.unknown.iter().cloned();
    violations.extend(strangers.map(|(id, answered)| Violation::Stranger { chain: number, id, answered }));
    if !chain.finished {
        violations.push(Violation::Unfinished { chain: number });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audience::{Entitlement, Pattern};

    fn update(essence: &str, topic: &str, private: bool, fate: Fate) -> Published {
        Published { essence: essence.to_owned(), topics: vec![topic.to_owned()], private, publisher: 0, fate }
    }

    fn seen(n: usize) -> Seen {
        Seen { id: format!("id-{n}"), essence: format!("e{n}") }
    }

    fn chain(entitlement: Entitlement, numbers: &[usize]) -> Chain {
        let seen = numbers.iter().map(|&n| seen(n)).collect();
        Chain { entitlement, seen, connections: 1, unknown: Vec::new(), finished: true }
    }

    /// Of eight events those with an odd number are private, of six nobody knows whether it was stored, and of seven neither: it wasn't.
    /// A client that may read all, one without a token, and one that asks for half and may read half of what is private of it.
    fn in_order() -> Record {
        let fate = |n: usize| if n < 6 { Fate::Acknowledged(format!("id-{n}")) } else { Fate::Unknown };
        let topic = |n: usize| if n % 4 < 2 { "urn:a" } else { "urn:b" };
        let published = (0..8).map(|n| update(&format!("e{n}"), topic(n), n % 2 == 1, fate(n))).collect();
        let log: Vec<Seen> = (0..7).map(seen).collect();
        let only_a = vec![Pattern::Exact("urn:a".to_owned())];
        let public = Entitlement { selectors: vec![Pattern::Everything], grants: None };
        let half = Entitlement { selectors: only_a.clone(), grants: Some(only_a) };
        Record {
            published,
            logs: vec![log.clone(), log.clone(), log],
            chains: vec![
                chain(Entitlement::everything(), &[0, 1, 2, 3, 4, 5, 6]),
                chain(public, &[0, 2, 4, 6]),
                chain(half, &[0, 1, 4, 5]),
            ],
            unread: Vec::new(),
            losses: vec![0; 3],
            said: Vec::new(),
        }
    }

    fn with(change: impl FnOnce(&mut Record)) -> Vec<Violation> {
        let mut record = in_order();
        change(&mut record);
        judge(&record)
    }

    fn e(n: usize) -> String {
        format!("e{n}")
    }

    #[test]
    fn nothing_is_said_of_what_is_in_order() {
        assert_eq!(judge(&in_order()), []);
    }

    #[test]
    fn a_loss_is_seen() {
        let lost = |n| Violation::Lost { chain: 0, essence: e(n) };
        assert_eq!(with(|record| _ = record.chains[0].seen.remove(3)), [lost(3)]);
        assert_eq!(with(|record| _ = record.chains[0].seen.remove(0)), [lost(0)]);
        let ended_early = with(|record| {
            record.chains[0].seen.truncate(5);
            record.chains[0].finished = false;
        });
        assert_eq!(ended_early, [lost(5), lost(6), Violation::Unfinished { chain: 0 }]);
        // Of an update nobody was told of, too: it is in the log.
        assert_eq!(with(|record| _ = record.chains[0].seen.pop()), [lost(6)]);
    }

    #[test]
    fn a_double_is_seen() {
        let doubled = vec![Violation::Doubled { chain: 2, essence: e(1) }];
        assert_eq!(with(|record| record.chains[2].seen.insert(1, seen(1))), doubled);
        assert_eq!(with(|record| record.chains[2].seen.push(seen(1))), doubled);
    }

    #[test]
    fn a_leak_is_seen() {
        assert_eq!(
            with(|record| record.chains[1].seen.insert(1, seen(1))),
            [Violation::Leaked { chain: 1, essence: e(1) }]
        );
        // One that has a token, but not for this.
        assert_eq!(
            with(|record| record.chains[2].seen.insert(2, seen(3))),
            [Violation::Leaked { chain: 2, essence: e(3) }]
        );
    }

    #[test]
    fn what_was_not_asked_for_is_seen() {
        let misdirected = Violation::Misdirected { chain: 2, essence: e(2) };
        assert_eq!(with(|record| record.chains[2].seen.insert(2, seen(2))), [misdirected]);
    }

    #[test]
    fn disorder_is_seen() {
        let disordered = |essence| Violation::Disordered { chain: 0, essence };
        assert_eq!(with(|record| record.chains[0].seen.swap(2, 3)), [disordered(e(2))]);
        let brought_forward = with(|record| {
            let last = record.chains[0].seen.pop().expect("events");
            record.chains[0].seen.insert(4, last);
        });
        assert_eq!(brought_forward, [disordered(e(4)), disordered(e(5))]);
    }

    #[test]
    fn another_id_is_seen() {
        let changed = Violation::Changed { chain: 0, essence: e(2), as_id: "id-3".to_owned() };
        assert_eq!(with(|record| record.chains[0].seen[2].id = "id-3".to_owned()), [changed]);
        let renamed = Violation::Renamed { essence: e(2), told: "id-9".to_owned(), has: "id-2".to_owned() };
        assert_eq!(with(|record| record.published[2].fate = Fate::Acknowledged("id-9".to_owned())), [renamed]);
    }

    #[test]
    fn what_nobody_published_is_seen() {
        assert_eq!(
            with(|record| record.chains[1].seen.push(seen(9))),
            [Violation::Invented { chain: 1, essence: e(9) }]
        );
        let in_the_log = with(|record| record.logs.iter_mut().for_each(|log| log.push(seen(9))));
        assert_eq!(in_the_log, [Violation::Foreign { essence: e(9) }]);
    }

    #[test]
    fn what_was_acknowledged_and_is_not_there_is_seen() {
        let acknowledged = Fate::Acknowledged("id-7".to_owned());
        assert_eq!(with(|record| record.published[7].fate = acknowledged), [Violation::NotKept { essence: e(7) }]);
    }

    #[test]
    fn what_is_there_twice_is_seen() {
        let again = Seen { id: "id-7".to_owned(), essence: e(6) };
        let twice = with(|record| record.logs.iter_mut().for_each(|log| log.push(again.clone())));
        let repeated = Violation::Repeated { essence: e(6) };
        let lost = |chain| Violation::Lost { chain, essence: e(6) };
        assert_eq!(twice, [repeated.clone(), lost(0), lost(1)]);
        // Hubs and clients only do what the log says.
        let received = with(|record| {
            record.logs.iter_mut().for_each(|log| log.push(again.clone()));
            record.chains[..2].iter_mut().for_each(|chain| chain.seen.push(again.clone()));
        });
        assert_eq!(received, [repeated]);
    }

    #[test]
    fn what_stands_before_what_was_acknowledged_first_is_seen() {
        let swapped = with(|record| record.published.swap(2, 4));
        assert_eq!(swapped, [Violation::Overtaken { essence: e(3) }, Violation::Overtaken { essence: e(2) }]);
        // Several publishers don't wait for each other.
        let of_two = with(|record| {
            record.published.swap(2, 4);
            (record.published[2].publisher, record.published[4].publisher) = (1, 2);
        });
        assert_eq!(of_two, []);
    }

    #[test]
    fn hubs_that_differ_are_seen() {
        let differs = |place| vec![Violation::HubsDiffer { hub: 2, place }];
        assert_eq!(with(|record| record.logs[2].swap(4, 5)), differs(4));
        assert_eq!(with(|record| _ = record.logs[2].pop()), differs(6));
        assert_eq!(with(|record| record.logs[2].push(seen(6))), differs(7));
        assert_eq!(with(|record| record.unread.push(1)), [Violation::LogUnread { hub: 1 }]);
        assert_eq!(with(|record| record.losses[1] = 1), [Violation::LogLost { hub: 1 }]);
    }

    #[test]
    fn an_id_that_a_hub_should_have_known_is_seen() {
        let unknown = ("id-2".to_owned(), "earliest".to_owned());
        let stranger = Violation::Stranger { chain: 1, id: unknown.0.clone(), answered: unknown.1.clone() };
        assert_eq!(with(|record| record.chains[1].unknown.push(unknown)), [stranger]);
    }

    #[test]
    fn a_refusal_is_seen() {
        let refused = Violation::Refused { essence: e(7), status: 400 };
        assert_eq!(with(|record| record.published[7].fate = Fate::Refused(400)), [refused]);
    }
}
