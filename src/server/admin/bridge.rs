//! Requests for administrators that came to a shard's own listener: asked of the backbone, answered by ticket.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};

use super::{Admin, Caller, Order, Request};
use crate::admin::Reply;
use crate::server::inbox::{Inbox, Message, Ticket};
use crate::server::replies::Replies;

/// Requests that may wait for the backbone.
const WAITING_MAX: usize = 64;
/// Requests of all shards that are answered at once.
const ANSWERED_MAX: usize = 16;
/// How often, and how long apart, an answer is offered to a shard whose inbox is full.
const OFFERS_MAX: usize = 100;
const OFFER_REST: Duration = Duration::from_millis(20);

/// A request and where its answer goes.
#[derive(Debug)]
pub(crate) struct Asked {
    shard: usize,
    ticket: Ticket,
    caller: Caller,
    request: Request,
}

/// The queue to the backbone.
pub(crate) fn channel() -> (mpsc::Sender<Asked>, mpsc::Receiver<Asked>) {
    mpsc::channel(WAITING_MAX)
}

/// A shard's end of it.
pub(crate) struct AdminBridge {
    shard: usize,
    queue: mpsc::Sender<Asked>,
    replies: Replies<Reply>,
}

impl AdminBridge {
    pub(crate) fn new(shard: usize, queue: mpsc::Sender<Asked>) -> AdminBridge {
        AdminBridge { shard, queue, replies: Replies::new() }
    }

    /// Asks what a request is answered with. The route has seen who calls: nobody is the owner here.
    pub(crate) async fn ask(&self, caller: Caller, request: Request) -> Reply {
        debug_assert!(matches!(caller, Caller::Bearer | Caller::Developer), "{caller:?} comes to no shard");
        let reply = self.replies.expect();
        let asked = Asked { shard: self.shard, ticket: reply.ticket(), caller, request };
        if self.queue.try_send(asked).is_err() {
            return super::unavailable("too many requests of administrators are waiting");
        }
        reply.await
    }

    /// An answer came.
    pub(crate) fn answer(&self, ticket: Ticket, reply: Reply) {
        self.replies.answer(ticket, reply);
    }
}

/// Answers what the shards ask, for as long as the hub runs.
pub(crate) async fn answer_shards(mut asked: mpsc::Receiver<Asked>, admin: Arc<Admin>, shards: Vec<Inbox>) {
    let answering = Arc::new(Semaphore::new(ANSWERED_MAX));
    while let Some(Asked { shard, ticket, caller, request }) = asked.recv().await {
        let Ok(permit) = answering.clone().acquire_owned().await else { return };
        let (admin, inbox) = (admin.clone(), shards[shard].clone());
        tokio::spawn(async move {
            let reply = admin.handle(caller, request).await;
            for _ in 0..OFFERS_MAX {
                if inbox.offer(Message::Admin(Order::Reply(ticket, Box::new(reply.clone())))) {
                    break;
                }
                tokio::time::sleep(OFFER_REST).await;
            }
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    #[test]
    fn an_answer_finds_the_request_that_waits_for_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (queue, mut asked) = channel();
            let bridge = AdminBridge::new(3, queue);
            let request = Request { path: "/stats".to_owned(), ..Request::default() };
            let mut asking = pin!(bridge.ask(Caller::Bearer, request));
            let pending = poll_fn(|cx| Poll::Ready(asking.as_mut().poll(cx).is_pending())).await;
            assert!(pending, "nobody has answered yet");
            let Asked { shard, ticket, request, .. } = asked.recv().await.unwrap();
            bridge.answer(ticket, Reply::new("text/plain", format!("{shard} {}", request.path)));
            assert_eq!(asking.await.body, b"3 /stats");
        });
    }

    #[test]
    fn a_full_queue_is_said_at_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (queue, asked) = channel();
            drop(asked);
            assert_eq!(AdminBridge::new(0, queue).ask(Caller::Bearer, Request::default()).await.status, 503);
        });
    }
}
