//! What the tasks of requests wait for: an answer from another thread or shard, room, a tick, a turn of the loop.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use crate::hub::Found;
use crate::server::census;
use crate::server::cluster::elsewhere;
use crate::server::compile::{Compiled, Job};
use crate::server::inbox::Message;
use crate::server::recall::Find;
use crate::server::shard::Context;

/// Bytes of requests that a turn takes out of connections' buffers without having waited for them, over all connections,
/// and what a request counts for besides its own: about half a millisecond's work.
const PIPELINED_BYTES_MAX: usize = 64 * 1024;
const PIPELINED_REQUEST_BYTES: usize = 512;

impl Context {
    /// Asks history what a `Last-Event-ID` names.
    pub(crate) async fn find(&self, id: &str, announcements: bool) -> Found {
        let reply = self.found.expect();
        self.finds.ask(Find { shard: self.index, ticket: reply.ticket(), id: id.into(), announcements });
        reply.await
    }

    /// Parses a subscription that may take long, on a thread of its own. `None`: too many are waiting.
    pub(crate) async fn compile(&self, query: &str, form: Vec<u8>) -> Option<Compiled> {
        let reply = self.compiled.expect();
        let job = Job { shard: self.index, ticket: reply.ticket(), query: query.into(), form };
        self.compiler.try_send(job).ok()?;
        Some(reply.await)
    }

    /// Whether there are other hubs that may have subscribers.
    pub(crate) fn has_others(&self) -> bool {
        self.elsewhere.is_some()
    }

    /// Asks who is subscribed at other hubs. `None`: nobody can be asked now.
    pub(crate) async fn ask_elsewhere(&self, question: elsewhere::Question) -> elsewhere::Answer {
        let reply = self.answered_elsewhere.expect();
        let asked = elsewhere::Asked { shard: self.index, ticket: reply.ticket(), question };
        self.elsewhere.as_ref()?.try_send(asked).ok()?;
        let mut reply = pin!(reply);
        poll_fn(|cx| match reply.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(answer),
            Poll::Pending if self.stopping() => Poll::Ready(None),
            Poll::Pending => {
                // Looks again at the next tick.
                self.waiters.borrow_mut().push(cx.waker().clone());
                Poll::Pending
            }
        })
        .await
    }

    /// Asks a shard, which may be this one, who is subscribed to what. `None`: the hub is stopping, and a shard that has
    /// ended answers nobody.
    pub(crate) async fn ask(&self, shard: usize, question: census::Question) -> Option<census::Answer> {
        let reply = self.answered.expect();
        let question = Box::new(question);
        self.letters.send(shard, Message::Asked { shard: self.index, ticket: reply.ticket(), question });
        let mut reply = pin!(reply);
        poll_fn(|cx| match reply.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if self.stopping() => Poll::Ready(None),
            Poll::Pending => {
                // Looks again at the next tick.
                self.waiters.borrow_mut().push(cx.waker().clone());
                Poll::Pending
            }
        })
        .await
    }

    /// Waits until no shard is overloaded, or some time has passed: whether there is room.
    pub(crate) async fn room(&self, deadline_ms: u64) -> bool {
        poll_fn(|cx| {
            if !self.shared.overloaded() {
                return Poll::Ready(true);
            }
            if self.now().mono_ms >= deadline_ms {
                return Poll::Ready(false);
            }
            self.waiters.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Waits for the next tick.
    pub(crate) async fn next_tick(&self) {
        let tick = self.ticks.get();
        poll_fn(|cx| {
            if self.ticks.get() != tick {
                return Poll::Ready(());
            }
            self.waiters.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Asks for a turn of the loop, which may be asleep. Only for what runs on this shard.
    pub(crate) fn rouse(&self) {
        self.roused.set(true);
        if let Some(waker) = self.sleeping.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Lets the loop have a turn: for a task that could go on without ever waiting.
    pub(crate) async fn next_turn(&self) {
        let turn = self.turns.get();
        poll_fn(|cx| {
            if self.turns.get() != turn {
                return Poll::Ready(());
            }
            self.yielding.borrow_mut().push(cx.waker().clone());
            self.rouse();
            Poll::Pending
        })
        .await;
    }

    /// Whether this turn has room for another request that didn't have to be waited for. If so, it is counted.
    pub(crate) fn takes_pipelined(&self, head_bytes: usize) -> bool {
        let room = self.pipelined.get() < PIPELINED_BYTES_MAX;
        self.count_pipelined(head_bytes + PIPELINED_REQUEST_BYTES);
        room
    }

    /// Counts more of a request.
    pub(crate) fn count_pipelined(&self, bytes: usize) {
        self.pipelined.set(self.pipelined.get() + bytes);
    }

    pub(super) fn wake_waiters(&self) {
        let waiters = std::mem::take(&mut *self.waiters.borrow_mut());
        for waiter in waiters {
            waiter.wake();
        }
    }
}
