//! What each subscriber got, and whether that is what it must have got.
//!
//! Nothing is stored per event. Per subscriber and lane (see `lanes`) there are four numbers: what was answered when it
//! asked, what was sent when it had its response head, the first and the newest number it got. Numbers must rise; at
//! the end the count and a sum over them say whether exactly the accepted ones between first and newest came, the first
//! must be no later than what was sent after the head, and the newest must be the lane's newest. A receipt goes on over
//! reconnects with a last id; a rolling hash holds the order across lanes against other subscribers who got the same.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::lanes::Lanes;
use crate::payload::Number;

/// What one subscriber got of one lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    /// The newest number answered when it asked: nothing up to here may come.
    pub(crate) asked: u32,
    /// The newest number sent when it had its response head: everything after this must come.
    pub(crate) since: u32,
    first: u32,
    /// The newest number it got; 0 for none.
    pub(crate) last: u32,
}

impl Span {
    /// What stands in `since` while nobody knows yet what was sent when it had its head: an answer to this question will
    /// tell. No number is as high, so nothing is asked of it meanwhile.
    pub(crate) fn unknown(question: u64) -> u32 {
        0x8000_0000 | (question & 0x3fff_ffff) as u32
    }

    /// One that begins after what was answered so far.
    pub(crate) fn after(asked: u32) -> Self {
        Self { asked, ..Self::default() }
    }
}

/// What one subscriber got of all its lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Receipt {
    sum: u64,
    /// A hash that depends on the order; the same for all subscribers that got the same when the order was.
    order: u64,
    count: u32,
    repeats: u16,
    foreign: u16,
    torn: u16,
    closed: bool,
    missed: bool,
    opened: bool,
    /// The newest event may come again: the connection ended between its data and the blank line that ends it.
    pub(crate) may_repeat: bool,
}

/// The part of a sum a number stands for; two lanes' numbers don't stand for each other.
fn weighed(lane: usize, sequence: u32) -> u64 {
    u64::from(sequence).wrapping_mul(2 * lane as u64 + 1)
}

impl Receipt {
    /// Enters an event of a lane. Answers false when it should not have come.
    pub(crate) fn enter(&mut self, number: Number, lane: usize, span: &mut Span) -> bool {
        let sequence = number.sequence() as u32;
        let again = std::mem::take(&mut self.may_repeat);
        if sequence <= span.last.max(span.asked) {
            let tolerated = again && sequence == span.last;
            self.repeats = self.repeats.saturating_add(u16::from(!tolerated));
            return tolerated;
        }
        if span.first == 0 {
            span.first = sequence;
        }
        span.last = sequence;
        self.count += 1;
        self.sum = self.sum.wrapping_add(weighed(lane, sequence));
        self.order = (self.order.rotate_left(5) ^ number.0).wrapping_mul(0x517c_c1b7_2722_0a95);
        true
    }

    /// An event of a topic it didn't ask for.
    pub(crate) fn stray(&mut self) {
        self.foreign = self.foreign.saturating_add(1);
    }

    /// An event came in pieces that don't fit.
    pub(crate) fn tear(&mut self) {
        self.torn = self.torn.saturating_add(1);
    }

    /// The server ended the connection.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    /// It waited in vain for something it had to get.
    pub(crate) fn miss(&mut self) {
        self.missed = true;
    }

    /// It has a response head. Answers whether that is the first.
    pub(crate) fn opens(&mut self) -> bool {
        !std::mem::replace(&mut self.opened, true)
    }
}

/// How a receipt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With the run, or when it had all there was: it must have everything.
    Complete,
    /// Dropped, or reading too slowly to have everything: what it has must be without gaps.
    Cut,
}

/// How many subscribers failed in which way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    subscribers: u64,
    deliveries: u64,
    closed: u64,
    short: u64,
    gaps: u64,
    repeated: u64,
    foreign: u64,
    torn: u64,
    disagree: u64,
    /// The order in which those came who got the same.
    #[serde(skip)]
    orders: HashMap<u64, u64>,
}

impl Verdict {
    /// Judges one receipt; `spans` belong to `of` in turn.
    pub(crate) fn judge(
        &mut self,
        receipt: &Receipt,
        spans: &[Span],
        of: impl Iterator<Item = usize>,
        ending: Ending,
        lanes: &Lanes,
    ) {
        let (mut count, mut sum) = (0_u32, 0_u64);
        let (mut short, mut foreign) = (receipt.missed, receipt.foreign > 0);
        let mut same = 0xcbf2_9ce4_8422_2325_u64;
        for (span, lane) in spans.iter().zip(of) {
            let refused = lanes.refused(lane);
            let mut due = span.since + 1;
            while refused.binary_search(&due).is_ok() {
                due += 1;
            }
            let newest = lanes.newest(lane);
            short |= if span.first == 0 { ending == Ending::Complete && due <= newest } else { span.first > due };
            short |= ending == Ending::Complete && span.first != 0 && span.last < newest;
            // A number nobody sent belongs to no event of this run.
            foreign |= span.last > lanes.sent(lane);
            if span.first != 0 {
                count = count.wrapping_add(span.last - span.first + 1);
                let (first, last) = (u64::from(span.first), u64::from(span.last));
                // Of two neighbours' product one is even.
                let series = (last * (last + 1) - (first - 1) * first) / 2;
                sum = sum.wrapping_add(series.wrapping_mul(2 * lane as u64 + 1));
                for &number in refused.iter().filter(|number| (span.first..=span.last).contains(number)) {
                    count = count.wrapping_sub(1);
                    sum = sum.wrapping_sub(weighed(lane, number));
                }
            }
            for part in [lane as u64, span.first.into(), span.last.into()] {
                same = (same ^ part).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
            }
        }
        self.subscribers += 1;
        self.deliveries += u64::from(receipt.count);
        self.closed += u64::from(receipt.closed);
        self.short += u64::from(short);
        self.gaps += u64::from((receipt.count, receipt.sum) != (count, sum));
        self.repeated += u64::from(receipt.repeats > 0);
        self.foreign += u64::from(foreign);
        self.torn += u64::from(receipt.torn > 0);
        self.disagree += u64::from(*self.orders.entry(same).or_insert(receipt.order) != receipt.order);
    }

    /// Both together.
    pub(crate) fn merge(&mut self, other: Self) {
        self.subscribers += other.subscribers;
        self.deliveries += other.deliveries;
        self.closed += other.closed;
        self.short += other.short;
        self.gaps += other.gaps;
        self.repeated += other.repeated;
        self.foreign += other.foreign;
        self.torn += other.torn;
        self.disagree += other.disagree;
        for (same, order) in other.orders {
            self.disagree += u64::from(*self.orders.entry(same).or_insert(order) != order);
        }
    }

    /// Hands over the orders, which may be as many as there are subscribers.
    pub(crate) fn take_orders(&mut self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.orders).into_iter().collect()
    }

    /// Nothing but orders.
    pub(crate) fn of_orders(orders: Vec<(u64, u64)>) -> Self {
        Self { orders: orders.into_iter().collect(), ..Self::default() }
    }

    /// Every subscriber got every event once, whole, in the same order, and nobody was closed.
    pub(crate) fn is_good(&self) -> bool {
        let wrong = [self.closed, self.short, self.gaps, self.repeated, self.foreign, self.torn, self.disagree];
        wrong.iter().all(|&count| count == 0)
    }

    /// The numbers behind it, in words.
    pub(crate) fn detail(&self) -> String {
        let of = format!("{} subscribers, {} deliveries", self.subscribers, self.deliveries);
        let wrong = [
            (self.closed, "closed by the server"),
            (self.short, "without the first or the last events due"),
            (self.gaps, "with gaps"),
            (self.repeated, "with repeats, disorder or events of before they asked"),
            (self.foreign, "with events of topics they didn't ask for"),
            (self.torn, "with torn events"),
            (self.disagree, "that saw another order than the others"),
        ];
        let wrong: Vec<String> =
            wrong.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        if wrong.is_empty() { of } else { format!("{of}: {}", wrong.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One lane with so many events accepted but for those named.
    fn published(count: u32, refused: &[u32]) -> Lanes {
        let lanes = Lanes::single();
        for _ in 0..count {
            let number = lanes.next(0, 0);
            lanes.settle(number, !refused.contains(&(number.sequence() as u32)));
        }
        lanes
    }

    fn receive(sequences: &[u64], start: Span) -> (Receipt, Span) {
        let (mut receipt, mut span) = (Receipt::default(), start);
        for &sequence in sequences {
            receipt.enter(Number::new(0, sequence), 0, &mut span);
        }
        (receipt, span)
    }

    fn verdict(sequences: &[u64], since: u32, lanes: &Lanes, ending: Ending) -> Verdict {
        let (receipt, span) = receive(sequences, Span { asked: since, since, ..Span::default() });
        let mut verdict = Verdict::default();
        verdict.judge(&receipt, &[span], 0..1, ending, lanes);
        verdict
    }

    #[test]
    fn everything_after_the_start_in_order_is_good() {
        let lanes = published(4, &[3]);
        for (sequences, since) in [(&[1, 2, 4][..], 0), (&[2, 4], 1), (&[4], 2), (&[4], 3), (&[], 4)] {
            let verdict = verdict(sequences, since, &lanes, Ending::Complete);
            assert!(verdict.is_good(), "{sequences:?}: {}", verdict.detail());
        }
    }

    #[test]
    fn loss_repetition_and_disorder_are_seen() {
        let lanes = published(4, &[]);
        for bad in [&[1, 2, 3][..], &[2, 3, 4], &[1, 3, 4], &[1, 2, 2, 3, 4], &[1, 3, 2, 4], &[], &[1, 2, 3, 4, 5]] {
            assert!(!verdict(bad, 0, &lanes, Ending::Complete).is_good(), "{bad:?}");
        }
        // Number 3 was refused: to get it in place of 2 isn't the same.
        assert!(!verdict(&[1, 3, 4], 0, &published(4, &[3]), Ending::Complete).is_good());
        // Event 2 was answered before this subscriber asked.
        assert!(!verdict(&[2, 3, 4], 2, &lanes, Ending::Complete).is_good());
    }

    #[test]
    fn who_was_cut_off_misses_the_end_but_nothing_between() {
        let lanes = published(4, &[]);
        for good in [&[][..], &[1], &[1, 2, 3]] {
            assert!(verdict(good, 0, &lanes, Ending::Cut).is_good(), "{good:?}");
        }
        for bad in [&[2, 3][..], &[1, 3], &[1, 1]] {
            assert!(!verdict(bad, 0, &lanes, Ending::Cut).is_good(), "{bad:?}");
        }
    }

    #[test]
    fn an_event_cut_from_its_blank_line_may_come_again_once() {
        let (mut receipt, mut span) = receive(&[1, 2], Span::default());
        receipt.may_repeat = true;
        assert!(receipt.enter(Number::new(0, 2), 0, &mut span));
        assert!(!receipt.enter(Number::new(0, 2), 0, &mut span));
        assert_eq!((receipt.count, receipt.repeats), (2, 1));
    }

    #[test]
    fn closing_tearing_and_foreign_events_are_seen() {
        let lanes = published(1, &[]);
        for spoil in [Receipt::close, Receipt::tear, Receipt::stray, Receipt::miss] {
            let (mut receipt, span) = receive(&[1], Span::default());
            spoil(&mut receipt);
            let mut verdict = Verdict::default();
            verdict.judge(&receipt, &[span], 0..1, Ending::Complete, &lanes);
            assert!(!verdict.is_good());
        }
    }

    #[test]
    fn two_publishers_interleaved_differently_are_not_one_order() {
        let lanes = Lanes::new([("a".to_owned(), 0b11)]);
        let numbers = [lanes.next(0, 0), lanes.next(0, 1)];
        numbers.iter().for_each(|&number| lanes.settle(number, true));
        let judged = |order: [usize; 2]| {
            let (mut receipt, mut spans) = (Receipt::default(), [Span::default(); 2]);
            for lane in order {
                receipt.enter(numbers[lane], lane, &mut spans[lane]);
            }
            let mut verdict = Verdict::default();
            verdict.judge(&receipt, &spans, 0..2, Ending::Complete, &lanes);
            verdict
        };
        let mut same = judged([0, 1]);
        same.merge(judged([0, 1]));
        assert!(same.is_good());
        // As it comes from an agent: the orders by themselves.
        let mut other = judged([1, 0]);
        let orders = other.take_orders();
        same.merge(other);
        assert!(same.is_good());
        same.merge(Verdict::of_orders(orders));
        assert!(!same.is_good());
        assert_eq!(same.detail(), "3 subscribers, 6 deliveries: 1 that saw another order than the others");
    }

    #[test]
    fn who_is_cut_before_it_is_known_what_it_must_get_must_get_nothing() {
        let lanes = published(4, &[]);
        let start = Span { since: Span::unknown(u64::MAX), ..Span::default() };
        for got in [&[3, 4][..], &[], &[2]] {
            let (receipt, span) = receive(got, start);
            let mut verdict = Verdict::default();
            verdict.judge(&receipt, &[span], 0..1, Ending::Cut, &lanes);
            assert!(verdict.is_good(), "{got:?}: {}", verdict.detail());
        }
    }
}
