//! Who is subscribed at other hubs: shards ask, the engine answers, on the backbone.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::sleep;

use super::document::{is_ending, subscriptions};
use super::members::Members;
use crate::cluster::{Engine, EngineError};
use crate::server::inbox::{Inbox, Message, Ticket};

/// Questions that may wait for the backbone, and that are answered at once.
const WAITING_MAX: usize = 64;
const ANSWERED_MAX: usize = 8;
/// Bytes the engine is asked for where only few of them may be wanted, and where all are: that is what a client that reads slowly keeps in
/// memory. One subscriber alone may have more.
const SEARCHED_BYTES: usize = 256 << 10;
const LISTED_BYTES: usize = 32 << 10;
/// Subscribers of one answer.
pub(crate) const SUBSCRIBERS_MAX: usize = 4_096;
/// How often, and how long apart, an answer is offered to a shard whose inbox is full.
const OFFERS_MAX: usize = 100;
const OFFER_REST: Duration = Duration::from_millis(20);

/// What a shard asks. `of`: the address where the subscriptions of one matcher are listed, if only those are wanted.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    /// A piece of the list of those of other hubs, from a place the last answer named (empty: from the beginning): those of so many
    /// subscribers at most.
    List { from: String, of: Option<String>, subscribers: usize },
    /// How many there are in a piece of it.
    Count { from: String, of: Option<String> },
    /// One of a subscriber's, by its id.
    One { id: String, of: String },
}

/// What it is answered. `None`: the engine can't be asked.
pub(crate) type Answer = Option<Listed>;

/// A piece of the list.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// The documents of the subscriptions, unless only their number was asked for.
    pub(crate) documents: Vec<String>,
    /// How many there are.
    pub(crate) count: usize,
    /// Where it goes on; `None`: that was all.
    pub(crate) next: Option<String>,
}

/// A question and where its answer goes.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) shard: usize,
    pub(crate) ticket: Ticket,
    pub(crate) question: Question,
}

/// The queue of the questions.
pub(super) fn channel() -> (mpsc::Sender<Asked>, mpsc::Receiver<Asked>) {
    mpsc::channel(WAITING_MAX)
}

/// Answers for as long as the hub runs.
pub(super) async fn answer<E: Engine>(mut asked: mpsc::Receiver<Asked>, members: Arc<Members<E>>, shards: Vec<Inbox>) {
    let answering = Arc::new(Semaphore::new(ANSWERED_MAX));
    while let Some(Asked { shard, ticket, question }) = asked.recv().await {
        let Ok(permit) = answering.clone().acquire_owned().await else { return };
        let (members, inbox) = (members.clone(), shards[shard].clone());
        tokio::spawn(async move {
            let mut answer = Some(listed(&members, question).await.ok());
            for _ in 0..OFFERS_MAX {
                match inbox.try_send(Message::Elsewhere(ticket, answer.take().expect("it comes back"))) {
                    Err(crossbeam_channel::TrySendError::Full(Message::Elsewhere(_, back))) => answer = Some(back),
                    _ => break,
                }
                sleep(OFFER_REST).await;
            }
            drop(permit);
        });
    }
}

async fn listed<E: Engine>(members: &Members<E>, question: Question) -> Result<Listed, EngineError> {
    if members.state.is_down() {
        return Err(EngineError::Unavailable("it doesn't answer".to_owned()));
    }
    let engine = &members.engine;
    let (found, next, of, counted) = match question {
        Question::List { from, of, subscribers } => {
            let bytes = if of.is_some() { SEARCHED_BYTES } else { LISTED_BYTES };
            let (found, next) = engine.members(&from, subscribers.min(SUBSCRIBERS_MAX), bytes).await?;
            (found, next, of, false)
        }
        Question::Count { from, of } => {
            let (found, next) = engine.members(&from, SUBSCRIBERS_MAX, SEARCHED_BYTES).await?;
            (found, next, of, true)
        }
        Question::One { id, of } => (engine.member(&id).await?.into_iter().collect(), String::new(), Some(of), false),
    };
    let node = members.node();
    let others: Vec<String> = found
        .into_iter()
        .filter(|member| member.node != node && !is_ending(&member.subscriber.document))
        .map(|member| member.subscriber.document)
        .collect();
    let is_wanted = |address: &str| {
        let list = address.rsplit_once('/').map(|(list, _)| list);
        of.is_none() || list == of.as_deref()
    };
    let all = others.iter().flat_map(|document| subscriptions(document, true));
    let wanted = all.filter(|(address, _)| is_wanted(address));
    let mut listed = Listed { next: (!next.is_empty()).then_some(next), ..Listed::default() };
    if counted {
        listed.count = wanted.count();
    } else {
        listed.documents = wanted.map(|(_, document)| document).collect();
        listed.count = listed.documents.len();
    }
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use super::super::document::ending;
    use super::super::fake::{A, B, hub, subscriber};
    use super::*;

    #[test]
    fn lists_have_those_of_other_hubs_who_stay_in_pieces_of_bytes() {
        let (backbone, members) = hub(Duration::from_secs(9));
        {
            let mut state = members.engine.state();
            for n in 0..100 {
                let (id, document) = subscriber(&n.to_string(), 10_000);
                let document = if n == 7 { ending(&id, &document).document } else { document };
                state.entered.insert((B.0, id), document);
            }
            let (id, document) = subscriber("own", 10);
            state.entered.insert((A.0, id), document);
        }
        let ask = |question: Question| backbone.runtime().block_on(listed(&members, question)).expect("it answers");
        let of = Some(format!("/s/exact/{}", "x".repeat(10_000)));
        for (of, most) in [(None, LISTED_BYTES), (of.clone(), SEARCHED_BYTES)] {
            let (mut from, mut documents) = (String::new(), Vec::new());
            loop {
                let piece = ask(Question::List { from, of: of.clone(), subscribers: SUBSCRIBERS_MAX });
                assert!(piece.documents.iter().map(String::len).sum::<usize>() <= most + 11_000);
                documents.extend(piece.documents);
                let Some(next) = piece.next else { break };
                from = next;
            }
            assert_eq!(documents.len(), 99);
            assert!(documents.iter().all(|document| document.contains("\"active\":true")));
        }
        // The first of them is the hub's own.
        let few = ask(Question::List { from: String::new(), of: None, subscribers: 2 });
        assert_eq!((few.count, few.next.is_some()), (1, true));
        let count = |of| {
            let (mut from, mut count) = (Some(String::new()), 0);
            while let Some(place) = from {
                let piece = ask(Question::Count { from: place, of: Clone::clone(&of) });
                assert!(piece.documents.is_empty());
                (from, count) = (piece.next, count + piece.count);
            }
            count
        };
        assert_eq!((count(None), count(of), count(Some("/s/exact/y".to_owned()))), (99, 99, 0));
    }
}
