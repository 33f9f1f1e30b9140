//! What becomes of the subscribers of a hub that died: one of the others claims it, announces their ends, forgets them, and buries it.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::document::{end_id, is_ending, subscriptions};
use super::life::{RENEWALS, has_room};
use super::members::{Announce, Members, PIECE_BYTES, PIECE_SUBSCRIBERS};
use crate::cluster::{Engine, NodeId};
use crate::hub::Draft;
use crate::protocol::subscription;
use crate::protocol::update::Update;
use crate::server::presence::EVENTS_PER_S_MAX;

impl<E: Engine> Members<E> {
    /// Announces the ends of the subscribers of a dead hub that `node`, this one, has claimed, and buries it. `None`: it can't be done now.
    /// Who claims it next, this hub or another, goes on where this one stopped.
    pub(super) async fn end(&self, node: NodeId, dead: NodeId, announce: &Announce) -> Option<()> {
        let (mut ended, mut begun, mut claimed) = (0, false, Instant::now());
        loop {
            let left = self.engine.left(dead, PIECE_SUBSCRIBERS, PIECE_BYTES).await.ok()?;
            if left.is_empty() {
                self.engine.bury(dead).await.ok()?;
                if ended > 0 {
                    tracing::info!(subscriptions = ended, "ended what a hub that died left open");
                }
                return Some(());
            }
            let first = !std::mem::replace(&mut begun, true);
            let mut drafts = Vec::new();
            for one in &left {
                let mut ends: Vec<Update> = ends(dead, &one.document).collect();
                // Whoever had claimed it before may have died between announcing a piece and forgetting it, and the dead hub itself as well.
                if first || is_ending(&one.document) {
                    ends = self.not_announced(ends).await?;
                }
                drafts.extend(ends.into_iter().map(Draft::announcement));
            }
            let events = drafts.len();
            ended += events;
            let (shared, announce) = (self.shared.clone(), announce.clone());
            let announced = tokio::task::spawn_blocking(move || has_room(&shared) && announce(drafts)).await;
            if !announced.unwrap_or(false) {
                return None;
            }
            // If what is announced can't be forgotten, whoever claims it next finds it in the log.
            self.engine.leave(dead, left.into_iter().map(|one| one.id).collect()).await.ok()?;
            sleep(Duration::from_secs(1) / EVENTS_PER_S_MAX * events as u32).await;
            if claimed.elapsed() >= self.claim / RENEWALS {
                if self.engine.claim(node, self.claim).await.ok()? != Some(dead) {
                    return None;
                }
                claimed = Instant::now();
            }
        }
    }

    /// Those ends that aren't in the log yet. `None`: that can't be told now.
    async fn not_announced(&self, ends: Vec<Update>) -> Option<Vec<Update>> {
        let identity = self.state.identity();
        let mut missing = Vec::new();
        for end in ends {
            let id = end.id.as_deref().expect("ends have ids");
            if self.engine.find(&identity, id).await.ok()?.is_none() {
                missing.push(end);
            }
        }
        Some(missing)
    }
}

/// What announces that they have ended with their hub: whoever does it, under the same ids, so that it can be seen who has.
fn ends(dead: NodeId, document: &str) -> impl Iterator<Item = Update> {
    subscriptions(document, false).map(move |(address, document)| Update {
        id: Some(end_id(dead, address)),
        ..subscription::announcement(address, document)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use std::collections::BTreeSet;

    use super::super::document::ending;
    use super::super::fake::{A, B, Fake, hub, subscriber};
    use super::*;
    use crate::cluster::Subscriber;
    use crate::server::backbone::Backbone;

    const LEASE: Duration = Duration::from_secs(3600);

    /// A hub whose announcements are kept, and a dead one that left so many.
    fn with_dead(claim: Duration, left: usize) -> (Backbone, Members<Fake>, Arc<Mutex<Vec<Update>>>, Announce) {
        let (backbone, members) = hub(LEASE);
        let mut members = Arc::into_inner(members).expect("nobody else has it");
        members.claim = claim;
        {
            let mut state = members.engine.state();
            state.dead.push(B);
            state.hubs.insert(B, true);
            state.entered.extend((0..left).map(|n| {
                let (id, document) = subscriber(&format!("{n:04}"), 10);
                ((B.0, id), document)
            }));
        }
        let said = Arc::new(Mutex::new(Vec::new()));
        let announce: Announce = {
            let (said, engine) = (said.clone(), members.engine.clone());
            Arc::new(move |drafts: Vec<Draft>| {
                let updates: Vec<Update> = drafts.into_iter().map(|draft| draft.into_update().0).collect();
                let entry = |update| crate::cluster::Entry { update, announcement: true, published_ms: 1, tag: 1 };
                engine.state().log.extend(updates.iter().cloned().map(entry));
                said.lock().expect("no panic").extend(updates);
                true
            })
        };
        (backbone, members, said, announce)
    }

    /// How many different announcements were made, and how many in all.
    fn announced(said: &Mutex<Vec<Update>>) -> (usize, usize) {
        let said = said.lock().expect("no panic");
        let different: BTreeSet<&String> = said.iter().filter_map(|end| end.id.as_ref()).collect();
        (different.len(), said.len())
    }

    #[test]
    fn everybody_a_dead_hub_left_is_ended_once_and_the_claim_is_extended() {
        let (backbone, members, said, announce) = with_dead(Duration::ZERO, 200);
        // One of them was ending when it died.
        let last = members.engine.state().entered.get(&(B.0, "0199".to_owned())).cloned().expect("it is there");
        let Subscriber { id, document } = ending("0199", &last);
        members.engine.state().entered.insert((B.0, id), document);
        assert_eq!(backbone.runtime().block_on(members.end(A, B, &announce)), Some(()));
        assert_eq!(announced(&said), (200, 200));
        let state = members.engine.state();
        assert!(state.claims >= 3 && state.entered.is_empty() && !state.hubs.contains_key(&B), "{state:?}");
    }

    /// Seen: two hubs announced the ends of the same hub's 100,000 subscribers.
    #[test]
    fn whose_claim_is_over_gives_up() {
        let (backbone, members, said, announce) = with_dead(Duration::ZERO, 200);
        members.engine.state().dead.clear();
        assert_eq!(backbone.runtime().block_on(members.end(A, B, &announce)), None);
        assert_eq!(said.lock().expect("no panic").len(), PIECE_SUBSCRIBERS);
    }

    #[test]
    fn what_can_not_be_forgotten_is_left_to_the_next_claim_and_not_announced_again() {
        let (backbone, members, said, announce) = with_dead(LEASE, 100);
        members.engine.state().leave_fails = true;
        assert_eq!(backbone.runtime().block_on(members.end(A, B, &announce)), None);
        members.engine.state().leave_fails = false;
        assert_eq!(backbone.runtime().block_on(members.end(A, B, &announce)), Some(()));
        assert_eq!(said.lock().expect("no panic").len(), 100);
    }

    /// Seen: a hub that was killed while many left had announced the ends of some, which were announced again.
    #[test]
    fn ends_that_the_dead_hub_had_announced_itself_are_not_announced_again() {
        let (backbone, members, said, announce) = with_dead(LEASE, 200);
        for n in 150..154 {
            let name = format!("{n:04}");
            let noted = members.engine.state().entered.get(&(B.0, name.clone())).cloned().expect("it is there");
            if n < 152 {
                announce(ends(B, &noted).map(Draft::announcement).collect());
            }
            let Subscriber { id, document } = ending(&name, &noted);
            members.engine.state().entered.insert((B.0, id), document);
        }
        assert_eq!(backbone.runtime().block_on(members.end(A, B, &announce)), Some(()));
        assert_eq!(announced(&said), (200, 200));
    }

    #[test]
    fn ends_are_announced_under_ids_that_tell_hubs_and_subscriptions_apart() {
        let line = |n: usize| format!("{{\"id\":\"/s/{n}\",\"active\":false}}");
        let ended: Vec<Update> = ends(A, &format!("{}\n{}\n", line(1), line(2))).collect();
        assert_eq!(ended.iter().map(|end| end.data.clone()).collect::<Vec<_>>(), [line(1), line(2)]);
        assert_eq!(ended[0].id, Some(end_id(A, "/s/1")));
        assert!(end_id(A, "/s/1") != end_id(A, "/s/2") && end_id(A, "/s/1") != end_id(B, "/s/1"));
    }
}
