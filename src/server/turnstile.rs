//! A turnstile for work that is short but not nothing: a bounded number may pass per turn of a shard's loop.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

/// Who passed in this turn, and who waits for the next.
pub(crate) struct Turnstile {
    passes_max: usize,
    passed: Cell<usize>,
    waiting: RefCell<VecDeque<Waker>>,
}

impl Turnstile {
    pub(crate) fn new(passes_max: usize) -> Turnstile {
        Turnstile { passes_max, passed: Cell::new(0), waiting: RefCell::new(VecDeque::new()) }
    }

    /// Waits for a place in a turn, which is asked for if there is none in this one: the loop may be asleep.
    pub(crate) async fn pass(&self, ask_for_turn: impl Fn()) {
        let mut woken = false;
        poll_fn(|cx| {
            let passed = self.poll_pass(&mut woken, cx);
            if passed.is_pending() {
                ask_for_turn();
            }
            passed
        })
        .await;
    }

    fn poll_pass(&self, woken: &mut bool, cx: &mut Context<'_>) -> Poll<()> {
        let mut waiting = self.waiting.borrow_mut();
        // Nobody who just came overtakes those who wait.
        if self.passed.get() < self.passes_max && (*woken || waiting.is_empty()) {
            self.passed.set(self.passed.get() + 1);
            return Poll::Ready(());
        }
        if std::mem::replace(woken, true) {
            waiting.push_front(cx.waker().clone());
        } else {
            waiting.push_back(cx.waker().clone());
        }
        Poll::Pending
    }

    /// A new turn: wakes as many as may pass in it.
    pub(crate) fn turn(&self) {
        self.passed.set(0);
        for _ in 0..self.passes_max {
            let Some(waker) = self.waiting.borrow_mut().pop_front() else {
                return;
            };
            waker.wake();
        }
    }

    /// Whether somebody waits for the next turn.
    pub(crate) fn is_waited_at(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Seen: every turn woke all of a thousand, and all but eight of them queued again.
    #[test]
    fn a_turn_wakes_only_as_many_as_may_pass_and_in_order() {
        let turnstile = Turnstile::new(8);
        let wakes: Vec<_> = (0..100).map(|_| Arc::new(Woken::default())).collect();
        let mut woken = [false; 100];
        let poll = |at: usize, woken: &mut [bool; 100]| {
            let waker = Waker::from(wakes[at].clone());
            turnstile.poll_pass(&mut woken[at], &mut Context::from_waker(&waker)).is_ready()
        };
        let passed: Vec<bool> = (0..99).map(|at| poll(at, &mut woken)).collect();
        assert_eq!(passed, [vec![true; 8], vec![false; 91]].concat());
        turnstile.turn();
        assert!(!poll(99, &mut woken), "who comes last waits");
        let count = || wakes.iter().map(|wake| wake.0.load(Ordering::Relaxed)).collect::<Vec<_>>();
        assert_eq!(count(), [vec![0; 8], vec![1; 8], vec![0; 84]].concat());
        assert!((8..16).all(|at| poll(at, &mut woken)) && !poll(99, &mut [false; 100]));
        assert!(turnstile.is_waited_at());
    }
}
