//! Tasks of a shard that wait for another thread's answer.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::server::inbox::Ticket;

/// What a ticket leads to.
enum Slot<T> {
    Free { next: Option<u32> },
    Waiting(Option<Waker>),
    Answered(T),
}

struct Slots<T> {
    /// How often each place was given up, and what is there now.
    places: Vec<(u32, Slot<T>)>,
    free: Option<u32>,
}

/// Answers on their way, by ticket: a place, and how often it was used before. There are as many places as were ever waited at
/// at once, which whoever asks keeps in bounds.
pub(crate) struct Replies<T> {
    slots: RefCell<Slots<T>>,
}

impl<T> Replies<T> {
    pub(crate) fn new() -> Replies<T> {
        Replies { slots: RefCell::new(Slots { places: Vec::new(), free: None }) }
    }

    /// Opens a ticket; awaiting the reply gives the answer. Dropping it forgets the ticket.
    pub(crate) fn expect(&self) -> Reply<'_, T> {
        let ticket = self.slots.borrow_mut().open();
        Reply { replies: self, ticket }
    }

    /// Gives the answer to whoever still waits for it.
    pub(crate) fn answer(&self, ticket: Ticket, answer: T) {
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = slots.at(ticket) else {
            return;
        };
        if let Slot::Waiting(Some(waker)) = std::mem::replace(slot, Slot::Answered(answer)) {
            drop(slots);
            waker.wake();
        }
    }
}

impl<T> Slots<T> {
    fn open(&mut self) -> Ticket {
        let place = match self.free {
            Some(place) => place,
            None => {
                self.places.push((0, Slot::Free { next: None }));
                u32::try_from(self.places.len() - 1).expect("fewer tasks than 4 thousand million")
            }
        };
        let (uses, slot) = &mut self.places[place as usize];
        match std::mem::replace(slot, Slot::Waiting(None)) {
            Slot::Free { next } => self.free = next,
            Slot::Waiting(_) | Slot::Answered(_) => unreachable!("it was free"),
        }
        Ticket(u64::from(*uses) << 32 | u64::from(place))
    }

    /// What a ticket leads to, if it is still open.
    fn at(&mut self, Ticket(ticket): Ticket) -> Option<&mut Slot<T>> {
        let (uses, slot) = self.places.get_mut(ticket as u32 as usize)?;
        (*uses == (ticket >> 32) as u32).then_some(slot)
    }

    /// Gives the place of an open ticket up.
    fn close(&mut self, ticket: Ticket) -> Option<Slot<T>> {
        let free = self.free;
        let slot = self.at(ticket)?;
        let was = std::mem::replace(slot, Slot::Free { next: free });
        let place = ticket.0 as u32;
        self.places[place as usize].0 = self.places[place as usize].0.wrapping_add(1);
        self.free = Some(place);
        Some(was)
    }
}

/// An answer to come.
pub(crate) struct Reply<'a, T> {
    replies: &'a Replies<T>,
    ticket: Ticket,
}

impl<T> Reply<'_, T> {
    pub(crate) fn ticket(&self) -> Ticket {
        self.ticket
    }
}

impl<T> Future for Reply<'_, T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut slots = self.replies.slots.borrow_mut();
        if let Some(Slot::Waiting(waker)) = slots.at(self.ticket) {
            *waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        match slots.close(self.ticket) {
            Some(Slot::Answered(answer)) => Poll::Ready(answer),
            _ => unreachable!("a ticket is open until its reply is taken"),
        }
    }
}

impl<T> Drop for Reply<'_, T> {
    fn drop(&mut self) {
        // What was answered is dropped after the borrow.
        let _slot = self.replies.slots.borrow_mut().close(self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll<T>(reply: &mut Reply<'_, T>) -> Poll<T> {
        Pin::new(reply).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn each_ticket_gets_its_own_answer() {
        let replies = Replies::new();
        let (mut first, mut second) = (replies.expect(), replies.expect());
        assert_eq!(poll(&mut first), Poll::Pending);
        replies.answer(second.ticket(), "b");
        replies.answer(first.ticket(), "a");
        assert_eq!((poll(&mut first), poll(&mut second)), (Poll::Ready("a"), Poll::Ready("b")));
    }

    #[test]
    fn an_answer_that_comes_too_late_is_nobodys() {
        let replies = Replies::new();
        let gone = replies.expect().ticket();
        let mut next = replies.expect();
        assert_eq!(gone.0 as u32, next.ticket().0 as u32, "the place is used again");
        replies.answer(gone, "late");
        assert_eq!(poll(&mut next), Poll::Pending);
        replies.answer(next.ticket(), "right");
        assert_eq!(poll(&mut next), Poll::Ready("right"));
        drop(next);
        assert_eq!(replies.slots.borrow().places.len(), 1);
    }
}
