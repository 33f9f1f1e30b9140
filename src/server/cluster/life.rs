//! How a hub stays known to the others: it renews its lease, begins anew under another name when it has to, and looks for hubs that died.
//!
//! It has to when another hub has claimed it, or when the engine has come back from an earlier time: then what it knows may
//! be older than what was announced. A name that was given up is never used again. Those who stay are forgotten under it first, so that nobody
//! announces their ends; whoever else is noted under it is ended by the hub that claims it.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::backoff::{Backoff, node_id};
use super::document::{pieces, subscriptions};
use super::members::{Announce, Members, PIECE_BYTES, PIECE_SUBSCRIBERS};
use super::state::LinkState;
use crate::cluster::{Engine, NodeId, Subscriber};
use crate::hub::Draft;
use crate::protocol::subscription;
use crate::server::presence::EVENTS_PER_S_MAX;
use crate::server::shared::Shared;

/// A lease is renewed, and dead hubs are looked for, so many times in its length.
pub(super) const RENEWALS: u32 = 3;
/// How long it is waited at most for whoever is announcing some ends of this hub's subscribers.
const ENDS_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long one sleeps before one looks whether the hub has ended, or can take more.
const NAP: Duration = Duration::from_millis(20);

impl<E: Engine> Members<E> {
    /// Runs as long as the hub does.
    pub(super) async fn live(self: Arc<Self>, announce: Announce) {
        let mut backoff = Backoff::default();
        let mut calm = Calm::new(&self.state);
        let mut setbacks = self.state.setbacks();
        let (mut anew, mut burial): (Option<JoinHandle<()>>, Option<JoinHandle<()>>) = (None, None);
        loop {
            let node = self.node();
            let set_back = self.state.setbacks() != setbacks;
            let renewed = if set_back { Ok(false) } else { self.engine.renew(node, self.lease).await };
            calm.look(&self.state);
            match renewed {
                Ok(true) => {
                    backoff = Backoff::default();
                    // Only right after a renewal was answered, here alone: a claim that reaches an engine late, after it has stood still,
                    // finds this hub's own lease run out.
                    if calm.has_lasted(self.lease)
                        && burial.as_ref().is_none_or(JoinHandle::is_finished)
                        && let Ok(Some(dead)) = self.engine.claim(node, self.claim).await
                    {
                        let (members, announce) = (self.clone(), announce.clone());
                        burial = Some(tokio::spawn(async move {
                            let _ = members.end(node, dead, &announce).await;
                        }));
                    }
                    let _ = timeout(self.lease / RENEWALS, self.state.until_set_back(setbacks)).await;
                }
                Ok(false) => {
                    setbacks = self.state.setbacks();
                    if set_back {
                        tracing::warn!(
                            "the cluster's engine has lost events: this hub's subscribers are announced again"
                        );
                    } else {
                        tracing::warn!("the cluster took this hub for dead: its subscribers are announced again");
                    }
                    let node = node_id();
                    self.call(node);
                    if let Some(before) = anew.take() {
                        let _ = before.await;
                    }
                    while self.engine.arrive(node, self.lease).await.is_err() {
                        sleep(backoff.next()).await;
                    }
                    let (members, announce) = (self.clone(), announce.clone());
                    anew = Some(tokio::task::spawn_blocking(move || members.begin_anew(node, &announce)));
                }
                Err(_) => sleep(backoff.next()).await,
            }
        }
    }

    /// Enters and announces everybody under another name, for as long as that is the hub's. Meanwhile the lease is renewed.
    pub(super) fn begin_anew(&self, node: NodeId, announce: &Announce) {
        let mut entered = self.entered();
        let before = std::mem::replace(&mut entered.node, node);
        let everybody: Vec<String> = entered.documents.keys().cloned().collect();
        if !self.leave(before, &everybody) || !rest(&self.shared, (self.lease / RENEWALS).min(ENDS_WAIT_MAX)) {
            return;
        }
        let bytes = |id: &String| entered.documents.get(id).map_or(0, String::len) + id.len();
        let cut: Vec<Vec<String>> = pieces(everybody, PIECE_SUBSCRIBERS, PIECE_BYTES, bytes).collect();
        for ids in cut {
            if self.node() != node {
                return;
            }
            let noted = |id: String| entered.documents.get(&id).cloned().map(|document| Subscriber { id, document });
            let piece: Vec<Subscriber> = ids.into_iter().filter_map(noted).collect();
            let drafts: Vec<Draft> = piece.iter().flat_map(|one| beginnings(&one.document)).collect();
            let Some(not_taken) = self.enter(node, piece) else { return };
            for id in &not_taken {
                entered.documents.remove(id);
            }
            let events = drafts.len() as u32;
            if !has_room(&self.shared) || !announce(drafts) {
                return;
            }
            if !rest(&self.shared, Duration::from_secs(1) / EVENTS_PER_S_MAX * events) {
                return;
            }
        }
    }
}

/// Since when the engine has answered.
struct Calm {
    reconnects: u64,
    since: Instant,
}

impl Calm {
    fn new(state: &LinkState) -> Calm {
        Calm { reconnects: state.reconnects(), since: Instant::now() }
    }

    fn look(&mut self, state: &LinkState) {
        if state.is_down() || state.reconnects() != self.reconnects {
            *self = Calm::new(state);
        }
    }

    /// Long enough for everybody else to have renewed his lease.
    fn has_lasted(&self, lease: Duration) -> bool {
        self.since.elapsed() >= lease
    }
}

/// Waits until the hub can keep up. False: it has ended.
pub(super) fn has_room(shared: &Shared) -> bool {
    while shared.overloaded() && !shared.ended() {
        thread::sleep(NAP);
    }
    !shared.ended()
}

/// Sleeps. False: the hub has ended meanwhile.
fn rest(shared: &Shared, mut time: Duration) -> bool {
    while !time.is_zero() && !shared.ended() {
        thread::sleep(time.min(NAP));
        time = time.saturating_sub(NAP);
    }
    !shared.ended()
}

/// What announces that the subscriptions of a document have begun.
fn beginnings(document: &str) -> impl Iterator<Item = Draft> {
    subscriptions(document, true)
        .map(|(address, document)| Draft::announcement(subscription::announcement(address, document)))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::fake::{A, Fake, LOG, eventually, hub, subscriber};
    use super::*;
    use crate::cluster::LogError;
    use crate::server::presence::Roster;

    const LONG: Duration = Duration::from_secs(3600);

    fn everybody(count: usize) -> Vec<(String, String)> {
        (0..count).map(|n| subscriber(&format!("{n:04}"), 10)).collect()
    }

    fn renewals(members: &Members<Fake>) -> usize {
        let node = members.node();
        members.engine.state().renewals.iter().filter(|other| **other == node).count()
    }

    /// Whether so many are entered under the hub's name and nobody under another one.
    fn all_entered(members: &Members<Fake>, count: usize) -> bool {
        let (node, state) = (members.node(), members.engine.state());
        state.entered.len() == count && state.entered.keys().all(|(of, _)| *of == node.0)
    }

    #[test]
    fn a_hub_that_was_claimed_enters_everybody_under_another_name_and_renews_meanwhile() {
        let (backbone, members) = hub(Duration::from_millis(30));
        assert!(members.keep(everybody(300), &[], &mut |_| true));
        members.engine.state().hubs.insert(A, true);
        let announced = Arc::new(Mutex::new(0));
        let announce: Announce = {
            let (members, announced) = (members.clone(), announced.clone());
            Arc::new(move |drafts: Vec<Draft>| {
                let before = renewals(&members);
                eventually("the lease is renewed while others are still to be announced", || {
                    renewals(&members) > before
                });
                *announced.lock().expect("no panic") += drafts.len();
                true
            })
        };
        backbone.spawn(members.clone().live(announce));
        eventually("everybody is announced", || *announced.lock().expect("no panic") == 300);
        assert!(members.node() != A && all_entered(&members, 300));
        members.shared.end();
    }

    #[test]
    fn a_hub_that_is_claimed_again_while_it_begins_anew_starts_over() {
        let (backbone, members) = hub(Duration::from_millis(30));
        assert!(members.keep(everybody(300), &[], &mut |_| true));
        members.engine.state().hubs.insert(A, true);
        let pieces = Arc::new(Mutex::new(0));
        let announce: Announce = {
            let (members, pieces) = (members.clone(), pieces.clone());
            Arc::new(move |_| {
                let mut pieces = pieces.lock().expect("no panic");
                *pieces += 1;
                if *pieces == 2 {
                    let node = members.node();
                    members.engine.state().hubs.insert(node, true);
                    eventually("it has another name", || members.node() != node);
                }
                true
            })
        };
        backbone.spawn(members.clone().live(announce));
        eventually("everybody is announced again", || *pieces.lock().expect("no panic") == 2 + 5);
        assert!(all_entered(&members, 300), "nobody is left under a name that was given up");
        members.shared.end();
    }

    #[test]
    fn an_engine_that_was_set_back_is_told_everything_again() {
        let (backbone, members) = hub(LONG);
        assert!(members.keep(everybody(10), &[], &mut |_| true));
        backbone.spawn(members.clone().live(Arc::new(|_| true)));
        eventually("it lives", || renewals(&members) > 0);
        members.state.lost(LogError::Trimmed { first: 9 }, LOG, 8);
        members.state.lost(LogError::Shorter { last: 3 }, LOG, 3);
        eventually("it has another name", || members.node() != A);
        // An engine set back may know others who have left: those are for whoever claims the name that was given up.
        eventually("they are entered under it", || all_entered(&members, 10));
        assert_eq!(members.state.setbacks(), 1, "being too slow for the engine is no reason");
        members.shared.end();
    }

    #[test]
    fn nobody_is_claimed_before_all_could_renew() {
        let (backbone, members) = hub(LONG);
        members.engine.state().dead.push(super::super::fake::B);
        backbone.spawn(members.clone().live(Arc::new(|_| true)));
        eventually("it lives", || renewals(&members) > 0);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(members.engine.state().claims, 0);
        let mut calm = Calm::new(&members.state);
        assert!(calm.has_lasted(Duration::ZERO) && !calm.has_lasted(LONG));
        let since = calm.since;
        calm.look(&members.state);
        assert_eq!(calm.since, since);
        members.state.ill("gone");
        members.state.well();
        calm.look(&members.state);
        assert!(calm.since > since, "it begins again when the engine is back");
    }
}
