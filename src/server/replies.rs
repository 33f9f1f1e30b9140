//! Tasks of a shard that wait for another thread's answer.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::server::inbox::Ticket;

enum Slot<T> {
    Waiting(Option<Waker>),
    Answered(T),
}

/// Answers on their way, by ticket.
pub(crate) struct Replies<T> {
    slots: RefCell<HashMap<u64, Slot<T>>>,
    next: Cell<u64>,
}

impl<T> Replies<T> {
    pub(crate) fn new() -> Replies<T> {
        Replies { slots: RefCell::new(HashMap::new()), next: Cell::new(0) }
    }

    /// Opens a ticket; awaiting the reply gives the answer. Dropping it forgets the ticket.
    pub(crate) fn expect(&self) -> Reply<'_, T> {
        let ticket = self.next.get();
        self.next.set(ticket + 1);
        self.slots.borrow_mut().insert(ticket, Slot::Waiting(None));
        Reply { replies: self, ticket }
    }

    /// Gives the answer to whoever still waits for it.
    pub(crate) fn answer(&self, Ticket(ticket): Ticket, answer: T) {
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = slots.get_mut(&ticket) else {
            return;
        };
        if let Slot::Waiting(Some(waker)) = std::mem::replace(slot, Slot::Answered(answer)) {
            drop(slots);
            waker.wake();
        }
    }
}

/// An answer to come.
pub(crate) struct Reply<'a, T> {
    replies: &'a Replies<T>,
    ticket: u64,
}

impl<T> Reply<'_, T> {
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.ticket)
    }
}

impl<T> Future for Reply<'_, T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut slots = self.replies.slots.borrow_mut();
        match slots.get_mut(&self.ticket) {
            Some(Slot::Waiting(waker)) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => match slots.remove(&self.ticket) {
                Some(Slot::Answered(answer)) => Poll::Ready(answer),
                _ => unreachable!("a ticket is open until its reply is taken"),
            },
        }
    }
}

impl<T> Drop for Reply<'_, T> {
    fn drop(&mut self) {
        self.replies.slots.borrow_mut().remove(&self.ticket);
    }
}
