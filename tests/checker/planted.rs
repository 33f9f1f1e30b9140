//! Defects that are planted into a real run, to see that the checker finds each and nothing else.

use crate::audience::{Entitlement, Pattern};
use crate::publisher::{Draft, Pen};
use crate::record::{Fate, Published, Seen};

/// So many events come before a client's defect shows.
const AFTER_EVENTS: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defect {
    /// A client drops an event.
    Loses,
    /// A client comes back with an older id than it has, so that the hub sends events again.
    ComesBackTooEarly,
    /// A client has the token of somebody who may read everything.
    HasAnotherToken,
    /// A client asks for everything.
    AsksForMore,
    /// A client comes back with an id that nobody has given.
    MakesUpAnId,
    /// A client's events change places.
    Swaps,
    /// A client's event gets another id.
    ChangesId,
    /// A publisher publishes an update a second time and says nothing of it.
    PublishesTwice,
    /// A publisher publishes something and says nothing of it.
    PublishesInSecret,
    /// A publisher says that an update was acknowledged which it hasn't sent.
    Invents,
    /// A publisher notes another id than it was told.
    NotesAnotherId,
}

impl Defect {
    /// What a client asks for instead of what it should.
    pub(crate) fn asks_as(self, honest: &Entitlement) -> Entitlement {
        match self {
            Defect::HasAnotherToken => Entitlement { grants: Some(vec![Pattern::Everything]), ..honest.clone() },
            Defect::AsksForMore => Entitlement { selectors: vec![Pattern::Everything], ..honest.clone() },
            _ => honest.clone(),
        }
    }

    fn lasts(self) -> bool {
        matches!(self, Defect::HasAnotherToken | Defect::AsksForMore)
    }

    /// Spoils what a client has noted, once; true: it shall come back with the cursor as that is now.
    pub(crate) fn read(defect: &mut Option<Defect>, seen: &mut Vec<Seen>, cursor: &mut String) -> bool {
        let Some(planted) = *defect else {
            return false;
        };
        if seen.len() != AFTER_EVENTS || planted.lasts() {
            return false;
        }
        *defect = None;
        match planted {
            Defect::Loses => _ = seen.remove(AFTER_EVENTS / 2),
            Defect::Swaps => seen.swap(3, 4),
            Defect::ChangesId => seen[3].id.push('x'),
            Defect::ComesBackTooEarly => {
                cursor.clone_from(&seen[AFTER_EVENTS - 3].id);
                return true;
            }
            Defect::MakesUpAnId => {
                cursor.push('x');
                return true;
            }
            _ => {}
        }
        false
    }

    /// Spoils what a publisher does and notes.
    pub(crate) fn write(self, pen: &mut Pen<'_>, published: &mut Vec<Published>) {
        let number = published.len();
        let secret = |text: String| Draft { topics: vec!["urn:news".to_owned()], private: false, id: None, text };
        match self {
            Defect::PublishesTwice => {
                let draft = secret(format!("twice {number}"));
                let fate = pen.send(&draft);
                pen.send(&draft);
                let publisher = published[0].publisher;
                published.push(draft.noted(publisher, fate));
            }
            Defect::PublishesInSecret => _ = pen.send(&secret(format!("secret {number}"))),
            Defect::Invents => {
                let fate = Fate::Acknowledged("an id".to_owned());
                let publisher = published[0].publisher;
                published.push(secret(format!("invented {number}")).noted(publisher, fate));
            }
            Defect::NotesAnotherId => {
                let last = published.last_mut().expect("it has published");
                if let Fate::Acknowledged(id) = &mut last.fate {
                    id.push('x');
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{OnceLock, PoisonError};

    use super::*;
    use crate::campaign::TURN;
    use crate::engines::RedisServer;
    use crate::judge::{Violation, judge};
    use crate::plan::{LAST, Plan};
    use crate::run::run;

    /// The first clients have a defect each, the others none; each publisher has one.
    const CLIENTS: [Defect; 7] = [
        Defect::Loses,
        Defect::HasAnotherToken,
        Defect::ComesBackTooEarly,
        Defect::AsksForMore,
        Defect::Swaps,
        Defect::ChangesId,
        Defect::MakesUpAnId,
    ];
    const PUBLISHERS: [Defect; 4] =
        [Defect::PublishesTwice, Defect::PublishesInSecret, Defect::Invents, Defect::NotesAnotherId];

    /// What was found in one real run with all defects.
    fn found() -> &'static [Violation] {
        static FOUND: OnceLock<Vec<Violation>> = OnceLock::new();
        FOUND.get_or_init(|| {
            let mut plan = Plan::calm(1);
            plan.log_defect = Some(Defect::Loses);
            for (number, defect) in CLIENTS.into_iter().enumerate() {
                let reader = &mut plan.readers[number];
                reader.defect = Some(defect);
                reader.slow = false;
                reader.entitlement = match defect {
                    Defect::HasAnotherToken => Entitlement { grants: None, ..Entitlement::everything() },
                    Defect::AsksForMore => {
                        let selectors = vec![Pattern::Exact(LAST.to_owned()), Pattern::Exact("urn:news".to_owned())];
                        Entitlement { selectors, ..Entitlement::everything() }
                    }
                    _ => Entitlement::everything(),
                };
            }
            for (publisher, defect) in plan.publishers.iter_mut().zip(PUBLISHERS) {
                publisher.defect = Some(defect);
            }
            let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
            let record = run::<RedisServer>(&plan);
            judge(&record)
        })
    }

    /// What was found of the client that has a defect.
    fn of(defect: Defect) -> Vec<&'static Violation> {
        let client = CLIENTS.iter().position(|one| *one == defect);
        found().iter().filter(|violation| violation.chain() == client).collect()
    }

    /// Whether there is something, and all of it is that.
    fn all(violations: &[&Violation], is: fn(&Violation) -> bool) -> bool {
        !violations.is_empty() && violations.iter().all(|violation| is(violation))
    }

    #[test]
    fn a_planted_loss_is_caught() {
        let found = of(Defect::Loses);
        assert!(matches!(found[..], [Violation::Lost { .. }]), "{found:?}");
    }

    #[test]
    fn a_planted_double_is_caught() {
        let found = of(Defect::ComesBackTooEarly);
        assert!(matches!(found[..], [Violation::Doubled { .. }, Violation::Doubled { .. }]), "{found:?}");
    }

    #[test]
    fn a_planted_leak_is_caught() {
        let found = of(Defect::HasAnotherToken);
        assert!(all(&found, |one| matches!(one, Violation::Leaked { .. })), "{found:?}");
    }

    #[test]
    fn what_is_misdirected_is_caught() {
        let found = of(Defect::AsksForMore);
        assert!(all(&found, |one| matches!(one, Violation::Misdirected { .. })), "{found:?}");
    }

    #[test]
    fn planted_disorder_is_caught() {
        let found = of(Defect::Swaps);
        assert!(matches!(found[..], [Violation::Disordered { .. }]), "{found:?}");
    }

    #[test]
    fn a_changed_id_is_caught() {
        let found = of(Defect::ChangesId);
        assert!(matches!(found[..], [Violation::Changed { .. }]), "{found:?}");
    }

    #[test]
    fn an_id_nobody_knows_is_caught() {
        let found = of(Defect::MakesUpAnId);
        let strangers = found.iter().filter(|one| matches!(one, Violation::Stranger { .. })).count();
        assert_eq!(strangers, 1, "{found:?}");
        // What was published in between isn't replayed to it.
        assert!(all(&found, |one| matches!(one, Violation::Stranger { .. } | Violation::Lost { .. })), "{found:?}");
    }

    #[test]
    fn what_publishers_kept_to_themselves_is_caught() {
        let found: Vec<&Violation> = found().iter().filter(|one| one.chain().is_none()).collect();
        let count = |is: fn(&Violation) -> bool| found.iter().filter(|one| is(one)).count();
        assert!(count(|one| matches!(one, Violation::Repeated { .. })) > 0, "{found:?}");
        assert!(count(|one| matches!(one, Violation::Foreign { .. })) > 0, "{found:?}");
        assert!(count(|one| matches!(one, Violation::NotKept { .. })) > 0, "{found:?}");
        assert!(count(|one| matches!(one, Violation::Renamed { .. })) > 0, "{found:?}");
        // Of the hub whose log was read with a gap.
        assert_eq!(count(|one| matches!(one, Violation::HubsDiffer { hub: 2, place: 10 })), 1, "{found:?}");
        let expected = |one: &Violation| {
            matches!(
                one,
                Violation::Repeated { .. }
                    | Violation::Foreign { .. }
                    | Violation::NotKept { .. }
                    | Violation::Renamed { .. }
                    | Violation::HubsDiffer { .. }
            )
        };
        assert!(all(&found, expected), "{found:?}");
    }

    #[test]
    fn nothing_is_said_of_those_without_a_defect() {
        let honest = found().iter().filter(|one| one.chain().is_some_and(|chain| chain >= CLIENTS.len()));
        assert_eq!(honest.collect::<Vec<_>>(), Vec::<&Violation>::new());
    }
}
