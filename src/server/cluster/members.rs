//! Which subscribers of this hub the cluster knows.
//!
//! A subscriber is entered in the engine before it is announced. Before its end is announced it is noted there as ending, so that it is in
//! no list made after that, and forgotten afterwards. How the hub stays known is [`super::life`]'s, what becomes of those of a hub
//! that died is [`super::burial`]'s.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;
use tokio::runtime::Handle;

use super::backoff::Backoff;
use super::document::{end_id, ending, pieces};
use super::state::LinkState;
use crate::cluster::{Engine, EngineError, NodeId, Subscriber};
use crate::hub::Draft;
use crate::server::presence::{Announcing, Roster};
use crate::server::sequencer::SequencerHandle;
use crate::server::shared::Shared;

/// Subscribers handled at a time, and bytes of their documents; one alone may have more.
pub(super) const PIECE_SUBSCRIBERS: usize = 64;
pub(super) const PIECE_BYTES: usize = 256 << 10;
/// Subscribers forgotten at a time: only their ids are sent.
pub(super) const FORGOTTEN_MAX: usize = 512;
/// How long a dead hub is nobody else's, unless that is extended.
const CLAIM_MIN: Duration = Duration::from_secs(60);
/// How long an answer of the engine is waited for before it is asked again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);

/// Puts announcements into the log and waits until they are there. False: the hub has ended. Not for the backbone's own thread.
pub(super) type Announce = Arc<dyn Fn(Vec<Draft>) -> bool + Send + Sync>;

/// See the module.
pub(crate) struct Members<E> {
    pub(super) engine: Arc<E>,
    pub(super) state: Arc<LinkState>,
    pub(super) shared: Arc<Shared>,
    runtime: Handle,
    pub(super) lease: Duration,
    /// For how long a dead hub is claimed at a time.
    pub(super) claim: Duration,
    /// Held while anything about them is announced, so that nobody announces an end while somebody else begins anew.
    entered: Mutex<Entered>,
    /// What the hub is called. Ahead of [`Entered::node`] while it has another name and hasn't begun anew under it yet.
    node: Mutex<NodeId>,
    /// It was said that the engine doesn't take a subscriber.
    said_unlisted: AtomicBool,
}

pub(super) struct Entered {
    /// Under which name they are entered.
    pub(super) node: NodeId,
    /// Everybody announced and not ended, to be entered again.
    pub(super) documents: HashMap<String, String>,
}

/// Why something isn't done.
enum NotDone {
    /// The hub has ended.
    Ended,
    /// The engine does other things, and not this.
    Refused(String),
}

/// What becomes of a refusal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Final,
    MayPass,
}

impl<E: Engine> Members<E> {
    pub(super) fn new(
        engine: Arc<E>,
        state: Arc<LinkState>,
        shared: Arc<Shared>,
        runtime: Handle,
        lease: Duration,
        node: NodeId,
    ) -> Members<E> {
        let entered = Mutex::new(Entered { node, documents: HashMap::new() });
        let (node, said_unlisted) = (Mutex::new(node), AtomicBool::new(false));
        Members { engine, state, shared, runtime, lease, claim: lease.max(CLAIM_MIN), entered, node, said_unlisted }
    }

    /// What the hub is called.
    pub(super) fn node(&self) -> NodeId {
        *self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls it otherwise. Whoever begins anew under the name before stops when he sees that.
    pub(super) fn call(&self, node: NodeId) {
        *self.node.lock().unwrap_or_else(PoisonError::into_inner) = node;
    }

    pub(super) fn entered(&self) -> MutexGuard<'_, Entered> {
        self.entered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the engine once. `None`: it doesn't answer.
    fn ask<T: Send + 'static>(
        &self,
        asked: impl Future<Output = Result<T, EngineError>> + Send + 'static,
    ) -> Option<Result<T, EngineError>> {
        if self.state.is_down() {
            return None;
        }
        let (sender, answer) = bounded(1);
        self.runtime.spawn(async move {
            let _ = sender.send(asked.await);
        });
        answer.recv_timeout(ANSWER_TIMEOUT).ok()
    }

    /// Asks the engine until it does it, however long it is away. A refusal is final, where it may be, if the engine renews the hub's lease
    /// meanwhile: it is about what was asked then. Not for the backbone's own thread.
    fn insist<F>(&self, refusal: Refusal, question: impl Fn(Arc<E>) -> F) -> Result<(), NotDone>
    where
        F: Future<Output = Result<(), EngineError>> + Send + 'static,
    {
        let (mut backoff, mut said) = (Backoff::default(), false);
        while !self.shared.ended() {
            let why = match self.ask(question(self.engine.clone())) {
                Some(Ok(())) => return Ok(()),
                Some(Err(EngineError::Refused(why))) if refusal == Refusal::Final && self.does_other_things() => {
                    return Err(NotDone::Refused(why));
                }
                Some(Err(error)) => error.to_string(),
                None => "it doesn't answer".to_owned(),
            };
            if !std::mem::replace(&mut said, true) {
                tracing::warn!(why, "who is subscribed can't be noted in the cluster's engine: announcements wait");
            }
            thread::sleep(backoff.next());
        }
        Err(NotDone::Ended)
    }

    fn does_other_things(&self) -> bool {
        let (engine, node, lease) = (self.engine.clone(), self.node(), self.lease);
        matches!(self.ask(async move { engine.renew(node, lease).await }), Some(Ok(_)))
    }

    /// Enters subscribers and gives the ids of those that the engine doesn't take. `None`: the hub has ended.
    pub(super) fn enter(&self, node: NodeId, subscribers: Vec<Subscriber>) -> Option<Vec<String>> {
        let enter = |piece: &[Subscriber]| {
            self.insist(Refusal::Final, |engine| {
                let piece = piece.to_vec();
                async move { engine.enter(node, piece).await }
            })
        };
        let size = |subscriber: &Subscriber| subscriber.id.len() + subscriber.document.len();
        let mut not_taken = Vec::new();
        for piece in pieces(subscribers, PIECE_SUBSCRIBERS, PIECE_BYTES, size) {
            match enter(&piece) {
                Ok(()) => continue,
                Err(NotDone::Ended) => return None,
                Err(NotDone::Refused(_)) => {}
            }
            // One of them may be too much, which is no reason to leave out the others.
            for one in piece {
                match enter(std::slice::from_ref(&one)) {
                    Ok(()) => {}
                    Err(NotDone::Ended) => return None,
                    Err(NotDone::Refused(why)) => {
                        self.say_unlisted(&one, &why);
                        not_taken.push(one.id);
                    }
                }
            }
        }
        Some(not_taken)
    }

    fn say_unlisted(&self, one: &Subscriber, why: &str) {
        if !self.said_unlisted.swap(true, Ordering::Relaxed) {
            let (subscriber, bytes) = (&*one.id, one.document.len());
            tracing::warn!(
                subscriber,
                bytes,
                why,
                "the cluster's engine doesn't take the subscriptions of a subscriber: other hubs don't list them; others like it aren't named"
            );
        }
    }

    /// Forgets subscribers. False: the hub has ended.
    pub(super) fn leave(&self, node: NodeId, ids: &[String]) -> bool {
        ids.chunks(FORGOTTEN_MAX).all(|piece| {
            let left = self.insist(Refusal::MayPass, |engine| {
                let piece = piece.to_vec();
                async move { engine.leave(node, piece).await }
            });
            left.is_ok()
        })
    }
}

impl<E: Engine> Roster for Members<E> {
    fn keep(&self, begun: Vec<(String, String)>, ended: &[String], announce: &mut Announcing<'_>) -> bool {
        let mut entered = self.entered();
        let node = entered.node;
        entered.documents.extend(begun.iter().cloned());
        let begun = begun.into_iter().filter(|(id, _)| !ended.contains(id));
        let mut noted: Vec<Subscriber> = begun.map(|(id, document)| Subscriber { id, document }).collect();
        noted.extend(ended.iter().filter_map(|id| Some(ending(id, entered.documents.get(id)?))));
        let Some(not_taken) = self.enter(node, noted) else {
            return false;
        };
        // Others don't know them, so there is nothing to enter again.
        for id in &not_taken {
            entered.documents.remove(id);
        }
        if !announce(&|address| end_id(node, address)) {
            return false;
        }
        for id in ended {
            entered.documents.remove(id);
        }
        self.leave(node, ended)
    }
}

/// See [`Announce`].
pub(super) fn announce(sequencer: &SequencerHandle, drafts: Vec<Draft>) -> bool {
    if drafts.is_empty() {
        return true;
    }
    let (done, committed) = bounded(1);
    sequencer.announce(drafts, done);
    committed.recv().is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::document::is_ending;
    use super::super::fake::{A, eventually, hub, subscriber};
    use super::*;

    const LEASE: Duration = Duration::from_secs(3600);

    fn entered(members: &Members<super::super::fake::Fake>) -> Vec<String> {
        members.engine.state().entered.keys().map(|(_, id)| id.clone()).collect()
    }

    #[test]
    fn whoever_is_too_much_for_the_engine_is_left_out_and_the_others_are_not() {
        let (_backbone, members) = hub(LEASE);
        members.engine.state().document_bytes_max = Some(500);
        let begun = vec![subscriber("1", 10), subscriber("2", 1_000), subscriber("3", 10)];
        assert!(members.keep(begun, &[], &mut |_| true));
        assert_eq!(entered(&members), ["1", "3"]);
        assert!(members.keep(vec![subscriber("4", 2_000)], &[], &mut |_| true));
        assert!(members.keep(vec![subscriber("5", 10)], &["1".to_owned(), "2".to_owned()], &mut |_| true));
        assert_eq!(entered(&members), ["3", "5"]);
        assert_eq!(members.entered().documents.len(), 2, "there is nothing to enter again of who wasn't taken");
    }

    #[test]
    fn an_engine_without_room_for_anything_is_waited_for() {
        let (_backbone, members) = hub(LEASE);
        members.engine.state().full = true;
        let keeping = {
            let members = members.clone();
            thread::spawn(move || members.keep(vec![subscriber("1", 10)], &[], &mut |_| true))
        };
        eventually("it is asked", || members.engine.state().piece_subscribers > 0);
        thread::sleep(Duration::from_millis(200));
        members.engine.state().full = false;
        assert!(keeping.join().expect("no panic"));
        assert_eq!(entered(&members), ["1"]);
    }

    #[test]
    fn what_is_entered_is_cut_by_count_and_by_bytes() {
        let (_backbone, members) = hub(LEASE);
        let large = (0..20).map(|n| subscriber(&n.to_string(), 60 << 10)).collect();
        assert!(members.keep(large, &[], &mut |_| true));
        let small = (100..400).map(|n| subscriber(&n.to_string(), 10)).collect();
        assert!(members.keep(small, &[], &mut |_| true));
        let state = members.engine.state();
        assert_eq!(state.entered.len(), 320);
        assert!(state.piece_bytes <= PIECE_BYTES && state.piece_subscribers == PIECE_SUBSCRIBERS, "{state:?}");
    }

    /// Seen: who had followed the announcement of an end and asked for the list then found the subscriber in it.
    #[test]
    fn before_an_end_is_announced_the_subscriber_is_noted_as_ending() {
        let (_backbone, members) = hub(LEASE);
        assert!(members.keep(vec![subscriber("1", 10), subscriber("2", 10)], &[], &mut |_| true));
        let of = |id: &str| members.engine.state().entered.get(&(A.0, id.to_owned())).cloned();
        let noted = of("1").expect("it is entered");
        let begun = vec![subscriber("3", 10)];
        let kept = members.keep(begun, &["1".to_owned(), "3".to_owned()], &mut |end_id| {
            assert!(of("1").is_some_and(|document| is_ending(&document) && document.ends_with(&noted)));
            assert!(of("3").is_some_and(|document| is_ending(&document)));
            assert!(!is_ending(&of("2").expect("it stays")));
            assert_eq!(end_id("/s"), super::end_id(A, "/s"), "as whoever finds the hub dead would name it");
            true
        });
        assert!(kept);
        assert_eq!(entered(&members), ["2"]);
    }
}
