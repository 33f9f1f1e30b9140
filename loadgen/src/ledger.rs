//! What was published and what each subscriber got, and whether the two agree.
//!
//! Nothing is stored per event: a publisher's events are numbered, so a subscriber sees repetition and disorder at
//! once, and at the end its count, its sum over hashed numbers and its order hash are held against the publishers'
//! and the other subscribers'.

use serde::{Deserialize, Serialize};

use crate::payload::Number;

/// What the server accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    /// Events accepted.
    pub(crate) count: u64,
    /// Sum over their hashed numbers.
    pub(crate) sum: u64,
}

impl Ledger {
    /// Enters an event.
    pub(crate) fn enter(&mut self, number: Number) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(number.mixed());
    }

    /// Both together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self { count: self.count + other.count, sum: self.sum.wrapping_add(other.sum) }
    }
}

/// What one subscriber got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    got: Ledger,
    /// A hash that depends on the order; the same for all subscribers when the order was.
    order: u64,
    repeats: u32,
    skipped: u32,
    torn: u32,
    closed: bool,
}

impl Receipt {
    /// Enters an event; `last` is the newest sequence number seen of its publisher.
    pub(crate) fn enter(&mut self, number: Number, last: &mut u32) {
        let sequence = number.sequence() as u32;
        if sequence <= *last {
            self.repeats += 1;
        } else {
            self.skipped += sequence - *last - 1;
            *last = sequence;
        }
        self.got.enter(number);
        self.order = (self.order.rotate_left(5) ^ number.0).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    /// An event came in pieces that don't fit.
    pub(crate) fn tear(&mut self) {
        self.torn += 1;
    }

    /// The connection ended before the run did.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    /// Events received so far.
    #[cfg(test)]
    pub(crate) fn count(&self) -> u64 {
        self.got.count
    }
}

/// How many subscribers failed in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    subscribers: usize,
    events: u64,
    closed: usize,
    short: usize,
    lost_or_foreign: usize,
    repeated_or_disordered: usize,
    torn: usize,
    orders: usize,
}

impl Verdict {
    /// Holds every receipt against what was published and against the others.
    pub(crate) fn judge(receipts: &[Receipt], published: Ledger) -> Self {
        let count = |wrong: &dyn Fn(&Receipt) -> bool| receipts.iter().filter(|receipt| wrong(receipt)).count();
        let mut orders: Vec<u64> = receipts.iter().map(|receipt| receipt.order).collect();
        orders.sort_unstable();
        orders.dedup();
        Self {
            subscribers: receipts.len(),
            events: published.count,
            closed: count(&|receipt| receipt.closed),
            short: count(&|receipt| receipt.got.count < published.count),
            lost_or_foreign: count(&|receipt| receipt.got != published),
            repeated_or_disordered: count(&|receipt| receipt.repeats > 0),
            torn: count(&|receipt| receipt.torn > 0),
            orders: orders.len(),
        }
    }

    /// Every subscriber got every event once, whole, in the same order, and nobody was closed.
    pub(crate) fn is_good(&self) -> bool {
        let wrong = self.closed + self.lost_or_foreign + self.repeated_or_disordered + self.torn;
        wrong == 0 && self.orders <= 1
    }

    /// The numbers behind it, in words.
    pub(crate) fn detail(&self) -> String {
        if self.is_good() {
            return format!("{} subscribers x {} events", self.subscribers, self.events);
        }
        format!(
            "of {} subscribers to {} events: {} closed, {} got too few, {} not exactly the published set, {} got repeats or \
             disorder, {} torn events, {} different orders",
            self.subscribers,
            self.events,
            self.closed,
            self.short,
            self.lost_or_foreign,
            self.repeated_or_disordered,
            self.torn,
            self.orders
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(sequences: &[u64]) -> Receipt {
        let mut receipt = Receipt::default();
        let mut last = 0;
        for &sequence in sequences {
            receipt.enter(Number::new(0, sequence), &mut last);
        }
        receipt
    }

    fn published(sequences: &[u64]) -> Ledger {
        let mut ledger = Ledger::default();
        for &sequence in sequences {
            ledger.enter(Number::new(0, sequence));
        }
        ledger
    }

    #[test]
    fn the_same_events_in_the_same_order_are_good() {
        let ledger = published(&[1, 2, 3]);
        assert!(Verdict::judge(&[receipt(&[1, 2, 3]), receipt(&[1, 2, 3])], ledger).is_good());
        // Number 2 was refused by the server and never became an event.
        assert!(Verdict::judge(&[receipt(&[1, 3])], published(&[1, 3])).is_good());
    }

    #[test]
    fn loss_repetition_disorder_and_closing_are_seen() {
        let ledger = published(&[1, 2, 3]);
        let good = receipt(&[1, 2, 3]);
        for bad in [&[1, 2][..], &[2, 3], &[1, 3], &[1, 2, 2, 3], &[1, 3, 2], &[], &[1, 2, 4]] {
            assert!(!Verdict::judge(&[good, receipt(bad)], ledger).is_good(), "{bad:?}");
        }
        let mut closed = good;
        closed.close();
        assert!(!Verdict::judge(&[closed], ledger).is_good());
        let mut torn = good;
        torn.tear();
        assert!(!Verdict::judge(&[torn], ledger).is_good());
    }

    #[test]
    fn two_publishers_interleaved_differently_are_not_one_order() {
        let mut receipts = [Receipt::default(); 2];
        let (a, b) = (Number::new(0, 1), Number::new(1, 1));
        let mut ledger = Ledger::default();
        ledger.enter(a);
        ledger.enter(b);
        receipts[0].enter(a, &mut 0);
        receipts[0].enter(b, &mut 0);
        receipts[1].enter(b, &mut 0);
        receipts[1].enter(a, &mut 0);
        assert!(Verdict::judge(&receipts[..1], ledger).is_good());
        assert!(!Verdict::judge(&receipts, ledger).is_good());
    }
}
